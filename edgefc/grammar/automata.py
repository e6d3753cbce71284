"""Regular nodes → deterministic automata, by derivatives (Brzozowski 1964).

The derivative of a node by a character matches what may follow that character. The derivatives of a node are the
states of its automaton; intersection and complement cost no more than the other operators.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable
from dataclasses import dataclass
from typing import assert_never

from edgefc.grammar.char_ranges import EVERY_CODE, LAST, SURROGATES, Ranges, merge, subtract
from edgefc.grammar.deadline import tick
from edgefc.grammar.rules import (
    EMPTY,
    NOTHING,
    And,
    Chars,
    Choice,
    ControlToken,
    FreeText,
    Lexeme,
    Literal,
    MultipleOf,
    Node,
    NoneOf,
    Not,
    QuotedString,
    Ref,
    Repeat,
    Sequence,
    children,
)

MAX_STATES = 20_000
MAX_STEPS = 10_000  # derivatives of one automaton, about 50 ms
EVERYTHING = Not(NOTHING)
_POINT = ord(".")


class TooLargeError(Exception):
    """An automaton would exceed MAX_STATES or MAX_STEPS."""


@dataclass(frozen=True)
class Automaton:
    """States are numbered from 0, the start; some text is accepted from each. Without states, nothing is accepted.

    moves    for each state, the characters that lead to another one, and its number
    accepts  for each state, whether the text may end there
    """

    moves: tuple[tuple[tuple[Ranges, int], ...], ...]
    accepts: tuple[bool, ...]


@functools.lru_cache(maxsize=512)
def automaton(node: Node) -> Automaton:
    """Build the trimmed automaton of a regular node. Raises TooLargeError."""
    if isinstance(node, NoneOf):
        return _complement_of_texts(node.texts)
    numbers: dict[Node, int] = {(start := _normal_form(node)): 0}
    order, moves, steps = [start], [], 0
    for state in order:
        targets: dict[Node, list[tuple[int, int]]] = {}
        classes = _derivative_classes(_first_chars(state))
        tick(1 + len(classes) // 2)
        for ranges in classes:
            steps += 1
            target = _derivative(state, ranges[0][0])
            if target == NOTHING:
                continue
            targets.setdefault(target, []).extend(ranges)
            if target not in numbers:
                numbers[target] = len(order)
                order.append(target)
        if len(order) > MAX_STATES or steps > MAX_STEPS:
            raise TooLargeError
        moves.append([(merge(ranges), numbers[target]) for target, ranges in targets.items()])
    return _trim(moves, [_nullable(state) for state in order])


def _complement_of_texts(texts: tuple[str, ...]) -> Automaton:
    """Build the automaton of NoneOf directly, from a trie: names of undeclared properties make large ones."""
    trie: list[dict[str, int]] = [{}]
    ends: set[int] = set()
    for text in texts:
        state = 0
        for char in text:
            if char not in trie[state]:
                trie[state][char] = len(trie)
                trie.append({})
            state = trie[state][char]
        ends.add(state)
    if len(trie) >= MAX_STATES:
        raise TooLargeError
    tick(1 + len(trie) // 4)
    # Merge states with the same future. A state is created after those that lead to it, so futures come last.
    merged: list[int] = list(range(len(trie)))
    futures: dict[tuple[object, ...], int] = {}
    for state in reversed(range(len(trie))):
        trie[state] = {char: merged[target] for char, target in sorted(trie[state].items())}
        merged[state] = futures.setdefault((state in ends, tuple(trie[state].items())), state)
    remaining = [state for state in range(len(trie)) if merged[state] == state]
    numbers = {state: number for number, state in enumerate(sorted(remaining, key=lambda state: state != merged[0]))}
    outside = len(remaining)  # one more state, for all texts that have left the trie
    every_char = subtract(EVERY_CODE, SURROGATES)
    moves: list[tuple[tuple[Ranges, int], ...]] = []
    for state in numbers:
        inside = [(((ord(char), ord(char)),), numbers[target]) for char, target in trie[state].items()]
        others = subtract(every_char, [ranges[0] for ranges, _ in inside])
        moves.append(((others, outside), *inside))
    moves.append(((every_char, outside),))
    return Automaton(tuple(moves), (*(state not in ends for state in numbers), True))


def _trim(moves: list[list[tuple[Ranges, int]]], accepts: list[bool]) -> Automaton:
    """Drop the states from which no text is accepted."""
    sources: list[list[int]] = [[] for _ in moves]
    for state, targets in enumerate(moves):
        for _, target in targets:
            sources[target].append(state)
    alive = {state for state, accept in enumerate(accepts) if accept}
    pending = list(alive)
    while pending:
        for state in sources[pending.pop()]:
            if state not in alive:
                alive.add(state)
                pending.append(state)
    if 0 not in alive:
        return Automaton((), ())
    numbers = {state: number for number, state in enumerate(sorted(alive))}
    trimmed = (
        tuple((ranges, numbers[target]) for ranges, target in moves[state] if target in alive) for state in numbers
    )
    return Automaton(tuple(trimmed), tuple(accepts[state] for state in numbers))


def is_empty(node: Node) -> bool:
    """Return whether a regular node matches no text. Raises TooLargeError."""
    return not _has_text(node) if is_plain(node) else not automaton(node).accepts


def _has_text(node: Node) -> bool:
    """Return whether a plain node matches any text."""
    match node:
        case Sequence():
            return all(map(_has_text, node.items))
        case Choice():
            return any(map(_has_text, node.items))
        case Repeat():
            return node.low == 0 or _has_text(node.item)
        case Literal() | Chars() | ControlToken() | Ref() | Lexeme() | FreeText() | QuotedString():
            return True
        case And() | Not() | NoneOf() | MultipleOf():
            raise AssertionError(f"{type(node).__name__} is not plain")
        case _:
            assert_never(node)


def matches(node: Node, text: str) -> bool:
    """Return whether a regular node matches the whole text."""
    state = _normal_form(node)
    for char in text:
        state = _derivative(state, ord(char))
        if state == NOTHING:
            return False
    return _nullable(state)


@functools.lru_cache(maxsize=1 << 14)
def is_plain(node: Node) -> bool:
    """Return whether a node has no intersection, complement or multiple, so that it can be written as it is."""
    match node:
        case And() | Not() | NoneOf() | MultipleOf():
            return False
        case _:
            return all(map(is_plain, children(node)))


@functools.lru_cache(maxsize=1 << 14)
def length_bounds(node: Node) -> tuple[int, int | None]:
    """Return the fewest and most characters of a node's texts; None: no bound. Not tight for intersections."""
    match node:
        case Literal():
            return len(node.text), len(node.text)
        case Chars():
            return 1, 1
        case Sequence():
            parts = [length_bounds(item) for item in node.items]
            most = [high for _, high in parts if high is not None]
            return sum(low for low, _ in parts), sum(most) if len(most) == len(parts) else None
        case Choice():
            parts = [length_bounds(item) for item in node.items] or [(0, 0)]
            most = [high for _, high in parts if high is not None]
            return min(low for low, _ in parts), max(most) if len(most) == len(parts) else None
        case Repeat():
            low, high = length_bounds(node.item)
            if high == 0:
                return low * node.low, 0
            return low * node.low, None if high is None or node.high is None else high * node.high
        case ControlToken() | Ref() | Lexeme() | FreeText() | And() | Not() | NoneOf() | MultipleOf() | QuotedString():
            return 0, None
        case _:
            assert_never(node)


