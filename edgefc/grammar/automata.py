"""Regular nodes → deterministic automata, and questions that these answer.

Intersection and complement cost no more than the other operators: see `edgefc.grammar.machines`.
"""

from __future__ import annotations

import functools
from collections.abc import Hashable
from dataclasses import dataclass
from typing import assert_never

from edgefc.grammar.char_ranges import EVERY_CODE, SURROGATES, Ranges, merge, subtract
from edgefc.grammar.deadline import tick, tick_once
from edgefc.grammar.machines import ALL, DEAD, Machine, Trie, is_plain, joint, machine
from edgefc.grammar.rules import (
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
)

MAX_STATES = 20_000
MAX_STEPS = 10_000  # moves between the states of one automaton
EVERY_CHAR = subtract(EVERY_CODE, SURROGATES)


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


@dataclass(frozen=True)
class _Visited:
    """The states of a machine that its start leads to, in the order in which they were found, and the steps it took.

    None: there are too many.
    """

    machine: Machine
    states: tuple[int, ...] | None
    steps: int


def _visited(node: Node) -> tuple[Machine, tuple[int, ...]]:
    """Return the machine of a regular node and its states. Raises TooLargeError."""
    found = _visit(node)
    return found.machine, _counted(node, found)


def _counted(work: Hashable, found: _Visited) -> tuple[int, ...]:
    tick_once(work, found.steps)
    if found.states is None:
        raise TooLargeError
    return found.states


@functools.lru_cache(maxsize=256)
def _visit(node: Node) -> _Visited:
    return _visit_states(machine(node))


def _visit_states(found: Machine) -> _Visited:
    states = {found.start: None} if found.start != DEAD else {}
    pending, moves = list(states), 0
    for state in pending:
        tick(0)
        for target in found.targets(state) if state != ALL else ():
            if target != DEAD:
                moves += 1
                if target not in states:
                    states[target] = None
                    pending.append(target)
        if len(states) > MAX_STATES or moves > MAX_STEPS:
            return _Visited(found, None, (len(states) + moves) // 2)
    return _Visited(found, tuple(pending), 1 + (len(states) + moves) // 2)


@functools.lru_cache(maxsize=64)
def _visit_jointly(base: Node, others: tuple[Node, ...]) -> tuple[_Visited, frozenset[frozenset[int]]]:
    whole = joint(base, list(others))
    found = _visit_states(whole)
    accepting = set(map(whole.accepting, found.states or ()))
    return found, frozenset(frozenset(number - 1 for number in one if number) for one in accepting if 0 in one)


def common(base: Node, others: list[Node]) -> frozenset[frozenset[int]]:
    """Return the sets of the other nodes, by number, that match a text of `base` and are all that do.

    Raises TooLargeError.
    """
    found, sets = _visit_jointly(base, tuple(others))
    _counted((base, *others), found)
    return sets


@functools.lru_cache(maxsize=256)
def automaton(node: Node) -> Automaton:
    """Build the trimmed automaton of a regular node. Raises TooLargeError."""
    if isinstance(node, NoneOf):
        return _complement_of_texts(node)
    found, states = _visited(node)
    numbers = {state: number for number, state in enumerate(states)}
    moves: list[list[tuple[Ranges, int]]] = []
    for state in states:
        if state == ALL:
            moves.append([(EVERY_CHAR, numbers[ALL])])
            continue
        targets: dict[int, list[tuple[int, int]]] = {}
        for target, ranges in zip(found.row(state), found.alphabet.classes, strict=True):
            if target != DEAD:
                targets.setdefault(target, []).extend(ranges)
        moves.append([(merge(ranges), numbers[target]) for target, ranges in targets.items()])
    return _trim(moves, [found.accepts(state) for state in states])


def _complement_of_texts(node: NoneOf) -> Automaton:
    """Build the automaton of NoneOf, whose last state is that of all texts that are like none of these any more."""
    trie = Trie(node.texts)
    if trie.size >= MAX_STATES:
        raise TooLargeError
    tick_once(node, 1 + trie.size // 4)
    numbers = {state: number for number, state in enumerate(trie.nodes)}
    outside = len(numbers)
    moves: list[tuple[tuple[Ranges, int], ...]] = []
    for state in numbers:
        inside = [(((ord(char), ord(char)),), numbers[target]) for char, target in trie.moves[state].items()]
        others = subtract(EVERY_CHAR, [ranges[0] for ranges, _ in inside])
        moves.append(((others, outside), *inside))
    moves.append(((EVERY_CHAR, outside),))
    return Automaton(tuple(moves), (*(state not in trie.ends for state in numbers), True))


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
    if is_plain(node):
        return not _has_text(node)
    if isinstance(node, NoneOf):  # never, but its automaton may be too large
        if sum(map(len, node.texts)) >= MAX_STATES - 1:
            automaton(node)
        return False
    found, states = _visited(node)
    return not any(map(found.accepts, states))


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
