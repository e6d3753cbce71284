"""The rule graph: what a grammar is before it becomes text.

Nodes are immutable values. `Token` marks what a lexer may treat as one lexeme: it changes nothing in GBNF, and
is what keeps the Lark text of the same graph exact, see `edgefc.grammar.lark`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Literal:
    """Exactly this text; never empty."""

    text: str


@dataclass(frozen=True, slots=True)
class Chars:
    """One character within, or with `negated` outside, these inclusive code point ranges."""

    ranges: tuple[tuple[int, int], ...]
    negated: bool = False


@dataclass(frozen=True, slots=True)
class Sequence:
    """All items, one after the other; without items it matches the empty text."""

    items: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Choice:
    """One of the items; never empty."""

    items: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Repeat:
    """`item` at least `low` and at most `high` times; `high` None: any number of times."""

    item: Node
    low: int
    high: int | None


@dataclass(frozen=True, slots=True)
class Ref:
    """The rule of this name."""

    name: str


@dataclass(frozen=True, slots=True)
class Token:
    """A regular item (it refers to no rule) that is one lexeme."""

    item: Node


@dataclass(frozen=True, slots=True)
class Without:
    """One or more characters of any text that does not contain `marker`."""

    marker: str


Node = Literal | Chars | Sequence | Choice | Repeat | Ref | Token | Without
Rules = dict[str, Node]  # `root` is where it starts

EMPTY = Sequence(())
DIGIT = Chars(((48, 57),))


def token(text: str) -> Node:
    """A literal as one lexeme; nothing for the empty text."""
    return Token(Literal(text)) if text else EMPTY


def sequence(*items: Node) -> Node:
    """A flat sequence without empty parts."""
    flat: list[Node] = []
    for item in items:
        flat.extend(item.items if isinstance(item, Sequence) else (item,))
    return flat[0] if len(flat) == 1 else Sequence(tuple(flat))


def choice(*items: Node) -> Node:
    """A flat choice without doubles; at least one item is needed."""
    flat: dict[Node, None] = {}
    for item in items:
        flat.update(dict.fromkeys(item.items if isinstance(item, Choice) else (item,)))
    return next(iter(flat)) if len(flat) == 1 else Choice(tuple(flat))


def optional(item: Node) -> Node:
    return EMPTY if item == EMPTY else Repeat(item, 0, 1)


def children(node: Node) -> Iterator[Node]:
    """A node's direct parts."""
    if isinstance(node, Sequence | Choice):
        yield from node.items
    elif isinstance(node, Repeat | Token):
        yield node.item
