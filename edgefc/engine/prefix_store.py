"""KV caches of prompts that come again: in memory, and those of tool sets on disk too.

A snapshot on disk is one file, named by what it depends on: the model's files, the release of llama.cpp and how it was
compiled, and the tokens. It begins with a header that repeats this and gives the sha256 of the rest, which is checked
before llama.cpp, which trusts such data blindly, sees any of it. Files can be read by their owner only: they hold
what stood in the prompts. The least recently used go first.
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
FORMAT = 1
MOST_HEADER = 4096
LEAST = 32  # tokens that are worth a file
UNUSED = 8  # so many files without a hit, and only what is asked for a second time is written
PATIENCE = 10.0  # seconds that a busy engine may keep a file from being written
_BLOCK, _BLOCKS, _HEAD = 4096, 64, 8 << 20  # what of a model's file is hashed


def model_identity(paths: Sequence[Path], *others: object) -> str:
    """What snapshots of a model depend on, hashed: its files, and what else is given.

    Of each file its size, time of change, first megabytes and samples; hashing all of it would take as long as a
    tool prompt does.
    """
    digest = hashlib.sha256(repr((FORMAT, *others)).encode())
    for path in paths:
        with path.open("rb") as file:
            status = os.fstat(file.fileno())
            digest.update(repr((status.st_size, status.st_mtime_ns)).encode())
            digest.update(file.read(_HEAD))
            for number in range(_BLOCKS):
                file.seek(status.st_size * number // _BLOCKS)
                digest.update(file.read(_BLOCK))
    return digest.hexdigest()


@dataclass(slots=True)
class Snapshot:
    """What `Context.save` gave of a sequence with these keys (see Sequence)."""

    keys: list[int]
    data: NDArray[np.uint8]
    used: float = field(default_factory=time.monotonic)
    worth: bool = False  # a file, unless there are too many
    due: bool = False  # to be written

    @property
    def size(self) -> int:
        return int(self.data.nbytes) + 8 * len(self.keys)


@dataclass(frozen=True, slots=True)
class Found:
    """Where the longest part of a prompt is kept: so many tokens, and how to get the snapshot."""

    length: int
    place: Snapshot | Path

    @property
    def source(self) -> Literal["memory", "disk"]:
        return "disk" if isinstance(self.place, Path) else "memory"


class PrefixStore:
    """Snapshots of one model. `find` and `keep` are for the engine's thread; files are written by another."""

    def __init__(
        self,
        identity: str,
        folder: Path | None,
        *,
        memory_bytes: int,
        disk_bytes: int,
        cuts: bool = True,
    ) -> None:
        """`folder` None keeps nothing on disk; `cuts`: whether a part of a snapshot is of use."""
        self._identity, self._folder, self._cuts = identity, folder if disk_bytes else None, cuts
        self._memory_bytes, self._disk_bytes = memory_bytes, disk_bytes
        self._snapshots: list[Snapshot] = []
        self._lock = threading.Condition()
        self._idle = self._hurry = self._closed = False
        self._written, self._hits = 0, 0
        self._files: list[Path] = []
        self._writing = False
        self._writer: threading.Thread | None = None

    def find(self, keys: list[int], prefix: int) -> Found | None:
        """The longest part of a prompt that is kept; on disk only its prefix is looked for."""
        self._trim()
        best: Found | None = None
        for snapshot in self._snapshots:
            length = common_prefix(snapshot.keys, keys)
            if length > (best.length if best else 0) and (self._cuts or length == len(snapshot.keys)):
                best = Found(length, snapshot)
        if prefix >= LEAST and (best is None or best.length < prefix) and self._folder is not None:
            path = self._path(keys[:prefix])
            if path.is_file():
                return Found(prefix, path)
        return best

    def load(self, found: Found, keys: list[int]) -> Snapshot | None:
        """What was found; None when its file turns out to be of no use, which is then removed."""
        if isinstance(found.place, Path):
            return self._read(found.place, keys[: found.length])
        return self._use(found.place)

    def holds(self, keys: list[int]) -> bool:
        """Whether exactly this is in memory; being asked for again makes it worth a file."""
        for snapshot in self._snapshots:
            if snapshot.keys == keys:
                self._use(snapshot)
                if not snapshot.due:
                    self._schedule(snapshot)
                return True
        return False

    def keep(self, keys: list[int], data: NDArray[np.uint8], *, on_disk: bool) -> None:
        """Keep a snapshot in memory, and where wanted and worth it on disk."""
        snapshot = Snapshot(list(keys), data, worth=on_disk)
        if on_disk and (self._hits or self._written < UNUSED):
            self._schedule(snapshot)
        if snapshot.size > self._memory_bytes and not snapshot.due:
            return
        with self._lock:
            # What is the beginning of the new one is kept through it.
            if self._cuts:
                self._snapshots = [s for s in self._snapshots if s.due or common_prefix(s.keys, keys) < len(s.keys)]
            self._snapshots.append(snapshot)
            self._lock.notify_all()
        self._trim()

    def set_idle(self, idle: bool) -> None:
        """Files are written while nothing is computed, so that neither slows the other."""
        if self._idle != idle:
            with self._lock:
                self._idle = idle
                self._lock.notify_all()

    def flush(self, *, everything: bool = False) -> list[Path]:
        """Wait until all that is due is on disk, or all that is worth it; the files that were written or used."""
        with self._lock:
            for snapshot in self._snapshots if everything else ():
                if snapshot.worth and not snapshot.due:
                    self._schedule(snapshot)
            self._hurry = True
            self._lock.notify_all()
            while self._writing or any(s.due for s in self._snapshots):
                self._lock.wait()
            self._hurry = False
            return list(dict.fromkeys(self._files))

    def close(self) -> None:
        """Write what is due and forget all."""
        self.flush()
        with self._lock:
            self._closed = True
            self._lock.notify_all()
        if self._writer is not None:
            self._writer.join()
        self._snapshots = []

    @property
    def bytes_in_memory(self) -> int:
        return sum(snapshot.size for snapshot in self._snapshots)

    # -- memory -----------------------------------------------------------------------------------------------

    def _use(self, snapshot: Snapshot) -> Snapshot:
        snapshot.used = time.monotonic()
        self._hits += 1
        return snapshot

    def _trim(self) -> None:
        with self._lock:
            while self.bytes_in_memory > self._memory_bytes:
                rest = [s for s in self._snapshots if not s.due]
                if not rest:
                    return
                self._snapshots.remove(min(rest, key=lambda s: s.used))

    # -- disk -------------------------------------------------------------------------------------------------

    def _path(self, keys: list[int]) -> Path:
        assert self._folder is not None
        digest = hashlib.sha256(self._identity.encode() + _bytes(keys))
        return self._folder / f"{digest.hexdigest()[:40]}{SUFFIX}"

    def _schedule(self, snapshot: Snapshot) -> None:
        if self._folder is None or len(snapshot.keys) < LEAST or snapshot.size > self._disk_bytes:
            return
        if self._path(snapshot.keys).is_file():
            return
        with self._lock:
            snapshot.due = True
            if self._writer is None:
                self._writer = threading.Thread(target=self._write_all, name="edgefc-prefixes", daemon=True)
                self._writer.start()
            self._lock.notify_all()

    def _write_all(self) -> None:
        while True:
            with self._lock:
                while not (due := [s for s in self._snapshots if s.due]):
                    if self._closed:
                        return
                    self._lock.wait()
                self._lock.wait_for(lambda: self._idle or self._hurry or self._closed, PATIENCE)
                self._writing = True
            try:
                self._write(due[0])
            except (OSError, EdgefcError) as error:  # the answer is right without it
                log.warning("a prefix could not be kept on disk: %s", error)
            finally:
                with self._lock:
                    due[0].due = self._writing = False
                    self._lock.notify_all()

    def _write(self, snapshot: Snapshot) -> None:
        path = self._path(snapshot.keys)
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        keys = _bytes(snapshot.keys)
        digest = hashlib.sha256(keys)
        digest.update(snapshot.data.data)
        header = {
            "format": FORMAT,
            "identity": self._identity,
            "tokens": len(snapshot.keys),
            "bytes": int(snapshot.data.nbytes),
            "sha256": digest.hexdigest(),
        }
        text = json.dumps(header).encode()
        files.write_file(path, MAGIC + len(text).to_bytes(4, "little") + text + keys, snapshot.data.data, mode=0o600)
        self._written += 1
        self._files.append(path)
        log.debug("kept the KV cache of %d tokens in %s", len(snapshot.keys), path)
        self._drop_oldest(path)

    def _read(self, path: Path, keys: list[int]) -> Snapshot | None:
        """A snapshot from its file; None, and the file is gone, when anything about it is wrong."""
        try:
            data = self._checked(np.fromfile(path, dtype=np.uint8), keys)
            os.utime(path)
        except (OSError, ValueError, KeyError, TypeError) as error:
            log.warning("%s is not usable (%s): the prompt is computed anew", path, error)
            with contextlib.suppress(OSError):
                path.unlink()
            return None
        self._hits += 1
        self._files.append(path)
        snapshot = Snapshot(list(keys), data)
        with self._lock:
            self._snapshots.append(snapshot)
        self._trim()
        return snapshot

    def _checked(self, content: NDArray[np.uint8], keys: list[int]) -> NDArray[np.uint8]:
        size = int.from_bytes(content[8:12].tobytes(), "little")
        if content[:8].tobytes() != MAGIC or size > MOST_HEADER:
            raise ValueError("no snapshot")
        header: dict[str, Any] = json.loads(content[12 : 12 + size].tobytes())
        own = _bytes(keys)
        begin = 12 + size + len(own)
        if (header["format"], header["identity"], header["tokens"]) != (FORMAT, self._identity, len(keys)):
            raise ValueError("of another model, release or prompt")
        if begin + header["bytes"] != len(content):
            raise ValueError("cut off")
        if hashlib.sha256(content[12 + size :].data).hexdigest() != header["sha256"]:
            raise ValueError("its hash is wrong")
        if content[12 + size : begin].tobytes() != own:
            raise ValueError("of another prompt")
        return content[begin:]

    def _drop_oldest(self, newest: Path) -> None:
        """Keep the folder within its bounds; another process may be doing the same."""
        files: list[tuple[float, int, Path]] = []
        for path in newest.parent.glob(f"*{SUFFIX}"):
            with contextlib.suppress(OSError):
                status = path.stat()
                files.append((status.st_mtime, status.st_size, path))
        total = sum(size for _, size, _ in files)
        for _, size, path in sorted(files):
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
