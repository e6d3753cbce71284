"""Fixtures that every test may use: an own cache folder, the demo model's path, a random-weight GGUF."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from edgefc import paths
from tests.model_files import OF_FAMILY, VOCABULARIES, write_model

ROOT = Path(__file__).parents[1]
SHARED = ROOT.parent / "shared"


@pytest.fixture(autouse=True, scope="session")
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """No test reads or writes what is the user's; all of a session share a place, as a user's commands do."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        for name in ("cache", "config", "models"):
            monkeypatch.setenv(f"EDGEFC_{name.upper()}_DIR", str(tmp_path_factory.getbasetemp() / name))
        yield


@pytest.fixture(scope="session")
def demo_path() -> Path:
    return paths.demo_model()


@pytest.fixture(scope="session")
def qwen2_vocab() -> Path:
    """The real Qwen2 vocabulary as a GGUF without weights."""
    path = SHARED / "data" / "vocabs" / "ggml-vocab-qwen2.gguf"
    if not path.exists():
        pytest.skip(f"needs {path.name}, which is not part of the project")
    return path


@pytest.fixture(scope="session")
def tiny_qwen2(qwen2_vocab: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Random weights in a real shape with the real Qwen2 vocabulary (about 50 MB)."""
    script = SHARED / "tools" / "make_bench_gguf.py"
    if not script.exists():
        pytest.skip(f"needs {script.name}, which is not part of the project")
    out = tmp_path_factory.mktemp("models") / "tiny-qwen2.gguf"
    subprocess.run([sys.executable, str(script), str(qwen2_vocab), str(out), "tiny", "q8_0"], check=True)
    return out


@pytest.fixture(scope="session")
def family_model(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Gives a family's model: random weights, a real vocabulary, its control tokens."""
    folder = tmp_path_factory.mktemp("families")

    def of(family: str) -> Path:
        key = OF_FAMILY.get(family, "qwen2")
        name, renamed, added = VOCABULARIES[key]
        vocabulary = SHARED / "data" / "vocabs" / f"ggml-vocab-{name}.gguf"
        if not vocabulary.exists():
            pytest.skip(f"needs {vocabulary.name}, which is not part of the project")
        path = folder / f"{key}.gguf"
        return path if path.exists() else write_model(vocabulary, path, renamed=renamed, added=added)

    return of
