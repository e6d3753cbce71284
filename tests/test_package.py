"""The wheel contains everything a user needs, and works away from the checkout."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import edgefc

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def unpacked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("wheel")
    subprocess.run([sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(out)], cwd=ROOT, check=True)
    (wheel,) = out.glob("*.whl")
    assert wheel.stat().st_size < 30 * 10**6
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(out / "site")
    return out / "site"


def test_the_wheel_contains_code_data_and_the_demo_model_and_nothing_else(unpacked: Path) -> None:
    for name in (
        "data/models.toml",
        "data/chat_formats/hermes.jinja",
        "data/grammars",
        "models/demo/tokenizer.json",
        "models/demo/held_back.jsonl.gz",
        "py.typed",
    ):
        assert (unpacked / "edgefc" / name).exists(), name
    assert {path.name for path in unpacked.iterdir()} <= {"edgefc", f"edgefc-{edgefc.__version__}.dist-info"}


def test_the_wheel_works_by_itself(unpacked: Path, tmp_path: Path) -> None:
    def run(*arguments: str) -> str:
        environment = {**os.environ, "PYTHONPATH": str(unpacked), "PYTHONSAFEPATH": "1"}
        done = subprocess.run(
            [sys.executable, *arguments],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            check=True,
        )
        return done.stdout

    assert Path(run("-c", "import edgefc.paths; print(edgefc.paths.root())").strip()) == unpacked / "edgefc" / "data"
    assert "get_time" in run("-m", "edgefc", "call", "What time is it in Rome?")


def test_all_public_names_exist() -> None:
    for name in edgefc.__all__:
        assert getattr(edgefc, name) is not None
    with pytest.raises(AttributeError, match="nonsense"):
        _ = edgefc.nonsense


def test_the_changelog_has_the_version() -> None:
    assert f"## {edgefc.__version__}" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert f'version = "{edgefc.__version__}"' in (ROOT / "pyproject.toml").read_text(encoding="utf-8")
