"""The rule graph: what a grammar is before it becomes text.

Nodes are immutable values. `Token` marks what a lexer may treat as one lexeme: it changes nothing in GBNF, and
is what keeps the Lark text of the same graph exact, see `edgefc.grammar.lark`.
"""

from __future__ import annotations

import itertools
import operator
import os.path
from collections.abc import Iterable, Iterator
from dataclasses import dataclass


class _Hashed:
    """Hashes once: nodes are keys everywhere, and the hash of a deep one visits all of it."""

    __slots__ = ("_hash",)
    _hash: int

    def __hash__(self) -> int:
        try:
            return self._hash
        except AttributeError:
            value = hash((type(self), *(getattr(self, name) for name in self.__slots__)))
            object.__setattr__(self, "_hash", value)
            return value


@dataclass(frozen=True, slots=True)
class Literal:
    """Exactly this text; never empty."""

    text: str


@dataclass(frozen=True, slots=True)
class Control:
    """A control token of the model's vocabulary: its text, and its id. No text of other tokens matches it."""

    text: str
    id: int


@dataclass(frozen=True, slots=True)
class Chars:
    """One character within, or with `negated` outside, these inclusive code point ranges."""

    ranges: tuple[tuple[int, int], ...]
    negated: bool = False


@dataclass(frozen=True, slots=True)
class Sequence(_Hashed):
    """All items, one after the other; without items it matches the empty text."""

    items: tuple[Node, ...]
    __hash__ = _Hashed.__hash__


@dataclass(frozen=True, slots=True)
class Choice(_Hashed):
    """One of the items."""

    items: tuple[Node, ...]
    __hash__ = _Hashed.__hash__


@dataclass(frozen=True, slots=True)
class Repeat(_Hashed):
    """`item` at least `low` and at most `high` times; `high` None: any number of times."""

    item: Node
    low: int
    high: int | None
    __hash__ = _Hashed.__hash__


@dataclass(frozen=True, slots=True)
class Ref:
    """The rule of this name."""

    name: str


@dataclass(frozen=True, slots=True)
class Token(_Hashed):
    """A regular item (it refers to no rule) that is one lexeme."""

    item: Node
    __hash__ = _Hashed.__hash__


@dataclass(frozen=True, slots=True)
class Without(_Hashed):
    """One or more characters of text that contains no `marker`, nor NUL, which llama.cpp cannot match.

    With `not_first` it begins with none of those either, not even after white space.
    """

    markers: tuple[str, ...]
    not_first: tuple[str, ...] = ()
    __hash__ = _Hashed.__hash__


@dataclass(frozen=True, slots=True)
class And(_Hashed):
    """Texts that match all of these regular items."""

    items: tuple[Node, ...]
    __hash__ = _Hashed.__hash__


@dataclass(frozen=True, slots=True)
class Not(_Hashed):
    """Texts, the empty one too, that do not match this regular item."""

    item: Node
    __hash__ = _Hashed.__hash__


@dataclass(frozen=True, slots=True)
class Except(_Hashed):
    """Texts, the empty one too, that are none of these; sorted, and at least one."""

    texts: tuple[str, ...]
    __hash__ = _Hashed.__hash__


@dataclass(frozen=True, slots=True)
class Multiple:
    """The rest of a decimal number that is a multiple of `divisor` · 10^-`places`, or nothing.

    `rest` is the remainder of the digits already written; with `point` the decimal point is among them, and `places`
    counts from there.
    """

    divisor: int
    places: int = 0
    rest: int = 0
    point: bool = False


@dataclass(frozen=True, slots=True)
class Quoted(_Hashed):
    """A JSON string of which the value matches this regular item; written plainly, escaped only where it must be."""

    item: Node
    __hash__ = _Hashed.__hash__


Node = (
    Literal
    | Control
    | Chars
    | Sequence
    | Choice
    | Repeat
    | Ref
    | Token
    | Without
    | And
    | Not
    | Except
    | Multiple
    | Quoted
)
Rules = dict[str, Node]  # `root` is where it starts

FLAT = 24  # so many texts are written out one beside the other, for a reader's sake
DEEPEST = 40
EMPTY = Sequence(())
NOTHING = Choice(())  # matches no text at all; `pruned` leaves none of it
DIGIT = Chars(((48, 57),))
ANY = Chars((), negated=True)


def is_nothing(node: Node) -> bool:
    """Whether a node is NOTHING; quicker than comparing."""
    return type(node) is Choice and not node.items


def token(text: str) -> Node:
    """A literal as one lexeme; nothing for the empty text."""
    return Token(Literal(text)) if text else EMPTY


