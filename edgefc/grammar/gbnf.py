"""Rule graph → GBNF text, as llama.cpp's own sampler reads it.

llama.cpp refuses a repetition above 2,000 and multiplies nested ones, so long counts are written as groups of
groups, each a rule of its own. Its text cannot contain NUL, which is written as an escape.
"""

from __future__ import annotations

import re
from typing import assert_never

from edgefc.grammar import numbers, strings
from edgefc.grammar.automata import automaton
from edgefc.grammar.char_ranges import Ranges
from edgefc.grammar.deadline import tick
from edgefc.grammar.machines import is_plain
from edgefc.grammar.quoting import QUOTINGS
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
    QuoteStyle,
    Ref,
    Repeat,
    Rules,
    Sequence,
    as_intersection,
    is_nothing,
)

MAX_REPEAT = 500
MAX_INLINE = 150  # a longer string becomes a rule of its own


class GbnfWriter:
    """Writes one grammar; rules it needs besides the graph's own are numbered after the rule they serve."""

    def __init__(self, rules: Rules) -> None:
        self._rules = rules
        self._lines: dict[str, str] = {}
        self._helpers: dict[str, str] = {}
        self._numbers: dict[str, int] = {}
        self._shared: dict[Node, str] = {}
        # Frequent nodes have fixed rule names, so that the text stays readable.
        self._common: dict[Node, str] = {
            strings.CHARACTER: "char",
            strings.ESCAPED: "escape",
            numbers.number(): "number",
        }
        self._owner = "root"
        self._states = 0
        self._spelled_chars: dict[tuple[Ranges, QuoteStyle | None], str] = {}

    def text(self) -> str:
        """Return the grammar, `root` first, one rule a line. The same graph gives the same text."""
        for name, node in self._rules.items():
            tick()
            self._owner = name
            self._lines[name] = ""  # keeps the order: a rule before its helpers
            self._lines[name] = self._write(node)
        return "".join(f"{name} ::= {body}\n" for name, body in self._lines.items())

    def _write(self, node: Node, *, inner: bool = False) -> str:
        """Return a node's text; with `inner`, in parentheses where a sequence or repetition around it needs them."""
        match node:
            case Lexeme():
                return self._write(node.item, inner=inner)
            case Literal() | ControlToken():
                return _literal(node.text)
            case Ref():
                return node.name
            case Chars():
                body = "".join(_span(low, high) for low, high in node.ranges)
                return f"[{'^' if node.negated else ''}{body}]"
            case Sequence():
                return self._common_rule(node) or self._sequence(node, inner=inner)
            case Choice():
                return self._common_rule(node) or self._choice(node, inner=inner)
            case Repeat():
                return self._repeat(node)
            case QuotedString():
                text = self._quoted_string(node)
                return f"({text})" if inner else text
            case FreeText():
                if len(node.markers) == 1 and not node.forbidden_starts and is_nothing(node.forbidden_stems):
                    return self._text_without(node, node.markers[0])
                return self._automaton(as_intersection(node), None)
            case And() | Not() | NoneOf() | MultipleOf():
                return self._automaton(node, None)
            case _:
                assert_never(node)

    def _sequence(self, node: Sequence, *, inner: bool = False) -> str:
        items = _join_literals(node.items)
        if not items:
            return '""'
        text = " ".join(self._write(item, inner=True) for item in items)
        return f"({text})" if inner and len(items) > 1 else text

    def _choice(self, node: Choice, *, inner: bool = False) -> str:
        text = " | ".join(self._write(item) for item in node.items)
        return f"({text})" if inner else text

    def _common_rule(self, node: Sequence | Choice) -> str | None:
        """Return the fixed rule name of a frequent node, with its rule written; None for any other node."""
        name = self._common.get(node)
        if name and name not in self._lines:
            self._lines[name] = ""  # keeps the order
            self._lines[name] = self._sequence(node) if isinstance(node, Sequence) else self._choice(node)
        return name

    def _repeat(self, node: Repeat) -> str:
        item = self._write(node.item, inner=True)
        if isinstance(node.item, Repeat):
            item = f"({item})"
        if (node.low, node.high) in SHORT_COUNTS:
            return item + SHORT_COUNTS[node.low, node.high]
        if max(node.low, node.high or 0) <= MAX_REPEAT:
            return f"{item}{count_text(node.low, node.high)}"
        # The item becomes a rule so that its text stands once, whatever the count.
        unit = self._unit(node.item, item)
        parts = [self._exactly(unit, node.low)] if node.low else []
        if node.high is None:
            parts.append(f"{unit}*")
        elif node.high > node.low:
            parts.append(self._at_most(unit, node.high - node.low))
        return f"({' '.join(parts)})"

    def _unit(self, node: Node, text: str) -> str:
        """Return the name of a rule for a repeated node."""
        if node not in self._shared:
            self._shared[node] = text if isinstance(node, Ref) else self._helper(text)
        return self._shared[node]

    def _exactly(self, unit: str, count: int) -> str:
        """Write `count` units: groups of MAX_REPEAT, and the remainder."""
        if count <= MAX_REPEAT:
            return f"{unit}{count_text(count, count)}"
        group = self._helper(f"{unit}{count_text(MAX_REPEAT, MAX_REPEAT)}")
        rest = count % MAX_REPEAT
        tail = f" {unit}{count_text(rest, rest)}" if rest else ""
        return f"({self._exactly(group, count // MAX_REPEAT)}{tail})"

    def _at_most(self, unit: str, count: int) -> str:
        """Write at most `count` units: fewer than all groups and a part of one, or all groups and the remainder."""
        if count <= MAX_REPEAT:
            return f"{unit}{count_text(0, count)}"
        group = self._helper(f"{unit}{count_text(MAX_REPEAT, MAX_REPEAT)}")
        groups, rest = divmod(count, MAX_REPEAT)
        below = self._helper(f"{unit}{count_text(0, MAX_REPEAT - 1)}")
        last = f"{unit}{count_text(0, rest)}" if rest else '""'
        return f"({self._at_most(group, groups - 1)} {below} | {self._exactly(group, groups)} {last})"

    def _quoted_string(self, node: QuotedString) -> str:
        if is_plain(node.item):
            text = self._write(strings.with_quotes(node))
            return self._helper(text) if len(text) > MAX_INLINE else text
        body, mark = self._automaton(node.item, node.style, key=node), _literal(QUOTINGS[node.style].mark.text)
        return f"{mark} {body} {mark}"

    def _automaton(self, node: Node, style: QuoteStyle | None, *, key: Node | None = None) -> str:
        """Write a node's automaton, one rule a state; return the name of the start.

        style  that of the string that the characters are in; None: they stand as they are
        key    tells spellings apart
        """
        key = key or node
        if key not in self._shared:
            machine = automaton(node)
            names = [self._state_name() for _ in machine.accepts]
            self._lines.update(dict.fromkeys(names, ""))
            for name, moves, accepts in zip(names, machine.moves, machine.accepts, strict=True):
                branches = []
                for ranges, target in moves:
                    chars = self._chars(ranges, style)
                    # A state without moves only ends the text and needs no rule.
                    branches.append(f"{chars} {names[target]}" if machine.moves[target] else chars)
                text = " | ".join(branches)
                self._lines[name] = f"({text})?" if accepts and branches else text or '""'
            self._shared[key] = names[0]
        return self._shared[key]

    def _chars(self, ranges: Ranges, style: QuoteStyle | None) -> str:
        """Write the characters of an automaton's move."""
        key = (ranges, style)
        if key not in self._spelled_chars:
            chars = Chars(ranges) if style is None else strings.spell_chars(ranges, style)
            self._spelled_chars[key] = self._write(chars, inner=True)
        return self._spelled_chars[key]

    def _text_without(self, node: FreeText, marker: str) -> str:
        """Write the automaton of texts without the marker, one rule a state (Knuth, Morris, Pratt)."""
        if node in self._shared:
            return self._shared[node]
        names = [self._helper_name() for _ in marker]
        self._shared[node] = one_or_more = self._helper_name()
        alphabet = sorted(set(marker))
        for state, name in enumerate(names):
            moves = {char: target for char in alphabet if (target := _next_state(marker, state, char))}
            branches = [f"{_literal(c)} {names[n]}" for c, n in moves.items() if n < len(marker)]
            others = "".join(_escape(char, quote="]") for char in moves)
            branches.append(f"[^{others}] {names[0]}")
            self._lines[name] = f"({' | '.join(branches)})?"
            if state == 0:
                self._lines[one_or_more] = " | ".join(branches)
        return self._shared[node]

    def _helper(self, text: str) -> str:
        """Return the name of a helper rule with this text."""
        name = self._helpers.get(text)
        if name is None:
            name = self._helpers[text] = self._helper_name()
            self._lines[name] = text
        return name

    def _helper_name(self) -> str:
        """Return a free name for a helper of the rule that is being written."""
        while True:
            number = self._numbers[self._owner] = self._numbers.get(self._owner, 0) + 1
            name = f"{self._owner}-{number}"
            if self._is_free(name):
                return name

    def _state_name(self) -> str:
        """Return a short free name: automata have many states."""
        while True:
            self._states += 1
            if self._is_free(name := f"s{self._states}"):
                return name

    def _is_free(self, name: str) -> bool:
        return name not in self._rules and name not in self._lines


