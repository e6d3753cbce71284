"""GBNF text → regular nodes, for the grammars that edgefc keeps as files.

The notation is llama.cpp's: literals, classes, groups, `|`, `?`, `*`, `+`, `{m}`, `{m,}`, `{m,n}`, comments. A rule
goes on until the next one begins. Rules may not refer to themselves: what is read is put in place of its name.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NoReturn

from edgefc.errors import GrammarError
from edgefc.grammar.rules import Chars, Literal, Node, Repeat, choice, sequence

_TOKEN = re.compile(
    r"""(?P<space>[ \t]+|\#[^\n]*)|(?P<line>\n)|(?P<rule>[a-zA-Z][a-zA-Z0-9-]*)(?P<define>\s*::=)?
    |(?P<literal>"(?:[^"\\\n]|\\.)*")|(?P<chars>\[(?:[^\]\\\n]|\\.)*\])
    |(?P<count>[?*+]|\{\d+(?:,\d*)?\})|(?P<mark>[()|])""",
    re.VERBOSE,
)
_ESCAPE = re.compile(r"\\(?:x([0-9a-fA-F]{2})|u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})|(.))")
_SHORT = {"n": "\n", "r": "\r", "t": "\t"}
_COUNTS: dict[str, tuple[int, int | None]] = {"?": (0, 1), "*": (0, None), "+": (1, None)}

Part = tuple[str, str, int]  # kind, text, line


class GbnfRules:
    """The rules of a grammar; each is made when it is asked for. Raises GrammarError with the line."""

    def __init__(self, text: str) -> None:
        self._rules = _split(text)
        self._made: dict[str, Node] = {}

    def __iter__(self) -> Iterator[str]:
        return iter(self._rules)

    def __getitem__(self, name: str) -> Node:
        """A rule's node, with what it refers to in the place of its name."""
        return _Reader(self._rules, self._made, (name,)).rule()


def _split(text: str) -> dict[str, list[Part]]:
    rules: dict[str, list[Part]] = {}
    name, at, line = "", 0, 1
    while at < len(text):
        found = _TOKEN.match(text, at)
        if found is None:
            _fail(line, f"{text[at : at + 10]!r} is not GBNF")
        at, kind = found.end(), str(found.lastgroup)
        if kind == "define":
            name = found["rule"]
            if name in rules:
                _fail(line, f"the rule {name!r} is there already")
            rules[name] = []
        elif kind not in {"space", "line"}:
            if not name:
                _fail(line, "a rule's name is missing")
            rules[name].append((kind, found[kind], line))
        line += found[0].count("\n")
    return rules


def _fail(line: int, reason: str) -> NoReturn:
    raise GrammarError(f"line {line}: {reason}")


class _Reader:
    def __init__(self, rules: dict[str, list[Part]], made: dict[str, Node], way: tuple[str, ...]) -> None:
        self.rules, self.made, self.way = rules, made, way
        self.parts, self.at = rules[way[-1]], 0

    def rule(self) -> Node:
        name = self.way[-1]
        if name not in self.made:
            node = self.alternatives()
            if self.at < len(self.parts):
                _fail(self.parts[self.at][2], "a ')' too many")
            self.made[name] = node
        return self.made[name]

    def peek(self) -> Part:
        return self.parts[self.at] if self.at < len(self.parts) else ("end", "", self.parts[-1][2] if self.parts else 0)

    def alternatives(self) -> Node:
        ways = [self.terms()]
        while self.peek()[1] == "|" and self.peek()[0] == "mark":
            self.at += 1
            ways.append(self.terms())
        return choice(*ways)

    def terms(self) -> Node:
        items: list[Node] = []
        while self.peek()[0] in {"rule", "literal", "chars"} or self.peek()[:2] == ("mark", "("):
            item = self.item()
            while self.peek()[0] == "count":
                item = _counted(item, self.peek()[1])
                self.at += 1
            items.append(item)
        return sequence(*items)

    def item(self) -> Node:
        kind, text, line = self.peek()
        self.at += 1
        if kind == "literal":
            return Literal(_unescaped(text[1:-1])) if len(text) > 2 else sequence()
        if kind == "chars":
            return _class(text[1:-1], line)
        if kind == "rule":
            if text in self.way:
                _fail(line, f"the rule {text!r} refers to itself")
            if text not in self.rules:
                _fail(line, f"there is no rule {text!r}")
            return _Reader(self.rules, self.made, (*self.way, text)).rule()
        node = self.alternatives()
        if self.peek()[1] != ")":
            _fail(line, "a '(' that is not closed")
        self.at += 1
        return node


def _counted(item: Node, count: str) -> Node:
    if count in _COUNTS:
        return Repeat(item, *_COUNTS[count])
    low, comma, high = count[1:-1].partition(",")
    return Repeat(item, int(low), (int(high) if high else None) if comma else int(low))


def _unescaped(text: str) -> str:
    def char(found: re.Match[str]) -> str:
        digits = found[1] or found[2] or found[3]
        return chr(int(digits, 16)) if digits else _SHORT.get(found[4], found[4])

    return _ESCAPE.sub(char, text)


def _class(text: str, line: int) -> Node:
    """A class's characters; a dash between two makes a range, an escaped one is itself."""
    negated = text.startswith("^")
    chars: list[tuple[str, bool]] = []
    at = 1 if negated else 0
    while at < len(text):
        found = _ESCAPE.match(text, at)
        chars.append((_unescaped(found[0]), True) if found else (text[at], False))
        at = found.end() if found else at + 1
    ranges: list[tuple[int, int]] = []
    while chars:
        low = ord(chars.pop(0)[0])
        if len(chars) > 1 and chars[0] == ("-", False):
            chars.pop(0)
            high = ord(chars.pop(0)[0])
            if high < low:
                _fail(line, "a range out of order")
            ranges.append((low, high))
        else:
            ranges.append((low, low))
    return Chars(tuple(ranges), negated)
