"""Texts that stand in an answer as they are, without escapes, up to a mark that they do not contain."""

from __future__ import annotations

from collections.abc import Iterable

from edgefc.grammar import strings
from edgefc.grammar.automata import is_empty
from edgefc.grammar.derivatives import matches
from edgefc.grammar.rules import (
    ANY_CHAR,
    ANY_TEXT,
    EMPTY,
    NOTHING,
    And,
    Chars,
    FreeText,
    Literal,
    Node,
    Not,
    Repeat,
    Sequence,
    choice,
    optional,
)
from edgefc.grammar.tags import CDATA_BEGIN, CDATA_END

_NO_NUL = Repeat(Chars(((0, 0),), negated=True), 0, None)  # llama.cpp cannot match it


class RawText:
    """Texts that contain no `mark` and begin with none of `heads`."""

    def __init__(self, mark: str, heads: tuple[str, ...] = ()) -> None:
        self._mark, self._heads = mark, heads
        start = choice(*map(Literal, heads))
        self._any = FreeText((mark,), forbidden_heads=start, forbidden_stems=start)
        banned: list[Node] = [Not(Sequence((ANY_TEXT, Literal(mark), ANY_TEXT)))]
        if heads:
            banned.append(Not(Sequence((start, ANY_TEXT))))
        self._conditions = (_NO_NUL, *banned)

    def admits(self, text: str) -> bool:
        """Return whether a text can stand in an answer as it is."""
        return self._mark not in text and not text.startswith(self._heads) and _is_encodable(text)

    def texts(self, values: Iterable[str]) -> list[str]:
        """Return those of the texts that can stand in an answer."""
        return [value for value in values if self.admits(value)]

    def node(self, text: Node, low: int, high: int | None) -> Node:
        """Return the texts of `low` to `high` characters that match a regular node. Raises TooLargeError."""
        return optional(self.not_empty(text, low, high)) if _has_empty(text, low) else self.not_empty(text, low, high)

    def has_empty(self, text: Node, low: int) -> bool:
        return _has_empty(text, low)

    def not_empty(self, text: Node, low: int, high: int | None) -> Node:
        """Return the same texts without the empty one; NOTHING if there is no other. Raises TooLargeError."""
        low = max(low, 1)
        if high is not None and high < low:
            return NOTHING
        if text == ANY_TEXT:
            # Not empty: no bound on the length excludes all texts.
            return self._any if (low, high) == (1, None) else And((Repeat(ANY_CHAR, low, high), *self._conditions))
        bounded = strings.bound_length(text, low, high)
        if bounded in (NOTHING, EMPTY):
            return NOTHING
        node = And((bounded, *self._conditions))
        return NOTHING if is_empty(node) else node


def _is_encodable(text: str) -> bool:
    return "\0" not in text and not any(0xD800 <= ord(char) < 0xE000 for char in text)


def _has_empty(text: Node, low: int) -> bool:
    return low == 0 and matches(text, "")


class CdataText:
    """Texts without the special characters as they are, and any text between the marks of CDATA."""

    def __init__(self, special: str) -> None:
        self._special = special
        points = ((ord(char), ord(char)) for char in sorted({"\0", *special}))
        self._char = Chars(tuple(points), negated=True)
        self._any = Repeat(self._char, 0, None)
        self._inside = RawText(CDATA_END)

    def texts(self, values: Iterable[str]) -> list[str]:
        """Return those of the texts that can stand in an answer, as they stand there."""
        texts: list[str] = []
        for value in values:
            if any(char in value for char in self._special):
                texts += (f"{CDATA_BEGIN}{text}{CDATA_END}" for text in self._inside.texts([value]))
            elif _is_encodable(value):
                texts.append(value)
        return texts

    def has_empty(self, text: Node, low: int) -> bool:
        return _has_empty(text, low)

    def not_empty(self, text: Node, low: int, high: int | None) -> Node:
        """Return the texts of `low` to `high` characters that match a regular node, without the empty one as it is.

        Raises TooLargeError.
        """
        inside = self._inside.node(text, low, high)
        enclosed = NOTHING if inside == NOTHING else Sequence((Literal(CDATA_BEGIN), inside, Literal(CDATA_END)))
        low = max(low, 1)
        if high is not None and high < low:
            return enclosed
        if text == ANY_TEXT:
            return choice(Repeat(self._char, low, high), enclosed)
        bounded = strings.bound_length(text, low, high)
        plain = NOTHING if bounded in (NOTHING, EMPTY) else And((bounded, self._any))
        return choice(NOTHING if plain == NOTHING or is_empty(plain) else plain, enclosed)
