"""Two questions about schemas that a compiler must answer without generating: does a value satisfy them, and can
no value satisfy both of two.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from decimal import Decimal
from fractions import Fraction
from typing import TYPE_CHECKING, Any

from edgefc.grammar.automata import TooLargeError, is_empty, matches
from edgefc.grammar.deadline import tick
from edgefc.grammar.json_schema.arrays import item_of, wanted_of
from edgefc.grammar.json_schema.bounds import number_bounds, step_of
from edgefc.grammar.json_schema.combine import Flat
from edgefc.grammar.json_schema.document import Place
from edgefc.grammar.json_schema.keywords import kind, kinds_of, same, size, values_of
from edgefc.grammar.json_schema.objects import declared_of, is_closed, member_of, required_of
from edgefc.grammar.rules import And

if TYPE_CHECKING:
    from edgefc.grammar.json_schema.compiler import SchemaCompiler

MAX_LEVELS = 4


def admits(compiler: SchemaCompiler, value: Any, places: Flat) -> bool:
    """Whether a value satisfies all places, as the standard reads them: undeclared properties are allowed."""
    return any(all(_holds(compiler, value, place) for place in flat) for flat in compiler.alternatives(places))


def _holds(compiler: SchemaCompiler, value: Any, place: Place) -> bool:
    tick()
    kinds, what = kinds_of(place), kind(value)
    if (kinds is not None and what not in kinds) or what in place.get("~type", ()):
        return False
    values = values_of(place)
    if values is not None and not any(same(value, other) for other in values):
        return False
    if any(same(value, other) for other in place.get("~enum", ())):
        return False
    return _HOLD[what](compiler, value, place) if what in _HOLD else True


def _text_holds(compiler: SchemaCompiler, value: str, place: Place) -> bool:
    return _counts(place, len(value), "minLength", "maxLength") and matches(compiler.text((place,)), value)


def _number_holds(_: SchemaCompiler, value: float, place: Place) -> bool:
    for keyword, wanted in (("multipleOf", True), ("~multiple", False)):
        if place.has(keyword) and (Fraction(repr(value)) % Fraction(step_of(place, keyword)) == 0) != wanted:
            return False
    return _within(value, (place,))


def _array_holds(compiler: SchemaCompiler, value: list[Any], place: Place) -> bool:
    if place.get("uniqueItems") is True and any(
        same(one, other) for number, one in enumerate(value) for other in value[:number]
    ):
        return False
    for wanted in wanted_of((place,)):
        found = sum(compiler.admits(item, wanted.item) for item in value[wanted.first :])
        if found < wanted.low or (wanted.high is not None and found > wanted.high):
            return False
    return _counts(place, len(value), "minItems", "maxItems") and all(
        admits(compiler, item, tuple(item_of((place,), number))) for number, item in enumerate(value)
    )


def _object_holds(compiler: SchemaCompiler, value: Mapping[str, Any], place: Place) -> bool:
    if place.has("~some"):
        key, wanted = place.get("~some")
        if not any(compiler.admits(name, key) and compiler.admits(item, wanted) for name, item in value.items()):
            return False
    return (
        _counts(place, len(value), "minProperties", "maxProperties")
        and required_of((place,)).keys() <= value.keys()
        and all(admits(compiler, item, tuple(member_of(compiler, (place,), name))) for name, item in value.items())
    )


_HOLD: dict[str, Callable[[SchemaCompiler, Any, Place], bool]] = {
    "string": _text_holds,
    "integer": _number_holds,
    "fraction": _number_holds,
    "array": _array_holds,
    "object": _object_holds,
}


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
        return _lengths_apart(a, b, "minLength", "maxLength") or _texts_apart(compiler, a, b)
    if what in {"integer", "fraction"}:
        return _ranges_apart(a, b)
    if what == "array":
        return _lengths_apart(a, b, "minItems", "maxItems")
    return what == "object" and (
        _lengths_apart(a, b, "minProperties", "maxProperties") or _objects_apart(compiler, a, b, level)
    )


def _texts_apart(compiler: SchemaCompiler, a: Flat, b: Flat) -> bool:
    try:
        return is_empty(And((compiler.text(a), compiler.text(b))))
    except TooLargeError:
        return False


def _objects_apart(compiler: SchemaCompiler, a: Flat, b: Flat, level: int) -> bool:
    needed, other = required_of(a), required_of(b)
    # What one must have, the other does not write, and the other way round.
    if _lacks(compiler, a, other) and _lacks(compiler, b, needed):
        return True
    if level >= MAX_LEVELS:
        return False
    for name in needed:
        if name in other or _forbidden(compiler, member_of(compiler, b, name)):
            mine, yours = tuple(member_of(compiler, a, name)), tuple(member_of(compiler, b, name))
            ways = [(x, y) for x in compiler.alternatives(mine) for y in compiler.alternatives(yours)]
            if all(apart(compiler, x, y, level + 1) for x, y in ways):
                return True
    return any(_forbidden(compiler, member_of(compiler, a, name)) for name in other)


def _lacks(compiler: SchemaCompiler, flat: Flat, names: Mapping[str, None]) -> bool:
    """Whether objects generated from the places never have one of these properties."""
    return is_closed(compiler, flat) and not names.keys() <= {**declared_of(flat), **required_of(flat)}.keys()


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
