"""Readings of object and array keywords: the subschemas of a property, of an item, of counted items."""

from __future__ import annotations

from dataclasses import dataclass

from edgefc.errors import SchemaError
from edgefc.grammar.derivatives import matches
from edgefc.grammar.json_schema.context import SchemaContext
from edgefc.grammar.json_schema.document import Conjunction, Subschema, describe_type
from edgefc.grammar.json_schema.keywords import count_bounds, entries, json_type, json_types
from edgefc.grammar.json_schema.scalars import pattern_node


def required_names(conjunction: Conjunction) -> dict[str, None]:
    """Return the names that any `required` lists, in order. Raises SchemaError."""
    names: dict[str, None] = {}
    for subschema in conjunction:
        required = subschema.get("required", [])
        if isinstance(required, bool):
            continue  # draft 3, and some tools beside a property: it asserts nothing about the value
        if not isinstance(required, list) or not all(isinstance(name, str) for name in required):
            raise SchemaError((*subschema.path, "required"), "must be an array of property names")
        names.update(dict.fromkeys(required))
    return names


def declared_names(conjunction: Conjunction) -> dict[str, None]:
    """Return the names of the properties that any subschema declares, in order."""
    return {
        name: None
        for subschema in conjunction
        for keyword in ("properties", "~member")
        for name in entries(subschema, keyword)
    }


def property_subschemas(schemas: SchemaContext, conjunction: Conjunction, name: str) -> list[Subschema]:
    """Return the subschemas that must all hold of a property's value."""
    found: list[Subschema] = []
    for subschema in conjunction:
        if subschema.has("~absent") and name in subschema.get("~absent"):
            found.append(subschema.derive("absent", {"allOf": [False]}))
        if name in entries(subschema, "~member"):
            found.append(subschema.child("~member", name))
        matching = [
            pattern
            for pattern in entries(subschema, "patternProperties")
            if matches(pattern_node(subschema, "patternProperties", pattern), name)
        ]
        found += [subschema.child("patternProperties", pattern) for pattern in matching]
        if name in entries(subschema, "properties"):
            found.append(subschema.child("properties", name))
        elif not matching and subschema.has("additionalProperties"):
            found.append(subschema.child("additionalProperties"))
        if subschema.has("propertyNames") and not schemas.admits(name, subschema.child("propertyNames")):
            found.append(subschema.derive("no such name", {"allOf": [False]}))
    return found


def is_closed(schemas: SchemaContext, conjunction: Conjunction) -> bool:
    """Return whether undeclared properties are left out: where they are forbidden, or where a closed context does not
    mention them.

    The standard allows them by default, but invented arguments are of no use to a call.
    """
    extras = [
        subschema.get("additionalProperties") for subschema in conjunction if subschema.has("additionalProperties")
    ]
    if False in [extra for extra in extras if isinstance(extra, bool)]:
        return True
    declares = declared_names(conjunction) or any(subschema.has("patternProperties") for subschema in conjunction)
    return schemas.closed and not extras and bool(declares)


def prefix_items(subschema: Subschema) -> tuple[int, str, str]:
    """Return the number of items with schemas of their own, their keyword, and the keyword of all later items.

    Up to draft 2019-09, `items` could be the array, with `additionalItems` for the rest. Raises SchemaError.
    """
    if isinstance(subschema.get("items"), list):
        return len(subschema.get("items")), "items", "additionalItems"
    prefix = subschema.get("prefixItems", [])
    if not isinstance(prefix, list):
        path = (*subschema.path, "prefixItems")
        raise SchemaError(path, f"must be an array of schemas, not {describe_type(prefix)}")
    return len(prefix), "prefixItems", "items"


def item_subschemas(conjunction: Conjunction, number: int | None) -> list[Subschema]:
    """Return the subschemas that must all hold of an item; None: of every item after those of the prefix."""
    found: list[Subschema] = []
    for subschema in conjunction:
        count, prefix, rest = prefix_items(subschema)
        if number is not None and number < count:
            found.append(subschema.child(prefix, number))
        elif subschema.has(rest):
            found.append(subschema.child(rest))
    return found


def are_text_lists(schemas: SchemaContext, disjuncts: tuple[Conjunction, ...]) -> bool:
    """Return whether whatever satisfies one of these conjunctions is an array, not enumerated, of scalars among which
    strings may be.
    """
    return bool(disjuncts) and all(_is_text_list(schemas, conjunction) for conjunction in disjuncts)


def _is_text_list(schemas: SchemaContext, conjunction: Conjunction) -> bool:
    if schemas.values(conjunction) is not None or list(json_types(conjunction)) != ["array"]:
        return False
    first = max((prefix_items(subschema)[0] for subschema in conjunction), default=0)
    items = [
        types_of(schemas, item)
        for number in (*range(first), None)
        for item in schemas.disjuncts(item_subschemas(conjunction, number))
    ]
    return any("string" in types for types in items) and not any({"object", "array"} & types for types in items)


def types_of(schemas: SchemaContext, conjunction: Conjunction) -> set[str]:
    """Return the types that a value may have, `integer` and `fraction` for numbers."""
    values = schemas.values(conjunction)
    return set(json_types(conjunction) if values is None else map(json_type, values))


@dataclass(frozen=True)
class CountedItems:
    """A demand that `low` to `high` items satisfy a subschema, counted from the item `first` on."""

    item: Subschema
    low: int
    high: int | None
    first: int
    owner: Subschema


def counted_items(conjunction: Conjunction) -> list[CountedItems]:
    """Return the demands that `contains` and negations make. Raises SchemaError."""
    found: list[CountedItems] = []
    for subschema in conjunction:
        if subschema.has("contains"):
            low, high = count_bounds([subschema], "minContains", "maxContains")
            low = low if subschema.has("minContains") else 1
            if low or high is not None:
                found.append(CountedItems(subschema.child("contains"), low, high, 0, subschema))
        if subschema.has("~item"):
            first, item = subschema.get("~item")
            found.append(CountedItems(item, 1, None, first, subschema))
    return found
