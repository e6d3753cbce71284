"""Rule graph → Lark text, as llguidance executes it.

llguidance cuts text into lexemes, longest first, before its parser sees them. That is exact as long as no
lexeme can be continued into another one where the grammar would have them apart. The compiler sees to it: it
cuts only at JSON's own boundaries (`Token`), always at the same ones, and every value ends where no value can
go on.
"""

from __future__ import annotations

import re

from edgefc.grammar import strings
from edgefc.grammar.automata import automaton, expression
from edgefc.grammar.rules import (
    And,
    Chars,
    Choice,
    Control,
    Except,
    Literal,
    Multiple,
    Node,
    Not,
    Quoted,
    Ref,
    Repeat,
    Rules,
    Sequence,
    Token,
    Without,
    children,
    sequence,
)

_QUOTE = Literal('"')
MAX_EXPRESSION = 2_000  # characters' classes of a regular expression made from an automaton


class LarkWriter:
    def __init__(self, rules: Rules) -> None:
        self._rules = rules
        self._names = {name: f"r{number}" for number, name in enumerate(rules)}
        self._names["root"] = "start"
        self._terminals: dict[Node, str] = {}
        self._machines: dict[Node, str] = {}
        self._lines: list[str] = []

    def text(self) -> str:
        """The grammar; rules are numbered in the graph's order, `root` is `start`."""
        lines = [f"{self._names[name]}: {self._rule(node)}" for name, node in self._rules.items()]
        lines += self._lines
        lines += [f"{name}: {_terminal(node)}" for node, name in self._terminals.items()]
        return "\n".join(lines) + "\n"

    def _rule(self, node: Node, *, inner: bool = False) -> str:
        if isinstance(node, Ref):
            return self._names[node.name]
        if isinstance(node, Sequence):
            if not node.items:
                return '""'
            text = " ".join(self._rule(item, inner=True) for item in node.items)
            return f"({text})" if inner and len(node.items) > 1 else text
        if isinstance(node, Choice):
            text = " | ".join(self._rule(item, inner=True) for item in node.items)
            return f"({text})" if inner else text
        if isinstance(node, Repeat):
            return self._rule(node.item, inner=True) + _count(node.low, node.high)
        if isinstance(node, Control):
            return f"<[{node.id}]>"
        item = node.item if isinstance(node, Token) else node
        if _counts_remainders(item):
            return self._machine(item)
        return self._terminals.setdefault(item, f"T{len(self._terminals)}")

    def _machine(self, node: Node) -> str:
        """An automaton as a lexeme, or as rules of single characters where that would be too long.

        Where another number may stand at the same place, the lexer prefers that one's longer lexemes, and what only
        the automaton allows may be lost; nothing is gained.
        """
        if node not in self._machines:
            machine = automaton(node)
            if (plain := expression(machine, MAX_EXPRESSION)) is not None:
                return self._terminals.setdefault(plain, f"T{len(self._terminals)}")
            prefix = f"m{len(self._machines)}"
            self._machines[node] = f"{prefix}_0"
            for number, (moves, accepts) in enumerate(zip(machine.moves, machine.accepts, strict=True)):
                ways = [f"{self._rule(Chars(ranges))} {prefix}_{after}" for ranges, after in moves]
                if accepts:
                    ways.append('""')
                self._lines.append(f"{prefix}_{number}: {' | '.join(ways)}")
        return self._machines[node]


def _counts_remainders(node: Node) -> bool:
    return isinstance(node, Multiple) or any(map(_counts_remainders, children(node)))


def _terminal(node: Node) -> str:
    """A lexeme's definition. Intersection and complement exist only outside of regular expressions."""
    if isinstance(node, Quoted):
        return _terminal(sequence(_QUOTE, strings.spelled(node.item), _QUOTE))
    if isinstance(node, Without):
        parts = ["/[^\\x{0}]+/", *(f"~/(?s:.*){_quote(text)}(?s:.*)/" for text in node.markers)]
        if node.not_first:
            parts.append(f"~/[ \\n\\r\\t]*(?:{'|'.join(map(_quote, node.not_first))})(?s:.*)/")
        return " & ".join(parts)
    if not _is_composed(node):
        return f"/{_regex(node) or '(?:)'}/"
    if isinstance(node, Sequence):
        return " ".join(_part(item) for item in node.items)
    if isinstance(node, Choice):
        return " | ".join(_part(item) for item in node.items)
    if isinstance(node, And):
        return " & ".join(_part(item) for item in node.items)
    if isinstance(node, Not):
        return f"~{_part(node.item)}"
    assert isinstance(node, Repeat)
    return f"{_part(node.item)}{_count(node.low, node.high)}"


def _part(node: Node) -> str:
    text = _terminal(node)
    return f"({text})" if _is_composed(node) else text


def _is_composed(node: Node) -> bool:
    """Whether a node is no regular expression by itself."""
    return isinstance(node, Without | And | Not | Except | Quoted) or any(map(_is_composed, children(node)))


def _regex(node: Node, *, inner: bool = False) -> str:
    """A regular node in the syntax of Rust's regex crate, without the slashes."""
    if isinstance(node, Literal):
        text = _quote(node.text)
        return f"(?:{text})" if inner and len(node.text) > 1 else text
    if isinstance(node, Chars):
        body = "".join(_span(low, high) for low, high in node.ranges)
        return f"[{'^' if node.negated else ''}{body}]"
    if isinstance(node, Sequence):
        text = "".join(_regex(item, inner=isinstance(item, Choice)) for item in node.items)
        return f"(?:{text})" if inner else text
    if isinstance(node, Choice):
        text = "|".join(_regex(item) for item in node.items)
        return f"(?:{text})" if inner else text
    if isinstance(node, Repeat):
        text = _regex(node.item, inner=True) + _count(node.low, node.high)
        return f"(?:{text})" if inner else text
    if isinstance(node, Token):
        return _regex(node.item, inner=inner)
    raise AssertionError(f"{type(node).__name__} is not regular")


_SHORT = {(0, 1): "?", (0, None): "*", (1, None): "+", (1, 1): ""}


def _count(low: int, high: int | None) -> str:
    return _SHORT.get((low, high), f"{{{low},{'' if high is None else high}}}")


def _span(low: int, high: int) -> str:
    return _code(low) if low == high else f"{_code(low)}-{_code(high)}"


_SPECIAL = re.compile(r"[^A-Za-z0-9 _,:]")


def _quote(text: str) -> str:
    return _SPECIAL.sub(lambda found: _code(ord(found[0])), text)


def _code(code: int) -> str:
    return f"\\x{{{code:X}}}" if _SPECIAL.match(chr(code)) else chr(code)
