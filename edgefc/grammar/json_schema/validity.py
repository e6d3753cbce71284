"""Two questions answered without building rules: does a value satisfy subschemas, and are two conjunctions disjoint."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from decimal import Decimal
from fractions import Fraction
from typing import Any

from edgefc.grammar.automata import TooLargeError, is_empty
from edgefc.grammar.deadline import tick
from edgefc.grammar.derivatives import matches
from edgefc.grammar.json_schema.bounds import number_bounds, step_of
from edgefc.grammar.json_schema.context import SchemaContext
from edgefc.grammar.json_schema.document import Conjunction, Subschema
from edgefc.grammar.json_schema.keywords import (
    count_bounds,
    declared_types,
    enumerated_values,
    json_equal,
    json_type,
    json_types,
)
from edgefc.grammar.json_schema.members import (
    counted_items,
    declared_names,
    is_closed,
    item_subschemas,
    property_subschemas,
    required_names,
)
from edgefc.grammar.json_schema.scalars import text_node
from edgefc.grammar.rules import And

MAX_LEVELS = 4


def satisfies(schemas: SchemaContext, value: Any, subschemas: Conjunction) -> bool:
    """Return whether a value satisfies all subschemas, as the standard reads them: open to undeclared properties."""
    return any(
        all(_holds(schemas, value, subschema) for subschema in conjunction)
        for conjunction in schemas.disjuncts(subschemas)
    )


def _holds(schemas: SchemaContext, value: Any, subschema: Subschema) -> bool:
    tick()
    types, json_type_ = declared_types(subschema), json_type(value)
    if (types is not None and json_type_ not in types) or json_type_ in subschema.get("~type", ()):
        return False
    values = enumerated_values(subschema)
    if values is not None and not any(json_equal(value, other) for other in values):
        return False
    if any(json_equal(value, other) for other in subschema.get("~enum", ())):
        return False
    return _CHECKS[json_type_](schemas, value, subschema) if json_type_ in _CHECKS else True


def _string_holds(_: SchemaContext, value: str, subschema: Subschema) -> bool:
    if not _count_holds(subschema, len(value), "minLength", "maxLength"):
        return False
    return matches(text_node((subschema,)), value)


def _number_holds(_: SchemaContext, value: float, subschema: Subschema) -> bool:
    for keyword, expected in (("multipleOf", True), ("~multiple", False)):
        if subschema.has(keyword):
            is_multiple = Fraction(repr(value)) % Fraction(step_of(subschema, keyword)) == 0
            if is_multiple != expected:
                return False
    return _is_within_bounds(value, (subschema,))


def _array_holds(schemas: SchemaContext, value: list[Any], subschema: Subschema) -> bool:
    if subschema.get("uniqueItems") is True and any(
        json_equal(one, other) for number, one in enumerate(value) for other in value[:number]
    ):
        return False
    for counted in counted_items((subschema,)):
        count = sum(schemas.admits(item, counted.item) for item in value[counted.first :])
        if count < counted.low or (counted.high is not None and count > counted.high):
            return False
    return _count_holds(subschema, len(value), "minItems", "maxItems") and all(
        satisfies(schemas, item, tuple(item_subschemas((subschema,), number))) for number, item in enumerate(value)
    )


def _object_holds(schemas: SchemaContext, value: Mapping[str, Any], subschema: Subschema) -> bool:
    if subschema.has("~some"):
        key, some = subschema.get("~some")
        if not any(schemas.admits(name, key) and schemas.admits(item, some) for name, item in value.items()):
            return False
    return (
        _count_holds(subschema, len(value), "minProperties", "maxProperties")
        and required_names((subschema,)).keys() <= value.keys()
        and all(
            satisfies(schemas, item, tuple(property_subschemas(schemas, (subschema,), name)))
            for name, item in value.items()
        )
    )


_CHECKS: dict[str, Callable[[SchemaContext, Any, Subschema], bool]] = {
    "string": _string_holds,
    "integer": _number_holds,
    "fraction": _number_holds,
    "array": _array_holds,
    "object": _object_holds,
}


def _count_holds(subschema: Subschema, count: int, minimum: str, maximum: str) -> bool:
    low, high = count_bounds((subschema,), minimum, maximum)
    return low <= count <= (math.inf if high is None else high)


def _is_within_bounds(value: float, conjunction: Conjunction) -> bool:
    low, high = number_bounds(conjunction) or (None, None)
    number = Decimal(repr(value))
    if low is not None and (number < low[0] or (low[1] and number == low[0])):
        return False
    return high is None or not (number > high[0] or (high[1] and number == high[0]))


def are_disjoint(schemas: SchemaContext, a: Conjunction, b: Conjunction, level: int = 0) -> bool:
    """Return whether nothing generated from one conjunction satisfies the other; False when that cannot be decided."""
    values_a, values_b = schemas.values(a), schemas.values(b)
    for values, other in ((values_a, b), (values_b, a)):
        if values is not None and not any(satisfies(schemas, value, other) for value in values):
            return True
    common = set(json_types(a)) & set(json_types(b))
    for values in (values_a, values_b):
        if values is not None:
            common &= {json_type(value) for value in values}
    return all(_are_disjoint_as(schemas, type_, a, b, level) for type_ in common)


def _are_disjoint_as(schemas: SchemaContext, type_: str, a: Conjunction, b: Conjunction, level: int) -> bool:
    """Return whether two conjunctions have no common value of one JSON type."""
    if type_ == "string":
        return _counts_disjoint(a, b, "minLength", "maxLength") or _texts_disjoint(a, b)
    if type_ in {"integer", "fraction"}:
        return _bounds_disjoint(a, b)
    if type_ == "array":
        return _counts_disjoint(a, b, "minItems", "maxItems")
    return type_ == "object" and (
        _counts_disjoint(a, b, "minProperties", "maxProperties") or _objects_disjoint(schemas, a, b, level)
    )


def _texts_disjoint(a: Conjunction, b: Conjunction) -> bool:
    try:
        return is_empty(And((text_node(a), text_node(b))))
    except TooLargeError:
        return False


def _objects_disjoint(schemas: SchemaContext, a: Conjunction, b: Conjunction, level: int) -> bool:
    required_a, required_b = required_names(a), required_names(b)
    # One never has a name that the other requires, and the other way round.
    if _lacks(schemas, a, required_b) and _lacks(schemas, b, required_a):
        return True
    if level >= MAX_LEVELS:
        return False
    for name in required_a:
        if name in required_b or _is_forbidden(schemas, b, name):
            of_a, of_b = property_subschemas(schemas, a, name), property_subschemas(schemas, b, name)
            ways = [(x, y) for x in schemas.disjuncts(of_a) for y in schemas.disjuncts(of_b)]
            if all(are_disjoint(schemas, x, y, level + 1) for x, y in ways):
                return True
    return any(_is_forbidden(schemas, a, name) for name in required_b)


def _lacks(schemas: SchemaContext, conjunction: Conjunction, names: Mapping[str, None]) -> bool:
    """Return whether objects generated from a conjunction never have one of these properties."""
    return is_closed(schemas, conjunction) and not (
        names.keys() <= {**declared_names(conjunction), **required_names(conjunction)}.keys()
    )


def _is_forbidden(schemas: SchemaContext, conjunction: Conjunction, name: str) -> bool:
    return not schemas.disjuncts(property_subschemas(schemas, conjunction, name))


def _counts_disjoint(a: Conjunction, b: Conjunction, minimum: str, maximum: str) -> bool:
    (low_a, high_a), (low_b, high_b) = count_bounds(a, minimum, maximum), count_bounds(b, minimum, maximum)
    return (high_a is not None and high_a < low_b) or (high_b is not None and high_b < low_a)


def _bounds_disjoint(a: Conjunction, b: Conjunction) -> bool:
    (low_a, high_a), (low_b, high_b) = (number_bounds(conjunction) or (None, None) for conjunction in (a, b))
    for high, low in ((high_a, low_b), (high_b, low_a)):
        if high is None or low is None:
            continue
        if high[0] < low[0] or (high[0] == low[0] and (high[1] or low[1])):
            return True
    return False
