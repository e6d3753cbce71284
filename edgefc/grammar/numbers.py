"""JSON numbers (RFC 8259 §6) as nodes, integers and decimals within bounds.

No number can run on, if a model would write digits for ever: one without bounds has at most 17 significant digits, as
many as a double needs, and a two-digit exponent, with which it stays finite; an integer has at most 19, as many as one
of 64 bits, which identifiers fill. Bounds may demand more, and digits of multiples cannot be counted besides.
"""

from __future__ import annotations

import functools
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
    MultipleOf,
    Node,
    Repeat,
    choice,
    optional,
    sequence,
)

_MAX_DIGITS = 19  # of an integer
_SIGNIFICANT_DIGITS = 17
# Decimals with up to 15 digits in all are different doubles, so none is rounded onto an excluded bound.
_EXACT_DIGITS = 15
_NON_ZERO = Chars(((0x31, 0x39),))
_MINUS = Literal("-")
_ZEROS_AFTER_POINT = optional(sequence(Literal("."), Repeat(Literal("0"), 1, None)))
# Numbers of any length, without exponents: an automaton can count in them.
WHOLE = sequence(optional(_MINUS), choice(Literal("0"), sequence(_NON_ZERO, Repeat(DIGIT, 0, None))))
DECIMAL = sequence(WHOLE, optional(sequence(Literal("."), Repeat(DIGIT, 1, None))))
# Decimals that a double tells apart: a longer one could be read as a multiple, or as a value, that it is not.
EXACT = sequence(
    optional(_MINUS), choice(Repeat(DIGIT, 1, None), sequence(Repeat(DIGIT, 1, 9), Literal("."), Repeat(DIGIT, 1, 6)))
)
_SHORT = Repeat(Chars(((0x2D, 0x2E), (0x30, 0x39))), 1, _MAX_DIGITS + 1)
# Whole numbers, also those written with a point.
INTEGRAL = sequence(WHOLE, _ZEROS_AFTER_POINT)

Bound = tuple[Decimal, bool]  # the number, and whether it is excluded itself


@functools.lru_cache(maxsize=256)
def integer(low: int | None = None, high: int | None = None) -> Node:
    """Return the integers from `low` to `high`, both included; None: no such bound."""
    if low is None and high is None:
        return sequence(optional(_MINUS), choice(Literal("0"), _digits_from(1)))
    if low is not None and high is not None and low > high:
        return NOTHING
    branches: list[Node] = []
    if low is None or low < 0:
        # Negative numbers mirror the positive ones from 1 (or -high) to -low.
        least = 1 if high is None or high >= 0 else -high
        branches.append(sequence(_MINUS, _positive(least, None if low is None else -low)))
    if (low is None or low <= 0) and (high is None or high >= 0):
        branches.append(Literal("0"))
    if high is None or high > 0:
        branches.append(_positive(max(1, low or 0), high))
    return choice(*branches)


@functools.lru_cache(maxsize=1)
def number() -> Node:
    """Return any JSON number with as many digits as a double holds."""
    # After each digit before the point one less may follow it.
    rest: Node = EMPTY
    for left in range(1, _SIGNIFICANT_DIGITS):
        point = sequence(Literal("."), Repeat(DIGIT, 1, left))
        rest = optional(choice(point, sequence(DIGIT, rest)))
    fraction = optional(sequence(Literal("."), Repeat(DIGIT, 1, _SIGNIFICANT_DIGITS)))
    whole = choice(sequence(Literal("0"), fraction), sequence(_NON_ZERO, rest))
    sign = Chars(((0x2B, 0x2B), (0x2D, 0x2D)))
    exponent = sequence(Chars(((0x45, 0x45), (0x65, 0x65))), optional(sign), Repeat(DIGIT, 1, 2))
    return sequence(optional(_MINUS), whole, optional(exponent))


def limited(node: Node) -> Node:
    """Return the numbers of a node that have at most 19 digits. Raises TooLargeError."""
    return And((node, _SHORT))


