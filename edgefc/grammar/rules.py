"""The rule graph: a grammar before it is written as text.

Nodes are immutable values. `Lexeme` marks text that a lexer may treat as one unit. It changes nothing in GBNF, but
keeps the Lark text of the same graph exact; see `edgefc.grammar.lark`.
"""

from __future__ import annotations

import itertools
import operator
import os.path
import typing
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import assert_never

from edgefc.grammar.char_ranges import Ranges


class _CachedHash:
    """Computes its hash once: nodes are keys everywhere, and hashing a deep one visits all of it."""

    __slots__ = ("_hash",)
    _hash: int

    def __hash__(self) -> int:
        try:
            return self._hash
        except AttributeError:
            value = hash((type(self), *map(self.__getattribute__, self.__slots__)))
            object.__setattr__(self, "_hash", value)
            return value


@dataclass(frozen=True, slots=True)
class Literal:
    """Exactly this text; never empty."""

    text: str


@dataclass(frozen=True, slots=True)
class ControlToken:
    """A control token of the model's vocabulary: its text and its id. The text of other tokens never matches it."""

    text: str
    id: int


@dataclass(frozen=True, slots=True)
class Chars:
    """One character inside these ranges, or outside of them if `negated`."""

    ranges: Ranges
    negated: bool = False


@dataclass(frozen=True, slots=True)
class Sequence(_CachedHash):
    """All items, one after the other; without items, the empty text."""

    items: tuple[Node, ...]
    __hash__ = _CachedHash.__hash__


@dataclass(frozen=True, slots=True)
class Choice(_CachedHash):
    """One of the items."""

    items: tuple[Node, ...]
    __hash__ = _CachedHash.__hash__


@dataclass(frozen=True, slots=True)
class Repeat(_CachedHash):
    """`item` at least `low` and at most `high` times; `high` None: any number of times."""

    item: Node
    low: int
    high: int | None
    __hash__ = _CachedHash.__hash__


@dataclass(frozen=True, slots=True)
class Ref:
    """The rule of this name."""

    name: str


@dataclass(frozen=True, slots=True)
class Lexeme(_CachedHash):
    """A regular item (one that refers to no rule) that is one lexeme."""

    item: Node
    __hash__ = _CachedHash.__hash__


@dataclass(frozen=True, slots=True)
class FreeText(_CachedHash):
    """One or more characters of text that contains no `marker`, and no NUL, which llama.cpp cannot match.

    It does not begin with one of `forbidden_starts` either, not even after white space, nor with a text that matches
    `forbidden_heads`. Automata use the simpler `forbidden_stems`, which match a beginning of each of the heads.
    """

    markers: tuple[str, ...]
    forbidden_starts: tuple[str, ...] = ()
    forbidden_heads: Node = Choice(())
    forbidden_stems: Node = Choice(())
    __hash__ = _CachedHash.__hash__


@dataclass(frozen=True, slots=True)
class And(_CachedHash):
    """Texts that match all of these regular items."""

    items: tuple[Node, ...]
    __hash__ = _CachedHash.__hash__


@dataclass(frozen=True, slots=True)
class Not(_CachedHash):
    """Texts that do not match this regular item; the empty text may be one of them."""

    item: Node
    __hash__ = _CachedHash.__hash__


@dataclass(frozen=True, slots=True)
class NoneOf(_CachedHash):
    """Texts that differ from all of these; the empty text may be one of them. `texts` is sorted and not empty."""

    texts: tuple[str, ...]
    __hash__ = _CachedHash.__hash__


@dataclass(frozen=True, slots=True)
class MultipleOf:
    """The rest of a decimal number that is a multiple of `divisor` · 10^-`places`; it may be empty.

    `remainder` is that of the digits before it. With `point`, the decimal point is among them, and `places` counts
    from there.
    """

    divisor: int
    places: int = 0
    remainder: int = 0
    point: bool = False


QuoteStyle = typing.Literal["json", "single", "double"]  # of JSON, and of Python's two quotes


@dataclass(frozen=True, slots=True)
class QuotedString(_CachedHash):
    """A quoted string whose value matches this regular item; characters are escaped only where the style demands it."""

    item: Node
    style: QuoteStyle = "json"
    __hash__ = _CachedHash.__hash__


