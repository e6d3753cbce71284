"""Odd files among the saved prompts, and a lack of memory, cost a saved prompt and nothing else."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from edgefc import paths
from edgefc.engine import Engine, EngineOptions, GenerationResult
from edgefc.engine.context import Context
from edgefc.engine.private_files import KEY_FILE, MAGIC, PrivateFiles

ONE = EngineOptions(n_ctx=512, n_seq_max=1, prefix_memory=0)
TOOLS = [5 + i * 79 % 200 for i in range(100)]
POSIX = pytest.mark.skipif(os.name != "posix", reason="needs pipes, links and owners")


def ask(engine: Engine, number: int = 1) -> GenerationResult:
    prompt = [*TOOLS, *range(number, number + 20)]
    return engine.submit(prompt, prefix=len(TOOLS), max_tokens=4).result()


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("EDGEFC_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("EDGEFC_CONFIG_DIR", str(tmp_path / "config"))
    return tmp_path / "cache" / "prefixes"


@pytest.fixture
def saved(tiny_model: Path, folder: Path) -> Path:
    """The file of a saved prompt."""
    with Engine.load(tiny_model, ONE) as engine:
        ask(engine)
    (path,) = folder.glob("*.kv")
    return path


def fields_of(content: bytes) -> tuple[dict[str, object], int]:
    end = 12 + int.from_bytes(content[8:12], "little")
    return json.loads(content[12:end]), end


def with_header(content: bytes, header: bytes) -> bytes:
    return MAGIC + len(header).to_bytes(4, "little") + header + content[fields_of(content)[1] :]


def foreign(content: bytes) -> bytes:
    """The file that another user would write: other contents, with the right hash."""
    fields, end = fields_of(content)
    keys_end = end + 32 + 4 * len(TOOLS)
    rest = content[end + 32 : keys_end] + b"\xff" * (len(content) - keys_end)
    header = json.dumps({**fields, "sha256": hashlib.sha256(rest).hexdigest()}).encode()
    return MAGIC + len(header).to_bytes(4, "little") + header + content[end : end + 32] + rest


def replace_by(make: Callable[[Path], object]) -> Callable[[Path, bytes], object]:
    def write(path: Path, _: bytes) -> None:
        path.unlink()
        make(path)

    return write


def make_sparse(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    with path.open("r+b") as file:
        file.truncate(100 << 30)


ODD: dict[str, Callable[[Path, bytes], object]] = {
    "foreign": lambda path, content: path.write_bytes(foreign(content)),
    "nested": lambda path, content: path.write_bytes(with_header(content, b"[" * 4096)),
    "NaN": lambda path, content: path.write_bytes(with_header(content, b'{"bytes": NaN, "tokens": 1e999}')),
    "sparse": make_sparse,
    "huge header": lambda path, _: path.write_bytes(MAGIC + b"\xff" * 100),
    "empty": lambda path, _: path.write_bytes(b""),
    "folder": replace_by(lambda path: path.mkdir()),
}
if os.name == "posix":
    ODD |= {
        "pipe": replace_by(os.mkfifo),
        "device": replace_by(lambda path: path.symlink_to("/dev/zero")),
        "link": lambda path, content: (
            path.with_suffix(".x").write_bytes(content), path.unlink(), path.symlink_to(path.with_suffix(".x"))
        ),
        "loop": replace_by(lambda path: path.symlink_to(path)),
        "writable by others": lambda path, _: path.chmod(0o666),
        "unreadable": lambda path, content: (path.write_bytes(content[:-1]), path.chmod(0)),
    }  # fmt: skip


@pytest.mark.parametrize("kind", ODD)
def test_an_odd_file_costs_only_itself(
    kind: str, tiny_model: Path, saved: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    ODD[kind](saved, saved.read_bytes())
    restored: list[object] = []
    with monkeypatch.context() as patch, Engine.load(tiny_model, ONE) as engine:
        patch.setattr(Context, "restore", lambda *arguments: restored.append(arguments))
        first = ask(engine)
        second = ask(engine)
    assert not restored, "llama.cpp trusts what it gets"
    assert first.token_ids == second.token_ids
    assert "computing the prompt again" in caplog.text
    if kind != "folder":
        with Engine.load(tiny_model, ONE) as engine:
            assert ask(engine).stats.cached_from == "disk", "it was written again"


@POSIX
@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root can give files away")
def test_files_of_another_user_are_not_used(tiny_model: Path, saved: Path, folder: Path) -> None:
    os.chown(saved, 12345, 12345)
    with Engine.load(tiny_model, ONE) as engine:
        assert ask(engine).stats.cached_from == ""
    os.chown(folder, 12345, 12345)
    with Engine.load(tiny_model, ONE) as engine:
        assert ask(engine).stats.cached_from == ""


@POSIX
def test_the_key_is_secret(tiny_model: Path, saved: Path, caplog: pytest.LogCaptureFixture) -> None:
    key = paths.config_dir() / KEY_FILE
    assert key.stat().st_mode & 0o777 == 0o600
    assert saved.stat().st_mode & 0o777 == 0o600
    assert saved.parent.stat().st_mode & 0o777 == 0o700
    key.chmod(0o644)
    with Engine.load(tiny_model, ONE) as engine:
        assert ask(engine).stats.cached_from == ""
    assert "not private" in caplog.text
    key.unlink()
    with Engine.load(tiny_model, ONE) as engine:
        assert ask(engine).stats.cached_from == "", "another key: the old files are of no use"


def test_a_file_of_another_key_is_not_read(tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import numpy as np

    own = PrivateFiles("me", folder, 1 << 20)
    path = own.path(TOOLS)
    own.write(path, TOOLS, np.zeros(100, dtype=np.uint8))
    monkeypatch.setenv("EDGEFC_CONFIG_DIR", str(tmp_path / "other"))
    other = PrivateFiles("me", folder, 1 << 20)
    assert other.path(TOOLS) != path
    with pytest.raises(ValueError, match="not written by this user"):
        other.read(path, TOOLS)


@pytest.mark.parametrize("error", [MemoryError, RuntimeError, OSError, IndexError])
@pytest.mark.parametrize("operation", ["save", "restore"])
def test_a_lack_of_memory_costs_a_snapshot(
    tiny_model: Path, saved: Path, monkeypatch: pytest.MonkeyPatch, operation: str, error: type[Exception]
) -> None:
    options = EngineOptions(n_ctx=512, n_seq_max=1)
    with Engine.load(tiny_model, EngineOptions(n_ctx=512, n_seq_max=1, prefix_disk=0)) as engine:
        expected = ask(engine).token_ids

    def fail(*_: object) -> None:
        raise error("no memory")

    if operation == "save":
        saved.unlink()
    with monkeypatch.context() as patch, Engine.load(tiny_model, options) as engine:
        patch.setattr(Context, operation, fail)
        for _ in range(3):
            assert ask(engine).token_ids == expected
        patch.undo()
        assert ask(engine).token_ids == expected
