"""Rule graph → Lark text, as llguidance executes it.

llguidance splits text into lexemes, longest first, before its parser sees them. That is exact as long as no lexeme
can continue into another one where the grammar separates them. The compiler ensures it: lexemes (`Lexeme`) end only
at JSON's own boundaries, always at the same ones, and no value can continue where it may end.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Collection
from typing import assert_never

from edgefc.grammar import strings
from edgefc.grammar.automata import TooLargeError, automaton
from edgefc.grammar.elimination import to_plain_node
from edgefc.grammar.rules import (
    ANY_TEXT,
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
    is_nothing,
    one_of,
)

# Bytes of repeated constants, such as `(ab){500}`, in all lexemes. llguidance writes each of them out, with the
# interpreter locked: 100,000 bytes take 0.1 s and 100 MB, a million 2 to 4 s and 1 GB, ten millions minutes.
MAX_CONSTANT = 100_000
MAX_EXPRESSION = 2_000  # character classes in a regular expression made from an automaton
_ANYTHING = r"~/[^\x{0}-\x{10FFFF}]/"  # the complement of nothing
_RULE = re.compile(r"start|r\d+|m\d+_\d+")
_RULE_OR_MARK = re.compile(r"[()]|\b(?:start|r\d+|m\d+_\d+)\b")
_COMPLEMENT = re.compile(r"~\(?/[^/]*/")  # of a lexeme, which names the texts that it forbids


class LarkWriter:
    """Writes one grammar: its rules, then the terminals that they use."""

    def __init__(self, rules: Rules, start: str = "root") -> None:
        self._rules = rules
        self._names = {name: f"r{number}" for number, name in enumerate(rules)}
        self._names[start] = "start"
        self._terminals: dict[Node, str] = {}
        self._automata: dict[Node, str] = {}
        self._state_lines: list[str] = []

    def text(self) -> str:
        """Return the grammar; rules are numbered in the graph's order. Raises TooLargeError."""
        lines = [f"{self._names[name]}: {self._rule(node)}" for name, node in self._rules.items()]
        lines += self._state_lines
        if sum(map(_repeated_bytes, self._terminals)) > MAX_CONSTANT:
            raise TooLargeError
        lines += [f"{name}: {_terminal(node)}" for node, name in self._terminals.items()]
        return "\n".join(lines) + "\n"

    def _rule(self, node: Node, *, inner: bool = False) -> str:
        match node:
            case Ref():
                return self._names[node.name]
            case Sequence():
                if not node.items:
                    return '""'
                text = " ".join(self._rule(item, inner=True) for item in node.items)
                return f"({text})" if inner and len(node.items) > 1 else text
            case Choice():
                text = " | ".join(self._rule(item, inner=True) for item in node.items)
                return f"({text})" if inner else text
            case Repeat():
                text = self._rule(node.item, inner=True)
                return (f"({text})" if isinstance(node.item, Repeat) else text) + _count(node.low, node.high)
            case ControlToken():
                return f"<[{node.id}]>"
            case Lexeme():
                return self._lexeme(node.item)
            case Literal() | Chars() | FreeText() | And() | Not() | NoneOf() | MultipleOf() | QuotedString():
                return self._lexeme(node)
            case _:
                assert_never(node)

    def _lexeme(self, node: Node) -> str:
        """Return the name of a regular node's terminal, or of the rule of its automaton."""
        if node in self._terminals:
            return self._terminals[node]
        return self._automaton(node) if _has_multiple(node) else self._terminal_name(node)

    def _terminal_name(self, node: Node) -> str:
        return self._terminals.setdefault(node, f"T{len(self._terminals)}")

    def _automaton(self, node: Node) -> str:
        """Write an automaton as a lexeme, or as rules of single characters where that would be too long.

        Where another number may stand at the same position, the lexer prefers that number's longer lexemes. Texts
        that only the automaton allows may be lost then; no other text is gained.
        """
        if node not in self._automata:
            machine = automaton(node)
            if (plain := to_plain_node(machine, MAX_EXPRESSION)) is not None:
                return self._terminal_name(plain)
            prefix = f"m{len(self._automata)}"
            self._automata[node] = f"{prefix}_0"
            for number, (moves, accepts) in enumerate(zip(machine.moves, machine.accepts, strict=True)):
                branches = [f"{self._rule(Chars(ranges))} {prefix}_{target}" for ranges, target in moves]
                if accepts:
                    branches.append('""')
                self._state_lines.append(f"{prefix}_{number}: {' | '.join(branches)}")
        return self._automata[node]