def sequence(*items: Node) -> Node:
    """A flat sequence without empty parts; NOTHING if one of them is."""
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
    """A flat choice without doubles."""
    flat: dict[Node, None] = {}
    for item in items:
        flat.update(dict.fromkeys(item.items if isinstance(item, Choice) else (item,)))
    return next(iter(flat)) if len(flat) == 1 else Choice(tuple(flat))


def optional(item: Node) -> Node:
    if isinstance(item, Repeat) and item.low <= 1:
        return Repeat(item.item, 0, item.high)
    return EMPTY if item in {EMPTY, NOTHING} else Repeat(item, 0, 1)


def one_of(texts: Iterable[str]) -> Node:
    """One of these texts. Many of them become a tree of what they share, for else an executor tries each."""
    every = list(dict.fromkeys(texts))
    return choice(*map(Literal, every)) if len(every) <= FLAT else _tree(sorted(every), 0)


def _tree(texts: list[str], level: int) -> Node:
    """Sorted texts by their first characters; flat where the tree would be too deep."""
    if len(texts) <= 2 or level >= DEEPEST:
        return choice(*(Literal(text) if text else EMPTY for text in texts))
    ways: list[Node] = []
    empty = texts[0] == ""
    for _, group in itertools.groupby(texts[1:] if empty else texts, key=lambda text: text[0]):
        alike = list(group)
        shared = os.path.commonprefix([alike[0], alike[-1]])  # noqa: RUF071 - of characters is what is meant
        rest = _tree([text[len(shared) :] for text in alike], level + 1)
        ways.append(sequence(Literal(shared), rest))
    return optional(choice(*ways)) if empty else choice(*ways)


def listed(item: Node, comma: Node, low: int, high: int | None) -> Node:
    """`low` to `high` items with commas between them."""
    if high == 0:
        return EMPTY
    more = Repeat(sequence(comma, item), max(0, low - 1), None if high is None else high - 1)
    body = item if more.high == 0 else sequence(item, more)
    return optional(body) if low == 0 else body


_SPACE = Chars(((9, 10), (13, 13), (32, 32)))


def excluding(node: Without) -> Node:
    """The same texts by nodes that an automaton can be made of."""
    anything = Repeat(ANY, 0, None)
    banned = [Sequence((anything, Literal(text), anything)) for text in node.markers]
    banned += [Sequence((Repeat(_SPACE, 0, None), Literal(text), anything)) for text in node.not_first]
    return And((Repeat(Chars(((0, 0),), negated=True), 1, None), *map(Not, banned)))


def children(node: Node) -> tuple[Node, ...]:
    """A node's direct parts."""
    if isinstance(node, Sequence | Choice | And):
        return node.items
    return (node.item,) if isinstance(node, Repeat | Token | Not | Quoted) else ()


def references(node: Node) -> Iterator[str]:
    """Names of the rules that a node refers to."""
    pending = [node]
    while pending:
        part = pending.pop()
        if isinstance(part, Ref):
            yield part.name
        elif not isinstance(part, Token):
            pending += reversed(children(part))


def endings(rules: Rules) -> set[str]:
    """Names of the rules that some text satisfies; the others go round in circles for ever."""
    users: dict[str, set[str]] = {name: set() for name in rules}
    for name, node in rules.items():
        for other in references(node):
            users[other].add(name)
    finite: set[str] = set()
    pending = list(reversed(rules))
    while pending:
        name = pending.pop()
        if name not in finite and simplified(rules[name], finite) != NOTHING:
            finite.add(name)
            pending += users[name]
    return finite


def pruned(rules: Rules) -> Rules:
    """The same language without rules and alternatives that can never be completed, or never be reached.

    An executor that entered one would find no way on. `root` is NOTHING when no text is left at all.
    """
    finite = endings(rules)
    kept: Rules = {}
    pending = ["root"]
    while pending:
        name = pending.pop()
        if name not in kept:
            kept[name] = simplified(rules[name], finite)
            pending += references(kept[name])
    return {name: kept[name] for name in rules if name in kept}


def simplified(node: Node, finite: set[str]) -> Node:
    """A node without what refers to rules that are not among those known to end."""
    if isinstance(node, Token):
        return NOTHING if is_nothing(node.item) else node
    if isinstance(node, Ref):
        return node if node.name in finite else NOTHING
    if isinstance(node, Sequence | Choice):
        items = [simplified(item, finite) for item in node.items]
        if all(map(operator.is_, items, node.items)) and not any(map(is_nothing, items)):
            return node
        if isinstance(node, Sequence):
            return sequence(*items)
        return choice(*(item for item in items if not is_nothing(item)))
    if isinstance(node, Repeat):
        item = simplified(node.item, finite)
        if is_nothing(item):
            return NOTHING if node.low else EMPTY
        if item == EMPTY:
            return EMPTY
        return node if item is node.item else Repeat(item, node.low, node.high)
    return node
