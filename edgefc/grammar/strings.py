"""JSON strings (RFC 8259 §7) as rules: every spelling json.loads takes, lengths counted in characters."""

from __future__ import annotations

from edgefc.grammar.rules import Chars, Literal, Node, Repeat, Sequence, choice, sequence

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