def leave_tokens_open(lark: str, texts: Collection[str]) -> str:
    """Return the grammar so that it forces no tokens, if one of these texts may be forced in it; else as it is.

    llguidance turns a text that it forces into the tokens of its own tokenizer. One that is read from a tokenizer.json
    makes a single token of a control token's text, which the grammar then refuses.
    """
    spelled = _pattern(frozenset(texts)).search(_COMPLEMENT.sub("", lark)) if texts else None
    return f'%llguidance {{"no_forcing": true}}\n{lark}' if spelled else lark


@functools.lru_cache(maxsize=4)
def _pattern(texts: frozenset[str]) -> re.Pattern[str]:
    return re.compile("|".join(re.escape(_quote(text)) for text in texts))


def nesting(lark: str) -> int:
    """Return how many rules and parentheses of a written grammar are open at once when its rules are visited.

    llguidance visits them so, by recursion: each level takes about 4 KB of its stack.
    """
    uses: dict[str, list[tuple[str, int]]] = {}
    levels: dict[str, int] = {}
    for line in lark.splitlines():
        name, _, body = line.partition(": ")
        if not _RULE.fullmatch(name):
            continue
        uses[name], levels[name], level = [], 1, 1
        for found in _RULE_OR_MARK.finditer(body):
            level += {"(": 1, ")": -1}.get(found[0], 0)
            levels[name] = max(levels[name], level)
            if _RULE.fullmatch(found[0]):
                uses[name].append((found[0], level))
    visited, path, deepest = {"start"}, [(0, iter(uses.get("start", ())))], levels.get("start", 0)
    while path:
        above, used = path[-1]
        following = next(((rule, level) for rule, level in used if rule not in visited), None)
        if following is None:
            path.pop()
            continue
        rule, level = following
        visited.add(rule)
        deepest = max(deepest, above + level + levels.get(rule, 0))
        path.append((above + level, iter(uses.get(rule, ()))))
    return deepest


def _repeated_bytes(node: Node) -> int:
    """Count the bytes that repeated constants have when they are written out."""
    if isinstance(node, Repeat) and (size := _constant_size(node)) is not None:
        return size
    return sum(map(_repeated_bytes, children(node)))


def _constant_size(node: Node) -> int | None:
    """Return the bytes of the shortest text of a node without a choice, None for one with."""
    match node:
        case Literal():
            return len(node.text.encode("utf-8", "surrogatepass"))
        case Sequence():
            sizes = [_constant_size(item) for item in node.items]
            return None if None in sizes else sum(size for size in sizes if size is not None)
        case Repeat() if (size := _constant_size(node.item)) is not None:
            return size * node.low
        case _:
            return None


def _has_multiple(node: Node) -> bool:
    return isinstance(node, MultipleOf) or any(map(_has_multiple, children(node)))


