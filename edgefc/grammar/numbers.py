"""JSON numbers (RFC 8259 §6) as rules, integers within bounds.

Free numbers have at most 16 digits before and after the point and a two-digit exponent: what a double holds,
and an end for a model that would write digits for ever.
"""

from __future__ import annotations

from edgefc.grammar.rules import DIGIT, Chars, Literal, Node, Repeat, choice, optional, sequence

_MAX_DIGITS = 16
_NON_ZERO = Chars(((0x31, 0x39),))
_MINUS = Literal("-")


def integer(low: int | None = None, high: int | None = None) -> Node:
    """An integer from `low` to `high`, both included; None: without that bound."""
    if low is None and high is None:
        return sequence(optional(_MINUS), choice(Literal("0"), _free(1)))
    ways: list[Node] = []
    if low is None or low < 0:
        # Negative numbers mirror the positive ones from 1 (or -high) to -low.
        least = 1 if high is None or high >= 0 else -high
        ways.append(sequence(_MINUS, _positive(least, None if low is None else -low)))
    if (low is None or low <= 0) and (high is None or high >= 0):
        ways.append(Literal("0"))
    if high is None or high > 0:
        ways.append(_positive(max(1, low or 0), high))
    return choice(*ways)


def number() -> Node:
    """Any JSON number of sensible length."""
    point = sequence(Literal("."), Repeat(DIGIT, 1, _MAX_DIGITS))
    sign = Chars(((0x2B, 0x2B), (0x2D, 0x2D)))
    exponent = sequence(Chars(((0x45, 0x45), (0x65, 0x65))), optional(sign), Repeat(DIGIT, 1, 2))
    return sequence(integer(), optional(point), optional(exponent))


def _free(digits: int) -> Node:
    """Positive integers of at least so many digits."""
    return sequence(_NON_ZERO, Repeat(DIGIT, digits - 1, max(_MAX_DIGITS, digits) - 1))


def _positive(low: int, high: int | None) -> Node:
    """Integers from `low` ≥ 1 to `high`; without `high`, up to 16 digits or one more than `low` has."""
    size = len(str(low))
    if high is None:
        if str(low) == "1" + "0" * (size - 1):
            return _free(size)
        return choice(_same_length(str(low), "9" * size), _free(size + 1))
    ways: list[Node] = []
    for digits in range(size, len(str(high)) + 1):
        first = str(low) if digits == size else "1" + "0" * (digits - 1)
        last = str(high) if digits == len(str(high)) else "9" * digits
        ways.append(_same_length(first, last))
    return choice(*ways)


def _same_length(low: str, high: str) -> Node:
    """Numbers from `low` to `high`, which have equally many digits."""
    if not low:
        return sequence()
    if low == high:
        return Literal(low)
    rest = len(low) - 1
    if low[0] == high[0]:
        return sequence(Literal(low[0]), _same_length(low[1:], high[1:]))
    ways: list[Node] = []
    first, last = int(low[0]), int(high[0])
    if low[1:] != "0" * rest:
        ways.append(sequence(Literal(low[0]), _same_length(low[1:], "9" * rest)))
        first += 1
    upper: list[Node] = []
    if high[1:] != "9" * rest:
        upper.append(sequence(Literal(high[0]), _same_length("0" * rest, high[1:])))
        last -= 1
    if first <= last:
        digit: Node = Literal(str(first)) if first == last else Chars(((48 + first, 48 + last),))
        ways.append(sequence(digit, Repeat(DIGIT, rest, rest)) if rest else digit)
    return choice(*ways, *upper)
