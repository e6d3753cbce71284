"""JSON strings (RFC 8259 §7) as nodes: every spelling json.loads accepts, lengths counted in characters."""

from __future__ import annotations

import functools
import json
from collections.abc import Iterable
from typing import assert_never

from edgefc.grammar.automata import code_points, is_empty, length_bounds
from edgefc.grammar.char_ranges import EVERY_CODE, LAST, Ranges, merge, subtract
from edgefc.grammar.quoting import QUOTINGS
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
    Sequence,
    choice,
    one_of,
    sequence,
)

CHARACTER = QUOTINGS["json"].character


def string(low: int, high: int | None, style: QuoteStyle = "json") -> Node:
    """Return a quoted string of `low` to `high` characters; `high` None: of any length."""
    quoting = QUOTINGS[style]
    quote = quoting.mark
    return Literal(quote.text * 2) if high == 0 else Sequence((quote, Repeat(quoting.character, low, high), quote))


def quoted(value: Node, low: int = 0, high: int | None = None, style: QuoteStyle = "json") -> Node:
    """Return a quoted string whose value matches a regular node and has `low` to `high` characters."""
    if value == ANY_TEXT:
        return string(low, high, style)
    value = bound_length(value, low, high)
    return NOTHING if is_empty(value) else QuotedString(value, style)


def none_of(texts: Iterable[str]) -> Node:
    """Return the string values that differ from all of these."""
    # A text with half of a surrogate pair is never generated anyway.
    distinct = sorted({text for text in texts if not any(0xD800 <= ord(char) < 0xE000 for char in text)})
    return NoneOf(tuple(distinct)) if distinct else ANY_TEXT


def spell_chars(ranges: Ranges, style: QuoteStyle = "json") -> Node:
    """Return the plainest spelling of each of these characters in a string: escaped only where it must be."""
    must_escape = QUOTINGS[style].must_escape
    unescaped = subtract(ranges, must_escape)
    if unescaped and unescaped[-1][1] == LAST and not subtract(must_escape, ranges):
        # Nearly all characters: the complement is shorter.
        complement = (r for r in subtract(EVERY_CODE, unescaped) if r != (0xD800, 0xDFFF))
        return choice(Chars(tuple(complement), negated=True), *_escapes(must_escape, style))
    branches: list[Node] = [Chars(unescaped)] if unescaped else []
    return choice(*branches, *_escapes(ranges, style))


@functools.lru_cache(maxsize=256)
def _escapes(ranges: Ranges, style: QuoteStyle) -> tuple[Node, ...]:
    """Spell those of the characters that must be escaped."""
    quoting = QUOTINGS[style]
    branches: list[Node] = []
    codes = [code for low, high in quoting.must_escape for code in range(low, high + 1) if _contains(ranges, code)]
    letters = [quoting.letters[code] for code in codes if code in quoting.letters]
    if letters:
        branches.append(sequence(Literal("\\"), Chars(merge((ord(char), ord(char)) for char in letters))))
    others = [code for code in codes if code not in quoting.letters]
    for first in (0, 1):
        digits = {digit for code in others if code >> 4 == first for digit in (f"{code % 16:x}", f"{code % 16:X}")}
        if digits:
            ranges_of_digits = merge((ord(digit), ord(digit)) for digit in digits)
            branches.append(sequence(Literal(f"{quoting.hex_prefix}{first}"), Chars(ranges_of_digits)))
    return tuple(branches)


@functools.lru_cache(maxsize=1024)
def spell(node: Node, style: QuoteStyle = "json") -> Node:
    """Translate a regular node over string values into one over the text between the quotes."""
    match node:
        case Chars():
            return spell_chars(code_points(node), style)
        case Literal():
            return Literal(QUOTINGS[style].inside(node.text))
        case Sequence():
            return sequence(*(spell(item, style) for item in node.items))
        case Choice():
            return choice(*(spell(item, style) for item in node.items))
        case Repeat():
            return Repeat(spell(node.item, style), node.low, node.high)
        case And():
            return And(tuple(spell(item, style) for item in node.items))
        case NoneOf():
            return spell(Not(one_of(node.texts)), style)
        case Not():
            # The complement among spellings of values: not every text is one.
            return And((spell(ANY_TEXT, style), Not(spell(node.item, style))))
        case ControlToken() | Ref() | Lexeme() | FreeText() | MultipleOf() | QuotedString():
            raise AssertionError(f"{type(node).__name__} cannot occur in a string")
        case _:
            assert_never(node)


def with_quotes(node: QuotedString) -> Node:
    """Return a quoted string as the regular node of its text, quotes included."""
    mark = QUOTINGS[node.style].mark
    return sequence(mark, spell(node.item, node.style), mark)


def bound_length(value: Node, low: int, high: int | None) -> Node:
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


def _contains(ranges: Ranges, code: int) -> bool:
    return any(low <= code <= high for low, high in ranges)


ESCAPED = choice(*_escapes(QUOTINGS["json"].must_escape, "json"))  # every character that must be escaped


def escaped_inside(text: str) -> str:
    """Return a text as the inside of a JSON string."""
    return json.dumps(text, ensure_ascii=False)[1:-1]
