"""The part of a JSON object that was written before its text was cut off."""

from __future__ import annotations

import json
import re
from typing import Any

MAX_NESTING = 64
_BLANK = re.compile(r"[ \t\r\n]*")
_SCALAR = re.compile(r"(?:true|false|null|-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?)(?=[ \t\r\n,}\]]|\Z)")
_STRING = re.compile(r'"((?:[^"\\]|\\.)*)("?)', re.DOTALL)
_BROKEN_ESCAPE = re.compile(r"\\(?:u[0-9a-fA-F]{0,3})?\Z")


class _CutError(Exception):
    """The text ends, or is not JSON, before a value."""


def read_cut_object(text: str) -> dict[str, Any]:
    """Return the members of an object whose text is cut off or broken somewhere, as far as they can be read."""
    reader = _Reader(text)
    reader.skip()
    if text[reader.position : reader.position + 1] != "{":
        return {}
    try:
        value = reader.value(0)
    except _CutError:
        return {}
    return value if isinstance(value, dict) else {}


class _Reader:
    """Reads values that may end anywhere; what is incomplete keeps what it has."""

    def __init__(self, text: str) -> None:
        self.text, self.position, self._is_cut = text, 0, False

    def skip(self, mark: str = "") -> bool:
        """Skip white space, and `mark` if it follows; return whether it did."""
        match = _BLANK.match(self.text, self.position)
        assert match is not None
        self.position = match.end()
        if not mark or not self.text.startswith(mark, self.position):
            return False
        self.position += len(mark)
        return True

    def value(self, level: int) -> Any:
        if level > MAX_NESTING:
            raise _CutError
        if self.skip("{"):
            return self._object(level)
        if self.skip("["):
            return self._array(level)
        if match := _STRING.match(self.text, self.position):
            return self._string(match)
        if match := _SCALAR.match(self.text, self.position):
            self.position = match.end()
            return json.loads(match[0])
        raise _CutError

    def _string(self, match: re.Match[str]) -> str:
        self.position, self._is_cut = match.end(), not match[2]
        inner = match[1] if match[2] else _BROKEN_ESCAPE.sub("", match[1])
        try:
            text: str = json.loads(f'"{inner}"', strict=False)
            text.encode()
        except ValueError:  # a wrong escape, or half of a surrogate pair
            raise _CutError from None
        return text

    def _object(self, level: int) -> dict[str, Any]:
        members: dict[str, Any] = {}
        while not self.skip("}"):
            try:
                key = self.value(MAX_NESTING)
                if not isinstance(key, str) or self._is_cut or not self.skip(":"):
                    raise _CutError
                members[key] = self.value(level + 1)
            except _CutError:
                self._is_cut = True
            if self._is_cut:
                break
            self.skip(",")
        return members

    def _array(self, level: int) -> list[Any]:
        items: list[Any] = []
        while not self.skip("]"):
            try:
                items.append(self.value(level + 1))
            except _CutError:
                self._is_cut = True
            if self._is_cut:
                break
            self.skip(",")
        return items