def code_points(node: Chars) -> Ranges:
    """Return the characters that a node stands for, without surrogates."""
    ranges = merge(node.ranges)
    return subtract(EVERY_CODE, (*ranges, *SURROGATES)) if node.negated else subtract(ranges, SURROGATES)


# -- derivatives ---------------------------------------------------------------------------------------------
# Nodes here are in a normal form: choices and intersections are flat, sorted and without duplicates, which makes the
# number of derivatives finite.


def _not_regular(node: Node) -> AssertionError:
    return AssertionError(f"{type(node).__name__} is not regular")


def _normal_form(node: Node) -> Node:
    match node:
        case Literal() | Chars() | NoneOf() | MultipleOf():
            return node
        case Sequence():
            return _concatenate([_normal_form(item) for item in node.items])
        case Choice():
            return _union([_normal_form(item) for item in node.items])
        case And():
            return _intersect([_normal_form(item) for item in node.items])
        case Not():
            return _complement(_normal_form(node.item))
        case Repeat():
            return _repeat(_normal_form(node.item), node.low, node.high)
        case ControlToken() | Ref() | Lexeme() | FreeText() | QuotedString():
            raise _not_regular(node)
        case _:
            assert_never(node)


def _concatenate(items: list[Node]) -> Node:
    flat: list[Node] = []
    for item in items:
        flat.extend(item.items if isinstance(item, Sequence) else (item,))
    if NOTHING in flat:
        return NOTHING
    return flat[0] if len(flat) == 1 else Sequence(tuple(flat))


def _union(items: Iterable[Node]) -> Node:
    flat: dict[Node, None] = {}
    for item in items:
        flat.update(dict.fromkeys(item.items if isinstance(item, Choice) else (item,)))
    if EVERYTHING in flat:
        return EVERYTHING
    return next(iter(flat)) if len(flat) == 1 else Choice(tuple(sorted(flat, key=hash)))


def _intersect(items: Iterable[Node]) -> Node:
    flat: dict[Node, None] = {}
    for item in items:
        flat.update(dict.fromkeys(item.items if isinstance(item, And) else (item,)))
    if NOTHING in flat:
        return NOTHING
    flat.pop(EVERYTHING, None)
    if not flat:
        return EVERYTHING
    return next(iter(flat)) if len(flat) == 1 else And(tuple(sorted(flat, key=hash)))


