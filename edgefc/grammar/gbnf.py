"""Rule graph → GBNF text, as llama.cpp's own sampler reads it.

llama.cpp refuses a repetition above 2,000 and multiplies nested ones, so long counts are written as groups of
groups, each a rule of its own; no NUL can stand in its text, so one is written as an escape.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from edgefc.grammar import numbers, strings
from edgefc.grammar.automata import Ranges, automaton, is_plain
from edgefc.grammar.deadline import tick
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
    excluding,
    sequence,
)

MAX_REPEAT = 500
MAX_INLINE = 150  # a longer string is a rule of its own
_QUOTE = Literal('"')


class GbnfWriter:
    """Writes one grammar; rules it needs besides the graph's own are numbered after the rule they serve."""

    def __init__(self, rules: Rules) -> None:
        self._rules = rules
        self._lines: dict[str, str] = {}
        self._helpers: dict[str, str] = {}
        self._numbers: dict[str, int] = {}
        # What stands everywhere gets a name, so that the text stays readable.
        self._shared: dict[Node, str] = {}
        self._common: dict[Node, str] = {
            strings.CHARACTER: "char",
            strings.ESCAPED: "escape",
            numbers.number(): "number",
        }
        self._owner = "root"
        self._states = 0
        self._leaves: dict[tuple[Ranges, bool], str] = {}

    def text(self) -> str:
        """The grammar, `root` first, one rule a line; the same graph gives the same text."""
        for name, node in self._rules.items():
            tick()
            self._owner = name
            self._lines[name] = ""  # keeps the order: a rule before its helpers
            self._lines[name] = self._write(node)
        return "".join(f"{name} ::= {body}\n" for name, body in self._lines.items())

    def _write(self, node: Node, *, inner: bool = False) -> str:
        """A node's text; `inner` asks for one that a repetition or sequence may stand around."""
        if isinstance(node, Token):
            return self._write(node.item, inner=inner)
        if isinstance(node, Literal | Control):
            return _literal(node.text)
        if isinstance(node, Ref):
            return node.name
        if isinstance(node, Chars):
            body = "".join(_span(low, high) for low, high in node.ranges)
            return f"[{'^' if node.negated else ''}{body}]"
        if isinstance(node, Quoted):
            text = self._quoted(node.item)
            return f"({text})" if inner else text
        if isinstance(node, And | Not | Except | Multiple):
            return self._automaton(node, Chars)
        if name := self._common.get(node):
            if name not in self._lines:
                self._lines[name] = ""
                del self._common[node]
                self._lines[name] = self._write(node)
                self._common[node] = name
            return name
        if isinstance(node, Without):
            one = len(node.markers) == 1 and not node.not_first
            return self._without(node, node.markers[0]) if one else self._automaton(excluding(node), Chars)
        if isinstance(node, Sequence):
            items = _joined(node.items)
            if not items:
                return '""'
            text = " ".join(self._write(item, inner=True) for item in items)
            return f"({text})" if inner and len(items) > 1 else text
        if isinstance(node, Choice):
            text = " | ".join(self._write(item) for item in node.items)
            return f"({text})" if inner else text
        return self._repeat(node)

    def _repeat(self, node: Repeat) -> str:
        item = self._write(node.item, inner=True)
        if isinstance(node.item, Repeat):
            item = f"({item})"
        if (node.low, node.high) in _SHORT:
            return item + _SHORT[node.low, node.high]
        if max(node.low, node.high or 0) <= MAX_REPEAT:
            return f"{item}{_count(node.low, node.high)}"
        # The item becomes a rule so that its text stands once, whatever the count.
        unit = self._helper(node.item, item)
        parts = [self._exactly(unit, node.low)] if node.low else []
        if node.high is None:
            parts.append(f"{unit}*")
        elif node.high > node.low:
            parts.append(self._up_to(unit, node.high - node.low))
        return f"({' '.join(parts)})"

    def _exactly(self, unit: str, count: int) -> str:
        """`count` units: groups of MAX_REPEAT, and what remains."""
        if count <= MAX_REPEAT:
            return f"{unit}{_count(count, count)}"
        group = self._named(f"{unit}{_count(MAX_REPEAT, MAX_REPEAT)}")
        rest = count % MAX_REPEAT
        tail = f" {unit}{_count(rest, rest)}" if rest else ""
        return f"({self._exactly(group, count // MAX_REPEAT)}{tail})"

    def _up_to(self, unit: str, count: int) -> str:
        """At most `count` units: fewer than one group, or a group and at most the rest."""
        if count <= MAX_REPEAT:
            return f"{unit}{_count(0, count)}"
        group = self._named(f"{unit}{_count(MAX_REPEAT, MAX_REPEAT)}")
        groups, rest = divmod(count, MAX_REPEAT)
        below = self._named(f"{unit}{_count(0, MAX_REPEAT - 1)}")
        last = f"{unit}{_count(0, rest)}" if rest else '""'
        return f"({self._up_to(group, groups - 1)} {below} | {self._exactly(group, groups)} {last})"

    def _quoted(self, value: Node) -> str:
        if is_plain(value):
            text = self._write(sequence(_QUOTE, strings.spelled(value), _QUOTE))
            return self._named(text) if len(text) > MAX_INLINE else text
        return f'"\\"" {self._automaton(value, strings.spelled_chars)} "\\""'

    def _automaton(self, node: Node, spelled: Callable[[Ranges], Node]) -> str:
        """An automaton, one rule a state."""
        key = Quoted(node) if spelled is strings.spelled_chars else node
        if key not in self._shared:
            machine = automaton(node)
            names = [self._state() for _ in machine.accepts]
            self._lines.update(dict.fromkeys(names, ""))
            for name, moves, accepts in zip(names, machine.moves, machine.accepts, strict=True):
                ways = []
                for ranges, after in moves:
                    leaf = self._leaf(ranges, spelled)
                    # A state that only ends needs no mention.
                    ways.append(f"{leaf} {names[after]}" if machine.moves[after] else leaf)
                text = " | ".join(ways)
                self._lines[name] = f"({text})?" if accepts and ways else text or '""'
            self._shared[key] = names[0]
        return self._shared[key]

    def _without(self, node: Without, marker: str) -> str:
        """The automaton of texts that do not contain the marker, one rule a state (Knuth, Morris, Pratt)."""
        if node in self._shared:
            return self._shared[node]
        names = [self._fresh() for _ in marker]
        self._shared[node] = some = self._fresh()
        alphabet = sorted(set(marker))
        for state, name in enumerate(names):
            onward = {char: _next_state(marker, state, char) for char in alphabet}
            onward = {char: following for char, following in onward.items() if following}
            ways = [f"{_literal(c)} {names[n]}" for c, n in onward.items() if n < len(marker)]
            others = "".join(_escape(char, quote="]") for char in onward)
            ways.append(f"[^{others}] {names[0]}")
            self._lines[name] = f"({' | '.join(ways)})?"
            if state == 0:
                self._lines[some] = " | ".join(ways)
        return self._shared[node]

    def _helper(self, node: Node, text: str) -> str:
        if node not in self._shared:
            self._shared[node] = text if isinstance(node, Ref) else self._named(text)
        return self._shared[node]

    def _named(self, text: str) -> str:
        name = self._helpers.get(text)
        if name is None:
            name = self._helpers[text] = self._fresh()
            self._lines[name] = text
        return name

    def _leaf(self, ranges: Ranges, spelled: Callable[[Ranges], Node]) -> str:
        """What a move of an automaton is written as."""
        key = (ranges, spelled is strings.spelled_chars)
        if key not in self._leaves:
            self._leaves[key] = self._write(spelled(ranges), inner=True)
        return self._leaves[key]

    def _state(self) -> str:
        """A short name: automata have many states."""
        while True:
            self._states += 1
            name = f"s{self._states}"
            if name not in self._rules and name not in self._lines:
                return name

    def _fresh(self) -> str:
        """A free name for a helper of the rule that is being written."""
        while True:
            number = self._numbers[self._owner] = self._numbers.get(self._owner, 0) + 1
            name = f"{self._owner}-{number}"
            if name not in self._rules and name not in self._lines:
                return name


