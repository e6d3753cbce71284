"""Styles of quoted strings: JSON's (RFC 8259 §7) and Python's two quotes, each with the escapes it knows."""

from __future__ import annotations

import json
from dataclasses import dataclass

from edgefc.grammar.char_ranges import Ranges
from edgefc.grammar.rules import Chars, Literal, Node, QuoteStyle, Repeat, Sequence, choice, sequence

HEX = Chars(((0x30, 0x39), (0x41, 0x46), (0x61, 0x66)))
_CONTROL: Ranges = ((0x00, 0x1F),)
_BACKSLASH = (0x5C, 0x5C)


@dataclass(frozen=True)
class Quoting:
    r"""A style of quoted strings.

    mark         the quote
    must_escape  characters that are always escaped
    letters      code point → letter of its escape
    hex_prefix   before the two digits of any other escape: `\u00` or `\x`
    character    any one character, in every spelling that a reader takes
    """

    mark: Literal
    must_escape: Ranges
    letters: dict[int, str]
    hex_prefix: str
    character: Node

    def inside(self, text: str) -> str:
        """Return a text as the inside of a string, escaped only where it must be."""
        if self.hex_prefix == "\\u00":
            return json.dumps(text, ensure_ascii=False)[1:-1]
        return "".join(map(self._escaped, text))

    def quote(self, text: str) -> str:
        """Return a text as a string."""
        return f"{self.mark.text}{self.inside(text)}{self.mark.text}"

    def _escaped(self, char: str) -> str:
        code = ord(char)
        if code in self.letters:
            return "\\" + self.letters[code]
        return f"{self.hex_prefix}{code:02x}" if code < 0x20 else char


def _unescaped(mark: str) -> Node:
    return Chars((*_CONTROL, (ord(mark), ord(mark)), _BACKSLASH), negated=True)


_D = Chars(((0x44, 0x44), (0x64, 0x64)))
_NOT_D = Chars(((0x30, 0x39), (0x41, 0x43), (0x45, 0x46), (0x61, 0x63), (0x65, 0x66)))
# Four digits of a character that is no surrogate.
_FOUR_DIGITS = choice(Sequence((_NOT_D, HEX, HEX, HEX)), Sequence((_D, Chars(((0x30, 0x37),)), HEX, HEX)))


def _one_of(letters: str) -> Node:
    return Chars(tuple((ord(letter), ord(letter)) for letter in letters))


def _json() -> Quoting:
    high = Sequence((_D, Chars(((0x38, 0x39), (0x41, 0x42), (0x61, 0x62))), HEX, HEX))
    low = Sequence((_D, Chars(((0x43, 0x46), (0x63, 0x66))), HEX, HEX))
    code = choice(_FOUR_DIGITS, sequence(high, Literal("\\u"), low))  # surrogates occur only in pairs
    escape = sequence(Literal("\\"), choice(_one_of('"\\/bfnrt'), sequence(Literal("u"), code)))
    letters = {0x22: '"', 0x5C: "\\", 8: "b", 12: "f", 10: "n", 13: "r", 9: "t"}
    must_escape = (*_CONTROL, (0x22, 0x22), _BACKSLASH)
    return Quoting(Literal('"'), must_escape, letters, "\\u00", choice(_unescaped('"'), escape))


def _python(mark: str) -> Quoting:
    code = choice(
        sequence(Literal("x"), HEX, HEX),
        sequence(Literal("u"), _FOUR_DIGITS),
        sequence(Literal("U0000"), _FOUR_DIGITS),
        sequence(Literal("U000"), Chars(((0x31, 0x39), (0x41, 0x46), (0x61, 0x66))), Repeat(HEX, 4, 4)),
        sequence(Literal("U0010"), Repeat(HEX, 4, 4)),
    )
    escape = sequence(Literal("\\"), choice(_one_of("'\"\\abfnrtv"), code))
    letters = {ord(mark): mark, 0x5C: "\\", 10: "n", 13: "r", 9: "t"}
    must_escape = (*_CONTROL, (ord(mark), ord(mark)), _BACKSLASH)
    return Quoting(Literal(mark), must_escape, letters, "\\x", choice(_unescaped(mark), escape))


QUOTINGS: dict[QuoteStyle, Quoting] = {"json": _json(), "single": _python("'"), "double": _python('"')}
