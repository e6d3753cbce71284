r"""Parameters in tags, such as `<parameter=NAME>\nVALUE\n</parameter>\n`, → JSON text, as they come."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from edgefc.formats.encodings.literals import LiteralReader, json_scalar
from edgefc.formats.json_text import overlap
from edgefc.grammar.argument_types import ArgumentTypes
from edgefc.grammar.strings import escaped_inside
from edgefc.grammar.tags import CDATA_BEGIN, CDATA_END, Tags

Emit = Callable[[str], None]

_SPACE = " \t\r\n"
_CONTAINERS = {"object": "{", "array": "["}
_STRING = frozenset({"string"})
MAX_KEY = 1024


class TaggedReader:
    """Reads parameters, each by the types that its schema allows.

    A value that can only be a string is one, whatever it looks like; where both are possible, what reads like another
    valid value is that.
    """

    def __init__(self, types: ArgumentTypes | None, tags: Tags) -> None:
        self.is_complete = self.is_broken = False
        self._types, self._tags = types, tags
        self._out: list[str] = ["{"]
        self._state = self._at_key
        self._name, self._mark = "", tags.mark
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
        head, between = self._tags.head, self._tags.between.rstrip()
        if not text.startswith(head):
            if head.startswith(text):
                return None
            self._out.append("}")
            self.is_complete = True
            return 0
        name, found, rest = text.removeprefix(head).partition(between)
        line_break = self._tags.between.removeprefix(between)
        if not found or (line_break and not rest):
            self.is_broken = len(name) > MAX_KEY
            return None
        self._name = name
        # Models without a grammar leave out the line breaks around a value.
        has_break = bool(line_break) and rest.startswith(line_break)
        self._mark = self._tags.mark if has_break else self._tags.tag
        self._out.append(f'{"" if self._is_first else ", "}"{escaped_inside(name)}": ')
        self._is_first = False
        self._state = self._at_value
        return len(head) + len(name) + len(between) + (len(line_break) if has_break else 0)

    def _at_value(self, text: str) -> int | None:
        types = None if self._types is None else self._types.of(self._name)
        if self._tags.separator and self._types is not None and self._types.is_text_list(self._name):
            return self._begin_list(text)
        if self._tags.special and CDATA_BEGIN.startswith(text[: len(CDATA_BEGIN)]):
            if len(text) < len(CDATA_BEGIN):
                return None
            return self._begin_cdata(types)
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

    def _begin_cdata(self, types: frozenset[str] | None) -> int:
        """Go on inside the marks of CDATA, where any value is a string if it may be one."""
        if types is None or "string" in types:
            self._out.append('"')
            self._state = self._in_cdata
        else:
            self._state = self._in_scalar
            self._mark = f"{CDATA_END}{self._tags.tag}"
        return len(CDATA_BEGIN)

    def _in_cdata(self, text: str) -> int | None:
        body, found, rest = text.partition(CDATA_END)
        if found:
            self._out.append(escaped_inside(body))
            self._state = self._after_cdata
            return len(text) - len(rest)
        body = body[: len(body) - overlap(body, CDATA_END)]
        self._out.append(escaped_inside(body))
        return len(body) or None

    def _after_cdata(self, text: str) -> int | None:
        return self._at_end(text, '"')

    def _at_string(self, text: str) -> int | None:
        """Read an empty string that lacks the line break before its end."""
        end = self._tags.tag
        if end.startswith(text[: len(end)]) and len(text) < len(end):
            return None
        if text.startswith(end):
            return self._end_value(len(end), '"')
        self._state = self._in_string
        return 0

    def _in_string(self, text: str) -> int | None:
        size, is_end = self._read_text(text)
        return self._end_value(size, '"') if is_end else size or None

    def _read_text(self, text: str) -> tuple[int, bool]:
        """Read a string up to its mark, or as far as there is no mark; return the size, and whether it ended."""
        body, found, _ = text.partition(self._mark)
        if not found:
            body = body[: len(body) - overlap(body, self._mark)]
        self._out.append(escaped_inside(body))
        return len(body) + len(found), bool(found)

    def _in_container(self, text: str) -> int | None:
        assert self._literal is not None
        rest = self._literal.read(text, self._out.append)
        self.is_broken = self._literal.is_broken
        if self._literal.is_complete:
            self._state = self._after_container
        return len(text) - len(rest) or (0 if self._literal.is_complete else None)

    def _after_container(self, text: str) -> int | None:
        return self._at_end(text, "")

    def _begin_list(self, text: str) -> int | None:
        """Go on in an array of strings: each of them ends as a value does, or all are JSON."""
        if not text:
            return None
        if text.startswith("["):
            self._literal, self._state = LiteralReader(), self._in_container
        else:
            self._out.append('["')
            self._state = self._in_item
        return 0

    def _in_item(self, text: str) -> int | None:
        size, is_end = self._read_text(text)
        if is_end:
            self._state = self._after_item
        return size or None

    def _after_item(self, text: str) -> int | None:
        separator = self._tags.separator
        if text.startswith(separator):
            self._out.append('", "')
            self._state = self._in_item
            return len(separator)
        return None if separator.startswith(text) else self._end_value(0, '"]')

    def _at_end(self, text: str, json_text: str) -> int | None:
        """Read the closing tag behind a value that has ended."""
        rest, end = text.lstrip(_SPACE), self._tags.tag
        if rest.startswith(end):
            return self._end_value(len(text) - len(rest) + len(end), json_text)
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
        end = self._tags.tag
        if text.startswith(end):
            return self._end_value(len(end), '""')
        body = self._any_body(text)
        if body is None:
            return None
        value = _json_value(body.strip())
        is_valid = value is not None and (self._types is None or self._types.admits(self._name, json.loads(value)))
        return self._end_value(len(body) + len(self._mark), value if value is not None and is_valid else _string(body))

    def _any_body(self, text: str) -> str | None:
        """Return the text of a value up to its mark; None: there is none yet.

        Beside CDATA, the mark may stand in a string of an array or object, but then no other tag follows it.
        """
        position = text.find(self._mark)
        while position >= 0:
            body, rest = text[:position], text[position + len(self._mark) :].lstrip(_SPACE)
            if not (self._tags.special and _is_open(body)) or rest.startswith("<"):
                return body
            if not rest:
                return None
            position = text.find(self._mark, position + 1)
        return None

    def _end_value(self, size: int, json_text: str) -> int:
        self._out.append(json_text)
        self._state = self._at_key
        return size


def _string(text: str) -> str:
    return f'"{escaped_inside(text)}"'


def _is_open(text: str) -> bool:
    """Return whether a text is the beginning of an array or object."""
    if not text.lstrip(_SPACE).startswith(("{", "[")):
        return False
    reader = LiteralReader()
    reader.read(text, lambda _: None)
    return not (reader.is_complete or reader.is_broken)


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
