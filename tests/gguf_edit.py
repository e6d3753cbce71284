"""Copies of a GGUF with other metadata, byte by byte, as a hostile file would have it."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from pathlib import Path

_SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
_STRING, _ARRAY = 8, 9


def edit_metadata(source: Path, target: Path, changes: Mapping[str, str | bytes | int | None]) -> Path:
    """Write a copy of a GGUF in which these keys have other values; None: the key is left out."""
    data = source.read_bytes()
    version, n_tensors, n_keys = struct.unpack_from("<IQQ", data, 4)
    position, fields = 24, dict[bytes, bytes]()
    for _ in range(n_keys):
        begin = position + 8
        position = begin + struct.unpack_from("<Q", data, position)[0]
        key, begin = data[begin:position], position
        position = _end_of_value(data, position + 4, struct.unpack_from("<I", data, position)[0])
        fields[key] = data[begin:position]
    tensors = position
    for _ in range(n_tensors):
        position += 8 + struct.unpack_from("<Q", data, position)[0]
        position += 4 + 8 * struct.unpack_from("<I", data, position)[0] + 12
    for name, value in changes.items():
        fields.pop(name.encode(), None)
        if value is not None:
            fields[name.encode()] = _encode(value)
    header = b"GGUF" + struct.pack("<IQQ", version, n_tensors, len(fields))
    header += b"".join(struct.pack("<Q", len(key)) + key + value for key, value in fields.items())
    header += data[tensors:position]
    target.write_bytes(header + bytes(-len(header) % 32) + data[-(-position // 32) * 32 :])
    return target


def _encode(value: str | bytes | int) -> bytes:
    if isinstance(value, int):
        return struct.pack("<II", 4, value)
    text = value.encode() if isinstance(value, str) else value
    return struct.pack("<IQ", _STRING, len(text)) + text


def _end_of_value(data: bytes, position: int, kind: int) -> int:
    if kind == _STRING:
        return int(position + 8 + struct.unpack_from("<Q", data, position)[0])
    if kind != _ARRAY:
        return position + struct.calcsize(_SCALARS[kind])
    kind, count = struct.unpack_from("<IQ", data, position)
    position += 12
    if kind != _STRING:
        return int(position + count * struct.calcsize(_SCALARS[kind]))
    for _ in range(count):
        position = _end_of_value(data, position, kind)
    return position
