"""JSON numbers (RFC 8259 §6) as rules, integers within bounds.

Free numbers have at most 16 digits before and after the point and a two-digit exponent: what a double holds,
and an end for a model that would write digits for ever.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

from edgefc.grammar.automata import is_empty
from edgefc.grammar.rules import (
    DIGIT,
    EMPTY,
    NOTHING,
    And,
    Chars,
    Literal,
    Multiple,
    Node,
    Repeat,
    choice,
    optional,
    sequence,
)

_MAX_DIGITS = 16
# Decimals of up to so many digits in all are different doubles, so none is rounded onto an excluded bound.
_EXACT_DIGITS = 15
_NON_ZERO = Chars(((0x31, 0x39),))
_MINUS = Literal("-")
# Numbers of any length, without exponents: what an automaton can count in.
WHOLE = sequence(optional(_MINUS), choice(Literal("0"), sequence(_NON_ZERO, Repeat(DIGIT, 0, None))))
DECIMAL = sequence(WHOLE, optional(sequence(Literal("."), Repeat(DIGIT, 1, None))))
# What a double tells apart: a longer decimal could be read as a multiple, or as a value, that it is not.
EXACT = sequence(
    optional(_MINUS), choice(Repeat(DIGIT, 1, None), sequence(Repeat(DIGIT, 1, 9), Literal("."), Repeat(DIGIT, 1, 6)))
)
# Whole numbers, also where they are written with a point.
INTEGRAL = sequence(WHOLE, optional(sequence(Literal("."), Repeat(Literal("0"), 1, None))))


def integer(low: int | None = None, high: int | None = None) -> Node:
    """An integer from `low` to `high`, both included; None: without that bound."""
    if low is None and high is None:
        return sequence(optional(_MINUS), choice(Literal("0"), _free(1)))
    if low is not None and high is not None and low > high:
        return NOTHING
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


def decimal(low: tuple[Decimal, bool] | None, high: tuple[Decimal, bool] | None) -> Node:
    """A number between two bounds, each with whether it is excluded itself; None: without that bound.

    Written without an exponent, and with as many decimals as a double tells apart.
    """
    zero = (Decimal(0), False)
    ways: list[Node] = []
    if low is None or low[0] < 0:
        # Negative numbers mirror the positive ones above zero, or above -high.
        least = (-high[0], high[1]) if high is not None and high[0] < 0 else (Decimal(0), True)
        ways.append(sequence(_MINUS, _unsigned(least, None if low is None else (-low[0], low[1]))))
    if high is None or high[0] >= 0:
        ways.append(_unsigned(low if low is not None and low[0] >= 0 else zero, high))
    return choice(*ways)


def _unsigned(low: tuple[Decimal, bool], high: tuple[Decimal, bool] | None) -> Node:
    """A number from `low` ≥ 0 to `high`."""
    first, first_part = _split(low[0])
    if high is not None and len(str(int(high[0]))) > _MAX_DIGITS:
        high = None  # beyond anything written here
    last, last_part = _split(high[0]) if high is not None else (None, "")
    if last is not None and last < first:
        return NOTHING
    digits = max(0, _EXACT_DIGITS - len(str(first if last is None else last)))
    free = optional(sequence(Literal("."), Repeat(DIGIT, 1, digits))) if digits else EMPTY
    lower = _Fraction(first_part, open_=low[1])
    upper = _Fraction(last_part, open_=high[1] if high is not None else False)
    if first == last:
        return sequence(Literal(str(first)), _part(lower, upper, digits))
    ways: list[Node] = [sequence(Literal(str(first)), _part(lower, None, digits))]
    if last is None or first + 1 < last:
        ways.append(sequence(integer(first + 1, None if last is None else last - 1), free))
    if last is not None:
        ways.append(sequence(Literal(str(last)), _part(None, upper, digits)))
    return choice(*ways)


def multiple(step: Decimal) -> Node:
    """Numbers that are multiples of `step` > 0, in whatever form without an exponent."""
    _, digits, exponent = step.normalize().as_tuple()
    assert isinstance(exponent, int)
    divisor = int("".join(map(str, digits)))
    if exponent <= 0:
        return sequence(optional(_MINUS), Multiple(divisor, -exponent))
    # A power of ten is so many zeros at the end, which takes far fewer states than remainders.
    whole = choice(Literal("0"), sequence(And((Repeat(DIGIT, 1, None), Multiple(divisor))), Literal("0" * exponent)))
    return sequence(optional(_MINUS), whole, optional(sequence(Literal("."), Repeat(Literal("0"), 1, None))))


def equal_to(value: float) -> Node:
    """The spellings without exponent of one number."""
    whole, _, part = f"{abs(Decimal(repr(value))):f}".partition(".")
    part = part.rstrip("0")
    sign = Literal("-") if value < 0 else optional(_MINUS) if value == 0 else EMPTY
    zeros = Repeat(Literal("0"), 0, None)
    end = sequence(Literal(f".{part}"), zeros) if part else optional(sequence(Literal("."), zeros))
    return sequence(sign, Literal(whole), end)


def within(form: Node, *, also: list[Node]) -> Node:
    """Numbers of a form that are as all of `also` say. Raises TooLargeError."""
    node = And((form, *also))
    return NOTHING if is_empty(node) else node


@dataclass(frozen=True)
class _Fraction:
    """A bound of the digits after the point, without trailing zeros."""

    digits: str
    open_: bool


def _split(value: Decimal) -> tuple[int, str]:
    whole, _, part = f"{value:f}".partition(".")
    return int(whole), part.rstrip("0")


def _part(low: _Fraction | None, high: _Fraction | None, limit: int) -> Node:
    """The point and digits, or nothing, of a fraction between two bounds; at most `limit` digits."""
    zero_fits = (low is None or (low.digits == "" and not low.open_)) and not (
        high is not None and high.digits == "" and high.open_
    )
    ways = _digits(low, high, limit)
    return optional(sequence(Literal("."), ways)) if zero_fits else sequence(Literal("."), ways)


def _digits(low: _Fraction | None, high: _Fraction | None, limit: int) -> Node:
    """One or more digits of a fraction between two bounds; None: the bound is passed already."""
    if low is not None and low.digits == "" and not low.open_:
        low = None
    if limit < 1 or (high is not None and high.digits == "" and high.open_):
        return NOTHING
    if low is None and high is not None and high.digits == "":
        return Repeat(Literal("0"), 1, limit)
    if low is None and high is None:
        return Repeat(DIGIT, 1, limit)
    ways: list[Node] = []
    runs: dict[tuple[_Fraction | None, _Fraction | None], list[int]] = {}
    for digit in range(10):
        below, above = _after(low, digit, upper=False), _after(high, digit, upper=True)
        if below != "out" and above != "out":
            assert not isinstance(below, str)
            assert not isinstance(above, str)
            runs.setdefault((below, above), []).append(digit)
    for (below, above), digits in runs.items():
        # To end here is to go on with zeros.
        ends = (below is None or (below.digits == "" and not below.open_)) and not (
            above is not None and above.digits == "" and above.open_
        )
        more = _digits(below, above, limit - 1)
        start = Chars(((48 + digits[0], 48 + digits[-1]),)) if len(digits) > 1 else Literal(str(digits[0]))
        ways.append(sequence(start, optional(more) if ends else more))
    return choice(*ways)


def _after(bound: _Fraction | None, digit: int, *, upper: bool) -> _Fraction | str | None:
    """What a bound asks of the digits after this one; "out" when the digit breaks it."""
    if bound is None:
        return None
    edge = int(bound.digits[:1] or "0")
    if digit == edge:
        return _Fraction(bound.digits[1:], bound.open_)
    return None if (digit < edge) == upper else "out"


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
