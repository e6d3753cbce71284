"""JSON strings (RFC 8259 §7) as nodes: every spelling json.loads accepts, lengths counted in characters."""

from __future__ import annotations

import functools
import json
from collections.abc import Iterable
from typing import assert_never

from edgefc.grammar.automata import code_points, is_empty, length_bounds
from edgefc.grammar.char_ranges import EVERY_CODE, LAST, Ranges, merge, subtract
from edgefc.grammar.rules import (
    ANY_CHAR,
    ANY_TEXT,
    EMPTY,
    NOTHING,
    And,
    Chars,
    Choice,
    ControlToken,
    FreeText,
    JsonString,
    Lexeme,
    Literal,
    MultipleOf,
    Node,
    NoneOf,
    Not,
    Ref,
    Repeat,
    Sequence,
    choice,
    one_of,
    sequence,
)

_HEX = Chars(((0x30, 0x39), (0x41, 0x46), (0x61, 0x66)))
_UNESCAPED = Chars(((0x00, 0x1F), (0x22, 0x22), (0x5C, 0x5C)), negated=True)


def _escape_sequence() -> Node:
    """Build a backslash escape for exactly one character; surrogates occur only in pairs."""
    d = Chars(((0x44, 0x44), (0x64, 0x64)))
    not_d = Chars(((0x30, 0x39), (0x41, 0x43), (0x45, 0x46), (0x61, 0x63), (0x65, 0x66)))
    low_digit = Chars(((0x30, 0x37),))
    high = Sequence((d, Chars(((0x38, 0x39), (0x41, 0x42), (0x61, 0x62))), _HEX, _HEX))
    low = Sequence((d, Chars(((0x43, 0x46), (0x63, 0x66))), _HEX, _HEX))
    code = choice(
        Sequence((not_d, _HEX, _HEX, _HEX)),
        Sequence((d, low_digit, _HEX, _HEX)),
        sequence(high, Literal("\\u"), low),
    )
    simple = Chars(tuple((ord(c), ord(c)) for c in '"\\/bfnrt'))
    return sequence(Literal("\\"), choice(simple, sequence(Literal("u"), code)))


CHARACTER = choice(_UNESCAPED, _escape_sequence())


def string(low: int, high: int | None) -> Node:
    """Return a quoted string of `low` to `high` characters; `high` None: of any length."""
    quote = Literal('"')
    return Literal('""') if high == 0 else Sequence((quote, Repeat(CHARACTER, low, high), quote))


def quoted(value: Node, low: int = 0, high: int | None = None) -> Node:
    """Return a quoted string whose value matches a regular node and has `low` to `high` characters."""
    if value == ANY_TEXT:
        return string(low, high)
    value = _bound_length(value, low, high)
    return NOTHING if is_empty(value) else JsonString(value)


def none_of(texts: Iterable[str]) -> Node:
    """Return the string values that differ from all of these."""
    # A text with half of a surrogate pair is never generated anyway.
    distinct = sorted({text for text in texts if not any(0xD800 <= ord(char) < 0xE000 for char in text)})
    return NoneOf(tuple(distinct)) if distinct else ANY_TEXT


def spell_chars(ranges: Ranges) -> Node:
    """Return the plainest spelling of each of these characters in a JSON string: escaped only where it must be."""
    unescaped = subtract(ranges, _MUST_ESCAPE)
    if unescaped and unescaped[-1][1] == LAST and not subtract(_MUST_ESCAPE, ranges):
        # Nearly all characters: the complement is shorter.
        complement = (r for r in subtract(EVERY_CODE, unescaped) if r != (0xD800, 0xDFFF))
        return choice(Chars(tuple(complement), negated=True), ESCAPED)
    branches: list[Node] = [Chars(unescaped)] if unescaped else []
    return choice(*branches, *_escapes(ranges))


@functools.lru_cache(maxsize=256)
def _escapes(ranges: Ranges) -> tuple[Node, ...]:
    """Spell those of the characters that must be escaped."""
    branches: list[Node] = []
    codes = [code for low, high in _MUST_ESCAPE for code in range(low, high + 1) if _contains(ranges, code)]
    letters = [_ESCAPE_LETTERS[code] for code in codes if code in _ESCAPE_LETTERS]
    if letters:
        branches.append(sequence(Literal("\\"), Chars(merge((ord(char), ord(char)) for char in letters))))
    others = [code for code in codes if code not in _ESCAPE_LETTERS]
    for first in (0, 1):
        digits = {digit for code in others if code >> 4 == first for digit in (f"{code % 16:x}", f"{code % 16:X}")}
        if digits:
            ranges_of_digits = merge((ord(digit), ord(digit)) for digit in digits)
            branches.append(sequence(Literal(f"\\u00{first}"), Chars(ranges_of_digits)))
    return tuple(branches)


@functools.lru_cache(maxsize=1024)
def spell(node: Node) -> Node:
    """Translate a regular node over string values into one over the text between the quotes."""
    match node:
        case Chars():
            return spell_chars(code_points(node))
        case Literal():
            return Literal(json.dumps(node.text, ensure_ascii=False)[1:-1])
        case Sequence():
            return sequence(*map(spell, node.items))
        case Choice():
            return choice(*map(spell, node.items))
        case Repeat():
            return Repeat(spell(node.item), node.low, node.high)
        case And():
            return And(tuple(map(spell, node.items)))
        case NoneOf():
            return spell(Not(one_of(node.texts)))
        case Not():
            # The complement among spellings of values: not every text is one.
            return And((spell(ANY_TEXT), Not(spell(node.item))))
        case ControlToken() | Ref() | Lexeme() | FreeText() | MultipleOf() | JsonString():
            raise AssertionError(f"{type(node).__name__} cannot occur in a string")
        case _:
            assert_never(node)


def _bound_length(value: Node, low: int, high: int | None) -> Node:
    """Restrict a node to texts of `low` to `high` characters."""
    shortest, longest = length_bounds(value)
    if shortest >= low and (high is None or (longest is not None and longest <= high)):
        return value
    if isinstance(value, Repeat) and isinstance(value.item, Chars):
        low, high = max(low, value.low), value.high if high is None else min(high, value.high or high)
        return NOTHING if high is not None and high < low else Repeat(value.item, low, high)
    if isinstance(value, Repeat) and value.high == 0:
        return EMPTY if low == 0 else NOTHING
    return And((value, Repeat(ANY_CHAR, low, high)))


_MUST_ESCAPE: Ranges = ((0x00, 0x1F), (0x22, 0x22), (0x5C, 0x5C))
_ESCAPE_LETTERS = {0x22: '"', 0x5C: "\\", 8: "b", 12: "f", 10: "n", 13: "r", 9: "t"}


def _contains(ranges: Ranges, code: int) -> bool:
    return any(low <= code <= high for low, high in ranges)


ESCAPED = choice(*_escapes(_MUST_ESCAPE))  # every character that must be escaped


def escaped_inside(text: str) -> str:
    """Return a text as the inside of a JSON string."""
    return json.dumps(text, ensure_ascii=False)[1:-1]