@functools.lru_cache(maxsize=256)
def decimal(low: Bound | None, high: Bound | None) -> Node:
    """Return the numbers between two bounds; None: no such bound.

    They have no exponent and as many decimals as a double tells apart.
    """
    zero = (Decimal(0), False)
    branches: list[Node] = []
    if low is None or low[0] < 0:
        # Negative numbers mirror the positive ones above zero, or above -high.
        least = (-high[0], high[1]) if high is not None and high[0] < 0 else (Decimal(0), True)
        branches.append(sequence(_MINUS, _unsigned(least, None if low is None else (-low[0], low[1]))))
    if high is None or high[0] >= 0:
        branches.append(_unsigned(low if low is not None and low[0] >= 0 else zero, high))
    return choice(*branches)


def _unsigned(low: Bound, high: Bound | None) -> Node:
    """Return the numbers from `low` ≥ 0 to `high`."""
    first, first_part = _split(low[0])
    if high is not None and len(str(int(high[0]))) > _MAX_DIGITS:
        high = None  # beyond any number written here
    last, last_part = _split(high[0]) if high is not None else (None, "")
    if last is not None and last < first:
        return NOTHING
    digits = max(0, _EXACT_DIGITS - len(str(first if last is None else last)))
    free = optional(sequence(Literal("."), Repeat(DIGIT, 1, digits))) if digits else EMPTY
    lower = _Fraction(first_part, excluded=low[1])
    upper = _Fraction(last_part, excluded=high[1] if high is not None else False)
    if first == last:
        return sequence(Literal(str(first)), _fraction(lower, upper, digits))
    branches: list[Node] = [sequence(Literal(str(first)), _fraction(lower, None, digits))]
    if last is None or first + 1 < last:
        branches.append(sequence(integer(first + 1, None if last is None else last - 1), free))
    if last is not None:
        branches.append(sequence(Literal(str(last)), _fraction(None, upper, digits)))
    return choice(*branches)


def multiple_of(step: Decimal) -> Node:
    """Return the multiples of `step` > 0, in any spelling without an exponent."""
    _, digits, exponent = step.normalize().as_tuple()
    assert isinstance(exponent, int)
    divisor = int("".join(map(str, digits)))
    if exponent <= 0:
        return sequence(optional(_MINUS), MultipleOf(divisor, -exponent))
    # A power of ten is a fixed number of zeros at the end, which takes far fewer states than remainders.
    multiples = sequence(And((Repeat(DIGIT, 1, None), MultipleOf(divisor))), Literal("0" * exponent))
    return sequence(optional(_MINUS), choice(Literal("0"), multiples), _ZEROS_AFTER_POINT)


def equal_to(value: float) -> Node:
    """Return the spellings of one number without an exponent."""
    whole, _, part = f"{abs(Decimal(repr(value))):f}".partition(".")
    part = part.rstrip("0")
    sign = Literal("-") if value < 0 else optional(_MINUS) if value == 0 else EMPTY
    zeros = Repeat(Literal("0"), 0, None)
    end = sequence(Literal(f".{part}"), zeros) if part else optional(sequence(Literal("."), zeros))
    return sequence(sign, Literal(whole), end)


def intersection(form: Node, conditions: list[Node]) -> Node:
    """Return the numbers of a form that meet all conditions. Raises TooLargeError."""
    node = And((form, *conditions))
    return NOTHING if is_empty(node) else node


@dataclass(frozen=True)
class _Fraction:
    """A bound of the digits after the point, without trailing zeros."""

    digits: str
    excluded: bool

    @property
    def is_zero(self) -> bool:
        return self.digits == ""


def _split(value: Decimal) -> tuple[int, str]:
    whole, _, part = f"{value:f}".partition(".")
    return int(whole), part.rstrip("0")


def _includes_zero(low: _Fraction | None, high: _Fraction | None) -> bool:
    return (low is None or (low.is_zero and not low.excluded)) and not (
        high is not None and high.is_zero and high.excluded
    )


