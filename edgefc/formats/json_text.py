"""JSON as it streams in: where a value ends, and what a string's inside says."""

from __future__ import annotations

import json


class JsonEnd:
    """Finds where a JSON object or array ends, across any number of pieces."""

    def __init__(self) -> None:
        self._seen, self._depth, self._string, self._escaped = 0, 0, False, False

    def scan(self, text: str) -> int | None:
        """Characters of `text` up to the end of the value; None when it is not there yet.

        `text` is what was given before, unless it was forgotten, and more.
        """
        for place in range(self._seen, len(text)):
            char = text[place]
            if self._string:
                if self._escaped:
                    self._escaped = False
                elif char == "\\":
                    self._escaped = True
                elif char == '"':
                    self._string = False
            elif char == '"':
                self._string = True
            elif char in "{[":
                self._depth += 1
            elif char in "}]":
                self._depth -= 1
                if self._depth == 0:
                    return place + 1
        self._seen = len(text)
        return None

    def forget(self, size: int) -> None:
        """The first `size` characters will not be given again."""
        self._seen = max(0, self._seen - size)


_ESCAPES = {"b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t"}


def unescape(raw: str) -> tuple[str, int, bool]:
    """The text of a JSON string's inside: (text, characters read, whether the closing quote was among them)."""
    out: list[str] = []
    place = 0
    while place < len(raw):
        char = raw[place]
        if char == '"':
            return "".join(out), place + 1, True
        if char != "\\":
            out.append(char)
            place += 1
            continue
        size = _escape_size(raw, place)
        if size is None:
            break
        code = raw[place + 1 : place + size]
        out.append(_decode_escape(code))
        place += size
    return "".join(out), place, False


def _escape_size(raw: str, place: int) -> int | None:
    """Characters of the escape at `place`, both halves of a surrogate pair; None when more must come."""
    if len(raw) < place + 2:
        return None
    if raw[place + 1] != "u":
        return 2
    if len(raw) < place + 6:
        return None
    if raw[place + 2 : place + 4].lower() not in {"d8", "d9", "da", "db"}:
        return 6
    if len(raw) < place + 12:
        waits = "\\u".startswith(raw[place + 6 : place + 8]) and '"' not in raw[place + 6 :]
        return None if waits else 6
    return 12 if raw[place + 6 : place + 8] == "\\u" else 6


def _decode_escape(code: str) -> str:
    if code[0] != "u":
        return _ESCAPES.get(code, code)
    try:
        text = str(json.loads(f'"\\{code}"'))
    except ValueError:
        return "\ufffd"
    return "".join("\ufffd" if 0xD800 <= ord(c) < 0xE000 else c for c in text)
