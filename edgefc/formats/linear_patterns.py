"""Regular expressions of strangers, as far as they are fixed text, white space and named parts in a row.

`response_template` marks calls with such patterns. They are read here, never run: an expression of a stranger can take
forever.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from edgefc.errors import FormatError

MAX_PATTERN = 2000  # characters
_MAX_FORMS = 32
_MAX_DEPTH = 16
SPACE = " "  # any white space, or none


class Part(str):
    """A named group; the text is its name."""

    __slots__ = ()


class Space(str):
    """White space of any length."""

    __slots__ = ()


Form = tuple[str, ...]  # literal texts, and Parts and Spaces between them


def read_pattern(pattern: str) -> list[Form]:
    """Return the forms of a pattern, one for each alternative. Raises FormatError for other expressions."""
    if len(pattern) > MAX_PATTERN:
        raise FormatError(f"a pattern of {len(pattern):,} characters; at most {MAX_PATTERN:,} are read")
    reader = _Reader(pattern)
    forms = reader.alternatives(0)
    if reader.rest:
        raise reader.error()
    return [_joined(form) for form in forms]


def literals(form: Form) -> list[str]:
    """Return the fixed texts of a form."""
    return [part for part in form if not isinstance(part, Part | Space)]


def squeezed(form: Form, values: Mapping[str, str]) -> str:
    """Return the text of a form without white space, with these texts, or that of "", as its named parts."""
    parts = (values.get(part, values[""]) if isinstance(part, Part) else part for part in form)
    return without_space("".join(parts))


def without_space(text: str) -> str:
    """Return a text without its white space."""
    return "".join(text.split())


def _joined(form: Form) -> Form:
    """Merge neighbouring texts, and neighbouring white space."""
    parts: list[str] = []
    for part in form:
        if parts and type(part) is type(parts[-1]) is str:
            parts[-1] += part
        elif not (parts and isinstance(part, Space) and isinstance(parts[-1], Space)):
            parts.append(part)
    return tuple(parts)


_ESCAPES = {"n": "\n", "t": "\t", "r": "\r"}
_QUANTIFIER = re.compile(r"([*+?]|\{\d+(?:,\d*)?\})[?+]?")


class _Reader:
    """Reads one pattern from left to right."""

    def __init__(self, pattern: str) -> None:
        self._pattern, self._index = pattern, 0

    @property
    def rest(self) -> str:
        return self._pattern[self._index :]

    def error(self) -> FormatError:
        return FormatError(f"a pattern that is not a row of texts, white space and names: {self._pattern[:80]!r}")

    def alternatives(self, depth: int) -> list[Form]:
        """Read until the end of the pattern or of its group."""
        if depth > _MAX_DEPTH:
            raise self.error()
        forms = self._sequence(depth)
        while self._take("|"):
            forms += self._sequence(depth)
        return self._checked(forms)

    def _sequence(self, depth: int) -> list[Form]:
        forms: list[Form] = [()]
        while self._index < len(self._pattern) and self.rest[0] not in "|)":
            item = self._item(depth)
            forms = self._checked([(*before, *after) for before in forms for after in item])
        return forms

    def _checked(self, forms: list[Form]) -> list[Form]:
        if len(forms) > _MAX_FORMS:
            raise self.error()
        return forms

    def _item(self, depth: int) -> list[Form]:
        """Read one item and how often it may come."""
        forms, is_class = self._atom(depth)
        found = _QUANTIFIER.match(self._pattern, self._index)
        if found is None:
            if is_class and forms != [(Space(SPACE),)]:
                raise self.error()
            return forms
        self._index = found.end()
        texts = {text for form in forms for text in form}
        if texts <= {SPACE, "\n", "\t", "\r"} and texts:
            return [(Space(SPACE),)]
        if found[1] != "?" or is_class:
            raise self.error()
        return [*forms, ()]

    def _atom(self, depth: int) -> tuple[list[Form], bool]:
        """Read one item; True with it if it is a class of characters."""
        if self._take("("):
            return self._group(depth), False
        if self._take("["):
            end = self._class_end()
            inner = self._pattern[self._index : end]
            self._index = end + 1
            is_space = re.fullmatch(r"(?:\\[sntr]|[ \n\t\r])+", inner) is not None
            return [(Space(SPACE),)] if is_space else [("[",)], True
        if self._take("\\"):
            char = self._next()
            if char == "s":
                return [(Space(SPACE),)], True
            if char in "ZzAb":
                return [()], False
            if char.isalnum() and char not in _ESCAPES:
                raise self.error()
            return [(_ESCAPES.get(char, char),)], False
        char = self._next()
        if char in "^$":
            return [()], False
        if char in ".*+?":
            raise self.error()
        return [(char,)], False

    def _group(self, depth: int) -> list[Form]:
        """Read a group behind its parenthesis; what a named one contains, and what only looks ahead, is skipped."""
        name = re.compile(r"\?P?<([A-Za-z_]\w*)>").match(self._pattern, self._index)
        if name is not None or re.compile(r"\?<?[=!]").match(self._pattern, self._index):
            self._skip()
            return [(Part(name[1]),)] if name is not None else [()]
        if self._take("?") and not self._take(":"):
            raise self.error()
        forms = self.alternatives(depth + 1)
        if not self._take(")"):
            raise self.error()
        return forms

    def _skip(self) -> None:
        """Skip to the end of the group."""
        depth = 1
        while depth:
            char = self._next()
            if char == "\\":
                self._next()
            elif char == "[":
                self._index = self._class_end() + 1
            else:
                depth += {"(": 1, ")": -1}.get(char, 0)

    def _class_end(self) -> int:
        """Return the position of the bracket that ends a class, behind its first one."""
        found = re.compile(r"\^?\]?(?:\\.|[^\\\]])*\]", re.DOTALL).match(self._pattern, self._index)
        if found is None:
            raise self.error()
        return found.end() - 1

    def _next(self) -> str:
        if self._index >= len(self._pattern):
            raise self.error()
        self._index += 1
        return self._pattern[self._index - 1]

    def _take(self, text: str) -> bool:
        if not self._pattern.startswith(text, self._index):
            return False
        self._index += len(text)
        return True
