"""Automata of intersections, checked with derivatives of whole texts; what they cost, in states and steps."""

from __future__ import annotations

import itertools
import random

import pytest

from edgefc.grammar import deadline, machines, numbers
from edgefc.grammar.automata import Automaton, TooLargeError, automaton, common, is_empty
from edgefc.grammar.derivatives import matches, normal_form
from edgefc.grammar.rules import (
    ANY_CHAR,
    ANY_TEXT,
    EMPTY,
    NOTHING,
    And,
    Chars,
    Choice,
    Literal,
    Node,
    NoneOf,
    Not,
    Repeat,
    Sequence,
)

LETTERS = "abc"
TEXTS = ["".join(letters) for size in range(5) for letters in itertools.product(LETTERS, repeat=size)]


def random_node(rng: random.Random, depth: int) -> Node:
    if depth == 0 or rng.random() < 0.2:
        leaves: list[Node] = [
            Literal(rng.choice(["a", "b", "ab", "bca"])),
            Chars(((97, 98),)),
            Chars(((98, 98),), negated=True),
            NoneOf(("a", "ab")),
            NoneOf(("", "cab")),
            ANY_TEXT,
            EMPTY,
            NOTHING,
        ]
        return rng.choice(leaves)
    parts = tuple(random_node(rng, depth - 1) for _ in range(rng.randint(1, 3)))
    low = rng.randint(0, 2)
    return rng.choice(
        [And(parts), And(parts), Choice(parts), Not(parts[0]), Sequence(parts), Repeat(parts[0], low, rng.choice([None, low + 1]))]
    )  # fmt: skip


def accepts(machine: Automaton, text: str) -> bool:
    state = 0
    for code in map(ord, text):
        targets = [to for ranges, to in machine.moves[state] if any(low <= code <= high for low, high in ranges)]
        assert len(targets) <= 1
        if not targets:
            return False
        state = targets[0]
    return machine.accepts[state]


@pytest.mark.parametrize("seed", range(150))
def test_an_automaton_accepts_what_derivatives_match(seed: int) -> None:
    node = random_node(random.Random(seed), 3)
    machine = automaton(node)
    expected = [matches(node, text) for text in TEXTS]
    assert [bool(machine.accepts) and accepts(machine, text) for text in TEXTS] == expected
    assert is_empty(node) == (not machine.accepts)


@pytest.mark.parametrize("seed", range(40))
def test_common_texts_are_those_of_every_intersection(seed: int) -> None:
    rng = random.Random(seed)
    base, others = random_node(rng, 2), [random_node(rng, 2) for _ in range(rng.randint(0, 3))]
    expected = set()
    for matched in itertools.product((True, False), repeat=len(others)):
        parts = [node if is_match else Not(node) for node, is_match in zip(others, matched, strict=True)]
        if not is_empty(And((base, *parts))):
            expected.add(frozenset(itertools.compress(range(len(others)), matched)))
    assert common(base, others) == expected


def test_an_automaton_of_too_many_states_is_refused_each_time() -> None:
    node = And(
        (Sequence((Repeat(ANY_CHAR, 0, None), Literal("a"), Repeat(ANY_CHAR, 20, 20))), Repeat(ANY_CHAR, 0, 4_000))
    )
    for _ in range(2):
        with pytest.raises(TooLargeError):
            is_empty(node)
        with pytest.raises(TooLargeError):
            automaton(node)
    with pytest.raises(TooLargeError):
        is_empty(NoneOf(tuple(f"{number:05}" for number in range(20_000))))


def steps_of(node: Node, times: int = 1) -> int:
    with deadline.deadline(60):
        for _ in range(times):
            is_empty(node)
        budget = deadline._budget.get()
        assert budget is not None
        return budget.steps


def test_steps_are_counted_once_a_schema_whatever_was_compiled_before() -> None:
    node = And((numbers.DECIMAL, numbers.EXACT, Not(numbers.INTEGRAL), Literal("0.125")))
    first = steps_of(node)
    assert first > 0
    assert steps_of(node) == steps_of(node, times=3) == first


def test_a_part_is_derived_once_for_all_intersections(monkeypatch: pytest.MonkeyPatch) -> None:
    part = Sequence((Literal("part "), Repeat(Chars(((97, 122),)), 3, 9)))
    is_empty(And((part, Not(Literal("part abc")))))
    derived: list[Node] = []

    def record(node: Node) -> Node:
        derived.append(node)
        return normal_form(node)

    monkeypatch.setattr("edgefc.grammar.machines.normal_form", record)
    is_empty(And((part, Literal("part abcd"))))
    assert derived == [Literal("part abcd")]


def test_a_part_is_not_kept_once_it_has_grown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machines, "MAX_SHARED", 20)
    part = Sequence((Literal("grown "), Repeat(ANY_CHAR, 30, 30)))
    kept = machines.machine(part)
    assert machines.machine(part) is kept
    assert not is_empty(And((part, Not(Literal("grown ")))))
    assert machines.machine(part) is not kept


def test_patterns_are_split_in_one_walk() -> None:
    """Ten times the patterns cost about ten times the steps, not a power of two of them."""
    patterns: list[Node] = [Sequence((Literal(f"{number}-"), ANY_TEXT)) for number in range(10)]

    def steps(count: int) -> int:
        with deadline.deadline(60):
            sets = common(ANY_TEXT, patterns[:count])
            assert sets == {frozenset(), *(frozenset({number}) for number in range(count))}
            budget = deadline._budget.get()
            assert budget is not None
            return budget.steps

    assert steps(10) < 20 * steps(1)
