"""`edgefc warm` and `edgefc bench`, as a user runs them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from edgefc.engine import calibration
from edgefc.engine.calibration import Calibration
from edgefc.engine.costs import MEASURED_ROWS, Costs
from tests.cli.conftest import Edgefc

TOOLS = Path(__file__).parents[2] / "examples" / "tools.json"
ASK = ("call", "What is the weather in Oslo?", "--tools", str(TOOLS), "--json")


@pytest.fixture(autouse=True)
def empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("EDGEFC_CACHE_DIR", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_what_was_warmed_is_not_computed_again(edgefc: Edgefc, empty_cache: Path) -> None:
    done = edgefc("warm", "demo", "--tools", str(TOOLS), "--json")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    (file,) = empty_cache.glob("prefixes/*")
    assert told["files"] == [str(file)]
    assert told["bytes"] == file.stat().st_size
    assert told["cached_tokens"] == 0

    reply = json.loads(edgefc(*ASK).stdout)
    assert reply["stats"]["cached_from"] == "disk"
    assert reply["stats"]["cached_tokens"] == told["tokens"]
    assert reply["usage"]["prompt_tokens_details"] == {"cached_tokens": told["tokens"]}
    assert {"drafted_tokens", "accepted_tokens"} <= reply["stats"].keys()

    again = edgefc("warm", "--tools", str(TOOLS))
    assert "already cached on disk" in again.stdout
    assert f"{told['tokens']:,} tokens" in again.stdout


def test_system_message_and_choice_make_another_prompt(edgefc: Edgefc, empty_cache: Path) -> None:
    plain, told, named = (
        json.loads(edgefc("warm", "--tools", str(TOOLS), "--json", *words).stdout)["tokens"]
        for words in ((), ("--system", "You are a captain."), ("--family", "hermes", "--tool-choice", "get_weather"))
    )
    assert len({plain, told, named}) == 3
    assert len(list(empty_cache.glob("prefixes/*"))) == 3


def test_nothing_kept_is_exit_code_1(edgefc: Edgefc, tmp_path: Path) -> None:
    (tmp_path / "none.json").write_text("[]", encoding="utf-8")
    done = edgefc("warm", "--tools", "none.json")
    assert done.returncode == 1
    assert "nothing was cached" in done.stderr
    assert not done.stdout


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("warm", "--tools", "missing.json"), "no such file: missing.json"),
        (("warm", "--tool-choice", "get_wether"), "Did you mean get_weather"),
        (("warm", "demoo"), "Did you mean demo?"),
        (("warm", "--n-ctx", "128"), "the context holds only 128"),
        (("bench", "none.gguf"), "there is no file"),
        (("bench", "demoo", "--calibrate"), "Did you mean demo?"),
    ],
)
def test_bad_input_is_one_message(edgefc: Edgefc, words: tuple[str, ...], message: str) -> None:
    done = edgefc(*words)
    assert done.returncode == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert not done.stdout


def test_bench_says_with_how_many_threads(edgefc: Edgefc, demo_path: Path) -> None:
    done = edgefc("bench")
    assert done.returncode == 0, done.stderr
    assert "not calibrated; run `edgefc bench demo --calibrate`" in done.stdout
    calibration.save(demo_path, Calibration(1, 1, Costs(dict.fromkeys(MEASURED_ROWS, 5.0), 0.25)))
    done = edgefc("bench")
    assert "threads: 1 for decode, 1 for prefill (calibrated)" in done.stdout
    told = json.loads(edgefc("bench", "--json").stdout)
    assert told["threads"] == {"decode": 1, "prefill": 1, "calibrated": True}
    assert told["costs"] == {"rows": {str(rows): 5.0 for rows in MEASURED_ROWS}, "per_token": 0.25}
    assert told["decode"] > 0


def test_bench_calibrates_or_says_why_not(edgefc: Edgefc, demo_path: Path) -> None:
    done = edgefc("bench", "demo", "--calibrate")
    assert done.returncode == 0, done.stderr
    kept = calibration.load(demo_path)
    if kept is None:
        assert "keep the processor busy" in done.stderr
        assert "(not calibrated" in done.stdout
        pytest.skip("other programs keep this machine busy")
    lines = done.stdout.splitlines()
    assert "(calibrated)" in lines[1]
    assert len(lines[3:]) == 1 + len(MEASURED_ROWS) + 1
    assert f"{kept.costs.by_rows[63]:.2f}" in lines[-2]
    assert f"{1000 * kept.costs.per_token:.2f} ms per row for every 1,000 earlier tokens" in lines[-1]
