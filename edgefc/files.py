"""Atomic writes and hashes of files."""

from __future__ import annotations

import hashlib
import os
import uuid
from collections.abc import Callable
from pathlib import Path

BLOCK = 4 << 20


def hash_file(path: Path, progress: Callable[[int], None] = lambda _: None) -> str:
    """Return the sha256 in hex; `progress` receives the size of each block read, in bytes."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(BLOCK):
            digest.update(block)
            progress(len(block))
    return digest.hexdigest()


def write_file(path: Path, *data: bytes | memoryview, mode: int = 0o666) -> None:
    """Write a file atomically: whole or not at all; `mode` as for os.open."""
    part = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.new")
    try:
        with open(part, "wb", opener=lambda name, flags: os.open(name, flags, mode)) as file:
            file.writelines(data)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Make the names in a folder survive a loss of power; a no-op on Windows, which needs none."""
    if os.name == "posix":
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
