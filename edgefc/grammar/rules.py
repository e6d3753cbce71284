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
    """One of the items."""

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
    """One or more characters of any text that does not contain `marker`, nor NUL, which llama.cpp cannot match."""

    marker: str


Node = Literal | Chars | Sequence | Choice | Repeat | Ref | Token | Without
Rules = dict[str, Node]  # `root` is where it starts

EMPTY = Sequence(())
NOTHING = Choice(())  # matches no text at all; `pruned` leaves none of it
DIGIT = Chars(((48, 57),))


def token(text: str) -> Node:
    """A literal as one lexeme; nothing for the empty text."""
    return Token(Literal(text)) if text else EMPTY


def sequence(*items: Node) -> Node:
    """A flat sequence without empty parts; NOTHING if one of them is."""
    flat: list[Node] = []
    for item in items:
        flat.extend(item.items if isinstance(item, Sequence) else (item,))
    if NOTHING in flat:
        return NOTHING
    return flat[0] if len(flat) == 1 else Sequence(tuple(flat))


def choice(*items: Node) -> Node:
    """A flat choice without doubles."""
    flat: dict[Node, None] = {}
    for item in items:
        flat.update(dict.fromkeys(item.items if isinstance(item, Choice) else (item,)))
    return next(iter(flat)) if len(flat) == 1 else Choice(tuple(flat))


def optional(item: Node) -> Node:
    if isinstance(item, Repeat) and item.low <= 1:
        return Repeat(item.item, 0, item.high)
    return EMPTY if item in {EMPTY, NOTHING} else Repeat(item, 0, 1)


def listed(item: Node, comma: Node, low: int, high: int | None) -> Node:
    """`low` to `high` items with commas between them."""
    if high == 0:
        return EMPTY
    more = Repeat(sequence(comma, item), max(0, low - 1), None if high is None else high - 1)
    body = item if more.high == 0 else sequence(item, more)
    return optional(body) if low == 0 else body


def children(node: Node) -> tuple[Node, ...]:
    """A node's direct parts."""
    if isinstance(node, Sequence | Choice):
        return node.items
    return (node.item,) if isinstance(node, Repeat | Token) else ()


def references(node: Node) -> Iterator[str]:
    """Names of the rules that a node refers to."""
    pending = [node]
    while pending:
        part = pending.pop()
        if isinstance(part, Ref):
            yield part.name
        pending += reversed(children(part))


def pruned(rules: Rules) -> Rules:
    """The same language without rules and alternatives that can never be completed, or never be reached.

    An executor that entered one would find no way on. `root` is NOTHING when no text is left at all.
    """
    users: dict[str, set[str]] = {name: set() for name in rules}
    for name, node in rules.items():
        for other in references(node):
            users[other].add(name)
    finite: set[str] = set()
    pending = list(reversed(rules))
    while pending:
        name = pending.pop()
        if name not in finite and _simplified(rules[name], finite) != NOTHING:
            finite.add(name)
            pending += users[name]
    reached: dict[str, None] = {"root": None}
    kept: Rules = {}
    for name in iter(lambda: next((n for n in reached if n not in kept), None), None):
        kept[name] = _simplified(rules[name], finite)
        reached.update(dict.fromkeys(references(kept[name])))
    return {name: kept[name] for name in rules if name in kept}


def _simplified(node: Node, finite: set[str]) -> Node:
    """A node without what refers to rules that are not (yet) known to end."""
    if isinstance(node, Ref):
        return node if node.name in finite else NOTHING
    if isinstance(node, Token):
        return NOTHING if node.item == NOTHING else node
    if isinstance(node, Sequence):
        items = [_simplified(item, finite) for item in node.items]
        return NOTHING if NOTHING in items else sequence(*items)
    if isinstance(node, Choice):
        return choice(*(item for item in (_simplified(item, finite) for item in node.items) if item != NOTHING))
    if isinstance(node, Repeat):
        item = _simplified(node.item, finite)
        if item == NOTHING:
            return NOTHING if node.low else EMPTY
        return EMPTY if item == EMPTY else Repeat(item, node.low, node.high)
    return node
