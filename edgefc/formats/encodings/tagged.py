r"""Parameters in tags, `<parameter=NAME>\nVALUE\n</parameter>\n`, → JSON text, as they come."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from edgefc.formats.encodings.literals import LiteralReader, json_scalar
from edgefc.formats.json_text import overlap
from edgefc.grammar.argument_types import ArgumentTypes
from edgefc.grammar.json_schema.encodings import TAG_MARK
from edgefc.grammar.strings import escaped_inside

Emit = Callable[[str], None]

_SPACE = " \t\r\n"
_KEY_HEAD = "<parameter="
_CONTAINERS = {"object": "{", "array": "["}
_STRING = frozenset({"string"})
MAX_KEY = 1024


class TaggedReader:
    """Reads parameters, each by the types that its schema allows.

    A value that can only be a string is one, whatever it looks like; where both are possible, what reads like another
    valid value is that.
    """

    def __init__(self, types: ArgumentTypes | None) -> None:
        self.is_complete = self.is_broken = False
        self._types = types
        self._out: list[str] = ["{"]
        self._state = self._at_key
        self._name, self._mark = "", TAG_MARK
        self._is_first = True
        self._literal: LiteralReader | None = None

    def read(self, text: str, emit: Emit) -> str:
        """Read a text as far as possible, emit pieces of JSON, and return the rest, to be given again with more."""
        while not (self.is_complete or self.is_broken):
            size = self._state(text)
            if size is None:
                break
            text = text[size:]
        emit("".join(self._out))
        self._out.clear()
        return text

    # -- states: each returns the number of characters it has read; None if it needs more of them -------------------

    def _at_key(self, text: str) -> int | None:
        if not text:
            return None
        if text[0] in _SPACE:
            return 1
        if not text.startswith(_KEY_HEAD):
            if _KEY_HEAD.startswith(text):
                return None
            self._out.append("}")
            self.is_complete = True
            return 0
        name, found, rest = text.removeprefix(_KEY_HEAD).partition(">")
        if not found or not rest:
            self.is_broken = len(name) > MAX_KEY
            return None
        self._name = name
        # Models without a grammar leave out the line breaks around a value.
        has_break = rest[0] == "\n"
        self._mark = TAG_MARK if has_break else TAG_MARK.lstrip()
        self._out.append(f'{"" if self._is_first else ", "}"{escaped_inside(name)}": ')
        self._is_first = False
        self._state = self._at_value
        return len(_KEY_HEAD) + len(name) + 1 + has_break

    def _at_value(self, text: str) -> int | None:
        types = None if self._types is None else self._types.of(self._name)
        if types == _STRING:
            self._out.append('"')
            self._state = self._at_string
            return 0
        if types is None or "string" in types:
            self._state = self._in_any_value
            return 0
        head = text.lstrip(_SPACE)
        if not head:
            return None
        if any(head[0] == _CONTAINERS[kind] for kind in types & _CONTAINERS.keys()):
            self._literal, self._state = LiteralReader(), self._in_container
            return len(text) - len(head)
        self._state = self._in_scalar
        return 0

    def _at_string(self, text: str) -> int | None:
        """Read an empty string that lacks the line break before its end."""
        end = TAG_MARK.lstrip()
        if end.startswith(text[: len(end)]) and len(text) < len(end):
            return None
        if text.startswith(end):
            return self._end_value(len(end), '"')
        self._state = self._in_string
        return 0

    def _in_string(self, text: str) -> int | None:
        body, found, _ = text.partition(self._mark)
        if not found:
            body = body[: len(body) - overlap(body, self._mark)]
        self._out.append(escaped_inside(body))
        if found:
            return self._end_value(len(body) + len(self._mark), '"')
        return len(body) or None

    def _in_container(self, text: str) -> int | None:
        assert self._literal is not None
        rest = self._literal.read(text, self._out.append)
        self.is_broken = self._literal.is_broken
        if self._literal.is_complete:
            self._state = self._after_container
        return len(text) - len(rest) or (0 if self._literal.is_complete else None)

    def _after_container(self, text: str) -> int | None:
        rest, end = text.lstrip(_SPACE), TAG_MARK.lstrip()
        if rest.startswith(end):
            return self._end_value(len(text) - len(rest) + len(end), "")
        self.is_broken = not end.startswith(rest)
        return None

    def _in_scalar(self, text: str) -> int | None:
        body, found, _ = text.partition(self._mark)
        if not found:
            return None
        value = json_scalar(body.strip())
        return self._end_value(len(body) + len(self._mark), _string(body) if value is None else value)

    def _in_any_value(self, text: str) -> int | None:
        """Read a value whose type its text decides."""
        end = TAG_MARK.lstrip()
        if text.startswith(end):
            return self._end_value(len(end), '""')
        body, found, _ = text.partition(self._mark)
        if not found:
            return None
        value = _json_value(body.strip())
        is_valid = value is not None and (self._types is None or self._types.admits(self._name, json.loads(value)))
        return self._end_value(len(body) + len(self._mark), value if value is not None and is_valid else _string(body))

    def _end_value(self, size: int, json_text: str) -> int:
        self._out.append(json_text)
        self._state = self._at_key
        return size


def _string(text: str) -> str:
    return f'"{escaped_inside(text)}"'


def _json_value(text: str) -> str | None:
    """Return the JSON of a text that reads like a value other than a string; None for any other text."""
    if not text.startswith(("{", "[")):
        return json_scalar(text)
    try:
        value: Any = json.loads(text)
        return json.dumps(value, ensure_ascii=False, allow_nan=False)
    except (ValueError, RecursionError):
        pass
    pieces: list[str] = []
    reader = LiteralReader()
    rest = reader.read(text, pieces.append)
    return "".join(pieces) if reader.is_complete and not rest else None
