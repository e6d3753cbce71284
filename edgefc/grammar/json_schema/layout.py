"""Punctuation and white space of JSON, and constants made with them."""

from __future__ import annotations

import typing
from collections.abc import Mapping
from typing import Any, assert_never

from edgefc.grammar.json_schema.keywords import to_json
from edgefc.grammar.rules import Chars, Lexeme, Literal, Node, Repeat, lexeme, optional, sequence

# "json": `", "` and `": "`, as json.dumps writes by default. "compact": no spaces. "flexible": at most one space
# wherever JSON allows white space, which leaves a model more freedom. "indented": line breaks and indentation, too.
Spacing = typing.Literal["json", "compact", "flexible", "indented"]

_SPACES: dict[str, Node] = {
    "flexible": optional(Literal(" ")),
    "indented": Repeat(Chars(((9, 10), (13, 13), (32, 32))), 0, 64),
}


class JsonLayout:
    """Lexemes of JSON's punctuation in one spacing."""

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

    def enclose(self, left: str, body: Node, right: str) -> Node:
        """Put brackets or braces around a body."""
        if self._spacing not in _SPACES:
            return sequence(lexeme(left), body, lexeme(right))
        space = _SPACES[self._spacing]
        opening, closing = sequence(Literal(left), space), sequence(space, Literal(right))
        return sequence(Lexeme(opening), body, Lexeme(closing))

    def key(self, name: str) -> Node:
        """Return a property's name and colon."""
        # Two lexemes, as for a free key: where both are possible, the lexer must split both alike.
        return sequence(lexeme(to_json(name)), self.colon)

    def constant(self, value: Any) -> Node:
        """Return exactly this JSON value. Objects and arrays are split into the same lexemes as free ones."""
        if isinstance(value, Mapping):
            members = [sequence(self.key(name), self.constant(item)) for name, item in value.items()]
            return self.enclose("{", self._join(members), "}")
        if isinstance(value, list):
            return self.enclose("[", self._join([self.constant(item) for item in value]), "]")
        return lexeme(to_json(value))

    def _join(self, parts: list[Node]) -> Node:
        nodes = [node for part in parts for node in (self.comma, part)]
        return sequence(*nodes[1:])
