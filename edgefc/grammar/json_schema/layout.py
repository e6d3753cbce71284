"""Layouts: how an encoding of arguments spells punctuation, keys, strings and words. This module has JSON's."""

from __future__ import annotations

import re
import typing
from collections.abc import Iterable, Mapping
from typing import Any, assert_never

from edgefc.grammar import strings
from edgefc.grammar.json_schema.keywords import to_json
from edgefc.grammar.rules import (
    NOTHING,
    Chars,
    Choice,
    Lexeme,
    Literal,
    Node,
    Repeat,
    choice,
    lexeme,
    one_of,
    optional,
    sequence,
)

# "json": `", "` and `": "`, as json.dumps writes by default. "compact": no spaces. "flexible": at most one space
# wherever JSON allows white space, which leaves a model more freedom. "indented": line breaks and indentation, too.
Spacing = typing.Literal["json", "compact", "flexible", "indented"]
Scalar = str | int | float | bool | None

_SPACES: dict[str, Node] = {
    "flexible": optional(Literal(" ")),
    "indented": Repeat(Chars(((9, 10), (13, 13), (32, 32))), 0, 64),
}


class JsonLayout:
    """JSON in one spacing, and the base of the other layouts.

    name          begins the names of the rules of free values
    sorts_keys    properties are written in the order of their names, not in the schema's
    has_braces    braces stand around the properties of an object; False: the family's syntax has them
    has_brackets  brackets stand around the items of an array
    legal_name    the names that a property may have; None: any
    any_text      the text of any value at all; None: there is no simpler form of it
    text_lists    a further layout of arrays of strings that have any; None: there is none
    only_strings  nothing else can be written
    """

    name = "json"
    sorts_keys = False
    has_braces = has_brackets = True
    only_strings = False
    legal_name: re.Pattern[str] | None = None
    any_text: Node | None = None
    text_lists: JsonLayout | None = None
    _values: JsonLayout | None = None  # None: as at the top

    def __init__(self, spacing: Spacing) -> None:
        self._spacing = spacing
        match spacing:
            case "json":
                self.comma, self.colon = lexeme(", "), lexeme(": ")
            case "compact":
                self.comma, self.colon = lexeme(","), lexeme(":")
            case "flexible" | "indented":
                self.comma, self.colon = (Lexeme(sequence(Literal(mark), _SPACES[spacing])) for mark in ",:")
            case _:
                assert_never(spacing)

    @property
    def values(self) -> JsonLayout:
        """The layout of values inside objects and arrays."""
        return self._values or self

    # -- objects and arrays ---------------------------------------------------------------------------------------

    def enclose(self, left: str, body: Node, right: str) -> Node:
        """Put brackets or braces around a body."""
        if not (self.has_braces if left == "{" else self.has_brackets):
            return body
        if self._spacing not in _SPACES:
            return sequence(lexeme(left), body, lexeme(right))
        space = _SPACES[self._spacing]
        opening, closing = sequence(Literal(left), space), sequence(space, Literal(right))
        return sequence(Lexeme(opening), body, Lexeme(closing))

    def can_spell(self, name: str) -> bool:
        """Return whether a property may have this name."""
        return self.legal_name is None or self.legal_name.fullmatch(name) is not None

    def key(self, name: str) -> Node:
        """Return a property's name and what separates it from the value."""
        # Two lexemes, as for a free key: where both are possible, the lexer must split both alike.
        return sequence(lexeme(to_json(name)), self.colon)

    def free_key(self, names: Node | None) -> Node:
        """Return any of these names, None: any at all, as a key; NOTHING if there is none. Raises TooLargeError."""
        key = strings.string(0, None) if names is None else strings.quoted(names)
        return NOTHING if key == NOTHING else sequence(Lexeme(key), self.colon)

    def constant(self, value: Any) -> Node:
        """Return exactly this value. Objects and arrays are split into the same lexemes as free ones."""
        if isinstance(value, Mapping):
            names = sorted(value, key=str.lower) if self.sorts_keys else value
            members = [sequence(self.key(name), self.values.constant(value[name])) for name in names]
            return self.enclose("{", self._join(members), "}")
        if isinstance(value, list):
            return self.enclose("[", self._join([self.values.constant(item) for item in value]), "]")
        return self.scalars([value])

    def _join(self, parts: list[Node]) -> Node:
        nodes = [node for part in parts for node in (self.comma, part)]
        return sequence(*nodes[1:])

    # -- scalars: NOTHING where there is no such value ------------------------------------------------------------

    def string(self, text: Node, low: int, high: int | None) -> Node:
        """Return strings of `low` to `high` characters whose value matches a regular node. Raises TooLargeError."""
        return self.plain(strings.quoted(text, low, high))

    def plain(self, node: Node) -> Node:
        """Return a number that matches a regular node."""
        return NOTHING if node == NOTHING else Lexeme(node)

    def words(self, values: Iterable[bool | None]) -> Node:
        """Return one of true, false and null."""
        return self.plain(choice(*(Literal(to_json(value)) for value in values)))

    def scalars(self, values: Iterable[Scalar]) -> Node:
        """Return one of these values, none of them an object or array."""
        return self.plain(one_of(map(to_json, values)))

    def union(self, nodes: Iterable[Node]) -> Node:
        """Return a choice of values."""
        node = choice(*nodes)
        items = node.items if isinstance(node, Choice) else ()
        return node if self.any_text is None or self.any_text not in items else self.any_text
