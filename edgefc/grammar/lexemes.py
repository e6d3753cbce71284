"""Divides a grammar that others wrote into lexemes, as llguidance needs them.

llguidance splits a text into the longest lexemes, and does not go back. Where a lexeme could go on with what the
grammar wants after it, a text that the grammar allows would be refused. If that cannot happen, regular parts are
lexemes, which makes masks a hundred times faster; otherwise every character is one, for which nothing is to decide.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress

from edgefc.grammar.automata import Automaton, TooLargeError, automaton
from edgefc.grammar.char_ranges import Ranges, merge
from edgefc.grammar.deadline import OutOfStepsError, OutOfTimeError, deadline, step_limit, tick
from edgefc.grammar.lark import LarkWriter
from edgefc.grammar.rules import (
    Choice,
    Lexeme,
    Literal,
    Node,
    Ref,
    Repeat,
    Rules,
    Sequence,
    choice,
    is_empty_text,
    references,
    sequence,
)

MAX_SIZE = 1_000  # parts of a lexeme
MAX_DEPTH = 40  # of parts in one another
MAX_STEPS = 50_000  # of work on lexemes; with more, every character is one
DEADLINE_S = 0.5  # the same, in time: both ways allow the same texts


def divided_lark(rules: Rules) -> str:
    """Return the Lark of a grammar without lexemes of its own, which allows the same texts as its rules."""
    rules = {name: _without_tail_recursion(name, node) for name, node in rules.items()}
    for joins_items in (True, False):
        with suppress(TooLargeError, OutOfStepsError, OutOfTimeError), deadline(DEADLINE_S), step_limit(MAX_STEPS):
            divided = _divided(rules, joins_items=joins_items)
            if not _Conflicts(divided).found():
                return LarkWriter(divided).text()
    return LarkWriter({name: _characters(node) for name, node in rules.items()}).text()


def _characters(node: Node) -> Node:
    """Return a node with a literal for each character."""
    match node:
        case Literal():
            return sequence(*map(Literal, node.text))
        case Sequence():
            return sequence(*map(_characters, node.items))
        case Choice():
            return Choice(tuple(map(_characters, node.items)))
        case Repeat():
            return Repeat(_characters(node.item), node.low, node.high)
        case _:
            return node


def _without_tail_recursion(name: str, node: Node) -> Node:
    """Return a rule that uses itself at the end of alternatives, or at their beginning, as a repetition; others as is.

    `x: a x | b` is `a* b`. llguidance would keep all of an answer's repetitions in mind.
    """
    for side in (-1, 0):
        repeated: list[Node] = []
        once: list[Node] = []
        for alternative in node.items if isinstance(node, Choice) else (node,):
            items = alternative.items if isinstance(alternative, Sequence) else (alternative,)
            if name not in references(alternative):
                once.append(alternative)
                continue
            rest = Sequence(items[:-1] if side else items[1:])
            if name in references(rest) or items[side] not in (Ref(name), Repeat(Ref(name), 0, 1)) or not rest.items:
                break
            repeated.append(sequence(rest))
            if isinstance(items[side], Repeat):
                once.append(sequence(rest))
        else:
            if repeated and once:
                parts = [Repeat(choice(*repeated), 0, None), choice(*once)]
                return sequence(*parts) if side else sequence(*reversed(parts))
    return node


# -- lexemes of several characters --------------------------------------------------------------------------------


def _divided(rules: Rules, *, joins_items: bool) -> Rules:
    """Return the rules with lexemes of several characters: a rule that does not recurse is one, or a part of one.

    joins_items  so are the items of a sequence together, up to the next rule that recurses
    """
    regular: Rules = {}
    sizes: dict[str, tuple[int, int]] = {}
    for name in _users_last(rules):
        size, depth = _size(rules[name], sizes)
        tick(1 + min(size, MAX_SIZE) // 10)
        if size <= MAX_SIZE and depth <= MAX_DEPTH:
            regular[name], sizes[name] = _inlined(rules[name], regular), (size, depth)
    return {
        name: _lexeme(regular[name]) if name in regular else _with_lexemes(rules[name], regular, joins_items)
        for name in rules
    }


def _users_last(rules: Rules) -> Iterator[str]:
    """Yield the names of rules, each after those that it uses, as far as they do not use one another."""
    visited: set[str] = set()
    for start in rules:
        path = [(start, references(rules[start]))] if start not in visited else []
        visited.add(start)
        while path:
            name, used = path[-1]
            following = next((other for other in used if other not in visited), None)
            if following is None:
                path.pop()
                yield name
            else:
                visited.add(following)
                path.append((following, references(rules[following])))


def _size(node: Node, sizes: dict[str, tuple[int, int]]) -> tuple[int, int]:
    """Return the number of a node's parts and how deep they are in one another, with those of the rules it uses.

    A rule that is not in `sizes` cannot be part of a lexeme, and is larger than all that can.
    """
    match node:
        case Ref():
            return sizes.get(node.name, (MAX_SIZE + 1, 0))
        case Sequence() | Choice():
            parts = [_size(item, sizes) for item in node.items]
            return 1 + sum(size for size, _ in parts), 1 + max((depth for _, depth in parts), default=0)
        case Repeat():
            size, depth = _size(node.item, sizes)
            return 1 + size, 1 + depth
        case _:
            return 1, 1


def _inlined(node: Node, regular: Rules) -> Node:
    """Return a node with rules in place of references to them."""
    match node:
        case Ref():
            return regular[node.name]
        case Sequence():
            return sequence(*(_inlined(item, regular) for item in node.items))
        case Choice():
            return choice(*(_inlined(item, regular) for item in node.items))
        case Repeat():
            return Repeat(_inlined(node.item, regular), node.low, node.high)
        case _:
            return node


def _with_lexemes(node: Node, regular: Rules, joins_items: bool) -> Node:
    """Return a node that uses rules which are no lexemes, with its other parts as lexemes."""
    match node:
        case Sequence():
            items: list[Node] = []
            for item in node.items:
                part = _with_lexemes(item, regular, joins_items)
                if joins_items and isinstance(part, Lexeme) and items and isinstance(last := items[-1], Lexeme):
                    items[-1] = Lexeme(sequence(last.item, part.item))
                else:
                    items.append(part)
            return items[0] if len(items) == 1 else Sequence(tuple(items))
        case Choice():
            parts = [_with_lexemes(item, regular, joins_items) for item in node.items]
            joint = [part.item for part in parts if isinstance(part, Lexeme)]
            others = [part for part in parts if not isinstance(part, Lexeme)]
            return Choice((*([Lexeme(choice(*joint))] if joint else []), *others))
        case Repeat():
            item = _with_lexemes(node.item, regular, joins_items)
            if isinstance(item, Lexeme):
                return Lexeme(Repeat(item.item, node.low, node.high))
            return Repeat(item, node.low, node.high)
        case Ref():
            return _lexeme(regular[node.name]) if node.name in regular else node
        case _:
            return Lexeme(node)


def _lexeme(node: Node) -> Node:
    return node if is_empty_text(node) else Lexeme(node)


class _Conflicts:
    """Finds out whether a lexeme could go on, by itself or as another one, with what may follow it.

    Sets of lexemes are the bits of an integer. Raises TooLargeError, OutOfStepsError or OutOfTimeError.
    """

    def __init__(self, rules: Rules) -> None:
        self._rules = rules
        self._numbers: dict[Lexeme, int] = {}
        self._automata: list[Automaton] = []
        self._next: list[int] = []  # the lexemes that may follow each one
        self._first = dict.fromkeys(rules, 0)
        self._after = dict.fromkeys(rules, 0)
        self._nullable: set[str] = set()

    def found(self) -> bool:
        self._follow()
        starts = [merge([span for ranges, _ in found.moves[0] for span in ranges]) for found in self._automata]
        for one, machine in enumerate(self._automata):
            after = self._next[one]
            following = merge([span for number, spans in enumerate(starts) if after >> number & 1 for span in spans])
            for other in self._automata:
                tick()
                for state, longer in _joint_states(machine, other):
                    tick()
                    if machine.accepts[state] and any(_overlap(ranges, following) for ranges, _ in other.moves[longer]):
                        return True
        return False

    def _follow(self) -> None:
        """Find the lexemes that may follow each one, until nothing changes."""
        before: object = None
        while before != (before := (list(self._next), dict(self._first), dict(self._after), set(self._nullable))):
            for name, node in self._rules.items():
                tick()
                self._first[name], nullable = self._visit(node, self._after[name])
                if nullable:
                    self._nullable.add(name)

    def _visit(self, node: Node, after: int) -> tuple[int, bool]:
        """Return the lexemes that a node may begin with, and whether it may be empty; `after` are those behind it."""
        tick()
        match node:
            case Lexeme():
                number = self._number(node)
                self._next[number] |= after
                return 1 << number, self._automata[number].accepts[0]
            case Ref():
                self._after[node.name] |= after
                return self._first[node.name], node.name in self._nullable
            case Sequence():
                first, nullable = 0, True
                for item in reversed(node.items):
                    begin, may_skip = self._visit(item, after)
                    first, nullable = begin | (first if may_skip else 0), nullable and may_skip
                    after = begin | (after if may_skip else 0)
                return first, nullable
            case Choice():
                parts = [self._visit(item, after) for item in node.items]
                first = 0
                for begin, _ in parts:
                    first |= begin
                return first, any(may_skip for _, may_skip in parts)
            case Repeat():
                first, nullable = self._visit(node.item, after)
                if node.high is None or node.high > 1:
                    self._visit(node.item, after | first)
                return first, nullable or node.low == 0
            case _:
                raise AssertionError(f"{type(node).__name__} is not part of a grammar with lexemes")

    def _number(self, lexeme: Lexeme) -> int:
        if lexeme not in self._numbers:
            found = automaton(lexeme.item)
            if not found.moves:
                raise TooLargeError  # matches nothing
            self._numbers[lexeme] = len(self._numbers)
            self._automata.append(found)
            self._next.append(0)
        return self._numbers[lexeme]


def _joint_states(one: Automaton, other: Automaton) -> Iterator[tuple[int, int]]:
    """Yield the pairs of states in which two automata are after the same text, which is not empty."""
    pending, seen = [(0, 0)], set[tuple[int, int]]()
    while pending:
        state, longer = pending.pop()
        for ranges, target in one.moves[state]:
            for others, following in other.moves[longer]:
                pair = target, following
                if pair not in seen and _overlap(ranges, others):
                    seen.add(pair)
                    pending.append(pair)
                    yield pair


def _overlap(one: Ranges, other: Ranges) -> bool:
    return any(low <= last and first <= high for low, high in one for first, last in other)
