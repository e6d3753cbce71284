"""Reads a GGUF's header with bounds of our own, before llama.cpp is given the file.

Format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md (versions 2 and 3, little-endian). Nothing is
trusted: every count and size is checked against the file before it is used.
"""

from __future__ import annotations

import mmap
import os
import stat
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from edgefc.errors import ModelFileError, ModelNotFoundError

MAX_KEYS = 1 << 16
MAX_TENSORS = 1 << 16
MAX_STRING = 1 << 24
MAX_ARRAY = 1 << 24
INCOMPLETE = "The download is incomplete: fetch it again."
KEPT_ARRAY = 64  # longer arrays (vocabularies) are skipped, only their length is kept

_SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
_STRING, _ARRAY = 8, 9
# ggml type → (elements per block, bytes per block); a type that is not here cannot be checked and is left alone.
_BLOCKS = {
    0: (1, 4), 1: (1, 2), 2: (32, 18), 3: (32, 20), 6: (32, 22), 7: (32, 24), 8: (32, 34), 9: (32, 40),
    10: (256, 84), 11: (256, 110), 12: (256, 144), 13: (256, 176), 14: (256, 210), 15: (256, 292),
    24: (1, 1), 25: (1, 2), 26: (1, 4), 27: (1, 8), 28: (1, 8), 30: (1, 2),
}  # fmt: skip
_OTHER_FILES = (
    (b"<!DOCTYPE", "a web page, not a model: the download was answered with an error page"),
    (b"<html", "a web page, not a model: the download was answered with an error page"),
    (b"version https://git-lfs", "a git-lfs pointer, not the model itself: run `git lfs pull`, or download the file"),
    (b"PK\x03\x04", "a zip archive (perhaps a PyTorch checkpoint), not a GGUF"),
)


@dataclass(frozen=True, slots=True)
class ArrayLength:
    """Stands for a metadata array that was not kept."""

    length: int


@dataclass(frozen=True, slots=True)
class Header:
    """What a GGUF says of itself.

    metadata  key → value; long arrays as ArrayLength
    n_tensors, tensor_bytes   number of tensors, and the bytes from the first to the end of the last
    """

    metadata: Mapping[str, object]
    n_tensors: int
    tensor_bytes: int

    def number(self, key: str) -> int | None:
        """`<architecture>.<key>` as an integer, when it is one."""
        value = self.metadata.get(f"{self.metadata.get('general.architecture')}.{key}")
        return value if isinstance(value, int) and not isinstance(value, bool) else None


def read_header(path: Path) -> Header:
    """The header of a GGUF. Raises ModelNotFoundError or ModelFileError; never blocks on what is no plain file."""
    try:
        status = path.stat()
    except FileNotFoundError:
        raise ModelNotFoundError(f"there is no file {path}", "`edgefc models` lists what can be named.") from None
    except (OSError, ValueError) as error:
        raise ModelFileError(f"{path}: {error}") from None
    if not stat.S_ISREG(status.st_mode):
        kind = "a folder" if stat.S_ISDIR(status.st_mode) else "not a regular file"
        raise ModelFileError(f"{path} is {kind}", "Give the path of a .gguf file.")
    if status.st_size < 24:
        raise ModelFileError(f"{path} has {status.st_size} bytes: too short for a GGUF", "Download it again.")
    try:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            return _Reader(path, data).header()
    except OSError as error:
        raise ModelFileError(f"{path}: {os.strerror(error.errno or 0)}") from None


def read_metadata(path: Path) -> Mapping[str, object]:
    """The metadata of a GGUF, see `read_header`."""
    return read_header(path).metadata


