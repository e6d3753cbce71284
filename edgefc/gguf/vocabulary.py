"""The control tokens of a GGUF, read without llama.cpp, which takes half a second to import."""

from __future__ import annotations

import mmap
import struct
from pathlib import Path

from edgefc.files import open_regular

MAX_TOKENS = 1 << 21
_ARRAY, _STRING, _INT32 = 9, 8, 5
_NORMAL, _BYTE = 1, 6  # llama_token_type
_ARRAY_HEAD = struct.Struct("<IIQ")  # the type of the value, the type of the items, their number


def control_tokens(path: Path) -> frozenset[str]:
    """Return the texts of the tokens that are not plain text, and of those in angle brackets.

    llama.cpp takes some of the latter for control tokens, whatever the file says. The file must have passed
    `read_header`; one that is odd all the same has no tokens here.
    """
    try:
        with open_regular(path) as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            return _read(data)
    except (OSError, ValueError, struct.error, IndexError):
        return frozenset()


def _read(data: mmap.mmap) -> frozenset[str]:
    tokens_at, count = _find_array(data, "tokenizer.ggml.tokens", _STRING)
    types_at, n_types = _find_array(data, "tokenizer.ggml.token_type", _INT32)
    types = struct.unpack_from(f"<{count}i", data, types_at) if n_types == count else (_NORMAL,) * count
    position, found, unpack = tokens_at, [], struct.Struct("<Q").unpack_from
    for kind in types:
        (size,) = unpack(data, position)
        begin, position = position + 8, position + 8 + size
        is_tag = size > 2 and data[begin] == 0x3C and data[position - 1] == 0x3E  # < and >
        if kind not in {_NORMAL, _BYTE} or is_tag:
            found.append(data[begin:position].decode("utf-8", "replace"))
    return frozenset(found)


def _find_array(data: mmap.mmap, key: str, item_type: int) -> tuple[int, int]:
    """Return the offset of the first item and the number of items; 0 of them if there is no such array."""
    name = struct.pack("<Q", len(key)) + key.encode()
    at = data.find(name)
    if at < 0:
        return 0, 0
    at += len(name)
    kind, items, count = _ARRAY_HEAD.unpack_from(data, at)
    if (kind, items) != (_ARRAY, item_type) or count > MAX_TOKENS:
        return 0, 0
    return at + _ARRAY_HEAD.size, count
