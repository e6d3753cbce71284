"""Two questions about schemas that a compiler must answer without generating: does a value satisfy them, and can
no value satisfy both of two.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from edgefc.grammar.bounds import number_bounds
from edgefc.grammar.document import Place
from edgefc.grammar.keywords import kind, kinds_of, same, size, values_of
from edgefc.grammar.objects import declared_of, is_closed, item_of, member_of, required_of

if TYPE_CHECKING:
    from edgefc.grammar.schema import Flat, SchemaCompiler

MAX_LEVELS = 4


def admits(compiler: SchemaCompiler, value: Any, places: Flat) -> bool:
    """Whether a value satisfies all places, as the standard reads them: undeclared properties are allowed."""
    return any(all(_holds(compiler, value, place) for place in flat) for flat in compiler.alternatives(places))


def _holds(compiler: SchemaCompiler, value: Any, place: Place) -> bool:
    compiler.tick(place)
    kinds, what = kinds_of(place), kind(value)
    if kinds is not None and what not in kinds:
        return False
    values = values_of(place)
    if values is not None and not any(same(value, other) for other in values):
        return False
    if what == "string":
        return _counts(place, len(value), "minLength", "maxLength")
    if what in {"integer", "fraction"}:
        return _within(value, (place,))
    if what == "array":
        return _counts(place, len(value), "minItems", "maxItems") and all(
            admits(compiler, item, tuple(item_of((place,), number))) for number, item in enumerate(value)
        )
    if what == "object":
        return (
            _counts(place, len(value), "minProperties", "maxProperties")
            and required_of((place,)).keys() <= value.keys()
            and all(admits(compiler, item, tuple(member_of((place,), name))) for name, item in value.items())
        )
    return True


def _counts(place: Place, count: int, least: str, most: str) -> bool:
    low, high = size((place,), least, most)
    return low <= count <= (math.inf if high is None else high)


def _within(value: float, places: Flat) -> bool:
    low, high = number_bounds(places) or (None, None)
    number = Decimal(repr(value))
    if low is not None and (number < low[0] or (low[1] and number == low[0])):
        return False
    return high is None or not (number > high[0] or (high[1] and number == high[0]))


def apart(compiler: SchemaCompiler, a: Flat, b: Flat, level: int = 0) -> bool:
    """Whether nothing generated from one satisfies the other; False when that cannot be told."""
    values = [compiler.values(flat) for flat in (a, b)]
    for mine, flat in ((values[0], b), (values[1], a)):
        if mine is not None and not any(admits(compiler, value, flat) for value in mine):
            return True
    common = set(compiler.kinds(a)) & set(compiler.kinds(b))
    if values[0] is not None:
        common &= {kind(value) for value in values[0]}
    if values[1] is not None:
        common &= {kind(value) for value in values[1]}
    return all(_apart_as(compiler, what, a, b, level) for what in common)


def _apart_as(compiler: SchemaCompiler, what: str, a: Flat, b: Flat, level: int) -> bool:
    if what == "string":
        return _lengths_apart(a, b, "minLength", "maxLength")
    if what in {"integer", "fraction"}:
        return _ranges_apart(a, b)
    if what == "array":
        return _lengths_apart(a, b, "minItems", "maxItems")
    return what == "object" and (
        _lengths_apart(a, b, "minProperties", "maxProperties") or _objects_apart(compiler, a, b, level)
    )


def _objects_apart(compiler: SchemaCompiler, a: Flat, b: Flat, level: int) -> bool:
    needed, other = required_of(a), required_of(b)
    # What one must have, the other does not write, and the other way round.
    if _lacks(a, other) and _lacks(b, needed):
        return True
    if level >= MAX_LEVELS:
        return False
    for name in needed:
        if name in other or _forbidden(compiler, member_of(b, name)):
            mine, yours = tuple(member_of(a, name)), tuple(member_of(b, name))
            ways = [(x, y) for x in compiler.alternatives(mine) for y in compiler.alternatives(yours)]
            if all(apart(compiler, x, y, level + 1) for x, y in ways):
                return True
    return any(_forbidden(compiler, member_of(a, name)) for name in other)


def _lacks(flat: Flat, names: Mapping[str, None]) -> bool:
    """Whether objects generated from the places never have one of these properties."""
    return is_closed(flat) and not names.keys() <= {**declared_of(flat), **required_of(flat)}.keys()


def _forbidden(compiler: SchemaCompiler, places: list[Place]) -> bool:
    return not compiler.alternatives(places)


def _lengths_apart(a: Flat, b: Flat, least: str, most: str) -> bool:
    (low, high), (other_low, other_high) = size(a, least, most), size(b, least, most)
    return (high is not None and high < other_low) or (other_high is not None and other_high < low)


def _ranges_apart(a: Flat, b: Flat) -> bool:
    (low, high), (other_low, other_high) = (number_bounds(flat) or (None, None) for flat in (a, b))
    for top, bottom in ((high, other_low), (other_high, low)):
        if top is None or bottom is None:
            continue
        if top[0] < bottom[0] or (top[0] == bottom[0] and (top[1] or bottom[1])):
            return True
    return False