def _terminal(node: Node, *, is_part: bool = False) -> str:
    """Write a lexeme's definition. Intersection and complement exist only outside of regular expressions."""
    if not _is_composed(node):
        return f"/{_regex(node) or '(?:)'}/"
    match node:
        case QuotedString():
            return _terminal(strings.with_quotes(node))
        case FreeText():
            beginnings = [f"(?s:.*){_quote(text)}" for text in node.markers]
            if node.forbidden_starts:
                beginnings.append(f"[ \\n\\r\\t]*(?:{'|'.join(map(_quote, node.forbidden_starts))})")
            if not is_nothing(node.forbidden_heads):
                beginnings.append(_regex(node.forbidden_heads, inner=True))
            # By itself it can always go on, and in this notation a mask is faster.
            parts = ["/[^\\x{0}]+/", *(_without(one) if is_part else f"~/{one}(?s:.*)/" for one in beginnings)]
            return " & ".join(parts)
        case Sequence():
            return " ".join(_terminal_part(item) for item in node.items)
        case Choice():
            return " | ".join(_terminal_part(item) for item in node.items)
        case And():
            return " & ".join(_terminal_part(item) for item in node.items)
        case Not() if is_nothing(node.item):
            return _terminal(ANY_TEXT)
        case Not(Sequence((*head, tail))) if tail == ANY_TEXT and not any(map(_is_composed, head)):
            return _without(_regex(Sequence(tuple(head))))
        case Not():
            return f"~{_terminal_part(node.item)}"
        case NoneOf():
            return _terminal(Not(one_of(node.texts)))
        case Repeat():
            return f"{_terminal_part(node.item)}{_count(node.low, node.high)}"
        case Literal() | ControlToken() | Chars() | Ref() | Lexeme() | MultipleOf():
            raise AssertionError(f"{type(node).__name__} cannot be part of a terminal")
        case _:
            assert_never(node)


def _without(beginning: str) -> str:
    """Write a lexeme of the texts that do not begin with this regular expression.

    The complement of any bytes simplifies to nothing, which that of any characters does not: llguidance sees at once
    where a lexeme cannot go on. Otherwise it takes it for unfinished, and panics where a control token must follow
    (1.9.1).
    """
    return f"~(/{beginning}/ {_ANYTHING})"


def _terminal_part(node: Node) -> str:
    text = _terminal(node, is_part=True)
    return f"({text})" if _is_composed(node) else text


def _is_composed(node: Node) -> bool:
    """Return whether a node needs operators of Lark that a single regular expression does not have."""
    match node:
        case FreeText() | And() | Not() | NoneOf() | QuotedString():
            return True
        case _:
            return any(map(_is_composed, children(node)))


def _regex(node: Node, *, inner: bool = False) -> str:
    """Write a regular node in the syntax of Rust's regex crate, without the slashes."""
    match node:
        case Literal():
            text = _quote(node.text)
            return f"(?:{text})" if inner and len(node.text) > 1 else text
        case Chars():
            if node.negated and not node.ranges:
                return "(?s:.)"
            body = "".join(_span(low, high) for low, high in node.ranges)
            return f"[{'^' if node.negated else ''}{body}]"
        case Sequence():
            text = "".join(_regex(item, inner=isinstance(item, Choice)) for item in node.items)
            return f"(?:{text})" if inner else text
        case Choice():
            text = "|".join(_regex(item) for item in node.items)
            return f"(?:{text})" if inner else text
        case Repeat():
            text = _regex(node.item, inner=True) + _count(node.low, node.high)
            return f"(?:{text})" if inner else text
        case Lexeme():
            return _regex(node.item, inner=inner)
        case ControlToken() | Ref() | FreeText() | And() | Not() | NoneOf() | MultipleOf() | QuotedString():
            raise AssertionError(f"{type(node).__name__} cannot be part of a regular expression")
        case _:
            assert_never(node)


_SHORT_COUNTS = {(0, 1): "?", (0, None): "*", (1, None): "+", (1, 1): ""}


def _count(low: int, high: int | None) -> str:
    return _SHORT_COUNTS.get((low, high), f"{{{low},{'' if high is None else high}}}")


def _span(low: int, high: int) -> str:
    return _code(low) if low == high else f"{_code(low)}-{_code(high)}"


_SPECIAL = re.compile(r"[^A-Za-z0-9 _,:]")


def _quote(text: str) -> str:
    return _SPECIAL.sub(lambda found: _code(ord(found[0])), text)


def _code(code: int) -> str:
    return f"\\x{{{code:X}}}" if _SPECIAL.match(chr(code)) else chr(code)