Node = (
    Literal
    | ControlToken
    | Chars
    | Sequence
    | Choice
    | Repeat
    | Ref
    | Lexeme
    | FreeText
    | And
    | Not
    | NoneOf
    | MultipleOf
    | QuotedString
)
Rules = dict[str, Node]  # the grammar begins at `root`

MAX_FLAT_TEXTS = 24  # up to this many texts stay a plain choice, which is easier to read
MAX_TREE_DEPTH = 40
EMPTY = Sequence(())
NOTHING = Choice(())  # matches no text at all; `prune` leaves none of it
DIGIT = Chars(((48, 57),))
ANY_CHAR = Chars((), negated=True)
ANY_TEXT = Repeat(ANY_CHAR, 0, None)


def is_nothing(node: Node) -> bool:
    """Return whether a node is NOTHING; faster than a comparison."""
    return type(node) is Choice and not node.items


def is_empty_text(node: Node) -> bool:
    """Return whether a node is EMPTY; faster than a comparison."""
    return type(node) is Sequence and not node.items


def lexeme(text: str) -> Node:
    """Return a literal as one lexeme; EMPTY for the empty text."""
    return Lexeme(Literal(text)) if text else EMPTY


def sequence(*items: Node) -> Node:
    """Return a flat sequence without empty parts; NOTHING if one of its items is."""
    flat: list[Node] = []
    for item in items:
        if type(item) is Sequence:
            flat.extend(item.items)
        elif is_nothing(item):
            return NOTHING
        else:
            flat.append(item)
    return flat[0] if len(flat) == 1 else Sequence(tuple(flat))


def choice(*items: Node) -> Node:
    """Return a flat choice without duplicates."""
    if len(items) == 1 and not isinstance(items[0], Choice):
        return items[0]
    flat: dict[Node, None] = {}
    for item in items:
        flat.update(dict.fromkeys(item.items if isinstance(item, Choice) else (item,)))
    return next(iter(flat)) if len(flat) == 1 else Choice(tuple(flat))


def optional(item: Node) -> Node:
    if isinstance(item, Repeat) and item.low <= 1:
        return Repeat(item.item, 0, item.high)
    return EMPTY if is_empty_text(item) or is_nothing(item) else Repeat(item, 0, 1)


def one_of(texts: Iterable[str]) -> Node:
    """Return a choice of these texts. Many of them become a prefix tree, or an executor would try each in turn."""
    distinct = list(dict.fromkeys(texts))
    return choice(*map(Literal, distinct)) if len(distinct) <= MAX_FLAT_TEXTS else _prefix_tree(sorted(distinct), 0)


def _prefix_tree(texts: list[str], level: int) -> Node:
    """Group sorted texts by their first characters; beyond MAX_TREE_DEPTH they stay flat."""
    if len(texts) <= 2 or level >= MAX_TREE_DEPTH:
        return choice(*(Literal(text) if text else EMPTY for text in texts))
    branches: list[Node] = []
    has_empty = texts[0] == ""
    for _, group in itertools.groupby(texts[1:] if has_empty else texts, key=lambda text: text[0]):
        members = list(group)
        prefix = os.path.commonprefix([members[0], members[-1]])  # noqa: RUF071 - compares characters, not path parts
        rest = _prefix_tree([text[len(prefix) :] for text in members], level + 1)
        branches.append(sequence(Literal(prefix), rest))
    return optional(choice(*branches)) if has_empty else choice(*branches)


def separated(item: Node, comma: Node, low: int, high: int | None) -> Node:
    """Return `low` to `high` items with commas between them."""
    if high == 0:
        return EMPTY
    more = Repeat(sequence(comma, item), max(0, low - 1), None if high is None else high - 1)
    body = item if more.high == 0 else sequence(item, more)
    return optional(body) if low == 0 else body


_SPACE = Chars(((9, 10), (13, 13), (32, 32)))


