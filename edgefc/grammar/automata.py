"""Regular nodes → deterministic automata, by derivatives (Brzozowski 1964).

The derivative of a node by a character is what may follow that character. The derivatives of a node are the states
of its automaton; intersection and complement cost no more than the other operators.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable
from dataclasses import dataclass

from edgefc.grammar.deadline import tick
from edgefc.grammar.rules import (
    EMPTY,
    NOTHING,
    And,
    Chars,
    Choice,
    Except,
    Literal,
    Multiple,
    Node,
    Not,
    Repeat,
    Sequence,
    children,
    choice,
    sequence,
)

Ranges = tuple[tuple[int, int], ...]

MAX_STATES = 20_000
MAX_STEPS = 10_000  # derivatives of one automaton, about 50 ms
LAST = 0x10FFFF
EVERYTHING = Not(NOTHING)
_POINT = ord(".")


class TooLargeError(Exception):
    """An automaton would have more states, or take more work, than is allowed."""


@dataclass(frozen=True)
class Automaton:
    """States are numbered from 0, the start; from each some text is accepted. None at all: it accepts nothing.

    moves    for each state, the characters that lead to another, and which
    accepts  for each state, whether the text may end there
    """

    moves: tuple[tuple[tuple[Ranges, int], ...], ...]
    accepts: tuple[bool, ...]


@functools.lru_cache(maxsize=512)
def automaton(node: Node) -> Automaton:
    """The trimmed automaton of a regular node. Raises TooLargeError."""
    if isinstance(node, Except):
        return _trie(node.texts)
    numbers: dict[Node, int] = {(start := _normal(node)): 0}
    order, moves, steps = [start], [], 0
    for state in order:
        found: dict[Node, list[tuple[int, int]]] = {}
        classes = _classes(state)
        tick(1 + len(classes) // 2)
        for ranges in classes:
            steps += 1
            after = _derivative(state, ranges[0][0])
            if after == NOTHING:
                continue
            found.setdefault(after, []).extend(ranges)
            if after not in numbers:
                numbers[after] = len(order)
                order.append(after)
        if len(order) > MAX_STATES or steps > MAX_STEPS:
            raise TooLargeError
        moves.append([(merged(ranges), numbers[after]) for after, ranges in found.items()])
    return _trimmed(moves, [_nullable(state) for state in order])


def _trie(texts: tuple[str, ...]) -> Automaton:
    """All texts but these: what an object's undeclared names are, so it is made without derivatives."""
    # The last state stands for all texts that have left the tree.
    tree: list[dict[str, int]] = [{}]
    ends: set[int] = set()
    for text in texts:
        state = 0
        for char in text:
            if char not in tree[state]:
                tree[state][char] = len(tree)
                tree.append({})
            state = tree[state][char]
        ends.add(state)
    if len(tree) >= MAX_STATES:
        raise TooLargeError
    tick(1 + len(tree) // 4)
    # States with the same future are one. A state was made after those that lead to it, so futures come last.
    same: list[int] = list(range(len(tree)))
    known: dict[tuple[object, ...], int] = {}
    for state in reversed(range(len(tree))):
        tree[state] = {char: same[after] for char, after in sorted(tree[state].items())}
        same[state] = known.setdefault((state in ends, tuple(tree[state].items())), state)
    kept = [state for state in range(len(tree)) if same[state] == state]
    numbers = {state: number for number, state in enumerate(sorted(kept, key=lambda state: state != same[0]))}
    free = len(kept)
    everything = without(((0, LAST),), _SURROGATES)
    moves: list[tuple[tuple[Ranges, int], ...]] = []
    for state in numbers:
        own = [(((ord(char), ord(char)),), numbers[after]) for char, after in tree[state].items()]
        rest = without(everything, [ranges[0] for ranges, _ in own])
        moves.append(((rest, free), *own))
    moves.append(((everything, free),))
    return Automaton(tuple(moves), (*(state not in ends for state in numbers), True))


def is_empty(node: Node) -> bool:
    """Whether a regular node matches no text. Raises TooLargeError."""
    return not _has_text(node) if is_plain(node) else not automaton(node).accepts


def _has_text(node: Node) -> bool:
    """Whether a plain node matches anything."""
    if isinstance(node, Sequence):
        return all(map(_has_text, node.items))
    if isinstance(node, Choice):
        return any(map(_has_text, node.items))
    if isinstance(node, Repeat):
        return node.low == 0 or _has_text(node.item)
    return True


def matches(node: Node, text: str) -> bool:
    """Whether a regular node matches the whole text."""
    state = _normal(node)
    for char in text:
        state = _derivative(state, ord(char))
        if state == NOTHING:
            return False
    return _nullable(state)


@functools.lru_cache(maxsize=1 << 14)
def is_plain(node: Node) -> bool:
    """Whether a node is made without intersection, complement and multiples, so that it can be written as it is."""
    return not isinstance(node, And | Not | Except | Multiple) and all(map(is_plain, children(node)))


@functools.lru_cache(maxsize=1 << 14)
def lengths(node: Node) -> tuple[int, int | None]:
    """Least and most characters of what a node matches; bounds that may be wide where it intersects."""
    if isinstance(node, Literal):
        return len(node.text), len(node.text)
    if isinstance(node, Chars):
        return 1, 1
    if isinstance(node, Sequence):
        parts = [lengths(item) for item in node.items]
        most = [high for _, high in parts if high is not None]
        return sum(low for low, _ in parts), sum(most) if len(most) == len(parts) else None
    if isinstance(node, Choice):
        parts = [lengths(item) for item in node.items] or [(0, 0)]
        most = [high for _, high in parts if high is not None]
        return min(low for low, _ in parts), max(most) if len(most) == len(parts) else None
    if isinstance(node, Repeat):
        low, high = lengths(node.item)
        return low * node.low, 0 if high == 0 else None if high is None or node.high is None else high * node.high
    return 0, None


def ranges_of(node: Chars) -> Ranges:
    """The code points a node of characters stands for, surrogates left out."""
    ranges = merged(node.ranges)
    return without(((0, LAST),), (*ranges, *_SURROGATES)) if node.negated else without(ranges, _SURROGATES)


def merged(ranges: Iterable[tuple[int, int]]) -> Ranges:
    """Sorted, and neighbours joined."""
    out: list[tuple[int, int]] = []
    for low, high in sorted(ranges):
        if out and low <= out[-1][1] + 1:
            out[-1] = (out[-1][0], max(high, out[-1][1]))
        else:
            out.append((low, high))
    return tuple(out)


def without(ranges: Iterable[tuple[int, int]], other: Iterable[tuple[int, int]]) -> Ranges:
    """What is left of sorted ranges."""
    out: list[tuple[int, int]] = []
    cuts = merged(other)
    for low, high in ranges:
        start = low
        for first, last in cuts:
            if last < start or first > high:
                continue
            if first > start:
                out.append((start, first - 1))
            start = last + 1
        if start <= high:
            out.append((start, high))
    return tuple(out)


_SURROGATES = ((0xD800, 0xDFFF),)


def _trimmed(moves: list[list[tuple[Ranges, int]]], accepts: list[bool]) -> Automaton:
    """Only states from which some text is accepted."""
    before: list[list[int]] = [[] for _ in moves]
    for state, ways in enumerate(moves):
        for _, after in ways:
            before[after].append(state)
    alive = {state for state, accept in enumerate(accepts) if accept}
    pending = list(alive)
    while pending:
        for state in before[pending.pop()]:
            if state not in alive:
                alive.add(state)
                pending.append(state)
    if 0 not in alive:
        return Automaton((), ())
    numbers = {state: number for number, state in enumerate(sorted(alive))}
    kept = (tuple((ranges, numbers[after]) for ranges, after in moves[state] if after in alive) for state in numbers)
    return Automaton(tuple(kept), tuple(accepts[state] for state in numbers))


# -- derivatives ---------------------------------------------------------------------------------------------
# Nodes here are in a normal form: choices and intersections flat, sorted, without doubles. It is what makes the
# number of derivatives finite.


def _normal(node: Node) -> Node:
    if isinstance(node, Literal | Chars | Except | Multiple):
        return node
    if isinstance(node, Sequence):
        return _cat([_normal(item) for item in node.items])
    if isinstance(node, Choice):
        return _alt([_normal(item) for item in node.items])
    if isinstance(node, And):
        return _both([_normal(item) for item in node.items])
    if isinstance(node, Not):
        return _not(_normal(node.item))
    if isinstance(node, Repeat):
        return _repeat(_normal(node.item), node.low, node.high)
    raise AssertionError(f"{type(node).__name__} is not regular")


def _cat(items: list[Node]) -> Node:
    flat: list[Node] = []
    for item in items:
        flat.extend(item.items if isinstance(item, Sequence) else (item,))
    if NOTHING in flat:
        return NOTHING
    return flat[0] if len(flat) == 1 else Sequence(tuple(flat))


def _alt(items: Iterable[Node]) -> Node:
    flat: dict[Node, None] = {}
    for item in items:
        flat.update(dict.fromkeys(item.items if isinstance(item, Choice) else (item,)))
    if EVERYTHING in flat:
        return EVERYTHING
    return next(iter(flat)) if len(flat) == 1 else Choice(tuple(sorted(flat, key=hash)))


def _both(items: Iterable[Node]) -> Node:
    flat: dict[Node, None] = {}
    for item in items:
        flat.update(dict.fromkeys(item.items if isinstance(item, And) else (item,)))
    if NOTHING in flat:
        return NOTHING
    flat.pop(EVERYTHING, None)
    if not flat:
        return EVERYTHING
    return next(iter(flat)) if len(flat) == 1 else And(tuple(sorted(flat, key=hash)))


def _not(item: Node) -> Node:
    return item.item if isinstance(item, Not) else Not(item)


def _repeat(item: Node, low: int, high: int | None) -> Node:
    if high == 0 or item == EMPTY:
        return EMPTY
    if item == NOTHING:
        return NOTHING if low else EMPTY
    if (low, high) == (0, None) and isinstance(item, Chars) and item.negated and not item.ranges:
        return EVERYTHING
    return item if (low, high) == (1, 1) else Repeat(item, low, high)


@functools.lru_cache(maxsize=1 << 16)
def _nullable(node: Node) -> bool:
    if isinstance(node, Sequence | And):
        return all(map(_nullable, node.items))
    if isinstance(node, Choice):
        return any(map(_nullable, node.items))
    if isinstance(node, Repeat):
        return node.low == 0 or _nullable(node.item)
    if isinstance(node, Not):
        return not _nullable(node.item)
    if isinstance(node, Except):
        return node.texts[0] != ""
    return isinstance(node, Multiple) and node.rest * 10**node.places % node.divisor == 0


@functools.lru_cache(maxsize=1 << 15)
def _derivative(node: Node, code: int) -> Node:
    if isinstance(node, Literal):
        return EMPTY if node.text == chr(code) else Literal(node.text[1:]) if ord(node.text[0]) == code else NOTHING
    if isinstance(node, Chars):
        return EMPTY if any(low <= code <= high for low, high in node.ranges) != node.negated else NOTHING
    if isinstance(node, Multiple):
        return _after_digit(node, code)
    if isinstance(node, Except):
        rest = tuple(text[1:] for text in node.texts if text and ord(text[0]) == code)
        return Except(rest) if rest else EVERYTHING
    if isinstance(node, Choice):
        return _alt(_derivative(item, code) for item in node.items)
    if isinstance(node, And):
        return _both(_derivative(item, code) for item in node.items)
    if isinstance(node, Not):
        return _not(_derivative(node.item, code))
    if isinstance(node, Repeat):
        first = _derivative(node.item, code)
        high = None if node.high is None else node.high - 1
        return _cat([first, _repeat(node.item, max(0, node.low - 1), high)])
    assert isinstance(node, Sequence)
    ways: list[Node] = []
    for number, item in enumerate(node.items):
        ways.append(_cat([_derivative(item, code), *node.items[number + 1 :]]))
        if not _nullable(item):
            break
    return _alt(ways)


def _after_digit(node: Multiple, code: int) -> Node:
    if code == _POINT:
        return NOTHING if node.point else Multiple(node.divisor, node.places, node.rest, point=True)
    if not 48 <= code <= 57:
        return NOTHING
    if node.point and node.places == 0:
        return node if code == 48 else NOTHING
    return Multiple(node.divisor, node.places - node.point, (node.rest * 10 + code - 48) % node.divisor, node.point)


def _classes(node: Node) -> list[Ranges]:
    """Sets of characters by which the derivatives are the same."""
    return _partition(_leading(node))


@functools.lru_cache(maxsize=1 << 12)
def _partition(leading: frozenset[Ranges]) -> list[Ranges]:
    sets = sorted(leading)
    edges = sorted({0, 0xD800, 0xE000, *(e for ranges in sets for low, high in ranges for e in (low, high + 1))})
    found: dict[tuple[int, ...], list[tuple[int, int]]] = {}
    inside: dict[int, tuple[int, ...]] = {}
    marks: dict[int, list[tuple[int, bool]]] = {}
    for number, ranges in enumerate(sets):
        for low, high in ranges:
            marks.setdefault(low, []).append((number, True))
            marks.setdefault(high + 1, []).append((number, False))
    active: set[int] = set()
    for edge in edges:
        for number, begins in sorted(marks.get(edge, ()), key=lambda mark: mark[1]):
            active.symmetric_difference_update({number})
            assert (number in active) == begins
        inside[edge] = tuple(sorted(active))
    for edge, after in zip(edges, [*edges[1:], LAST + 1], strict=True):
        if edge <= LAST and not 0xD800 <= edge < 0xE000:
            found.setdefault(inside[edge], []).append((edge, after - 1))
    return [tuple(ranges) for ranges in found.values()]


@functools.lru_cache(maxsize=1 << 14)
def _leading(node: Node) -> frozenset[Ranges]:
    """The sets of characters that a text of the node may begin with."""
    if isinstance(node, Literal):
        return frozenset({((ord(node.text[0]), ord(node.text[0])),)})
    if isinstance(node, Chars):
        return frozenset({merged(node.ranges)}) if node.ranges else frozenset()
    if isinstance(node, Except):
        return frozenset(((ord(text[0]), ord(text[0])),) for text in node.texts if text)
    if isinstance(node, Multiple):
        return frozenset(((code, code),) for code in (_POINT, *range(48, 58)))
    if isinstance(node, Sequence):
        found: frozenset[Ranges] = frozenset()
        for item in node.items:
            found |= _leading(item)
            if not _nullable(item):
                break
        return found
    return frozenset().union(*map(_leading, children(node)))


# -- and back ------------------------------------------------------------------------------------------------


def expression(machine: Automaton, most: int) -> Node | None:
    """A plain node for an automaton, by eliminating its states one by one; None when it takes over `most` nodes."""
    machine = _minimal(machine)
    start, end = -1, -2
    edges: dict[tuple[int, int], tuple[Node, int]] = {(start, 0): (EMPTY, 0)}

    def add(pair: tuple[int, int], node: Node, size: int) -> None:
        before = edges.get(pair)
        edges[pair] = (choice(before[0], node), before[1] + size) if before else (node, size)

    for state, (moves, accepts) in enumerate(zip(machine.moves, machine.accepts, strict=True)):
        for ranges, after in moves:
            add((state, after), Chars(ranges), 1)
        if accepts:
            add((state, end), EMPTY, 0)
    left = set(range(len(machine.accepts)))
    while left:
        state = min(left, key=lambda s: (sum(b == s for _, b in edges) * sum(a == s for a, _ in edges), s))
        left.remove(state)
        loop = edges.pop((state, state), None)
        turns = (Repeat(loop[0], 0, None), loop[1]) if loop else (EMPTY, 0)
        into = [(a, edges.pop((a, b))) for a, b in list(edges) if b == state]
        out = [(b, edges.pop((a, b))) for a, b in list(edges) if a == state]
        for a, (first, size) in into:
            for b, (last, other) in out:
                add((a, b), sequence(first, turns[0], last), size + turns[1] + other)
        if sum(size for _, size in edges.values()) > most:
            return None
    return edges[start, end][0] if (start, end) in edges else NOTHING


def _minimal(machine: Automaton) -> Automaton:
    """The same language with the fewest states (Moore): states that nothing tells apart are one."""
    block = [int(accepts) for accepts in machine.accepts]
    while True:
        marks: dict[tuple[object, ...], int] = {}
        after = []
        for state, moves in enumerate(machine.moves):
            by_block: dict[int, list[tuple[int, int]]] = {}
            for ranges, target in moves:
                by_block.setdefault(block[target], []).extend(ranges)
            mark = (block[state], tuple(sorted((merged(ranges), b) for b, ranges in by_block.items())))
            after.append(marks.setdefault(mark, len(marks)))
        if len(marks) == len(set(block)):
            break
        block = after
    # Block numbers in order of their first state: the start stays 0.
    numbers = {old: new for new, old in enumerate(dict.fromkeys(block))}
    first = {numbers[block[state]]: state for state in reversed(range(len(block)))}
    moves_of = []
    for number in range(len(numbers)):
        joined: dict[int, list[tuple[int, int]]] = {}
        for ranges, target in machine.moves[first[number]]:
            joined.setdefault(numbers[block[target]], []).extend(ranges)
        moves_of.append(tuple((merged(ranges), target) for target, ranges in joined.items()))
    return Automaton(tuple(moves_of), tuple(machine.accepts[first[number]] for number in range(len(numbers))))
