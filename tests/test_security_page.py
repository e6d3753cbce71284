"""docs/security.md names tests, limits and targets of the fuzzer that are there."""

from __future__ import annotations

import re
from pathlib import Path

from tests.fuzz.targets import NAMES

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "security.md").read_text(encoding="utf-8")


def test_each_attack_has_a_test_and_each_limit_a_place() -> None:
    rows = [line.split("|")[1:-1] for line in PAGE.splitlines() if line.startswith("| ")]
    named = [(row[0].strip(), re.findall(r"`((?:tests|edgefc)/[\w./]+)`", row[-1])) for row in rows]
    named = [(name, files) for name, files in named if not re.fullmatch(r"(attack|of|faults|target)\b.*", name)]
    assert len(named) > 50
    for name, files in named:
        assert files or name.startswith("`"), name
        assert all((ROOT / file).exists() for file in files), (name, files)


def test_each_target_of_the_fuzzer_is_listed() -> None:
    assert all(f"`{name}`" in PAGE for name in NAMES)
