"""A short run of the fuzzer, the same each time: its corpus, and some cases more; and faults that it must find."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from edgefc import paths
from tests.fuzz.__main__ import main
from tests.fuzz.session import Runner, Session, corpus, replay, runners
from tests.fuzz.targets import NAMES, planted

# Cases besides those of the corpus: 20 seconds of processor time for all.
CASES = {"gguf": 10, "adapter": 150, "bundle": 150, "manifest": 150, "prefix": 150, "cache_files": 100, "models_toml": 100, "template": 40,
         "tokenizer": 20, "tools": 15, "openapi": 60, "requests": 30}  # fmt: skip
KINDS = {"untyped": "untyped", "thread": "untyped", "crash": "crash", "exit": "crash", "hang": "hang", "growth": "growth",
         "promise": "promise"}  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_nothing_is_found(name: str, tmp_path: Path) -> None:
    with runners([name], paths.demo_model(), tmp_path, seed=1) as opened:
        session = Session(opened, cases=2 * len(corpus(name)) + CASES[name])
        assert not session.run(), "\n".join(finding.message for finding in session.findings)
        assert len(opened[0].outcomes) > 1, "some cases are accepted, others are refused"


def test_equal_seeds_make_equal_cases(tmp_path: Path) -> None:
    for name in NAMES:
        first, same, other = (Runner(name, paths.demo_model(), tmp_path, seed) for seed in (1, 1, 2))
        assert json.dumps(first.make(999)) == json.dumps(same.make(999)) != json.dumps(other.make(999))


def test_planted_faults_are_found(tmp_path: Path) -> None:
    """Each fault is found, written to a file, and found again by its file; sound cases go on in a new process."""
    runner = Runner("planted", paths.demo_model(), tmp_path / "work", 0)
    for case in planted.KINDS:
        finding = runner.run(case)
        assert (finding and finding.kind) == KINDS.get(case), finding
        if finding is not None:
            again = replay(finding.write(tmp_path), paths.demo_model(), tmp_path / "again")
            assert again is not None
            assert again.signature == finding.signature
    runner.close()
    assert runner.outcomes["sound"] == 1
    assert runner.outcomes["StoreError"] == 1


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["--target", "manifest", "--cases", "5", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["targets"]["manifest"]["cases"] == 5
    monkeypatch.chdir(tmp_path)
    assert main(["--target", "planted", "--cases", "12", "--out", str(tmp_path / "found")]) == 1
    output = capsys.readouterr().out
    assert "untyped: planted" in output
    assert "KeyError: 'planted'" in output
    files = sorted((tmp_path / "found").iterdir())
    assert f"{len(files)} findings" in output
    assert main(["--replay", str(files[0])]) == 1