def _complement(item: Node) -> Node:
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
    """Return whether a node matches the empty text."""
    match node:
        case Literal() | Chars():
            return False
        case Sequence() | And():
            return all(map(_nullable, node.items))
        case Choice():
            return any(map(_nullable, node.items))
        case Repeat():
            return node.low == 0 or _nullable(node.item)
        case Not():
            return not _nullable(node.item)
        case NoneOf():
            return node.texts[0] != ""
        case MultipleOf():
            return bool(node.remainder * 10**node.places % node.divisor == 0)
        case ControlToken() | Ref() | Lexeme() | FreeText() | QuotedString():
            raise _not_regular(node)
        case _:
            assert_never(node)


@functools.lru_cache(maxsize=1 << 15)
def _derivative(node: Node, code: int) -> Node:
    """Return the node of what may follow the character of this code point."""
    match node:
        case Literal():
            if ord(node.text[0]) != code:
                return NOTHING
            return Literal(node.text[1:]) if len(node.text) > 1 else EMPTY
        case Chars():
            return EMPTY if any(low <= code <= high for low, high in node.ranges) != node.negated else NOTHING
        case Sequence():
            branches: list[Node] = []
            for number, item in enumerate(node.items):
                branches.append(_concatenate([_derivative(item, code), *node.items[number + 1 :]]))
                if not _nullable(item):
                    break
            return _union(branches)
        case Choice():
            return _union(_derivative(item, code) for item in node.items)
        case Repeat():
            first = _derivative(node.item, code)
            high = None if node.high is None else node.high - 1
            return _concatenate([first, _repeat(node.item, max(0, node.low - 1), high)])
        case And():
            return _intersect(_derivative(item, code) for item in node.items)
        case Not():
            return _complement(_derivative(node.item, code))
        case NoneOf():
            rest = tuple(text[1:] for text in node.texts if text and ord(text[0]) == code)
            return NoneOf(rest) if rest else EVERYTHING
        case MultipleOf():
            return _after_digit(node, code)
        case ControlToken() | Ref() | Lexeme() | FreeText() | QuotedString():
            raise _not_regular(node)
        case _:
            assert_never(node)


def _after_digit(node: MultipleOf, code: int) -> Node:
    """Return the derivative of a multiple by a digit or the decimal point."""
    if code == _POINT:
        return NOTHING if node.point else MultipleOf(node.divisor, node.places, node.remainder, point=True)
    if not 48 <= code <= 57:
        return NOTHING
    if node.point and node.places == 0:
        return node if code == 48 else NOTHING
    places = node.places - 1 if node.point else node.places
    return MultipleOf(node.divisor, places, (node.remainder * 10 + code - 48) % node.divisor, node.point)


@functools.lru_cache(maxsize=1 << 12)
def _derivative_classes(first_chars: frozenset[Ranges]) -> list[Ranges]:
    """Split all characters into classes by the sets that contain them: within a class, derivatives are equal."""
    sets = sorted(first_chars)
    edges = sorted({0, 0xD800, 0xE000, *(e for ranges in sets for low, high in ranges for e in (low, high + 1))})
    changes: dict[int, list[tuple[int, bool]]] = {}  # the sets that begin or end at an edge
    for number, ranges in enumerate(sets):
        for low, high in ranges:
            changes.setdefault(low, []).append((number, True))
            changes.setdefault(high + 1, []).append((number, False))
    active: set[int] = set()
    active_at: dict[int, tuple[int, ...]] = {}
    for edge in edges:
        for number, begins in sorted(changes.get(edge, ()), key=lambda change: change[1]):
            active.symmetric_difference_update({number})
            assert (number in active) == begins
        active_at[edge] = tuple(sorted(active))
    classes: dict[tuple[int, ...], list[tuple[int, int]]] = {}
    for edge, following in zip(edges, [*edges[1:], LAST + 1], strict=True):
        if edge <= LAST and not 0xD800 <= edge < 0xE000:
            classes.setdefault(active_at[edge], []).append((edge, following - 1))
    return [tuple(ranges) for ranges in classes.values()]


@functools.lru_cache(maxsize=1 << 14)
def _first_chars(node: Node) -> frozenset[Ranges]:
    """Return the sets of characters with which a node's texts may begin."""
    match node:
        case Literal():
            return frozenset({((ord(node.text[0]), ord(node.text[0])),)})
        case Chars():
            return frozenset({merge(node.ranges)}) if node.ranges else frozenset()
        case Sequence():
            found: frozenset[Ranges] = frozenset()
            for item in node.items:
                found |= _first_chars(item)
                if not _nullable(item):
                    break
            return found
        case Choice() | And():
            return frozenset().union(*map(_first_chars, node.items))
        case Repeat() | Not():
            return _first_chars(node.item)
        case NoneOf():
            return frozenset(((ord(text[0]), ord(text[0])),) for text in node.texts if text)
        case MultipleOf():
            return frozenset(((code, code),) for code in (_POINT, *range(48, 58)))
        case ControlToken() | Ref() | Lexeme() | FreeText() | QuotedString():
            raise _not_regular(node)
        case _:
            assert_never(node)
