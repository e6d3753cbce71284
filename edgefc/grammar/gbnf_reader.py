"""GBNF text → nodes: of the grammars that edgefc keeps as files, and of those that users write.

The notation is llama.cpp's: literals, classes, `.`, groups, `|`, `?`, `*`, `+`, `{m}`, `{m,}`, `{m,n}`, comments. A
rule extends to the beginning of the next one. In `GbnfRules`, rules may not be recursive: each reference is replaced
by the rule's node. `read_rules` keeps the references.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NoReturn

from edgefc.errors import GrammarError
from edgefc.grammar.char_ranges import LAST
from edgefc.grammar.rules import ANY_CHAR, Chars, Literal, Node, Ref, Repeat, Rules, choice, sequence

_PART = re.compile(
    r"""(?P<space>[ \t\r]+|\#[^\n]*)|(?P<line>\n)|(?P<rule>[a-zA-Z0-9_-]+)(?P<define>\s*::=)?
    |(?P<literal>"(?:[^"\\]|\\.)*")|(?P<chars>\[(?:[^\]\\]|\\.)*\]|\.)
    |(?P<count>[?*+]|\{\s*\d+\s*(?:,\s*\d*\s*)?\})|(?P<mark>[()|])""",
    re.VERBOSE,
)
_ESCAPE = re.compile(r"\\(?:x([0-9a-fA-F]{2})|u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})|(.))")
_NAMED_ESCAPES = {"n": "\n", "r": "\r", "t": "\t"}
_COUNTS: dict[str, tuple[int, int | None]] = {"?": (0, 1), "*": (0, None), "+": (1, None)}

Part = tuple[str, str, int]  # kind, text, line


class GbnfRules:
    """The rules of a grammar, each parsed on first use. Raises GrammarError with the line."""

    def __init__(self, text: str) -> None:
        self._rules = split_rules(text)
        self._nodes: dict[str, Node] = {}

    def __iter__(self) -> Iterator[str]:
        return iter(self._rules)

    def __getitem__(self, name: str) -> Node:
        """Return a rule's node, with every reference replaced by the node of its rule."""
        return RuleParser(self._rules, self._nodes, (name,)).rule()


def read_rules(text: str) -> Rules:
    """Return the rules of a grammar. Raises GrammarError with the line."""
    return {name: _RefParser(parts).rule() for name, parts in split_rules(text).items()}


def split_rules(text: str) -> dict[str, list[Part]]:
    rules: dict[str, list[Part]] = {}
    name, pos, line = "", 0, 1
    while pos < len(text):
        found = _PART.match(text, pos)
        if found is None:
            _fail(line, f"invalid GBNF at {text[pos : pos + 10]!r}")
        pos, kind = found.end(), str(found.lastgroup)
        if kind == "define":
            name = found["rule"]
            if name in rules:
                _fail(line, f"duplicate rule {name!r}")
            rules[name] = []
        elif kind not in {"space", "line"}:
            if not name:
                _fail(line, "missing rule name")
            rules[name].append((kind, found[kind], line))
        line += found[0].count("\n")
    return rules


def _fail(line: int, reason: str) -> NoReturn:
    raise GrammarError(f"line {line}: {reason}")


