"""The exact bounds that `minimum`, `maximum` and their exclusive forms set for a number."""

from __future__ import annotations

import math
from collections.abc import Sequence
from decimal import Decimal
from fractions import Fraction

from edgefc.errors import SchemaError
from edgefc.grammar.json_schema.document import Subschema, describe_type
from edgefc.grammar.numbers import Bound


def _bounds(conjunction: Sequence[Subschema]) -> tuple[Bound | None, Bound | None]:
    low: Bound | None = None
    high: Bound | None = None
    for subschema in conjunction:
        for keyword in ("minimum", "exclusiveMinimum", "maximum", "exclusiveMaximum"):
            bound = _bound_at(subschema, keyword)
            if bound is None:
                continue
            if keyword.lower().endswith("minimum"):
                low = bound if low is None else max(low, bound)
            else:
                high = bound if high is None else min(high, bound, key=lambda b: (b[0], not b[1]))
    return low, high


def _bound_at(subschema: Subschema, keyword: str) -> Bound | None:
    """Return the bound that one keyword sets, if it does. Raises SchemaError."""
    if not subschema.has(keyword):
        return None
    value, inclusive_keyword = subschema.get(keyword), keyword.removeprefix("exclusive").lower()
    excluded = keyword != inclusive_keyword
    if isinstance(value, bool) and excluded:
        # Draft 4: the flag belongs to the bound beside it.
        if not value or not subschema.has(inclusive_keyword):
            return None
        value = subschema.get(inclusive_keyword)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise SchemaError((*subschema.path, keyword), f"must be a number, not {describe_type(value)}")
    return Decimal(repr(value)), excluded


def step_of(subschema: Subschema, keyword: str) -> Decimal:
    """Return the number of `multipleOf`. Raises SchemaError."""
    value = subschema.get(keyword)
    if isinstance(value, bool) or not isinstance(value, int | float) or value <= 0:
        raise SchemaError((*subschema.path, keyword), f"must be a number above 0, not {value!r}")
    return Decimal(repr(value))


def is_whole(number: Decimal) -> bool:
    """Return True for an integer of any size; `number % 1` fails for one of more digits than the context has."""
    return number == number.to_integral_value()


def integer_bounds(conjunction: Sequence[Subschema]) -> tuple[int | None, int | None]:
    """Return the inclusive bounds of an integer; None: no such bound. They may exclude every value."""
    low, high = _bounds(conjunction)
    least = most = None
    if low is not None:
        exact = Fraction(low[0])
        least = math.floor(exact) + 1 if low[1] else math.ceil(exact)
    if high is not None:
        exact = Fraction(high[0])
        most = math.ceil(exact) - 1 if high[1] else math.floor(exact)
    return least, most


def number_bounds(conjunction: Sequence[Subschema]) -> tuple[Bound | None, Bound | None] | None:
    """Return the bounds of a number; None: it has no bounds."""
    low, high = _bounds(conjunction)
    return None if low is None and high is None else (low, high)
