"""The bounds that `minimum`, `maximum` and their exclusive forms put on a number, exactly."""

from __future__ import annotations

import math
from collections.abc import Sequence
from decimal import Decimal
from fractions import Fraction

from edgefc.errors import SchemaError
from edgefc.grammar.json_schema.document import Place, kind_of

Bound = tuple[Decimal, bool]  # the number, and whether it is excluded itself


def _bounds(places: Sequence[Place]) -> tuple[Bound | None, Bound | None]:
    low: Bound | None = None
    high: Bound | None = None
    for place in places:
        for keyword in ("minimum", "exclusiveMinimum", "maximum", "exclusiveMaximum"):
            if not place.has(keyword):
                continue
            value, plain = place.get(keyword), keyword.removeprefix("exclusive").lower()
            excluded = keyword != plain
            if isinstance(value, bool) and excluded:
                # Draft 4: the flag belongs to the bound beside it.
                if not value or not place.has(plain):
                    continue
                value = place.get(plain)
            if isinstance(value, bool) or not isinstance(value, int | float):
                raise SchemaError((*place.path, keyword), f"must be a number, not {kind_of(value)}")
            bound = (Decimal(repr(value)), excluded)
            if plain == "minimum":
                low = bound if low is None else max(low, bound)
            else:
                high = bound if high is None else min(high, bound, key=lambda b: (b[0], not b[1]))
    return low, high


def step_of(place: Place, keyword: str) -> Decimal:
    """The number that `multipleOf` names. Raises SchemaError."""
    value = place.get(keyword)
    if isinstance(value, bool) or not isinstance(value, int | float) or value <= 0:
        raise SchemaError((*place.path, keyword), f"must be a number above 0, not {value!r}")
    return Decimal(repr(value))


def integer_bounds(places: Sequence[Place]) -> tuple[int | None, int | None]:
    """Inclusive bounds of an integer; None: without that bound. They may exclude everything."""
    low, high = _bounds(places)
    least = most = None
    if low is not None:
        least = math.ceil(Fraction(low[0]))
        least += low[1] and least == Fraction(low[0])
    if high is not None:
        most = math.floor(Fraction(high[0]))
        most -= high[1] and most == Fraction(high[0])
    return least, most


def number_bounds(places: Sequence[Place]) -> tuple[Bound | None, Bound | None] | None:
    """Bounds of a number, or None when there are none."""
    low, high = _bounds(places)
    return None if low is None and high is None else (low, high)