class RuleParser:
    """Recursive descent over one rule; `stack` are the rules being read, this one last."""

    def __init__(self, rules: dict[str, list[Part]], nodes: dict[str, Node], stack: tuple[str, ...]) -> None:
        self.rules, self.nodes, self.stack = rules, nodes, stack
        self.parts, self.pos = rules[stack[-1]], 0

    def rule(self) -> Node:
        name = self.stack[-1]
        if name not in self.nodes:
            node = self.alternatives()
            if self.pos < len(self.parts):
                _fail(self.parts[self.pos][2], "unmatched ')'")
            self.nodes[name] = node
        return self.nodes[name]

    def peek(self) -> Part:
        if self.pos < len(self.parts):
            return self.parts[self.pos]
        return "end", "", self.parts[-1][2] if self.parts else 0

    def alternatives(self) -> Node:
        branches = [self.terms()]
        while self.peek()[1] == "|" and self.peek()[0] == "mark":
            self.pos += 1
            branches.append(self.terms())
        return choice(*branches)

    def terms(self) -> Node:
        items: list[Node] = []
        while self.peek()[0] in {"rule", "literal", "chars"} or self.peek()[:2] == ("mark", "("):
            item = self.item()
            while self.peek()[0] == "count":
                item = _repeat(item, *self.peek()[1:])
                self.pos += 1
            items.append(item)
        return sequence(*items)

    def item(self) -> Node:
        kind, text, line = self.peek()
        self.pos += 1
        if kind in {"literal", "chars"}:
            _check_escapes(text, line)
        if kind == "literal":
            return Literal(_unescape(text[1:-1])) if len(text) > 2 else sequence()
        if kind == "chars":
            return ANY_CHAR if text == "." else char_class(text[1:-1], line)
        if kind == "rule":
            return self.reference(text, line)
        node = self.alternatives()
        if self.peek()[1] != ")":
            _fail(line, "unclosed '('")
        self.pos += 1
        return node

    def reference(self, name: str, line: int) -> Node:
        """Return the node of a reference to a rule: that of the rule."""
        if name in self.stack:
            _fail(line, f"the rule {name!r} refers to itself")
        if name not in self.rules:
            _fail(line, f"unknown rule {name!r}")
        return RuleParser(self.rules, self.nodes, (*self.stack, name)).rule()


class _RefParser(RuleParser):
    """Reads one rule, and leaves references to others as they are."""

    def __init__(self, parts: list[Part]) -> None:
        super().__init__({"root": parts}, {}, ("root",))

    def reference(self, name: str, line: int) -> Node:  # noqa: ARG002 - the line is for errors
        return Ref(name)


def _repeat(item: Node, count: str, line: int) -> Node:
    if count in _COUNTS:
        return Repeat(item, *_COUNTS[count])
    low, comma, high = count[1:-1].partition(",")
    least, most = int(low), int(high) if high.strip() else None
    if most is not None and most < least:
        _fail(line, f"count out of order: {count}")
    return Repeat(item, least, most if comma else least)


def _check_escapes(text: str, line: int) -> None:
    r"""Refuse an escaped letter or digit without a meaning, such as \d, which is no class here."""
    for found in _ESCAPE.finditer(text):
        if found[4] and found[4].isalnum() and found[4] not in _NAMED_ESCAPES:
            _fail(line, f"unknown escape {found[0]}")
        if found[3] and int(found[3], 16) > LAST:
            _fail(line, f"{found[0]} is no character")


def _unescape(text: str) -> str:
    def char(found: re.Match[str]) -> str:
        digits = found[1] or found[2] or found[3]
        return chr(int(digits, 16)) if digits else _NAMED_ESCAPES.get(found[4], found[4])

    return _ESCAPE.sub(char, text)


def char_class(text: str, line: int) -> Node:
    """Parse the inside of a class: a dash between two characters makes a range, an escaped dash stands for itself."""
    negated = text.startswith("^")
    chars: list[tuple[str, bool]] = []  # the character, and whether it was escaped
    pos = 1 if negated else 0
    while pos < len(text):
        found = _ESCAPE.match(text, pos)
        chars.append((_unescape(found[0]), True) if found else (text[pos], False))
        pos = found.end() if found else pos + 1
    ranges: list[tuple[int, int]] = []
    while chars:
        low = ord(chars.pop(0)[0])
        if len(chars) > 1 and chars[0] == ("-", False):
            chars.pop(0)
            high = ord(chars.pop(0)[0])
            if high < low:
                _fail(line, "range out of order")
            ranges.append((low, high))
        else:
            ranges.append((low, low))
    return Chars(tuple(ranges), negated)
