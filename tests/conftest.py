"""Fixtures for every test: cache folders of the test run, the demo model's path, models with random weights."""

from __future__ import annotations

import functools
import os
import secrets
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from filelock import FileLock

from edgefc import inspection, paths
from edgefc.engine import Tokenizer
from tests.model_files import OF_FAMILY, TINY, VOCABULARIES, Shape, write_model
from tests.vocabularies import find_vocabulary, write_stand_in

ROOT = Path(__file__).parents[1]
SHARED = ROOT.parent / "shared"
WriteOnce = Callable[[str, Callable[[Path], object]], Path]


def pytest_configure() -> None:
    """Bind each worker of pytest-xdist to one core.

    The threads of llama.cpp wait for one another in a loop: with more threads than cores, tests take many times as long.
    """
    worker = os.environ.get("PYTEST_XDIST_WORKER")
    if worker and hasattr(os, "sched_setaffinity"):
        cores = sorted(os.sched_getaffinity(0))
        os.sched_setaffinity(0, {cores[int(worker.removeprefix("gw")) % len(cores)]})


@pytest.fixture(autouse=True, scope="session")
def isolated_folders(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep tests away from the user's folders; all tests of a process share these, as a user's commands do."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        for name in ("cache", "config", "models", "state"):
            monkeypatch.setenv(f"EDGEFC_{name.upper()}_DIR", str(tmp_path_factory.getbasetemp() / name))
        told = tmp_path_factory.getbasetemp() / "state" / "default-model"
        told.parent.mkdir(exist_ok=True)
        told.write_text("demo", encoding="utf-8")  # which model answers is said once, in the first test of all
        monkeypatch.setenv("RAY_AUTH_TOKEN", secrets.token_hex(32))  # else Ray keeps one in the user's home
        monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        monkeypatch.setenv("EDGEFC_FIND_MODELS", "0")  # the models of the developer's other programs
        yield


@pytest.fixture(autouse=True, scope="session")
def empty_stdin() -> Iterator[None]:
    """Let programs that tests start read nothing: pytest's stdin is /dev/null, which some machines have as a file."""
    before = os.dup(0)
    reader, writer = os.pipe()
    os.close(writer)
    os.dup2(reader, 0)
    os.close(reader)
    yield
    os.dup2(before, 0)
    os.close(before)


@pytest.fixture(scope="session")
def write_once(tmp_path_factory: pytest.TempPathFactory) -> WriteOnce:
    """Return a function that writes a file unless another process of this test run has written it."""
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "models-with-random-weights"
    folder.mkdir(exist_ok=True)

    def write(name: str, write_to: Callable[[Path], object]) -> Path:
        path = folder / name
        with FileLock(f"{path}.lock"):
            if not path.exists():
                part = path.with_suffix(".part")
                write_to(part)
                part.replace(path)
        return path

    return write


@pytest.fixture(scope="session")
def vocabulary(write_once: WriteOnce) -> Callable[[str], Path]:
    """Return a function that gives a vendor's vocabulary, or its stand-in, as a GGUF without weights."""

    def find(name: str) -> Path:
        stand_in = f"ggml-vocab-{name}.gguf"
        return find_vocabulary(name) or write_once(stand_in, lambda path: write_stand_in(name, path))

    return find


@pytest.fixture(scope="session")
def demo_path() -> Path:
    return paths.demo_model()


@pytest.fixture(scope="session")
def qwen2_vocab(vocabulary: Callable[[str], Path]) -> Path:
    """The Qwen2 vocabulary as a GGUF without weights."""
    return vocabulary("qwen2")


@pytest.fixture(scope="session")
def tiny_qwen2(qwen2_vocab: Path, write_once: WriteOnce) -> Path:
    """A model with random weights, heads of a usual size and the Qwen2 vocabulary (50 MB with Qwen's own)."""
    return write_once("tiny-qwen2.gguf", lambda path: write_model(qwen2_vocab, path, shape=TINY, chat_template=True))


@pytest.fixture(scope="session")
def small_vocab(write_once: WriteOnce) -> Path:
    """The stand-in for the Qwen2 vocabulary, for tests that need no real one: a GGUF without weights."""
    return write_once("small-vocabulary.gguf", lambda path: write_stand_in("qwen2", path))


@pytest.fixture(scope="session")
def tiny_model(small_vocab: Path, write_once: WriteOnce) -> Path:
    """A `tiny_qwen2` with a small vocabulary: it loads in 0.1 seconds of processor time instead of 1.7."""
    return write_once("tiny.gguf", lambda path: write_model(small_vocab, path, shape=TINY, chat_template=True))


@pytest.fixture(scope="session")
def large_model(small_vocab: Path, write_once: WriteOnce) -> Path:
    """A model that needs about 60 MB: several times as much as the demo model."""
    shape = Shape(layers=4, embedding=512, heads=8, kv_heads=2, forward=8192)
    return write_once("large.gguf", lambda path: write_model(small_vocab, path, shape=shape))


@pytest.fixture(scope="session")
def family_model(vocabulary: Callable[[str], Path], write_once: WriteOnce) -> Callable[[str], Path]:
    """Return a function that gives a model with random weights, and the vocabulary and control tokens of a family."""

    def of(family: str) -> Path:
        key = OF_FAMILY.get(family, "qwen2")
        name, renamed, added = VOCABULARIES[key]
        source = vocabulary(name)
        return write_once(f"{key}.gguf", lambda path: write_model(source, path, renamed=renamed, added=added))

    return of


@pytest.fixture(scope="session")
def family_tokenizer(family_model: Callable[[str], Path]) -> Callable[[str], Tokenizer]:
    """Return a function that gives the tokenizer of a family's model."""
    open_tokenizer = functools.cache(inspection.tokenizer_of)
    return lambda family: open_tokenizer(str(family_model(family)))
