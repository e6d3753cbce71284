"""Bounds the text that a grammar forces: bytes that must come next, one after the other, without any choice.

llguidance computes all of them at once, however many they are: an array of a billion equal constants takes minutes.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterator, Mapping
from typing import NamedTuple, assert_never

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
    Rules,
    Sequence,
    children,
)

# Bytes, which are tokenized in one piece: with 20,000 letters, the regular expressions of llama.cpp overflow the stack.
MAX_FORCED = 12 << 10
MIN_SUMMED = 1 << 10  # bytes of a run that is added to those of other rules: they may follow one another
N_BEGIN = 16  # bytes of alternatives that are compared
_MAX = 1 << 60
Text = (Lexeme, QuotedString)  # nodes without references


class _Run(NamedTuple):
    """The forced bytes from the beginning of a node: min(`stop`, `whole` + those that follow the node).

    stop   the most until a choice ends them
    whole  bytes of the node's shortest text without a choice
    begin  the first few of the forced bytes
    """

    stop: int
    whole: int
    begin: bytes = b""

    def before(self, after: int) -> int:
        return min(self.stop, self.whole + after)

    def times(self, count: int) -> _Run:
        return _Run(self.stop, min(_MAX, self.whole * count), self.begin) if count else _EMPTY

    def then(self, other: _Run) -> _Run:
        begin = (self.begin + other.begin)[:N_BEGIN] if len(self.begin) == self.whole else self.begin
        return _Run(self.before(other.stop), min(_MAX, self.whole + other.whole), begin)

    def either(self, other: _Run) -> _Run:
        if _UNKNOWN in (self, other):
            return other if self == _UNKNOWN else self
        shorter = min(len(self.begin), len(other.begin))
        same = next((n for n in range(shorter) if self.begin[n] != other.begin[n]), shorter)
        if same < shorter:
            return _Run(same, _MAX, self.begin[:same])
        return _Run(min(self.stop, other.stop), min(self.whole, other.whole), self.begin[:same])


_EMPTY = _Run(_MAX, 0)
_CHOICE = _Run(0, _MAX)
_UNKNOWN = _Run(_MAX, _MAX)  # of a rule that has not been looked at, and of no text at all


def longest_forced(rules: Rules) -> int:
    """Return an upper bound of the bytes that the grammar forces in a row, at any position of any answer.

    Choices inside of an intersection or a complement are not seen: the lexer's own limits bound those.
    """
    return _Analysis(rules).longest()


def _inner_first(refs: Mapping[str, Collection[str]]) -> list[str]:
    """Order rules so that each comes after those that it refers to, as far as they do not refer to it."""
    order: dict[str, None] = {}
    visited: set[str] = set()
    for start in refs:
        stack = [start]
        while stack:
            name = stack[-1]
            if name in visited:
                stack.pop()
                order[name] = None
                continue
            visited.add(name)
            stack += [one for one in refs[name] if one not in visited]
    return list(order)


class _Analysis:
    """The runs of one grammar's rules: the least fixed point, from above."""

    def __init__(self, rules: Rules) -> None:
        self._rules, self._longest, self._behind = rules, 0, 0
        self._texts: dict[Node, tuple[_Run, int]] = {}  # the run of a text, and the longest one inside of it
        self._runs = dict.fromkeys(rules, _UNKNOWN)
        refs = {name: set(_refs(node)) for name, node in rules.items()}
        users: dict[str, set[str]] = {}
        for name, used in refs.items():
            for one in used:
                users.setdefault(one, set()).add(name)
        waiting = deque(_inner_first(refs))
        is_waiting = set(waiting)
        while waiting:
            name = waiting.popleft()
            is_waiting.discard(name)
            run = self._run(rules[name])
            if run != self._runs[name]:
                self._runs[name] = run
                more = users.get(name, set()) - is_waiting
                is_waiting |= more
                waiting.extend(more)

    def longest(self) -> int:
        """Return the longest run inside of a rule, with all that may follow in the rules that refer to it."""
        longest = behind = 0
        for node in self._rules.values():
            if (bound := self._bound(node)) < MIN_SUMMED:
                longest = max(longest, bound)
                continue
            self._longest = self._behind = 0
            self._measure(node, 0)
            longest = max(longest, self._longest)
            behind += self._behind if self._behind >= MIN_SUMMED else 0
        return longest + behind

    def _run(self, node: Node) -> _Run:
        match node:
            case Lexeme() | QuotedString():
                return self._text(node)[0]
            case Ref():
                return self._runs[node.name]
            case Literal():
                return _constant(node.text)
            case ControlToken():
                return _constant("\0")
            case Chars(ranges, negated):
                is_single = not negated and len({code for span in ranges for code in span}) == 1
                return _constant(chr(ranges[0][0])) if is_single else _CHOICE
            case Sequence():
                run = _EMPTY
                for item in reversed(node.items):
                    run = self._run(item).then(run)
                return run
            case Choice():
                run = _UNKNOWN
                for item in node.items:
                    run = run.either(self._run(item))
                return run
            case Repeat():
                run = self._run(node.item)
                return run.times(node.low) if node.low else _EMPTY.either(run)
            case FreeText() | And() | Not() | NoneOf() | MultipleOf():
                return _CHOICE
            case _:
                assert_never(node)

    def _bound(self, node: Node) -> int:
        """Return an upper bound of the runs that begin inside of a node, up to its end."""
        match node:
            case Sequence():
                return sum(map(self._bound, node.items))
            case Choice():
                return max(map(self._bound, node.items), default=0)
            case Repeat():
                return self._bound(node.item) * max(1, node.low)
            case Lexeme() | QuotedString():
                run, longest = self._text(node)
                return max(longest, min(run.stop, run.whole))
            case _:
                run = self._run(node)
                return min(run.stop, run.whole)

    def _text(self, node: Lexeme | QuotedString) -> tuple[_Run, int]:
        if node not in self._texts:
            before, self._longest = self._longest, 0
            run = self._measure(node.item, 0)
            self._texts[node] = run, self._longest
            self._longest = before
        return self._texts[node]

    def _measure(self, node: Node, after: int) -> _Run:
        """Return the run of a node, behind which `after` bytes follow.

        Raises `_longest` to the runs that begin inside, `_behind` to what follows the references.
        """
        match node:
            case Sequence():
                run = _EMPTY
                behind = after
                for item in reversed(node.items):
                    found = self._measure(item, behind)
                    behind, run = found.before(behind), found.then(run)
            case Choice():
                run = _UNKNOWN
                for item in node.items:
                    run = run.either(self._measure(item, after))
            case Repeat():
                rest = self._run(node.item).times(node.low - 1).before(after) if node.low > 1 else after
                run = self._measure(node.item, rest)
                run = run.times(node.low) if node.low else _EMPTY.either(run)
            case Ref():
                run = self._run(node)
                self._behind = max(self._behind, after)
            case Lexeme() | QuotedString():
                run, longest = self._text(node)
                self._longest = max(self._longest, longest + after if longest >= MIN_SUMMED else longest)
            case _:
                run = self._run(node)
        self._longest = max(self._longest, run.before(after))
        return run


def _constant(text: str) -> _Run:
    data = text.encode("utf-8", "surrogatepass")
    return _Run(_MAX, len(data), data[:N_BEGIN])


def _refs(node: Node) -> Iterator[str]:
    if isinstance(node, Ref):
        yield node.name
    elif not isinstance(node, Text):
        for child in children(node):
            yield from _refs(child)