_SHORT = {(0, 1): "?", (0, None): "*", (1, None): "+", (1, 1): ""}
_NAMED_ESCAPES = {"\n": "\\n", "\r": "\\r", "\t": "\\t", "\\": "\\\\"}


def _joined(items: tuple[Node, ...]) -> list[Node]:
    """A sequence's items with neighbouring literals put together: lexemes are of no concern here."""
    joined: list[Node] = []
    for item in items:
        bare = item.item if isinstance(item, Token) else item
        bare = Literal(bare.text) if isinstance(bare, Control) else bare
        last = joined[-1] if joined else None
        if isinstance(bare, Literal) and isinstance(last, Literal):
            joined[-1] = Literal(last.text + bare.text)
        elif isinstance(bare, Sequence):
            joined[-1:] = _joined((*joined[-1:], *bare.items))
        else:
            joined.append(bare)
    return joined


def _count(low: int, high: int | None) -> str:
    return f"{{{low}}}" if low == high else f"{{{low},{'' if high is None else high}}}"


_SPECIAL = re.compile(r"[^ !#-\[\]-~]")


def _literal(text: str) -> str:
    body = _SPECIAL.sub(lambda found: _escape(found[0], quote='"'), text)
    return f'"{body}"'


def _span(low: int, high: int) -> str:
    first, last = _escape(chr(low), quote="]"), _escape(chr(high), quote="]")
    return first if low == high else f"{first}-{last}"


def _escape(char: str, *, quote: str) -> str:
    """A character inside a GBNF literal or class."""
    if char in _NAMED_ESCAPES:
        return _NAMED_ESCAPES[char]
    code = ord(char)
    if char == quote and quote == '"':
        return '\\"'
    if code < 0x20 or code == 0x7F or (quote == "]" and char in '[]^-"'):
        return f"\\x{code:02X}"
    if 0x80 <= code < 0xA0 or 0xD800 <= code < 0xE000 or code in {0x2028, 0x2029, 0xFEFF}:
        return f"\\u{code:04X}"
    return f"\\U{code:08X}" if code > 0x10FF00 else char


def _next_state(marker: str, state: int, char: str) -> int:
    """How much of the marker has been seen after `state` characters of it and then `char`."""
    seen = marker[:state] + char
    return next(size for size in range(len(seen), -1, -1) if marker.startswith(seen[len(seen) - size :]))