SHORT_COUNTS = {(0, 1): "?", (0, None): "*", (1, None): "+", (1, 1): ""}
NAMED_ESCAPES = {"\n": "\\n", "\r": "\\r", "\t": "\\t", "\\": "\\\\"}


def _join_literals(items: tuple[Node, ...]) -> list[Node]:
    """Join neighbouring literals of a sequence; GBNF has no lexemes."""
    joined: list[Node] = []
    for item in items:
        bare = item.item if isinstance(item, Lexeme) else item
        bare = Literal(bare.text) if isinstance(bare, ControlToken) else bare
        last = joined[-1] if joined else None
        if isinstance(bare, Literal) and isinstance(last, Literal):
            joined[-1] = Literal(last.text + bare.text)
        elif isinstance(bare, Sequence):
            joined[-1:] = _join_literals((*joined[-1:], *bare.items))
        else:
            joined.append(bare)
    return joined


def count_text(low: int, high: int | None) -> str:
    return f"{{{low}}}" if low == high else f"{{{low},{'' if high is None else high}}}"


_SPECIAL = re.compile(r"[^ !#-\[\]-~]")


def _literal(text: str) -> str:
    body = _SPECIAL.sub(lambda found: _escape(found[0], quote='"'), text)
    return f'"{body}"'


def _span(low: int, high: int) -> str:
    first, last = _escape(chr(low), quote="]"), _escape(chr(high), quote="]")
    return first if low == high else f"{first}-{last}"


def _escape(char: str, *, quote: str) -> str:
    """Write a character inside a GBNF literal (`quote` is `"`) or class (`]`)."""
    if char in NAMED_ESCAPES:
        return NAMED_ESCAPES[char]
    code = ord(char)
    if char == quote and quote == '"':
        return '\\"'
    if code < 0x20 or code == 0x7F or (quote == "]" and char in '[]^-"'):
        return f"\\x{code:02X}"
    if 0x80 <= code < 0xA0 or 0xD7FF <= code < 0xF900 or code in {0x2028, 0x2029, 0xFEFF}:  # no font has them
        return f"\\u{code:04X}"
    return f"\\U{code:08X}" if code > 0x10FF00 else char


def _next_state(marker: str, state: int, char: str) -> int:
    """Return how many characters of the marker have been seen, after its first `state` ones and then `char`."""
    seen = marker[:state] + char
    return next(size for size in range(len(seen), -1, -1) if marker.startswith(seen[len(seen) - size :]))