class _Reader:
    def __init__(self, path: Path, data: mmap.mmap) -> None:
        self._path, self._data, self._size, self._at = path, data, len(data), 0

    def header(self) -> Header:
        if self._data[:4] != b"GGUF":
            begin = self._data[:32].lstrip()
            for magic, what in _OTHER_FILES:
                if begin.lower().startswith(magic.lower()):
                    raise ModelFileError(f"{self._path} is {what}")
            raise self._bad("it does not begin with 'GGUF'", "Only GGUF models can be loaded.")
        self._at = 4
        version = self._scalar("I")
        if version not in {2, 3}:
            raise self._bad(f"GGUF version {version}; versions 2 and 3 can be read")
        n_tensors, n_keys = self._scalar("Q"), self._scalar("Q")
        if n_tensors > MAX_TENSORS or n_keys > MAX_KEYS:
            raise self._bad(f"it claims {n_tensors} tensors and {n_keys} metadata keys")
        metadata: dict[str, object] = {}
        for _ in range(n_keys):
            key = self._string()
            if key in metadata:
                raise self._bad(f"the metadata key {key!r} appears twice")
            metadata[key] = self._value(self._scalar("I"), key)
        return Header(metadata, n_tensors, self._tensors(n_tensors, metadata))

    def _tensors(self, count: int, metadata: Mapping[str, object]) -> int:
        """Check every tensor's extent; the bytes they take."""
        alignment = metadata.get("general.alignment", 32)
        if not isinstance(alignment, int) or not 0 < alignment <= 1 << 16 or alignment & (alignment - 1):
            raise self._bad(f"general.alignment is {alignment!r}")
        extents: list[tuple[str, int, int]] = []
        names: set[str] = set()
        for _ in range(count):
            name = self._string()
            if name in names:
                raise self._bad(f"the tensor {name!r} appears twice")
            names.add(name)
            n_dims = self._scalar("I")
            if not 1 <= n_dims <= 4:
                raise self._bad(f"the tensor {name!r} has {n_dims} dimensions")
            elements = 1
            for _ in range(n_dims):
                size = self._scalar("Q")
                if not 0 < size < 1 << 40:
                    raise self._bad(f"the tensor {name!r} has a dimension of {size}")
                elements *= size
            kind, offset = self._scalar("I"), self._scalar("Q")
            per, size = _BLOCKS.get(kind, (1, 0))
            if offset % alignment:
                raise self._bad(f"the tensor {name!r} begins at an unaligned place")
            extents.append((name, offset, -(-elements // per) * size))
        start = -(-self._at // alignment) * alignment
        end = start
        for name, offset, size in extents:
            if start + offset + size > self._size:
                short = start + offset + size - self._size
                raise self._bad(f"the tensor {name!r} reaches {short:,} bytes beyond the end of the file", INCOMPLETE)
            end = max(end, start + offset + size)
        return end - start

    def _value(self, kind: int, key: str) -> object:
        if kind == _STRING:
            return self._string()
        if kind != _ARRAY:
            if kind not in _SCALARS:
                raise self._bad(f"{key!r} has the unknown type {kind}")
            return self._scalar(_SCALARS[kind])
        item, count = self._scalar("I"), self._scalar("Q")
        if count > MAX_ARRAY:
            raise self._bad(f"{key!r} claims {count} items")
        if item in _SCALARS:
            size = struct.calcsize("<" + _SCALARS[item])
            if count > KEPT_ARRAY:
                self._skip(size * count)
                return ArrayLength(count)
            return [self._scalar(_SCALARS[item]) for _ in range(count)]
        if item != _STRING:
            raise self._bad(f"{key!r} is an array of the unknown type {item}")
        if count > KEPT_ARRAY:
            for _ in range(count):
                self._skip(self._length())
            return ArrayLength(count)
        return [self._string() for _ in range(count)]

    def _scalar(self, code: str) -> int:
        size = struct.calcsize("<" + code)
        begin = self._at
        self._skip(size)
        value: int = struct.unpack("<" + code, self._data[begin : self._at])[0]
        return value

    def _string(self) -> str:
        size = self._length()
        begin = self._at
        self._skip(size)
        return self._data[begin : self._at].decode("utf-8", "replace")

    def _length(self) -> int:
        size = self._scalar("Q")
        if size > MAX_STRING:
            raise self._bad(f"it claims a text of {size:,} bytes")
        return size

    def _skip(self, size: int) -> None:
        if size > self._size - self._at:
            raise self._bad("its header reaches beyond the end of the file", INCOMPLETE)
        self._at += size

    def _bad(self, reason: str, hint: str = "") -> ModelFileError:
        return ModelFileError(f"{self._path} is not a usable GGUF: {reason}", hint)
