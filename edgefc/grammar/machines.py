"""Deterministic automata of regular nodes that make a state when it is asked for.

The parts of an intersection or a choice have machines of their own, and a state of the whole is a tuple of theirs. The
derivatives of a part are found once in a process, however many intersections it takes part in.
"""

from __future__ import annotations

import functools
import operator
from collections.abc import Callable, Iterable, Iterator
from typing import Protocol

from edgefc.grammar.char_ranges import Alphabet, Ranges, alphabet, merge
from edgefc.grammar.derivatives import EVERYTHING, derivative, first_chars, normal_form, nullable
from edgefc.grammar.rules import NOTHING, And, Chars, Choice, Literal, MultipleOf, Node, NoneOf, Not, children, choice

MAX_SHARED = 4_000  # states of a part that the process keeps; intersections may add more without end
DEAD, ALL = -1, -2  # the states that accept no text and every text, whatever the machine
_NUMBER = frozenset(((code, code),) for code in map(ord, ".0123456789"))


class Machine(Protocol):
    """An automaton. States are numbers from 0 on, besides DEAD and ALL, of which `row` must not be asked.

    alphabet  the characters, in classes that no state tells apart
    start     the first state
    """

    alphabet: Alphabet
    start: int

    def row(self, state: int) -> tuple[int, ...]:
        """Return the states to which the classes of characters lead."""
        ...

    def targets(self, state: int) -> Iterable[int]:
        """Return the same states, each once."""
        ...

    def accepts(self, state: int) -> bool:
        """Return whether the text may end in a state."""
        ...


def machine(node: Node) -> Machine:
    """Return the machine of a regular node."""
    match node:
        case And():
            names = {text for item in _flat(node) if isinstance(item, NoneOf) for text in item.texts}
            others = dict.fromkeys(item for item in _flat(node) if not isinstance(item, NoneOf))
            parts = [*([_leaf(NoneOf(tuple(sorted(names))))] if names else []), *map(machine, others)]
            return parts[0] if len(parts) == 1 else _Product(parts) if parts else _leaf(EVERYTHING)
        case Choice() if not is_plain(node):
            composed = [machine(item) for item in node.items if not is_plain(item)]
            plain = [item for item in node.items if is_plain(item)]
            parts = [*composed, *([_leaf(choice(*plain))] if plain else [])]
            return _Complement(_Product([_Complement(part) for part in parts]))
        case Not():
            return _Complement(machine(node.item))
        case _:
            return _leaf(node)


def joint(base: Node, others: list[Node]) -> _Product:
    """Return the machine of texts of `base` that tells which of the other nodes match them, too."""
    return _Product([machine(base), *map(machine, others)], 1)


def _flat(node: And) -> Iterator[Node]:
    for item in node.items:
        if isinstance(item, And):
            yield from _flat(item)
        else:
            yield item


@functools.lru_cache(maxsize=1 << 14)
def is_plain(node: Node) -> bool:
    """Return whether a node has no intersection, complement or multiple, so that it can be written as it is."""
    match node:
        case And() | Not() | NoneOf() | MultipleOf():
            return False
        case _:
            return all(map(is_plain, children(node)))


def _leaf(node: Node) -> Machine:
    if isinstance(node, NoneOf):
        return _names(node.texts)
    shared = _shared_leaf(node)
    return shared if shared.size <= MAX_SHARED else _Derivatives(node)


@functools.lru_cache(maxsize=64)
def _names(texts: tuple[str, ...]) -> _Names:
    return _Names(texts)


@functools.lru_cache(maxsize=128)
def _shared_leaf(node: Node) -> _Derivatives:
    return _Derivatives(node)


class _Derivatives:
    """The machine whose states are a node's derivatives."""

    def __init__(self, node: Node) -> None:
        self._nodes: list[Node] = []
        self._numbers: dict[Node, int] = {NOTHING: DEAD, EVERYTHING: ALL}
        self._rows: dict[int, tuple[int, ...]] = {}
        first = normal_form(node)
        self.alphabet = alphabet(frozenset(_sets(first)))
        self.start = self._number(first)

    def _number(self, node: Node) -> int:
        number = self._numbers.setdefault(node, len(self._nodes))
        if number == len(self._nodes):
            self._nodes.append(node)
        return number

    @property
    def size(self) -> int:
        return len(self._nodes)

    def row(self, state: int) -> tuple[int, ...]:
        if state not in self._rows:
            node, classes = self._nodes[state], self.alphabet.classes
            # Characters that lie in the same of the sets with which texts may begin have the same derivative.
            kinds = [0] * len(classes)
            for number, ranges in enumerate(first_chars(node)):
                for one in self.alphabet.inside[ranges]:
                    kinds[one] |= 1 << number
            targets: dict[int, int] = {}
            for kind, ranges in zip(kinds, classes, strict=True):
                if kind not in targets:
                    targets[kind] = self._number(derivative(node, ranges[0][0]))
            self._rows[state] = tuple(targets[kind] for kind in kinds)
        return self._rows[state]

    def targets(self, state: int) -> Iterable[int]:
        return dict.fromkeys(self.row(state))

    def accepts(self, state: int) -> bool:
        return state == ALL or (state != DEAD and nullable(self._nodes[state]))


