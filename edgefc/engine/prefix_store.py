"""Saves KV caches of prompts that will be needed again: in memory, and those of tool sets on disk too.

The least recently used ones are dropped first. A snapshot that cannot be saved or loaded, for whatever reason, costs
the time to compute its prompt again, and nothing else.
"""

from __future__ import annotations

import contextlib
import logging
import os
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from edgefc.engine.private_files import PrivateFiles

log = logging.getLogger("edgefc.prefix")
MIN_TOKENS = 32  # fewer tokens are not worth a file
KEY_BYTES = 40  # of a key in Python
MAX_UNUSED = 8  # after this many files without a hit, only prefixes that are needed a second time are written
DUE_BYTES = 32 << 20  # that may wait to be written where the memory for prompts is smaller
MAX_DELAY_S = 10.0  # how long a busy engine may delay the writing of a file


@dataclass(eq=False, slots=True)
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
        return int(self.data.nbytes) + KEY_BYTES * len(self.keys)


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
        checkpoint_bytes: int = 0,
    ) -> None:
        """Keep files in `folder`, None: no files. `can_truncate`: a part of a snapshot is of use.

        checkpoint_bytes  memory for the checkpoints of slots, which the store leaves to `edgefc.engine.checkpoints`
        """
        self.checkpoint_bytes = checkpoint_bytes
        self._can_truncate, self._memory_bytes = can_truncate, memory_bytes
        self._disk = PrivateFiles(identity, folder, disk_bytes) if disk_bytes and folder is not None else None
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
        if prefix >= MIN_TOKENS and (best is None or best.length < prefix):
            path = self._path(keys[:prefix])
            if path is not None and _exists(path):
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
        writer = self._writer
        if writer is not None:
            writer.join()
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
        """Drop the least recently used snapshots until the rest fits in memory.

        Those that wait to be written go last: a busy engine has new ones faster than the writer gets its turn.
        """
        with self._changed:
            while (size := self.bytes_in_memory) > self._memory_bytes:
                due = [s for s in self._snapshots if s.is_due]
                droppable = [s for s in self._snapshots if not s.is_due] or due
                if droppable is due and (len(due) == 1 or size <= DUE_BYTES):
                    return
                dropped = min(droppable, key=lambda s: s.used)
                dropped.is_due = False
                self._snapshots.remove(dropped)
            self._changed.notify_all()

    # -- disk -------------------------------------------------------------------------------------------------

    def _path(self, keys: list[int]) -> Path | None:
        """Return the path of the file for these keys; None without files."""
        if self._disk is None:
            return None
        try:
            return self._disk.path(keys)
        except OSError as error:
            log.warning("no prompts are saved on disk: %s", error)
            self._disk = None
            return None

    def _schedule(self, snapshot: Snapshot) -> None:
        """Have the writer thread write a snapshot, unless it is too short or too large or there already."""
        path = self._path(snapshot.keys)
        if path is None or self._disk is None or _exists(path):
            return
        if len(snapshot.keys) < MIN_TOKENS or snapshot.size > self._disk.limit:
            return
        with self._changed:
            if not self._is_closed and self._start_writer():
                snapshot.is_due = True
                self._changed.notify_all()

    def _start_writer(self) -> bool:
        """Start the writer thread unless it runs; False if the system has no thread left."""
        if self._writer is None:
            writer = threading.Thread(target=self._run_writer, name="edgefc-prefixes", daemon=True)
            try:
                writer.start()
            except (RuntimeError, MemoryError) as error:
                log.warning("cannot save a prefix on disk: %s", error)
                return False
            self._writer = writer
        return True

    def _run_writer(self) -> None:
        try:
            self._write_due()
        finally:
            with self._changed:  # nobody may wait for it any more
                self._writer = None
                for snapshot in self._snapshots:
                    snapshot.is_due = False
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
                if not due[0].is_due:  # dropped meanwhile
                    continue
                self._is_writing = True
            try:
                self._write(due[0])
            except Exception as error:  # noqa: BLE001 - answers are right without the file
                log.warning("cannot save a prefix on disk: %s", str(error) or type(error).__name__)
            finally:
                with self._changed:
                    due[0].is_due = self._is_writing = False
                    self._changed.notify_all()

    def _write(self, snapshot: Snapshot) -> None:
        path = self._path(snapshot.keys)
        if path is None or self._disk is None:
            return
        self._disk.write(path, snapshot.keys, snapshot.data)
        self._n_written += 1
        self._files.append(path)
        log.debug("saved the KV cache of %d tokens in %s", len(snapshot.keys), path)

    def _read(self, path: Path, keys: list[int]) -> Snapshot | None:
        """Read a snapshot from its file; if anything about the file is wrong, delete it and return None."""
        if self._disk is None:
            return None
        try:
            snapshot = Snapshot(list(keys), self._disk.read(path, keys))
        except MemoryError:
            log.warning("no memory to load %s: computing the prompt again", path)
            return None
        except Exception as error:  # noqa: BLE001 - whatever a file contains, it costs only itself
            log.warning("unusable file %s (%s): computing the prompt again", path, error)
            with contextlib.suppress(OSError):
                path.unlink()
            return None
        self._n_hits += 1
        self._files.append(path)
        with self._changed:
            self._snapshots.append(snapshot)
        self._trim()
        return snapshot


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


def _exists(path: Path) -> bool:
    """Return True if there is anything by this name, odd as it may be: reading it decides."""
    return os.path.lexists(path)