def _fraction(low: _Fraction | None, high: _Fraction | None, limit: int) -> Node:
    """Return the point and at most `limit` digits of a fraction between two bounds; nothing where it may be 0."""
    body = sequence(Literal("."), _fraction_digits(low, high, limit))
    return optional(body) if _includes_zero(low, high) else body


def _fraction_digits(low: _Fraction | None, high: _Fraction | None, limit: int) -> Node:
    """Return one or more digits of a fraction between two bounds; None: the bound needs no more attention."""
    if low is not None and low.is_zero and not low.excluded:
        low = None
    if limit < 1 or (high is not None and high.is_zero and high.excluded):
        return NOTHING
    if low is None and high is not None and high.is_zero:
        return Repeat(Literal("0"), 1, limit)
    if low is None and high is None:
        return Repeat(DIGIT, 1, limit)
    branches: list[Node] = []
    digits_by_rest: dict[tuple[_Fraction | None, _Fraction | None], list[int]] = {}
    for digit in range(10):
        if not (_excludes(low, digit, upper=False) or _excludes(high, digit, upper=True)):
            digits_by_rest.setdefault((_after_digit(low, digit), _after_digit(high, digit)), []).append(digit)
    for (below, above), digits in digits_by_rest.items():
        more = _fraction_digits(below, above, limit - 1)
        start = Chars(((48 + digits[0], 48 + digits[-1]),)) if len(digits) > 1 else Literal(str(digits[0]))
        # A number that ends here could as well go on with zeros.
        branches.append(sequence(start, optional(more) if _includes_zero(below, above) else more))
    return choice(*branches)


def _excludes(bound: _Fraction | None, digit: int, *, upper: bool) -> bool:
    """Return whether a next digit would violate the bound, whatever follows it."""
    if bound is None:
        return False
    edge = int(bound.digits[:1] or "0")
    return digit > edge if upper else digit < edge


def _after_digit(bound: _Fraction | None, digit: int) -> _Fraction | None:
    """Return the bound of the digits after this one; None: they are free."""
    if bound is None or digit != int(bound.digits[:1] or "0"):
        return None
    return _Fraction(bound.digits[1:], bound.excluded)


def _digits_from(digits: int) -> Node:
    """Return the positive integers of at least this many digits."""
    return sequence(_NON_ZERO, Repeat(DIGIT, digits - 1, max(_MAX_DIGITS, digits) - 1))


def _positive(low: int, high: int | None) -> Node:
    """Return the integers from `low` ≥ 1 to `high`; without `high`, up to 19 digits or one more than `low` has."""
    size = len(str(low))
    if high is None:
        if str(low) == "1" + "0" * (size - 1):
            return _digits_from(size)
        return choice(_same_length(str(low), "9" * size), _digits_from(size + 1))
    branches: list[Node] = []
    for digits in range(size, len(str(high)) + 1):
        first = str(low) if digits == size else "1" + "0" * (digits - 1)
        last = str(high) if digits == len(str(high)) else "9" * digits
        branches.append(_same_length(first, last))
    return choice(*branches)


def _same_length(low: str, high: str) -> Node:
    """Return the numbers from `low` to `high`, which have equally many digits."""
    if not low:
        return sequence()
    if low == high:
        return Literal(low)
    rest = len(low) - 1
    if low[0] == high[0]:
        return sequence(Literal(low[0]), _same_length(low[1:], high[1:]))
    branches: list[Node] = []
    first, last = int(low[0]), int(high[0])
    if low[1:] != "0" * rest:
        branches.append(sequence(Literal(low[0]), _same_length(low[1:], "9" * rest)))
        first += 1
    upper: list[Node] = []
    if high[1:] != "9" * rest:
        upper.append(sequence(Literal(high[0]), _same_length("0" * rest, high[1:])))
        last -= 1
    if first <= last:
        digit: Node = Literal(str(first)) if first == last else Chars(((48 + first, 48 + last),))
        branches.append(sequence(digit, Repeat(DIGIT, rest, rest)) if rest else digit)
    return choice(*branches, *upper)
