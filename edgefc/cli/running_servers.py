"""The running `edgefc serve` of this user, for other commands: one small file for each, which nobody else can read.

A file names the process, the time at which it started, its address and the files of its models. It counts only if that
very process still runs: another one, perhaps of another user, could listen at the address by now.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from urllib.parse import urlsplit

from edgefc import paths
from edgefc.files import read_small, write_file

PRIVATE_FOLDER, PRIVATE_FILE = 0o700, 0o600
MAX_BYTES = 1 << 20
LOOPBACK = {"127.0.0.1", "localhost", "::1"}


@dataclass(frozen=True, slots=True)
class RunningServer:
    """A server.

    started  time at which its process started, as psutil tells it
    models   path of the file → name that requests give the model
    """

    pid: int
    started: float
    url: str
    models: Mapping[str, str]


def folder() -> Path:
    """Return the folder of the files."""
    return paths.state_dir() / "servers"


@contextlib.contextmanager
def announced(url: str, models: Mapping[str, str]) -> Iterator[None]:
    """Tell other commands of this process's server until the context ends; a full disk does not stop it."""
    path = folder() / f"{os.getpid()}.json"
    server = RunningServer(os.getpid(), _start_time(os.getpid()) or 0.0, url, models)
    with contextlib.suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True, mode=PRIVATE_FOLDER)
        path.parent.chmod(PRIVATE_FOLDER)
        write_file(path, json.dumps(asdict(server)).encode(), mode=PRIVATE_FILE)
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            path.unlink(missing_ok=True)


def find(model: Path) -> RunningServer | None:
    """Return a running server that has this model file; the files of those that have ended are deleted."""
    try:
        candidates = sorted(folder().glob("*.json"), key=lambda path: path.stat().st_mtime, reverse=True)
    except OSError:
        return None
    for path in candidates:
        server = _read(path)
        if server is None or _start_time(server.pid) != server.started:
            with contextlib.suppress(OSError):
                path.unlink()
        elif str(model) in server.models:
            return server
    return None


def _read(path: Path) -> RunningServer | None:
    try:
        if not _is_private(path) or not _is_private(path.parent):
            return None
        server = RunningServer(**json.loads(read_small(path, MAX_BYTES)))
        return server if urlsplit(server.url).hostname in LOOPBACK else None
    except (OSError, ValueError, TypeError, RecursionError):
        return None


def _is_private(path: Path) -> bool:
    """Return True if this user owns a file or folder, and nobody else can write to it."""
    if sys.platform == "win32":
        return True  # in the user's own folder
    status = path.lstat()
    return status.st_uid == os.getuid() and not status.st_mode & 0o022


def _start_time(pid: int) -> float | None:
    import psutil

    try:
        return psutil.Process(pid).create_time()
    except psutil.Error:
        return None
