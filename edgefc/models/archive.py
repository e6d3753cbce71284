"""Reads the tar of a bundle: regular files in the POSIX format, as `edgefc bundle` writes them, and nothing else.

`tarfile` reads much more than that: members whose content is larger than the archive (sparse files), sizes below zero,
links, headers of any length. Here each header is checked before a byte of its content is read.
Format: POSIX.1-2001, pax interchange format.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import BinaryIO

_BLOCK = 512
_FILE_TYPES, _PAX_HEADER = (b"0", b"\0"), b"x"
_MAX_PAX_HEADER = 16 << 10  # bytes
_NUMBER = re.compile(rb" *([0-7]{1,11})[ \0]*")
_RECORD = re.compile(rb"(\d{1,5}) ([^=\n]{1,100})=", re.DOTALL)


class ArchiveError(ValueError):
    """The file is no archive of `edgefc bundle`."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A file in an archive: its name as it stands there, its size in bytes, and the fields of its pax header."""

    name: str
    size: int
    fields: Mapping[str, str]


def read_entries(file: BinaryIO) -> Iterator[Entry]:
    """Yield the entries of an archive; when one is yielded, `file` stands at its content. Raises ArchiveError.

    The content of every entry is inside the archive.
    """
    end = file.seek(0, 2)
    position, fields = 0, dict[str, str]()
    while (header := _read_block(file, position, end)) is not None:
        position += _BLOCK
        kind, size = header[156:157], _number(header[124:136])
        if kind == _PAX_HEADER:
            if fields or size > min(_MAX_PAX_HEADER, end - position):
                raise ArchiveError("it has a header that is too long")
            fields = _parse_records(file.read(size))
        elif kind in _FILE_TYPES:
            entry = Entry(_name(header, fields), int(fields.get("size", size)), fields)
            size, fields = entry.size, {}
            if size > end - position:
                raise ArchiveError("it is incomplete")
            yield entry
        else:
            raise ArchiveError("it holds something else than files")
        position += -(-size // _BLOCK) * _BLOCK
    if fields:
        raise ArchiveError("it is incomplete")


def _read_block(file: BinaryIO, position: int, end: int) -> bytes | None:
    """Read the header at a position and check its sum; None at the end of the archive."""
    file.seek(position)
    block = file.read(_BLOCK)
    if len(block) < _BLOCK:
        raise ArchiveError("it is incomplete")
    if not any(block):
        return None
    total = sum(block[:148]) + sum(block[156:]) + 8 * ord(" ")
    if _number(block[148:156]) != total:
        raise ArchiveError("not a tar archive" if position == 0 else "it is damaged: wrong sum of a header")
    if block[257:265] != b"ustar\x0000" or any(block[345:500]):
        raise ArchiveError("it is another kind of tar archive")
    if position + _BLOCK > end:
        raise ArchiveError("it is incomplete")
    return block


def _number(field: bytes) -> int:
    """Parse an octal number. Raises ArchiveError for the other ways to write one, which allow for negative ones."""
    match = _NUMBER.fullmatch(field)
    if match is None:
        raise ArchiveError("it has a number that is not octal")
    return int(match[1], 8)


def _name(header: bytes, fields: Mapping[str, str]) -> str:
    return fields.get("path") or header[:100].rstrip(b"\0").decode("ascii", "replace")


def _parse_records(data: bytes) -> dict[str, str]:
    """Parse the records of a pax header: length of the record in digits, space, key, =, value, newline."""
    fields: dict[str, str] = {}
    position = 0
    while position < len(data):
        match = _RECORD.match(data, position)
        end = position + int(match[1]) if match else 0
        if match is None or not match.end() < end <= len(data) or data[end - 1 : end] != b"\n":
            raise ArchiveError("it has a malformed header")
        key = match[2].decode("utf-8", "replace")
        if key in fields:
            raise ArchiveError("it has a malformed header")
        fields[key] = data[match.end() : end - 1].decode("utf-8", "replace")
        position = end
    if not re.fullmatch(r"\d{1,16}", fields.get("size", "0"), re.ASCII):
        raise ArchiveError("it has a malformed header")
    if sparse := [key for key in fields if key.startswith("GNU.")]:
        raise ArchiveError(f"it holds something else than files: {sparse[0][:80]}")
    return fields
