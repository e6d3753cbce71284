"""Python's literals, JSON and Gemma's values → JSON text, as they come."""

from __future__ import annotations

import ast
import json
import math
import re
from collections.abc import Callable

from edgefc.formats.json_text import overlap
from edgefc.grammar.strings import escaped_inside

Emit = Callable[[str], None]

MAX_DEPTH = 500
MAX_KEY = 1024
_SPACE = " \t\r\n"
_CLOSERS = {"{": "}", "[": "]", "(": ")"}
_WORDS = {"True": "true", "False": "false", "None": "null", "true": "true", "false": "false", "null": "null"}
_NUMBER = re.compile(r"-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?")
_ATOM = re.compile(r"[\w.+-]+")
_PLAIN = {"'": re.compile(r"[^'\\]+"), '"': re.compile(r'[^"\\]+')}
_ESCAPES = {
    "a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v", "0": "\0", "\n": "",
    "\\": "\\", "'": "'", '"': '"', "/": "/",
}  # fmt: skip
_HEX_DIGITS = {"x": 2, "u": 4, "U": 8}


def json_scalar(text: str) -> str | None:
    """Return the JSON of a number or word as JSON or Python spells it; None for anything else."""
    if text in _WORDS:
        return _WORDS[text]
    if _NUMBER.fullmatch(text):
        return text
    try:
        value = ast.literal_eval(text) if _ATOM.fullmatch(text) else None
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return None
    if (
        isinstance(value, bool)
        or not isinstance(value, int | float)
        or (isinstance(value, float) and math.isinf(value))
    ):
        return None
    return json.dumps(value)


