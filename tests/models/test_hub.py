"""Pulls through the real huggingface_hub client from a hub that misbehaves give the right bytes, or a typed error."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import queue
import random
import shutil
import signal
import subprocess
import sys
import tarfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Self

import filelock
import gguf
import huggingface_hub
import numpy as np
import pytest

import edgefc
from edgefc import files, paths
from edgefc.errors import (
    DownloadError,
    EdgefcError,
    GatedModelError,
    HashMismatchError,
    ModelFileError,
    ModelNotFoundError,
    OfflineError,
    RequestError,
    StoreError,
)
from edgefc.models import download, hub, registry, source, store
from edgefc.models.bundle import read_bundle, write_bundle
from edgefc.models.manifest import MANIFEST, StoredModel
from edgefc.models.pull import SilentReporter, pull_model
from edgefc.models.quantization import UNNAMED, quantization_of
from edgefc.models.tokenizer_folder import pull_tokenizer
from edgefc.tools.examples import EXAMPLE_TOOLS
from tests.model_files import split_model
from tests.models.fake_hub import HubServer

# The promise is tested with 100 and more: EDGEFC_KILLS=200 pytest tests/models/test_hub.py -k kill
KILLS = int(os.environ.get("EDGEFC_KILLS", "40"))
REPO = "acme/tiny-GGUF"
NAME = "tiny-Q8_0.gguf"
TOKENIZER = b'{"version": "1.0"}'


def write_gguf(path: Path, size: int = 1 << 20, seed: int = 0) -> bytes:
    """Write a small GGUF with one tensor; returns its bytes."""
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_block_count(1)
    writer.add_tensor("token_embd.weight", np.random.default_rng(seed).random(size // 4, dtype=np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path.read_bytes()


@pytest.fixture(scope="module")
def content(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return write_gguf(tmp_path_factory.mktemp("gguf") / NAME)


@pytest.fixture(autouse=True)
def isolated_store(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A folder of models for each test, no waiting between attempts, a made-up token."""
    monkeypatch.setenv("EDGEFC_MODELS_DIR", str(tmp_path / "models"))
    monkeypatch.setenv("EDGEFC_CONFIG_DIR", str(tmp_path / "config"))
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hf"))
    for name in ("HF_HUB_OFFLINE", "EDGEFC_OFFLINE", "TRANSFORMERS_OFFLINE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(download, "RETRY_DELAYS", (0.001,) * 5)


@pytest.fixture
def server(content: bytes) -> Iterator[HubServer]:
    with HubServer() as hub_server:
        hub_server.add(REPO, {NAME: content, "tokenizer.json": TOKENIZER, "LICENSE": b"free", "README.md": b"# hi"})
        yield hub_server
        assert not hub_server.errors


def pull(server: HubServer, name: str = REPO, **options: Any) -> StoredModel:
    return pull_model(name, endpoint=server.url, **options)


def assert_only_complete_files(content: bytes) -> None:
    """Every stored model, and every file with a model's name, has exactly this content."""
    for model in store.stored_models():
        assert not store.verify(model)
        assert model.path.read_bytes() == content
    for path in paths.models_dir().rglob("*.gguf"):
        assert path.read_bytes() == content, path


# -- without faults -----------------------------------------------------------------------------------------------


def test_a_model_comes_with_tokenizer_and_licence(server: HubServer, content: bytes) -> None:
    notes: list[str] = []

    class Notes(SilentReporter):
        def note(self, text: str) -> None:
            notes.append(text)

    model = pull(server, reporter=Notes())
    assert model.path.read_bytes() == content
    assert model.path.with_name("tokenizer.json").read_bytes() == TOKENIZER
    assert [file.role for file in model.files] == ["model", "licence", "tokenizer"]
    assert (model.repo, model.quantization, model.licence) == (REPO, "Q8_0", "apache-2.0")
    assert model.revision == server.repos[REPO].commit
    assert not notes
    assert store.find(REPO) == model
    assert store.find(f"{REPO}:q8_0") == model
    assert not list(paths.models_dir().rglob("*.part"))
    count = len(server.requests_for(server="cdn"))
    assert pull(server) == model, "what is here is not fetched again"
    assert len(server.requests_for(server="cdn")) == count
    assert "README.md" not in {path.name for path in model.folder.iterdir()}


def test_a_new_version_replaces_the_old_one(server: HubServer, tmp_path: Path) -> None:
    old = pull(server)
    newer = write_gguf(tmp_path / NAME, seed=1)
    server.publish(REPO, NAME, newer)
    new = pull(server)
    assert new.path.read_bytes() == newer
    assert not old.folder.exists()
    assert [model.folder for model in store.stored_models()] == [new.folder]


def test_without_a_network_the_stored_version_is_used(server: HubServer) -> None:
    model = pull(server)
    assert pull_model(REPO, endpoint="http://127.0.0.1:9") == model
    with pytest.raises(DownloadError):
        pull_model(REPO, endpoint="http://127.0.0.1:9", revision="v2")


def test_quantizations_are_chosen_by_memory(server: HubServer, content: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    names = {f"m-{q}.gguf": content for q in ("Q2_K", "Q4_K_M", "Q8_0", "F16")}
    server.add("acme/many", {**names, "mmproj-F16.gguf": content, "imatrix.gguf": content})
    repo = hub.get_repository("acme/many", endpoint=server.url)
    assert set(repo.models) == {"Q2_K", "Q4_K_M", "Q8_0", "F16"}
    assert source.choose_files(repo, source.ModelSource(repo=repo.id), 1 << 40)[0] == "Q8_0"
    monkeypatch.setattr(source, "SMALL", 0)
    assert source.choose_files(repo, source.ModelSource(repo=repo.id), 1 << 40)[0] == "Q4_K_M"
    assert source.choose_files(repo, source.ModelSource(repo=repo.id, quantization="q2_k"), 1)[0] == "Q2_K"
    with pytest.raises(DownloadError, match="nothing of acme/many fits"):
        source.choose_files(repo, source.ModelSource(repo=repo.id), 1000)
    with pytest.raises(ModelNotFoundError, match="Q4_K_M"):
        pull(server, "acme/many:Q9_X")
    assert pull(server, f"{server.url}/acme/many/resolve/main/m-Q2_K.gguf").quantization == "Q2_K"


@pytest.mark.parametrize(
    ("path", "quantization"),
    [
        ("a-Q4_K_M.gguf", "Q4_K_M"), ("a.q4_0.gguf", "Q4_0"), ("Q8_0/a-Q8_0-00001-of-00002.gguf", "Q8_0"),
        ("a.IQ4_XS.gguf", "IQ4_XS"), ("functionary.f16.gguf", "F16"), ("Arch-Agent-1.5B.gguf", UNNAMED),
        ("a-q4_0_4_4.gguf", "Q4_0_4_4"), ("sub/Q6_K/model.gguf", "Q6_K"),
    ],
)  # fmt: skip
def test_file_names_state_quantizations(path: str, quantization: str) -> None:
    assert quantization_of(path) == quantization


def test_split_models_come_whole_or_not(
    server: HubServer, demo_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    part_paths = split_model(demo_path, tmp_path, 25)
    assert len(part_paths) >= 2
    parts: dict[str, Any] = {path.name: path for path in part_paths}
    tokenizer = demo_path.with_name("tokenizer.json").read_bytes()
    server.add("acme/split", {"tokenizer.json": tokenizer, **parts})
    pulled, mine = pull(server, "acme/split"), pull_model(str(part_paths[0]))
    for model in (pulled, mine):
        assert [file.name for file in model.files if file.role == "model"] == sorted(parts)
        with edgefc.load(model.path) as loaded:
            assert loaded.run("What's 17*23?", tools=EXAMPLE_TOOLS, temperature=0).content.count("391")
    with monkeypatch.context() as patch:
        patch.setattr("socket.socket", lambda *_, **__: pytest.fail("a socket was opened"))
        with edgefc.load("acme/split") as loaded:
            assert loaded.path == pulled.path
            assert loaded.chat([{"role": "user", "content": "Hello"}]).content
    with pytest.raises(ModelFileError, match="Give the first"):
        pull_model(str(part_paths[1]))
    missing = parts.popitem()[0]
    server.add("acme/broken", parts)
    with pytest.raises(DownloadError, match=missing):
        pull(server, "acme/broken")


def test_a_file_and_a_url_elsewhere(server: HubServer, content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "mine.gguf"
    path.write_bytes(content)
    model = pull_model(str(path))
    assert model.path.read_bytes() == content
    assert model.name == f"mine:{UNNAMED}"
    assert store.find("") is None, "an empty name finds no model, although this one has no repository"
    assert pull_model(str(path)) == model
    pull(server)
    cdn = next(request for request in server.requests_for(NAME, server="cdn") if request.method == "GET")
    other = pull_model(f"{server.cdn_url}{cdn.path}")
    assert other.path.read_bytes() == content
    assert server.requests[-1].authorization is None, "a token is for the hub alone"
    (tmp_path / "bad.gguf").write_bytes(b"<!DOCTYPE html>" + b" " * 99)
    with pytest.raises(ModelFileError):
        pull_model(str(tmp_path / "bad.gguf"))
    with pytest.raises(RequestError, match="ftp"):
        pull_model("ftp://example.org/x.gguf")


def test_the_tokenizer_of_the_model_that_was_quantized(server: HubServer, content: bytes) -> None:
    server.add("acme/base", {"tokenizer.json": b"base", "tokenizer_config.json": b"{}"})
    server.add("acme/plain", {NAME: content}, extra={"cardData": {"base_model": ["acme/base"], "license": "mit"}})
    assert pull(server, "acme/plain").path.with_name("tokenizer.json").read_bytes() == b"base"
    assert pull(server, "acme/plain").path.with_name("tokenizer_config.json").read_bytes() == b"{}"
    server.add("acme/alone", {NAME: content}, extra={"cardData": {"base_model": "acme/hidden"}})
    server.add("acme/hidden", {"tokenizer.json": b"x"}, gated="manual", token="other")
    assert not pull(server, "acme/alone").path.with_name("tokenizer.json").exists()


def test_only_the_tokenizer_and_what_belongs_to_it(server: HubServer, content: bytes, tmp_path: Path) -> None:
    """For a model that another server computes."""
    files = {"tokenizer.json": b"base", "chat_template.jinja": b"template", "model.safetensors": b"weights"}
    server.add("acme/base", {**files, "generation_config.json": b"{}"})
    server.add("acme/quantized", {NAME: content}, extra={"cardData": {"base_model": "acme/base"}})
    for name in ("acme/base", "acme/quantized:Q4_K_M"):
        folder = tmp_path / name.replace("/", "-").replace(":", "-")
        fetched = pull_tokenizer(name, folder, endpoint=server.url)
        assert sorted(path.name for path in folder.iterdir()) == sorted(path.name for path in fetched)
        assert {path.name: path.read_bytes() for path in fetched} == {
            "tokenizer.json": b"base", "chat_template.jinja": b"template", "generation_config.json": b"{}",
        }  # fmt: skip
    server.add("acme/none", {NAME: content})
    with pytest.raises(DownloadError, match=r"has no tokenizer\.json"):
        pull_tokenizer("acme/none", tmp_path / "none", endpoint=server.url)
    with pytest.raises(ModelNotFoundError, match="unknown model"):
        pull_tokenizer("nobody", tmp_path / "none", endpoint=server.url)


def test_a_file_in_huggingface_hubs_cache_is_used_if_its_hash_is_right(
    server: HubServer, content: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = tmp_path / "hf"
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(cache))
    cached = Path(huggingface_hub.hf_hub_download(REPO, NAME, endpoint=server.url, cache_dir=cache, token=False))
    requests = len(server.requests_for(NAME, server="cdn", method="GET"))
    assert requests == 1
    model = pull(server)
    assert model.path.read_bytes() == content
    assert len(server.requests_for(NAME, server="cdn", method="GET")) == requests
    store.remove(model)
    assert cached.read_bytes() == content
    cached.resolve().write_bytes(b"x" + content[1:])
    assert pull(server).path.read_bytes() == content
    assert len(server.requests_for(NAME, server="cdn", method="GET")) == requests + 1


# -- row 12: cut connections ------------------------------------------------------------------------------------


@pytest.mark.parametrize("reset", [False, True])
@pytest.mark.parametrize("after", [1, 1000, 65_537, 300_000, 600_000, 1_000_000])
def test_cut_again_and_again(server: HubServer, content: bytes, after: int, reset: bool) -> None:
    server.fault(NAME, server="cdn", method="GET", cut_after=after, reset=reset, times=30)
    model = pull(server) if after > 100 else pull_with_retries(server)
    assert model.path.read_bytes() == content
    ranges = [request.range for request in server.requests_for(NAME, server="cdn") if request.range]
    assert ranges, "it resumes"


def pull_with_retries(server: HubServer) -> StoredModel:
    for _ in range(40):
        try:
            return pull(server)
        except DownloadError:
            assert_only_complete_files(b"")
    raise AssertionError("no attempt succeeded")


@pytest.mark.parametrize("number", range(1, 9))
def test_the_nth_request_is_not_answered(server: HubServer, content: bytes, number: int) -> None:
    server.fault(nth=number, cut_after=-1)
    for _ in range(3):
        try:
            assert pull(server).path.read_bytes() == content
            return
        except EdgefcError:
            assert_only_complete_files(content)
    raise AssertionError("no attempt succeeded")


def test_a_part_is_resumed_by_the_next_pull(server: HubServer, content: bytes) -> None:
    fault = server.fault(NAME, server="cdn", method="GET", cut_after=500_000, nth=1)
    server.fault(NAME, server="cdn", method="GET", status=404)
    with pytest.raises(DownloadError):
        pull(server)
    assert fault.hits == 1
    assert not store.stored_models()
    part = next(paths.models_dir().rglob("*.part"))
    size = part.stat().st_size
    assert 0 < size <= 500_000
    server.clear_faults()
    assert pull(server).path.read_bytes() == content
    assert f"bytes={size}-" in [request.range for request in server.requests_for(NAME, server="cdn")]
    assert not part.exists()


def test_a_damaged_part_is_found_by_its_hash(server: HubServer, content: bytes) -> None:
    server.fault(NAME, server="cdn", method="GET", cut_after=500_000, nth=1)
    server.fault(NAME, server="cdn", method="GET", status=404)
    with pytest.raises(DownloadError):
        pull(server)
    part = next(paths.models_dir().rglob("*.part"))
    part.write_bytes(b"x" + part.read_bytes()[1:])
    server.clear_faults()
    with pytest.raises(HashMismatchError):
        pull(server)
    assert_only_complete_files(content)
    assert pull(server).path.read_bytes() == content


# -- rows 13 to 15: wrong answers -------------------------------------------------------------------------------


@pytest.mark.parametrize("offset", [0, 100, 524_288, -1])
def test_wrong_bytes_of_the_right_length(server: HubServer, content: bytes, offset: int) -> None:
    server.fault(NAME, server="cdn", method="GET", flip=offset, times=1)
    with pytest.raises(HashMismatchError, match="thrown away"):
        pull(server)
    assert not list(paths.models_dir().rglob("*.gguf"))
    assert pull(server).path.read_bytes() == content


def test_wrong_bytes_of_a_small_file(server: HubServer) -> None:
    server.fault("tokenizer.json", server="hub", method="GET", flip=3)
    with pytest.raises(HashMismatchError):
        pull(server)
    assert not store.stored_models()


WRONG = [
    {"length_off": 1000},
    {"length_off": -1000},
    {"framing": "close"},
    {"framing": "chunked"},
    {"framing": "close", "cut_after": 70_000},
    {"framing": "chunked", "cut_after": 70_000},
    {"truncate": 400_000},
    {"status": 416},
    {"status": 503, "retry_after": 0},
    {"status": 500},
    {"status": 429, "retry_after": 0},
    {"body": b"short"},
]


@pytest.mark.parametrize("fault", WRONG, ids=str)
def test_odd_answers_end_well(server: HubServer, content: bytes, fault: dict[str, Any]) -> None:
    server.fault(NAME, server="cdn", method="GET", times=1, **fault)
    for _ in range(3):
        try:
            assert pull(server).path.read_bytes() == content
            return
        except (DownloadError, HashMismatchError):
            assert_only_complete_files(content)
    raise AssertionError("no attempt succeeded")


@pytest.mark.parametrize(
    "fault", [{"ignore_range": True}, {"status": 416}, {"headers": {"Content-Range": "bytes 0-9/9"}}]
)
def test_odd_answers_to_a_resumption(server: HubServer, content: bytes, fault: dict[str, Any]) -> None:
    server.fault(NAME, server="cdn", method="GET", nth=1, cut_after=300_000)
    server.fault(NAME, server="cdn", method="GET", nth=2, **fault)
    assert pull(server).path.read_bytes() == content


def test_another_version_between_attempts(server: HubServer, tmp_path: Path) -> None:
    newer = write_gguf(tmp_path / NAME, seed=2)
    server.fault(NAME, server="cdn", method="GET", nth=1, cut_after=300_000)
    server.fault(NAME, server="cdn", method="GET", nth=2, status=404, then=lambda: server.publish(REPO, NAME, newer))
    with pytest.raises(DownloadError):
        pull(server)
    assert pull(server).path.read_bytes() == newer


# -- rows 16 and 17: the disk -----------------------------------------------------------------------------------


class FailingOs:
    """The module `os`, with one operation that fails the n-th time."""

    def __init__(self, operation: str, number: int, code: int) -> None:
        self.operation, self.left, self.code = operation, number, code

    def __getattr__(self, name: str) -> Any:
        real = getattr(os, name)
        if name != self.operation:
            return real

        def call(*args: Any, **kwargs: Any) -> Any:
            self.left -= 1
            if self.left == 0:
                raise OSError(self.code, os.strerror(self.code))
            return real(*args, **kwargs)

        return call


def leave_part(content: bytes) -> None:
    """Leave a part file as a process does that died."""
    folder = store.model_folder(REPO, "Q8_0", hashlib.sha256(content).hexdigest())
    folder.mkdir(parents=True, exist_ok=True)
    if not list(folder.glob("*.part")):
        (folder / f"{NAME}.{download._host_name()}.{2**22 + 7}.0123.part").write_bytes(content[:300_000])


CODES = ("ENOSPC", "EIO", "EROFS", "EACCES", "EMFILE", "ENAMETOOLONG")


@pytest.mark.parametrize("code", CODES)
@pytest.mark.parametrize("operation", ["write", "fsync", "open", "read", "ftruncate"])
def test_the_nth_operation_of_the_disk_fails(
    server: HubServer, content: bytes, monkeypatch: pytest.MonkeyPatch, operation: str, code: str
) -> None:
    server.fault(NAME, server="cdn", method="GET", ignore_range=True)
    errors: list[StoreError] = []
    for number in range(1, 60):
        leave_part(content)
        failing = FailingOs(operation, number, getattr(errno, code))
        with monkeypatch.context() as patch:
            patch.setattr(download, "os", failing)
            patch.setattr(files, "os", failing)
            try:
                pull(server)
            except StoreError as error:
                errors.append(error)
        assert_only_complete_files(content)
        if failing.left > 0:
            break  # there were fewer calls: each has failed once
        shutil.rmtree(paths.models_dir(), ignore_errors=True)
    assert failing.left > 0
    assert errors
    assert all(error.hint and os.strerror(getattr(errno, code)) in str(error) for error in errors)
    assert pull(server).path.read_bytes() == content


@pytest.mark.parametrize("number", range(1, 6))
def test_the_nth_rename_fails(server: HubServer, content: bytes, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    real, left = Path.replace, [number]

    def replace(self: Path, target: Path) -> Path:
        left[0] -= 1
        if left[0] == 0:
            raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))
        return real(self, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", replace)
        try:
            pull(server)
        except StoreError:
            assert left[0] == 0
    assert_only_complete_files(content)
    assert pull(server).path.read_bytes() == content


def test_a_full_disk_is_noticed_before_the_first_byte(server: HubServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(download.shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10, 10, 1000))
    with pytest.raises(StoreError, match=r"needs 0\.07 GB more"):
        pull(server)
    assert not server.requests_for(NAME, server="cdn", method="GET")


@pytest.mark.skipif(os.geteuid() == 0 if hasattr(os, "geteuid") else True, reason="root may write anywhere")
def test_a_folder_without_write_permission(server: HubServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "theirs").mkdir(mode=0o500)
    monkeypatch.setenv("EDGEFC_MODELS_DIR", str(tmp_path / "theirs" / "models"))
    with pytest.raises(StoreError, match="EDGEFC_MODELS_DIR"):
        pull(server)


# -- rows 18 to 20: many processes, and killed ones -------------------------------------------------------------

FORKS = """
import os, sys
from edgefc import files
from edgefc.models import download
from edgefc.models.pull import pull_model
import filelock, httpx2, huggingface_hub.hf_api
if sys.argv[2] == "no locks":
    filelock.FileLock.acquire = lambda self, **_: None
    filelock.FileLock.release = lambda self, **_: None
download.RETRY_DELAYS = (0.001,) * 5
def say(*words):
    os.write(1, (" ".join(map(str, words)) + "\\n").encode())  # in one piece
while line := sys.stdin.readline():
    pid = os.fork()
    if pid == 0:
        try:
            model = pull_model(line.strip(), endpoint=sys.argv[1])
            say("done", os.getpid(), files.hash_file(model.path))
        except BaseException as error:
            say("failed", os.getpid(), type(error).__name__, repr(str(error)))
        os._exit(0)
    say("began", pid)
    if sys.argv[3] == "one by one":
        os.waitpid(pid, 0)
        say("ended", pid)
"""


class Pullers:
    """Processes that pull, started quickly by forking one that has imported everything."""

    def __init__(self, server: HubServer, *, locks: str = "locks", order: str = "all at once") -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", FORKS, server.url, locks, order],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env={**os.environ},
        )  # fmt: skip

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(60)
        assert self._process.stdout is not None
        self._process.stdout.close()

    def begin(self, name: str = REPO) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(f"{name}\n")
        self._process.stdin.flush()

    def line(self) -> list[str]:
        assert self._process.stdout is not None
        return self._process.stdout.readline().split(maxsplit=3)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_killed_at_any_instant(server: HubServer, content: bytes) -> None:
    rng = random.Random(5)
    server.fault(NAME, server="cdn", method="GET", rate=8 << 20)
    pull_seconds = 0.35  # of an undisturbed pull, about
    finished = resumed = 0
    with Pullers(server, order="one by one") as pullers:
        for _ in range(KILLS):
            pullers.begin()
            _, pid, *_ = pullers.line()
            time.sleep(rng.random() * pull_seconds)
            with contextlib.suppress(ProcessLookupError):  # it has finished
                os.kill(int(pid), signal.SIGKILL)
            line = pullers.line()
            while line[0] != "ended":
                line = pullers.line()
            assert_only_complete_files(content)
            if store.stored_models():
                finished += 1
                store.remove(store.stored_models()[0])
        resumed = sum(request.range is not None for request in server.requests_for(NAME, server="cdn"))
    server.clear_faults()
    assert pull(server).path.read_bytes() == content
    assert not list(paths.models_dir().rglob("*.part"))
    assert resumed
    assert finished < KILLS


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.parametrize("locks", ["locks", "no locks"])
def test_sixteen_at_once(server: HubServer, content: bytes, locks: str) -> None:
    server.fault(NAME, server="cdn", method="GET", rate=4 << 20)
    digest = hashlib.sha256(content).hexdigest()
    with Pullers(server, locks=locks) as pullers:
        for _ in range(16):
            pullers.begin()
        lines = [pullers.line() for _ in range(32)]
    assert [line[1:] for line in lines if line[0] == "failed"] == []
    assert [line[2] for line in lines if line[0] == "done"] == [digest] * 16
    assert_only_complete_files(content)
    if locks == "locks":
        assert len(server.requests_for(NAME, server="cdn", method="GET")) == 1, "one transfer"
    assert not list(paths.models_dir().rglob("*.part"))


def test_a_pull_waits_for_another_process(server: HubServer, content: bytes) -> None:
    notes: queue.Queue[str] = queue.Queue()

    class Notes(SilentReporter):
        def note(self, text: str) -> None:
            notes.put(text)

    folder = store.model_folder(REPO, "Q8_0", hashlib.sha256(content).hexdigest())
    locks = paths.models_dir() / ".locks"
    locks.mkdir(parents=True)
    with ThreadPoolExecutor(1) as pool:
        with filelock.FileLock(locks / f"{folder.parent.name}--{folder.name}.lock"):
            model = pool.submit(pull, server, reporter=Notes())
            assert "waiting" in notes.get(timeout=30)
            assert not server.requests_for(NAME, server="cdn")
        assert model.result(30).path.read_bytes() == content


# -- row 21: no network -----------------------------------------------------------------------------------------


def test_offline_opens_no_socket(server: HubServer, monkeypatch: pytest.MonkeyPatch) -> None:
    model = pull(server)
    monkeypatch.setattr("socket.socket.connect", lambda *_: pytest.fail("a connection was made"))
    monkeypatch.setattr("socket.getaddrinfo", lambda *_: pytest.fail("a name was looked up"))
    monkeypatch.setenv("EDGEFC_OFFLINE", "1")
    assert pull(server) == model
    assert registry.resolve(REPO).path == model.path
    with pytest.raises(OfflineError, match="offline mode"):
        pull(server, "acme/other-GGUF")


def test_no_answer(server: HubServer, monkeypatch: pytest.MonkeyPatch) -> None:
    for endpoint in ("http://127.0.0.1:9", "http://nothing.invalid"):
        with pytest.raises(DownloadError, match="no answer from"):
            pull_model(REPO, endpoint=endpoint)
    monkeypatch.setenv("EDGEFC_OFFLINE", "yes")
    with pytest.raises(OfflineError):
        pull(server)


def test_a_captive_portal(server: HubServer) -> None:
    fault = server.fault("/api/", html=True)
    with pytest.raises(DownloadError, match="log in"):
        pull(server)
    assert fault.hits
    server.clear_faults()
    server.fault(NAME, method="GET", html=True)
    with pytest.raises(DownloadError, match="web page"):
        pull(server)
    assert not store.stored_models()


# -- row 22: hostile names --------------------------------------------------------------------------------------

HOSTILE = [
    "../x.gguf", "/etc/x.gguf", "a/../../x.gguf", "C:\\x.gguf", "C:x.gguf", "a\\b.gguf", "CON.gguf", "nul", "a\0.gguf",
    "a\n.gguf", "x" * 300 + ".gguf", "\u202egguf.exe", ".hidden.gguf", "a/.git/x.gguf", "aux.gguf", "x.gguf.", "a:b.gguf",
    "", "..", "lpt1.gguf", "x?.gguf", "x*.gguf", 'x".gguf', "é" * 150 + ".gguf",
]  # fmt: skip
REPOS = [
    "../x",
    "a/../b",
    "/a",
    "a/b/c",
    "a",
    "a//b",
    "-a/b",
    ".a/b",
    "a/.b",
    "a" * 97 + "/b",
    "a/b\0",
    "a b/c",
    "a/b--c",
    "a/b.git",
]


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_file_name_is_never_written(server: HubServer, content: bytes, name: str) -> None:
    with pytest.raises(StoreError):
        store.local_name(name)
    before = sorted(path for path in paths.models_dir().parent.rglob("*"))
    server.fault("/api/models", edit=lambda answer: renamed(answer, name))
    with pytest.raises(EdgefcError):
        pull(server)
    assert sorted(path for path in paths.models_dir().parent.rglob("*")) == before


def renamed(answer: Any, name: str) -> Any:
    for sibling in answer["siblings"]:
        if sibling["rfilename"] == NAME:
            sibling["rfilename"] = name
    return answer


@pytest.mark.parametrize(
    ("key", "values"),
    [
        ("sha", ["../../../x", "main/../x", "0" * 39, 5]),
        ("sha256", ["../../../x", "/x", "A" * 64, "0" * 63, ""]),
        ("size", [-1, 1 << 60, "5", 1.5, True]),
    ],
)
def test_a_hostile_hash_size_or_commit_writes_nothing(
    server: HubServer, tmp_path: Path, key: str, values: list[object]
) -> None:
    for value in values:
        server.clear_faults()
        server.fault("/api/models", edit=lambda answer, value=value: with_field(answer, key, value))
        with pytest.raises(EdgefcError):
            pull(server)
        assert not paths.models_dir().exists()
        assert not list(tmp_path.rglob("x"))


def with_field(answer: Any, key: str, value: object) -> Any:
    if key == "sha":
        return {**answer, "sha": value}
    for sibling in answer["siblings"]:
        if sibling["rfilename"] == NAME:
            (sibling["lfs"] if key == "sha256" else sibling)[key] = value
    return answer


def test_odd_texts_of_a_hub_are_written_as_plain_ones(server: HubServer) -> None:
    card = {"license": "mit\n\x1b[2J" + "x" * 500, "base_model": {"a": 1}}
    server.fault("/api/models", edit=lambda answer: {**answer, "cardData": card})
    model = pull(server)
    assert model.licence.startswith("mit[2Jx")
    assert store.stored_models() == [model]


def test_a_body_that_is_longer_than_its_size_is_not_written(server: HubServer, content: bytes) -> None:
    peak = 0

    class Meter(SilentReporter):
        size = 0

        def advance(self, count: int) -> None:
            nonlocal peak
            self.size += count
            peak = max(peak, self.size)

    server.fault(NAME, server="cdn", method="GET", body=content * 40, framing="close")
    with pytest.raises(DownloadError):
        pull(server, reporter=Meter())
    assert peak < 2 * len(content)
    assert not store.stored_models()


@pytest.mark.parametrize("repo", REPOS)
def test_a_hostile_repository_name_is_refused(server: HubServer, repo: str) -> None:
    with pytest.raises(EdgefcError):
        pull(server, repo)
    assert not server.requests
    assert not paths.models_dir().exists()


def test_names_at_random(server: HubServer) -> None:
    rng = random.Random(3)
    for _ in range(300):
        name = "".join(rng.choice("ab./\\:\0 *-~\u202e\n") for _ in range(rng.randrange(1, 12)))
        try:
            found = store.local_name(name)
        except StoreError:
            continue
        target = (paths.models_dir() / found).resolve()
        assert target.parent == paths.models_dir().resolve()


# -- row 23: refusals -------------------------------------------------------------------------------------------


def test_refusals_carry_a_hint(server: HubServer, content: bytes) -> None:
    server.add("acme/gated", {NAME: content}, gated="manual", token="another")
    with pytest.raises(GatedModelError, match="Accept it at"):
        pull(server, "acme/gated")
    with pytest.raises(ModelNotFoundError, match="no repository acme/none"):
        pull(server, "acme/none")
    with pytest.raises(ModelNotFoundError, match="no such revision"):
        pull(server, REPO, revision="nowhere")
    server.add("acme/empty", {"README.md": b""})
    with pytest.raises(ModelNotFoundError, match="holds no GGUF"):
        pull(server, "acme/empty")
    server.add("acme/wrong", {NAME: b"PK\x03\x04" + b"x" * 100})
    with pytest.raises(ModelFileError):
        pull(server, "acme/wrong")
    assert not store.stored_models()
    assert not list(paths.models_dir().rglob("*.gguf"))


@pytest.mark.parametrize("status", [400, 401, 403, 404, 410, 429, 500, 503])
@pytest.mark.parametrize("path", ["/api/models", NAME])
def test_statuses_are_typed_errors(server: HubServer, path: str, status: int) -> None:
    server.fault(path, status=status, retry_after=0)
    with pytest.raises((DownloadError, ModelNotFoundError)) as caught:
        pull(server)
    assert caught.value.hint
    assert not store.stored_models()


@pytest.mark.parametrize("target", ["loop", "file:///etc/passwd", "ftp://127.0.0.1/x", "http://127.0.0.1:9/x"])
def test_redirects_to_nowhere(server: HubServer, target: str) -> None:
    server.fault(NAME, server="hub", method="GET", redirect=target)
    with pytest.raises(DownloadError):
        pull(server)
    assert not store.stored_models()


def test_a_token_stays_on_the_hub(server: HubServer, content: bytes) -> None:
    server.fault("tokenizer.json", server="hub", method="GET", redirect="other")
    server.add(REPO, {NAME: content, "tokenizer.json": TOKENIZER})
    pull(server)
    assert {request.authorization for request in server.requests_for(server="hub")} == {"Bearer hf_secret"}
    assert server.requests_for(server="cdn")
    assert server.requests_for(server="other")
    assert {request.authorization for request in server.requests if request.server != "hub"} == {None}


# -- row 24, and bundles ----------------------------------------------------------------------------------------


def test_rot_is_found(server: HubServer, content: bytes) -> None:
    model = pull(server)
    assert not store.verify(model)
    damaged = bytearray(content)
    damaged[700_000] ^= 1
    model.path.write_bytes(damaged)
    assert "sha256" in store.verify(model)[0]
    with pytest.raises(StoreError, match="damaged"):
        write_bundle(model, model.folder.parent / "x.tar")
    model.path.write_bytes(content[:-1])
    assert not store.stored_models(), "a wrong size is noticed at once"
    store.remove(model)
    assert pull(server).path.read_bytes() == content


def test_a_bundle_carries_everything(server: HubServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = pull(server)
    archive = write_bundle(model, tmp_path / "x.edgefc.tar")
    monkeypatch.setenv("EDGEFC_MODELS_DIR", str(tmp_path / "elsewhere"))
    moved = read_bundle(archive)
    assert moved.files == model.files
    assert moved.name == model.name
    assert not store.verify(moved)
    assert read_bundle(archive) == moved
    data = archive.read_bytes()
    for offset in (100, 2_000, 200_000, len(data) // 2):
        (tmp_path / "bad.tar").write_bytes(data[:offset] + bytes([data[offset] ^ 1]) + data[offset + 1 :])
        shutil.rmtree(tmp_path / "elsewhere", ignore_errors=True)
        with pytest.raises((StoreError, ModelFileError)):
            read_bundle(tmp_path / "bad.tar")
        assert not store.stored_models()
    (tmp_path / "bad.tar").write_bytes(data[: len(data) // 2])
    with pytest.raises(StoreError):
        read_bundle(tmp_path / "bad.tar")
    assert not [path for path in (tmp_path / "elsewhere").rglob("*") if path.is_file()]


@pytest.mark.parametrize("kind", ["name", "link", "unknown"])
def test_a_hostile_bundle(server: HubServer, tmp_path: Path, kind: str) -> None:
    model = pull(server)
    hostile = tmp_path / "hostile.tar"
    manifest = json.loads((model.folder / MANIFEST).read_text())
    if kind == "name":
        manifest["files"][0]["name"] = "../../evil.gguf"
    data = json.dumps(manifest).encode()
    with tarfile.open(hostile, "w") as archive:
        entry = tarfile.TarInfo(MANIFEST)
        entry.size = len(data)
        import io

        archive.addfile(entry, io.BytesIO(data))
        entry = tarfile.TarInfo("../../evil.gguf" if kind != "link" else NAME)
        if kind == "link":
            entry.type, entry.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(entry)
    store.remove(model)
    with pytest.raises(StoreError):
        read_bundle(hostile)
    assert not list(tmp_path.rglob("evil*"))
    assert not store.stored_models()
