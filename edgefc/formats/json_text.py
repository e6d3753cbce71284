"""Streamed JSON: finding the end of a value, and decoding the inside of a string."""

from __future__ import annotations

import json
import math
import re
from typing import Any


class JsonEnd:
    """Finds the end of a JSON object or array, across any number of pieces."""

    def __init__(self) -> None:
        self._scanned, self._depth, self._in_string, self._escaped = 0, 0, False, False

    def scan(self, text: str) -> int | None:
        """Return the number of characters up to the end of the value; None while the end is missing.

        `text` is the text of the last scan, without the characters dropped since, and more.
        """
        for index in range(self._scanned, len(text)):
            if self._closes(text[index]):
                return index + 1
        self._scanned = len(text)
        return None

    def drop(self, size: int) -> None:
        """Forget the first `size` characters: the next text begins after them."""
        self._scanned = max(0, self._scanned - size)

    @property
    def in_string(self) -> bool:
        """True while the text scanned so far ends inside a string."""
        return self._in_string

    def _closes(self, char: str) -> bool:
        """Advance by one character; return True if it closes the value."""
        if self._in_string:
            self._in_string = self._escaped or char != '"'
            self._escaped = not self._escaped and char == "\\"
        elif char == '"':
            self._in_string = True
        elif char in "{[":
            self._depth += 1
        elif char in "}]":
            self._depth -= 1
            return self._depth == 0
        return False


class BlankNormalizer:
    """Rewrites streamed JSON with the white space of json.dumps: one space after commas and colons."""

    def __init__(self) -> None:
        self._in_string = self._escaped = False

    def feed(self, text: str) -> str:
        """Return the next piece of JSON in that form."""
        return "".join(map(self._rewrite, text))

    def _rewrite(self, char: str) -> str:
        if self._in_string:
            self._in_string = self._escaped or char != '"'
            self._escaped = not self._escaped and char == "\\"
            return char
        self._in_string = char == '"'
        return {" ": "", "\n": "", "\r": "", "\t": "", ",": ", ", ":": ": "}.get(char, char)


_ESCAPES = {"b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t"}


def unescape(raw: str) -> tuple[str, int, bool]:
    """Decode the inside of a JSON string.

    Returns the text, the number of characters read, and True if the closing quote was among them.
    """
    out: list[str] = []
    index = 0
    while index < len(raw):
        char = raw[index]
        if char == '"':
            return "".join(out), index + 1, True
        if char != "\\":
            out.append(char)
            index += 1
            continue
        size = _escape_size(raw, index)
        if size is None:
            break
        out.append(_decode_escape(raw[index + 1 : index + size]))
        index += size
    return "".join(out), index, False


def _escape_size(raw: str, start: int) -> int | None:
    """Return the length of the escape at `start`, both halves of a surrogate pair; None when more must come."""
    if len(raw) < start + 2:
        return None
    if raw[start + 1] != "u":
        return 2
    if len(raw) < start + 6:
        return None
    if raw[start + 2 : start + 4].lower() not in {"d8", "d9", "da", "db"}:
        return 6
    if len(raw) < start + 12:
        may_pair = "\\u".startswith(raw[start + 6 : start + 8]) and '"' not in raw[start + 6 :]
        return None if may_pair else 6
    return 12 if raw[start + 6 : start + 8] == "\\u" else 6


def _decode_escape(code: str) -> str:
    if code[0] != "u":
        return _ESCAPES.get(code, code)
    try:
        text = str(json.loads(f'"\\{code}"'))
    except ValueError:
        return "\ufffd"
    return "".join("\ufffd" if 0xD800 <= ord(c) < 0xE000 else c for c in text)


def overlap(text: str, marker: str) -> int:
    """Return how many characters at the end of `text` may be the beginning of `marker`."""
    return next(size for size in range(min(len(marker) - 1, len(text)), -1, -1) if text.endswith(marker[:size]))


# Three digits in an exponent, or more digits than a float can have: without them no number is too large.
_MAY_OVERFLOW = re.compile(rb"\d[eE]\+?\d{3}|\d{309}")


def has_infinity(text: bytes, value: Any) -> bool:
    """Return True if a number of a JSON text, such as 1e999, became an infinity, which JSON cannot spell.

    value  the text, parsed
    """
    if not _MAY_OVERFLOW.search(text):
        return False
    pending = [value]
    while pending:
        item = pending.pop()
        if isinstance(item, float) and math.isinf(item):
            return True
        if isinstance(item, dict):
            pending += item.values()
        elif isinstance(item, list):
            pending += item
    return False
