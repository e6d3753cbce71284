"""Automata → plain nodes, by eliminating states (Brzozowski and McCluskey 1963)."""

from __future__ import annotations

from edgefc.grammar.automata import Automaton
from edgefc.grammar.char_ranges import merge
from edgefc.grammar.rules import EMPTY, NOTHING, Chars, Node, Repeat, choice, sequence


def to_plain_node(machine: Automaton, max_nodes: int) -> Node | None:
    """Return a plain node for an automaton, by removing one state after another; None: more than `max_nodes`."""
    machine = _minimize(machine)
    start, end = -1, -2
    edges: dict[tuple[int, int], tuple[Node, int]] = {(start, 0): (EMPTY, 0)}  # with the number of nodes

    def add(pair: tuple[int, int], node: Node, size: int) -> None:
        before = edges.get(pair)
        edges[pair] = (choice(before[0], node), before[1] + size) if before else (node, size)

    for state, (moves, accepts) in enumerate(zip(machine.moves, machine.accepts, strict=True)):
        for ranges, target in moves:
            add((state, target), Chars(ranges), 1)
        if accepts:
            add((state, end), EMPTY, 0)
    remaining = set(range(len(machine.accepts)))
    while remaining:
        state = min(remaining, key=lambda s: (sum(b == s for _, b in edges) * sum(a == s for a, _ in edges), s))
        remaining.remove(state)
        loop = edges.pop((state, state), None)
        turns = (Repeat(loop[0], 0, None), loop[1]) if loop else (EMPTY, 0)
        into = [(a, edges.pop((a, b))) for a, b in list(edges) if b == state]
        out = [(b, edges.pop((a, b))) for a, b in list(edges) if a == state]
        for a, (first, size) in into:
            for b, (last, other) in out:
                add((a, b), sequence(first, turns[0], last), size + turns[1] + other)
        if sum(size for _, size in edges.values()) > max_nodes:
            return None
    return edges[start, end][0] if (start, end) in edges else NOTHING


def _minimize(machine: Automaton) -> Automaton:
    """Return the automaton with the fewest states for the same language (Moore's partition refinement)."""
    block = [int(accepts) for accepts in machine.accepts]
    while True:
        signatures: dict[tuple[object, ...], int] = {}
        refined = []
        for state, moves in enumerate(machine.moves):
            by_block: dict[int, list[tuple[int, int]]] = {}
            for ranges, target in moves:
                by_block.setdefault(block[target], []).extend(ranges)
            signature = (block[state], tuple(sorted((merge(ranges), b) for b, ranges in by_block.items())))
            refined.append(signatures.setdefault(signature, len(signatures)))
        if len(signatures) == len(set(block)):
            break
        block = refined
    # Number the blocks in the order of their first state, so that the start stays 0.
    numbers = {old: new for new, old in enumerate(dict.fromkeys(block))}
    first = {numbers[block[state]]: state for state in reversed(range(len(block)))}
    moves_of = []
    for number in range(len(numbers)):
        joined: dict[int, list[tuple[int, int]]] = {}
        for ranges, target in machine.moves[first[number]]:
            joined.setdefault(numbers[block[target]], []).extend(ranges)
        moves_of.append(tuple((merge(ranges), target) for target, ranges in joined.items()))
    return Automaton(tuple(moves_of), tuple(machine.accepts[first[number]] for number in range(len(numbers))))