class LiteralReader:
    """Reads the members of an object up to its end, which is left unread; without a separator, a single value.

    separator  between the name of a member of the outermost object and its value
    end        what ends that object
    quote      stands around strings, besides Python's quotes
    bare_keys  names inside of values have no quotes either
    """

    def __init__(self, separator: str = "", end: str = "", *, quote: str = "", bare_keys: bool = False) -> None:
        self.is_complete = self.is_broken = False
        self._separator, self._quote, self._bare_keys = separator, quote, bare_keys
        self._closers = [end] if separator else []
        self._out: list[str] = []
        self._state = self._in_members if separator else self._at_value
        self._is_first, self._has_comma = [True], True
        self._mark = ""  # that ends the string which is read
        self._is_key = False
        if separator:
            self._out.append("{")

    def read(self, text: str, emit: Emit) -> str:
        """Read a text as far as possible, emit pieces of JSON, and return the rest, to be given again with more."""
        index = 0
        while not (self.is_complete or self.is_broken):
            size = self._state(text[index:] if index else text)
            if size is None:
                break
            index += size
        emit("".join(self._out))
        self._out.clear()
        return text[index:]

    # -- states: each returns the number of characters it has read; None if it needs more of them -------------------

    def _between(self, text: str) -> int | None:
        """Read what may stand between two members or items; 0: the next one begins here, or the reader has ended."""
        if not text:
            return None
        if text[0] in _SPACE:
            return 1
        if text[0] == self._closers[-1]:
            return self._close()
        if text[0] == "," and not self._is_first[-1] and not self._has_comma:
            self._has_comma = True
            return 1
        if not self._has_comma and not self._is_first[-1]:
            return self._break()
        return 0

    def _in_members(self, text: str) -> int | None:
        """Read a comma, the name of a member, or the end of an object."""
        if (size := self._between(text)) != 0 or self.is_complete or self.is_broken:
            return size
        if self._bare_keys or self._is_outermost():
            return self._bare_key(text)
        return self._begin_string(text, is_key=True) if text[0] in "'\"" else self._break()

    def _bare_key(self, text: str) -> int | None:
        separator = self._separator if len(self._closers) == 1 else ":"
        name, found, _ = text.partition(separator)
        if not found:
            return self._break() if len(text) > MAX_KEY else None
        self._begin_item()
        self._out.append(f'"{escaped_inside(name.strip())}": ')
        self._state = self._at_value
        return len(name) + len(separator)

    def _in_items(self, text: str) -> int | None:
        """Read a comma, an item, or the end of an array."""
        if (size := self._between(text)) != 0 or self.is_complete or self.is_broken:
            return size
        self._begin_item()
        self._state = self._at_value
        return 0

    def _at_colon(self, text: str) -> int | None:
        if not text:
            return None
        if text[0] in _SPACE:
            return 1
        if text[0] != ":":
            return self._break()
        self._out.append(": ")
        self._state = self._at_value
        return 1

    def _at_value(self, text: str) -> int | None:
        if not text:
            return None
        if text[0] in _SPACE:
            return 1
        if text[0] in "'\"" or (self._quote and self._quote.startswith(text[: len(self._quote)])):
            return self._begin_string(text, is_key=False)
        if text[0] in _CLOSERS:
            return self._open(text[0])
        found = _ATOM.match(text)
        if found is None:
            return self._break()
        if found.end() == len(text):
            return None if found.end() <= MAX_KEY else self._break()
        return self._atom(found[0])

    def _in_string(self, text: str) -> int | None:
        """Read the inside of a string, up to a mark of the family's own."""
        body, found, _ = text.partition(self._mark)
        if not found:
            body = body[: len(body) - overlap(body, self._mark)]
        self._out.append(escaped_inside(body))
        if found:
            self._end_string()
            return len(body) + len(self._mark)
        return len(body) or None

    def _in_python_string(self, text: str) -> int | None:
        """Read the inside of one of Python's strings."""
        if plain := _PLAIN[self._mark].match(text):
            self._out.append(escaped_inside(plain[0]))
            return plain.end()
        if not text:
            return None
        if text[0] == self._mark:
            self._end_string()
            return 1
        escape = _decode_escape(text)
        if escape is None:
            return None
        self._out.append(escaped_inside(escape[0]))
        return escape[1]

    # -- helpers ----------------------------------------------------------------------------------------------------

    def _begin_item(self) -> None:
        self._out.append("" if self._is_first[-1] else ", ")
        self._is_first[-1] = self._has_comma = False

    def _begin_string(self, text: str, *, is_key: bool) -> int | None:
        is_python = text[0] in "'\""
        mark = text[0] if is_python else self._quote
        if len(text) < len(mark):
            return None
        if is_key:
            self._begin_item()
        self._mark, self._is_key = mark, is_key
        self._out.append('"')
        self._state = self._in_python_string if is_python else self._in_string
        return len(mark)

    def _end_string(self) -> None:
        self._out.append('"')
        if self._is_key:
            self._state = self._at_colon
        else:
            self._end_value()

    def _atom(self, text: str) -> int | None:
        value = json_scalar(text)
        if value is None:
            return self._break()
        self._out.append(value)
        self._end_value()
        return len(text)

    def _open(self, bracket: str) -> int | None:
        if len(self._closers) >= MAX_DEPTH:
            return self._break()
        self._out.append("{" if bracket == "{" else "[")
        self._closers.append(_CLOSERS[bracket])
        self._is_first.append(True)
        self._has_comma = False
        self._state = self._in_members if bracket == "{" else self._in_items
        return 1

    def _close(self) -> int:
        is_object = self._state == self._in_members
        self._out.append("}" if is_object else "]")
        if len(self._closers) == 1 and self._separator:
            self.is_complete = True
            return 0
        self._closers.pop()
        self._is_first.pop()
        self._end_value()
        return 1

    def _end_value(self) -> None:
        """Go on in the object or array around a value that has ended."""
        self._has_comma = False
        if not self._closers:
            self.is_complete = True
            return
        self._state = self._in_members if self._closers[-1] == "}" or self._is_outermost() else self._in_items

    def _is_outermost(self) -> bool:
        return len(self._closers) == 1 and bool(self._separator)

    def _break(self) -> int:
        self.is_broken = True
        return 0


def _decode_escape(text: str) -> tuple[str, int] | None:
    """Return the character of the escape at the beginning of a text, and its size; None when more must come."""
    if len(text) < 2:
        return None
    if text[1] in _HEX_DIGITS:
        return _decode_hex(text, _HEX_DIGITS[text[1]])
    # As in Python, the backslash of an unknown escape is one.
    return _ESCAPES.get(text[1], text[:2]), 2


def _decode_hex(text: str, digits: int) -> tuple[str, int] | None:
    size = 2 + digits
    if len(text) < size and re.fullmatch("[0-9a-fA-F]*", text[2:]):
        return None
    number = text[2:size]
    if not re.fullmatch("[0-9a-fA-F]+", number) or (code := int(number, 16)) > 0x10FFFF:
        return text[:2], 2
    if not 0xD800 <= code < 0xE000:
        return chr(code), size
    # Half of a surrogate pair: JSON's escapes come in pairs.
    rest = text[size : size + 6]
    if code >= 0xDC00 or not _may_be_low_half(rest):
        return "\ufffd", size
    if len(rest) < 6:
        return None
    low = int(rest.removeprefix("\\u"), 16)
    return chr(0x10000 + ((code - 0xD800) << 10) + low - 0xDC00), size + 6


def _may_be_low_half(text: str) -> bool:
    """Return whether a text is, or may become, the escape of the second half of a surrogate pair."""
    return bool(re.fullmatch(r"\\u[dD][c-fC-F][0-9a-fA-F]{2}", text + "\\udc00"[len(text) :]))
