"""Saves KV caches of prompts that will be needed again: in memory, and those of tool sets on disk too.

A snapshot on disk is one file, named by a hash of all it depends on: the model's files, the release and build of
llama.cpp, and the tokens. It begins with a header that repeats this and has the sha256 of the rest. Everything is
checked before llama.cpp, which trusts such data blindly, sees any of it. Only their owner can read the files, because
they contain what stood in the prompts. The least recently used ones are dropped first.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from edgefc import files
from edgefc.errors import EdgefcError

log = logging.getLogger("edgefc.prefix")
SUFFIX = ".kv"
MAGIC = b"edgefckv"
FILE_VERSION = 1
MAX_HEADER = 4096
MIN_TOKENS = 32  # fewer tokens are not worth a file
MAX_UNUSED = 8  # after this many files without a hit, only prefixes that are needed a second time are written
MAX_DELAY_S = 10.0  # how long a busy engine may delay the writing of a file
_SAMPLE, _SAMPLES, _HEAD = 4096, 64, 8 << 20  # bytes of a model file that are hashed


def model_identity(paths: Sequence[Path], *others: object) -> str:
    """Hash of all that snapshots of a model depend on: its files and the `others`.

    Covers each file's size, modification time, first megabytes and samples; hashing all of it would take as long as
    computing a prompt of tools.
    """
    digest = hashlib.sha256(repr((FILE_VERSION, *others)).encode())
    for path in paths:
        with path.open("rb") as file:
            status = os.fstat(file.fileno())
            digest.update(repr((status.st_size, status.st_mtime_ns)).encode())
            digest.update(file.read(_HEAD))
            for number in range(_SAMPLES):
                file.seek(status.st_size * number // _SAMPLES)
                digest.update(file.read(_SAMPLE))
    return digest.hexdigest()


@dataclass(slots=True)
class Snapshot:
    """Data from `Context.save` for a sequence with these `kv_key`s.

    used      time of its last use
    for_disk  whether it is worth a file
    is_due    whether it is waiting to be written
    """

    keys: list[int]
    data: NDArray[np.uint8]
    used: float = field(default_factory=time.monotonic)
    for_disk: bool = False
    is_due: bool = False

    @property
    def size(self) -> int:
        return int(self.data.nbytes) + 8 * len(self.keys)


@dataclass(frozen=True, slots=True)
class Match:
    """The longest saved part of a prompt: its length in tokens, and the snapshot or the file that has it."""

    length: int
    snapshot: Snapshot | Path

    @property
    def source(self) -> Literal["memory", "disk"]:
        return "disk" if isinstance(self.snapshot, Path) else "memory"


class PrefixStore:
    """Snapshots of one model. Its methods are for the engine's thread; another thread writes the files."""

    def __init__(
        self,
        identity: str,
        folder: Path | None,
        *,
        memory_bytes: int,
        disk_bytes: int,
        can_truncate: bool = True,
    ) -> None:
        """Keep files in `folder`, None: no files. `can_truncate`: a part of a snapshot is of use."""
        self._identity, self._folder, self._can_truncate = identity, folder if disk_bytes else None, can_truncate
        self._memory_bytes, self._disk_bytes = memory_bytes, disk_bytes
        self._snapshots: list[Snapshot] = []
        self._changed = threading.Condition()
        self._is_idle = self._is_flushing = self._is_writing = self._is_closed = False
        self._n_written, self._n_hits = 0, 0
        self._files: list[Path] = []
        self._writer: threading.Thread | None = None

    def find(self, keys: list[int], prefix: int) -> Match | None:
        """Find the longest saved part of a prompt; on disk, look only for its first `prefix` tokens."""
        self._trim()
        best: Match | None = None
        for snapshot in self._snapshots:
            length = common_prefix(snapshot.keys, keys)
            if length > (best.length if best else 0) and (self._can_truncate or length == len(snapshot.keys)):
                best = Match(length, snapshot)
        if prefix >= MIN_TOKENS and (best is None or best.length < prefix) and self._folder is not None:
            path = self._path(keys[:prefix])
            if path.is_file():
                return Match(prefix, path)
        return best

    def load(self, match: Match, keys: list[int]) -> Snapshot | None:
        """Load the snapshot of a match; None if its file is unusable, in which case the file is deleted."""
        if isinstance(match.snapshot, Path):
            return self._read(match.snapshot, keys[: match.length])
        return self._use(match.snapshot)

    def renew(self, keys: list[int]) -> bool:
        """Mark the snapshot of exactly these keys as used again; False if there is none in memory.

        A snapshot that is needed a second time is worth a file.
        """
        for snapshot in self._snapshots:
            if snapshot.keys == keys:
                self._use(snapshot)
                if not snapshot.is_due:
                    self._schedule(snapshot)
                return True
        return False

    def add(self, keys: list[int], data: NDArray[np.uint8], *, on_disk: bool) -> None:
        """Save a snapshot in memory, and with `on_disk` in a file too if earlier files were of use."""
        snapshot = Snapshot(list(keys), data, for_disk=on_disk)
        if on_disk and (self._n_hits or self._n_written < MAX_UNUSED):
            self._schedule(snapshot)
        if snapshot.size > self._memory_bytes and not snapshot.is_due:
            return
        with self._changed:
            # The new snapshot replaces those that it begins with.
            if self._can_truncate:
                self._snapshots = [s for s in self._snapshots if s.is_due or common_prefix(s.keys, keys) < len(s.keys)]
            self._snapshots.append(snapshot)
            self._changed.notify_all()
        self._trim()

    def set_idle(self, is_idle: bool) -> None:
        """Set whether the engine is idle. Files are written while it is, so that neither slows the other."""
        if self._is_idle != is_idle:
            with self._changed:
                self._is_idle = is_idle
                self._changed.notify_all()

    def flush(self, *, everything: bool = False) -> list[Path]:
        """Wait until all due snapshots, or with `everything` all that are worth a file, are on disk.

        Returns the files that were written or used.
        """
        with self._changed:
            for snapshot in self._snapshots if everything else ():
                if snapshot.for_disk and not snapshot.is_due:
                    self._schedule(snapshot)
            self._is_flushing = True
            self._changed.notify_all()
            while self._is_writing or any(s.is_due for s in self._snapshots):
                self._changed.wait()
            self._is_flushing = False
            return list(dict.fromkeys(self._files))

    def close(self) -> None:
        """Write the due snapshots and drop all."""
        self.flush()
        with self._changed:
            self._is_closed = True
            self._changed.notify_all()
        if self._writer is not None:
            self._writer.join()
        self._snapshots = []

    @property
    def bytes_in_memory(self) -> int:
        return sum(snapshot.size for snapshot in self._snapshots)

    # -- memory -----------------------------------------------------------------------------------------------

    def _use(self, snapshot: Snapshot) -> Snapshot:
        snapshot.used = time.monotonic()
        self._n_hits += 1
        return snapshot

    def _trim(self) -> None:
        """Drop the least recently used snapshots until the rest fits in memory."""
        with self._changed:
            while self.bytes_in_memory > self._memory_bytes:
                droppable = [s for s in self._snapshots if not s.is_due]
                if not droppable:
                    return
                self._snapshots.remove(min(droppable, key=lambda s: s.used))

    # -- disk -------------------------------------------------------------------------------------------------

    def _path(self, keys: list[int]) -> Path:
        assert self._folder is not None
        digest = hashlib.sha256(self._identity.encode() + _bytes(keys))
        return self._folder / f"{digest.hexdigest()[:40]}{SUFFIX}"

    def _schedule(self, snapshot: Snapshot) -> None:
        """Have the writer thread write a snapshot, unless it is too short or too large or there already."""
        if self._folder is None or len(snapshot.keys) < MIN_TOKENS or snapshot.size > self._disk_bytes:
            return
        if self._path(snapshot.keys).is_file():
            return
        with self._changed:
            snapshot.is_due = True
            if self._writer is None:
                self._writer = threading.Thread(target=self._write_due, name="edgefc-prefixes", daemon=True)
                self._writer.start()
            self._changed.notify_all()

    def _write_due(self) -> None:
        """Write due snapshots, until the store is closed and none is left (the writer thread)."""
        while True:
            with self._changed:
                while not (due := [s for s in self._snapshots if s.is_due]):
                    if self._is_closed:
                        return
                    self._changed.wait()
                self._changed.wait_for(lambda: self._is_idle or self._is_flushing or self._is_closed, MAX_DELAY_S)
                self._is_writing = True
            try:
                self._write(due[0])
            except (OSError, EdgefcError) as error:  # answers are right without the file
                log.warning("cannot save a prefix on disk: %s", error)
            finally:
                with self._changed:
                    due[0].is_due = self._is_writing = False
                    self._changed.notify_all()

    def _write(self, snapshot: Snapshot) -> None:
        path = self._path(snapshot.keys)
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        keys = _bytes(snapshot.keys)
        digest = hashlib.sha256(keys)
        digest.update(snapshot.data.data)
        header = {
            "format": FILE_VERSION,
            "identity": self._identity,
            "tokens": len(snapshot.keys),
            "bytes": int(snapshot.data.nbytes),
            "sha256": digest.hexdigest(),
        }
        text = json.dumps(header).encode()
        files.write_file(path, MAGIC + len(text).to_bytes(4, "little") + text + keys, snapshot.data.data, mode=0o600)
        self._n_written += 1
        self._files.append(path)
        log.debug("saved the KV cache of %d tokens in %s", len(snapshot.keys), path)
        self._drop_oldest(path)

    def _read(self, path: Path, keys: list[int]) -> Snapshot | None:
        """Read a snapshot from its file; if anything about it is wrong, delete the file and return None."""
        try:
            data = self._check_file(np.fromfile(path, dtype=np.uint8), keys)
            os.utime(path)
        except (OSError, ValueError, KeyError, TypeError) as error:
            log.warning("unusable file %s (%s): computing the prompt again", path, error)
            with contextlib.suppress(OSError):
                path.unlink()
            return None
        self._n_hits += 1
        self._files.append(path)
        snapshot = Snapshot(list(keys), data)
        with self._changed:
            self._snapshots.append(snapshot)
        self._trim()
        return snapshot

    def _check_file(self, content: NDArray[np.uint8], keys: list[int]) -> NDArray[np.uint8]:
        """Check a file's content and return its data. Raises ValueError, KeyError or TypeError."""
        size = int.from_bytes(content[8:12].tobytes(), "little")
        if content[:8].tobytes() != MAGIC or size > MAX_HEADER:
            raise ValueError("not a snapshot")
        header: dict[str, Any] = json.loads(content[12 : 12 + size].tobytes())
        expected_keys = _bytes(keys)
        begin = 12 + size + len(expected_keys)
        if (header["format"], header["identity"], header["tokens"]) != (FILE_VERSION, self._identity, len(keys)):
            raise ValueError("of another model, release or prompt")
        if begin + header["bytes"] != len(content):
            raise ValueError("incomplete")
        if hashlib.sha256(content[12 + size :].data).hexdigest() != header["sha256"]:
            raise ValueError("wrong hash")
        if content[12 + size : begin].tobytes() != expected_keys:
            raise ValueError("of another prompt")
        return content[begin:]

    def _drop_oldest(self, newest: Path) -> None:
        """Delete files until the folder is within its limit; another process may be doing the same."""
        found: list[tuple[float, int, Path]] = []
        for path in newest.parent.glob(f"*{SUFFIX}"):
            with contextlib.suppress(OSError):
                status = path.stat()
                found.append((status.st_mtime, status.st_size, path))
        total = sum(size for _, size, _ in found)
        for _, size, path in sorted(found):
            if total <= self._disk_bytes:
                return
            if path != newest:
                with contextlib.suppress(OSError):
                    path.unlink()
                total -= size


def common_prefix(a: list[int], b: list[int]) -> int:
    """Length of the longest common prefix."""
    size = min(len(a), len(b))
    if a[:size] == b[:size]:
        return size
    low, high = 0, size  # a[:low] is common, a[:high] is not
    while high - low > 1:
        middle = (low + high) // 2
        if a[low:middle] == b[low:middle]:
            low = middle
        else:
            high = middle
    return low


def _bytes(keys: list[int]) -> bytes:
    return np.asarray(keys, dtype="<i4").tobytes()
