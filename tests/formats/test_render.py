"""Prompts are byte-exact, and content never becomes a control token."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from edgefc.errors import FormatError
from edgefc.formats import Prompt, load_family

GOLDENS = Path(__file__).parents[1] / "goldens"
FIXTURE = json.loads((GOLDENS / "fixture.json").read_text(encoding="utf-8"))
TOOLS, FIRST, HISTORY = FIXTURE["T"], FIXTURE["M1"], FIXTURE["H"]


@pytest.mark.parametrize("path", sorted(GOLDENS.glob("*.txt")), ids=lambda path: path.stem)
def test_a_prompt_equals_its_golden_file(path: Path) -> None:
    family, case = path.stem.rsplit(".", 1)
    assert load_family(family).render(FIXTURE[case], TOOLS).text == path.read_bytes().decode()


def test_pieces_lie_between_the_cuts() -> None:
    assert Prompt("abcdef", (2, 4)).pieces == ["ab", "cd", "ef"]


def test_an_unknown_family_suggests_near_names() -> None:
    with pytest.raises(FormatError, match="arch-chat"):
        load_family("arch_chat")
