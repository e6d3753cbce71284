"""Rule graph → Lark text, as llguidance executes it.

llguidance cuts text into lexemes, longest first, before its parser sees them. That is exact as long as no
lexeme can be continued into another one where the grammar would have them apart. The compiler sees to it: it
cuts only at JSON's own boundaries (`Token`), always at the same ones, and every value ends where no value can
go on.
"""

from __future__ import annotations

import re

from edgefc.grammar.rules import (
    Chars,
    Choice,
    Literal,
    Node,
    Ref,
    Repeat,
    Rules,
    Sequence,
    Token,
    Without,
)


class LarkWriter:
    def __init__(self, rules: Rules) -> None:
        self._rules = rules
        self._names = {name: f"r{number}" for number, name in enumerate(rules)}
        self._names["root"] = "start"
        self._terminals: dict[Node, str] = {}

    def text(self) -> str:
        """The grammar; rules are numbered in the graph's order, `root` is `start`."""
        lines = [f"{self._names[name]}: {self._rule(node)}" for name, node in self._rules.items()]
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
        item = node.item if isinstance(node, Token) else node
        return self._terminals.setdefault(item, f"T{len(self._terminals)}")


def _terminal(node: Node) -> str:
    """A lexeme's definition. Intersection and complement exist only between whole lexemes."""
    if isinstance(node, Without):
        return f"/[^\\x{{0}}]+/ & ~/(?s:.*){_quote(node.marker)}(?s:.*)/"
    if isinstance(node, Sequence) and any(
        isinstance(item, Without | Repeat) and _has_without(item) for item in node.items
    ):
        return " ".join(_terminal_part(item) for item in node.items)
    return f"/{_regex(node)}/"


def _terminal_part(node: Node) -> str:
    if isinstance(node, Without):
        return f"({_terminal(node)})"
    if isinstance(node, Repeat) and _has_without(node):
        items = node.item.items if isinstance(node.item, Sequence) else (node.item,)
        return f"({' '.join(_terminal_part(item) for item in items)}){_count(node.low, node.high)}"
    return f"/{_regex(node)}/"


def _has_without(node: Node) -> bool:
    if isinstance(node, Repeat):
        return _has_without(node.item)
    return isinstance(node, Without) or (isinstance(node, Sequence) and any(map(_has_without, node.items)))


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
