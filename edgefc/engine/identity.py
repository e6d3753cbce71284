"""The identity of a model's files, by which caches know them."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path

FILE_VERSION = 3  # of the files of saved KV caches
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
