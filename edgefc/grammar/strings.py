"""JSON strings (RFC 8259 §7) as rules: every spelling json.loads takes, lengths counted in characters."""

from __future__ import annotations

import functools
import json
from collections.abc import Iterable

from edgefc.grammar.automata import LAST, Ranges, is_empty, lengths, merged, ranges_of, without
from edgefc.grammar.patterns import ANYTHING
from edgefc.grammar.rules import (
    ANY,
    EMPTY,
    NOTHING,
    And,
    Chars,
    Choice,
    Except,
    Literal,
    Node,
    Not,
    Quoted,
    Repeat,
    Sequence,
    choice,
    one_of,
    sequence,
)

_HEX = Chars(((0x30, 0x39), (0x41, 0x46), (0x61, 0x66)))
_PLAIN = Chars(((0x00, 0x1F), (0x22, 0x22), (0x5C, 0x5C)), negated=True)


def _escaped() -> Node:
    """A backslash escape for exactly one character; a surrogate only ever as half of a pair."""
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


CHARACTER = choice(_PLAIN, _escaped())


def string(low: int, high: int | None) -> Node:
    """A quoted string of `low` to `high` characters; `high` None: of any length."""
    quote = Literal('"')
    return Literal('""') if high == 0 else Sequence((quote, Repeat(CHARACTER, low, high), quote))


def quoted(value: Node, low: int = 0, high: int | None = None) -> Node:
    """A quoted string of which the value matches a regular node and has `low` to `high` characters."""
    if value == ANYTHING:
        return string(low, high)
    value = _counted(value, low, high)
    return NOTHING if is_empty(value) else Quoted(value)


def other_than(names: Iterable[str]) -> Node:
    """The values of strings that are none of these."""
    # What holds half of a surrogate pair is never written anyway.
    every = sorted({name for name in names if not any(0xD800 <= ord(char) < 0xE000 for char in name)})
    return Except(tuple(every)) if every else ANYTHING


def spelled_chars(ranges: Ranges) -> Node:
    """The one plain spelling of each of these characters inside a JSON string: escaped where it has to be."""
    plain = without(ranges, _ESCAPED)
    if plain and plain[-1][1] == LAST and not without(_ESCAPED, ranges):
        # Nearly all characters: what is left out is shorter.
        left_out = (r for r in without(((0, LAST),), plain) if r != (0xD800, 0xDFFF))
        return choice(Chars(tuple(left_out), negated=True), ESCAPED)
    ways: list[Node] = [Chars(plain)] if plain else []
    return choice(*ways, *_escapes(ranges))


@functools.lru_cache(maxsize=256)
def _escapes(ranges: Ranges) -> tuple[Node, ...]:
    """The spellings of those characters that have to be escaped."""
    ways: list[Node] = []
    escaped = [code for low, high in _ESCAPED for code in range(low, high + 1) if _within(code, ranges)]
    short = [_SHORT[code] for code in escaped if code in _SHORT]
    if short:
        ways.append(sequence(Literal("\\"), Chars(merged((ord(char), ord(char)) for char in short))))
    long = [code for code in escaped if code not in _SHORT]
    for first in (0, 1):
        codes = [code % 16 for code in long if code >> 4 == first]
        digits = merged((ord(digit), ord(digit)) for code in codes for digit in {f"{code:x}", f"{code:X}"})
        if digits:
            ways.append(sequence(Literal(f"\\u00{first}"), Chars(digits)))
    return tuple(ways)


@functools.lru_cache(maxsize=1024)
def spelled(node: Node) -> Node:
    """A regular node over values as one over what stands between the quotes."""
    if isinstance(node, Chars):
        return spelled_chars(ranges_of(node))
    if isinstance(node, Literal):
        return Literal(json.dumps(node.text, ensure_ascii=False)[1:-1])
    if isinstance(node, Sequence):
        return sequence(*map(spelled, node.items))
    if isinstance(node, Choice):
        return choice(*map(spelled, node.items))
    if isinstance(node, Repeat):
        return Repeat(spelled(node.item), node.low, node.high)
    if isinstance(node, And):
        return And(tuple(map(spelled, node.items)))
    if isinstance(node, Except):
        return spelled(Not(one_of(node.texts)))
    assert isinstance(node, Not)
    # The complement among spellings of values: not all texts are.
    return And((spelled(ANYTHING), Not(spelled(node.item))))


def _counted(value: Node, low: int, high: int | None) -> Node:
    """A node whose texts have `low` to `high` characters besides."""
    least, most = lengths(value)
    if least >= low and (high is None or (most is not None and most <= high)):
        return value
    if isinstance(value, Repeat) and isinstance(value.item, Chars):
        low, high = max(low, value.low), value.high if high is None else min(high, value.high or high)
        return NOTHING if high is not None and high < low else Repeat(value.item, low, high)
    if isinstance(value, Repeat) and value.high == 0:
        return EMPTY if low == 0 else NOTHING
    return And((value, Repeat(ANY, low, high)))


_ESCAPED: Ranges = ((0x00, 0x1F), (0x22, 0x22), (0x5C, 0x5C))
_SHORT = {0x22: '"', 0x5C: "\\", 8: "b", 12: "f", 10: "n", 13: "r", 9: "t"}


def _within(code: int, ranges: Ranges) -> bool:
    return any(low <= code <= high for low, high in ranges)


ESCAPED = choice(*_escapes(_ESCAPED))  # every character that has to be escaped