def as_intersection(node: FreeText, *, exact: bool = False) -> Node:
    """Return the same texts as regular nodes, of which an automaton can be built.

    exact  with the heads themselves instead of their stems
    """
    banned = [Sequence((ANY_TEXT, Literal(text), ANY_TEXT)) for text in node.markers]
    banned += [Sequence((Repeat(_SPACE, 0, None), Literal(text), ANY_TEXT)) for text in node.forbidden_starts]
    if not is_nothing(heads := node.forbidden_heads if exact else node.forbidden_stems):
        banned.append(Sequence((heads, ANY_TEXT)))
    return And((Repeat(Chars(((0, 0),), negated=True), 1, None), *map(Not, banned)))


def children(node: Node) -> tuple[Node, ...]:
    """Return a node's direct parts."""
    match node:
        case Literal() | Chars():  # first, for they are the most frequent
            return ()
        case Sequence() | Choice() | And():
            return node.items
        case Repeat() | Lexeme() | Not() | QuotedString():
            return (node.item,)
        case ControlToken() | Ref() | FreeText() | NoneOf() | MultipleOf():
            return ()
        case _:
            assert_never(node)


def references(node: Node) -> Iterator[str]:
    """Yield the names of the rules that a node refers to."""
    pending = [node]
    while pending:
        part = pending.pop()
        if isinstance(part, Ref):
            yield part.name
        elif not isinstance(part, Lexeme):
            pending += reversed(children(part))


def finite_rules(rules: Rules) -> set[str]:
    """Return the names of the rules that some finite text matches; the others recurse for ever."""
    finite: set[str] = set()
    # A rule mostly refers to later ones, so few are left after the first look.
    for name in reversed(rules):
        if is_finite(rules[name], finite):
            finite.add(name)
    users: dict[str, set[str]] = {}
    left = [name for name in rules if name not in finite]
    for name in left:
        for other in references(rules[name]):
            users.setdefault(other, set()).add(name)
    while left:
        name = left.pop()
        if name not in finite and is_finite(rules[name], finite):
            finite.add(name)
            left += users.get(name, ())
    return finite


def is_finite(node: Node, finite: set[str]) -> bool:
    """Return whether some text without rules outside of `finite` matches a node."""
    match node:
        case Ref():
            return node.name in finite
        case Lexeme():
            return not is_nothing(node.item)
        case Sequence():
            return all(is_finite(item, finite) for item in node.items)
        case Choice():
            return any(is_finite(item, finite) for item in node.items)
        case Repeat():
            return node.low == 0 or is_finite(node.item, finite)
        case (
            Literal() | ControlToken() | Chars() | FreeText() | And() | Not() | NoneOf() | MultipleOf() | QuotedString()
        ):
            return True
        case _:
            assert_never(node)


def prune(rules: Rules) -> Rules:
    """Return the same language without rules and alternatives that can never be completed or reached.

    An executor that entered one would have no token left to allow. `root` is NOTHING if the language is empty.
    """
    finite = finite_rules(rules)
    reached: Rules = {}
    pending = ["root"]
    while pending:
        name = pending.pop()
        if name not in reached:
            reached[name] = simplify(rules[name], finite)
            pending += references(reached[name])
    return {name: reached[name] for name in rules if name in reached}


def simplify(node: Node, finite: set[str]) -> Node:
    """Return a node without the parts that refer to rules outside of `finite`."""
    match node:
        case Lexeme():
            return NOTHING if is_nothing(node.item) else node
        case Ref():
            return node if node.name in finite else NOTHING
        case Sequence() | Choice():
            items = [simplify(item, finite) for item in node.items]
            if all(map(operator.is_, items, node.items)) and not any(map(is_nothing, items)):
                return node
            if isinstance(node, Sequence):
                return sequence(*items)
            return choice(*(item for item in items if not is_nothing(item)))
        case Repeat():
            item = simplify(node.item, finite)
            if is_nothing(item):
                return NOTHING if node.low else EMPTY
            if item == EMPTY:
                return EMPTY
            return node if item is node.item else Repeat(item, node.low, node.high)
        case (
            Literal() | ControlToken() | Chars() | FreeText() | And() | Not() | NoneOf() | MultipleOf() | QuotedString()
        ):
            return node
        case _:
            assert_never(node)