def _sets(node: Node) -> Iterator[Ranges]:
    """Yield the sets of characters that a node's derivatives may tell apart."""
    pending = [node]
    while pending:
        match part := pending.pop():
            case Literal():
                yield from _singles(part.text)
            case Chars():
                if part.ranges:
                    yield merge(part.ranges)
            case NoneOf():
                yield from _singles("".join(part.texts))
            case MultipleOf():
                yield from _NUMBER
            case _:
                pending += children(part)


def _singles(text: str) -> Iterator[Ranges]:
    return (((code, code),) for code in map(ord, set(text)))


class Trie:
    """Texts as a tree in which nodes with the same future are one: names of undeclared properties make large ones.

    size   the nodes before any were merged
    nodes  the numbers of the nodes, the root's first
    moves  for each node that is left, the characters that lead on, sorted
    ends   the nodes at which a text ends
    """

    def __init__(self, texts: tuple[str, ...]) -> None:
        tree: list[dict[str, int]] = [{}]
        self.ends: set[int] = set()
        for text in texts:
            state = 0
            for char in text:
                if char not in tree[state]:
                    tree[state][char] = len(tree)
                    tree.append({})
                state = tree[state][char]
            self.ends.add(state)
        self.size, self.moves = len(tree), tree
        # A node is created after those that lead to it, so futures come last.
        merged = list(range(len(tree)))
        futures: dict[tuple[object, ...], int] = {}
        for state in reversed(range(len(tree))):
            tree[state] = {char: merged[target] for char, target in sorted(tree[state].items())}
            merged[state] = futures.setdefault((state in self.ends, tuple(tree[state].items())), state)
        remaining = (state for state in range(len(tree)) if merged[state] == state)
        self.nodes = sorted(remaining, key=lambda state: state != merged[0])


class _Names:
    """The machine of NoneOf: a text that has left the tree of the others may be any."""

    def __init__(self, texts: tuple[str, ...]) -> None:
        self._trie = Trie(texts)
        self.alphabet = alphabet(frozenset(_singles("".join(texts))))
        self.start = self._trie.nodes[0]

    def row(self, state: int) -> tuple[int, ...]:
        row = [ALL] * len(self.alphabet.classes)
        for char, target in self._trie.moves[state].items():
            row[self.alphabet.class_of(ord(char))] = target
        return tuple(row)

    def targets(self, state: int) -> Iterable[int]:
        return dict.fromkeys(self.row(state))

    def accepts(self, state: int) -> bool:
        return state == ALL or (state != DEAD and state not in self._trie.ends)


class _Complement:
    """The machine of the texts that another one does not accept."""

    def __init__(self, other: Machine) -> None:
        self._other, self.alphabet, self.start = other, other.alphabet, _opposite(other.start)

    def row(self, state: int) -> tuple[int, ...]:
        row = self._other.row(state)
        return tuple(map(_opposite, row)) if min(row) < 0 else row

    def targets(self, state: int) -> Iterable[int]:
        return map(_opposite, self._other.targets(state))

    def accepts(self, state: int) -> bool:
        return not self._other.accepts(_opposite(state))


def _opposite(state: int) -> int:
    return state if state >= 0 else DEAD + ALL - state


class _Product:
    """The machine of the texts that all parts accept.

    needed  the number of the first parts without which a text is given up
    """

    def __init__(self, parts: list[Machine], needed: int | None = None) -> None:
        self._parts, self._needed = parts, needed
        self.alphabet = alphabet(frozenset().union(*(part.alphabet.sets for part in parts)))
        self._translated = [_translation(part.alphabet, self.alphabet) for part in parts]
        self._states: list[tuple[int, ...]] = []
        self._numbers: dict[tuple[int, ...], int] = {(ALL,) * len(parts): ALL}
        self.start = self._number(tuple(part.start for part in parts))

    def _number(self, states: tuple[int, ...]) -> int:
        if DEAD in (states if self._needed is None else states[: self._needed]):
            return DEAD
        number = self._numbers.setdefault(states, len(self._states))
        if number == len(self._states):
            self._states.append(states)
        return number

    def row(self, state: int) -> tuple[int, ...]:
        targets = list(self._rows(state))
        numbers = {states: self._number(states) for states in dict.fromkeys(targets)}
        return tuple(map(numbers.__getitem__, targets))

    def targets(self, state: int) -> Iterable[int]:
        return map(self._number, dict.fromkeys(self._rows(state)))

    def _rows(self, state: int) -> Iterator[tuple[int, ...]]:
        rows = [
            (one,) * len(self.alphabet.classes) if one < 0 else translated(part.row(one))
            for part, one, translated in zip(self._parts, self._states[state], self._translated, strict=True)
        ]
        return zip(*rows, strict=True)

    def accepts(self, state: int) -> bool:
        return state == ALL or (state != DEAD and len(self.accepting(state)) == len(self._parts))

    def accepting(self, state: int) -> frozenset[int]:
        """Return the numbers of the parts that accept in a state of the whole."""
        if state == ALL:
            return frozenset(range(len(self._parts)))
        pairs = zip(self._parts, self._states[state], strict=True)
        return frozenset(number for number, (part, one) in enumerate(pairs) if part.accepts(one))


def _translation(own: Alphabet, finer: Alphabet) -> Callable[[tuple[int, ...]], tuple[int, ...]]:
    """Return the function from a row by the classes of one alphabet to the same by those of a finer one."""
    numbers = [own.class_of(ranges[0][0]) for ranges in finer.classes]
    if numbers == list(range(len(own.classes))):
        return lambda row: row
    if len(numbers) == 1:
        return lambda row: (row[numbers[0]],)
    return operator.itemgetter(*numbers)
