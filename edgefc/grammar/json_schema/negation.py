"""Negated schemas: a schema fails where one of its assertions does.

Each way to fail is a list of subschemas that must hold. Keywords that begin with a tilde are the compiler's own: they
assert what no keyword of the standard does.

~type      types that are excluded
~enum      values that are excluded
~pattern   a pattern that must not match
~multiple  a number that the value must not be a multiple of
~absent    names of properties that must be missing
~member    schemas of properties, besides `properties`
~some      (name subschema, value subschema): some property must satisfy both
~item      (number, subschema): some item from this number on must satisfy the subschema
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from edgefc.grammar.json_schema.context import SchemaContext
from edgefc.grammar.json_schema.document import Subschema
from edgefc.grammar.json_schema.findings import UnenforceableError, unenforceable
from edgefc.grammar.json_schema.keywords import declared_types, entries, enumerated_values, subschemas_at

Ways = list[list[Subschema]]

# The opposite of a bound: the type it applies to, the keyword and the change of its value.
_OPPOSITES = {
    "minimum": ("number", "exclusiveMaximum", 0), "maximum": ("number", "exclusiveMinimum", 0),
    "exclusiveMinimum": ("number", "maximum", 0), "exclusiveMaximum": ("number", "minimum", 0),
    "minLength": ("string", "maxLength", -1), "maxLength": ("string", "minLength", 1),
    "minItems": ("array", "maxItems", -1), "maxItems": ("array", "minItems", 1),
    "minProperties": ("object", "maxProperties", -1), "maxProperties": ("object", "minProperties", 1),
}  # fmt: skip


def ways_to_fail(schemas: SchemaContext, subschema: Subschema) -> Ways:
    """Return the ways in which a subschema does not hold; none: it always holds. Raises UnenforceableError."""
    subschema = subschema if not subschema.is_negated else subschema.negated()
    ways: Ways = []
    for keyword in subschema.schema:
        if subschema.has(keyword):
            ways += _ways(schemas, subschema, keyword)
    return ways


def _ways(schemas: SchemaContext, subschema: Subschema, keyword: str) -> Ways:
    """Return the ways in which one keyword's assertion fails."""
    value = subschema.get(keyword)
    if keyword in _OPPOSITES:
        return _opposite(subschema, keyword, value)
    if keyword in {"allOf", "anyOf", "oneOf"}:
        return _combined(subschema, keyword)
    simple = _SIMPLE.get(keyword)
    if simple is not None:
        return simple(subschema)
    if keyword in {"$ref", "$dynamicRef"}:
        return [[schemas.document.resolve(subschema, keyword).negated()]]
    if keyword == "type":
        types = declared_types(subschema)
        return [] if types is None else [[subschema.derive("type", {"~type": sorted(types)})]]
    if keyword in {"uniqueItems", "unevaluatedProperties", "unevaluatedItems", "dependencies"} and value not in (
        {"uniqueItems": (False,), "dependencies": ({},)}.get(keyword, (True, {}))
    ):
        raise _not_negatable(subschema, keyword)
    return []


def _not_negatable(subschema: Subschema, keyword: str) -> UnenforceableError:
    return unenforceable(subschema, keyword, f"the negation of {keyword!r} cannot be enforced")


def _opposite(subschema: Subschema, keyword: str, value: Any) -> Ways:
    json_type, opposite, change = _OPPOSITES[keyword]
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise _not_negatable(subschema, keyword)
    if change == -1 and value < 1:
        return []
    return [[subschema.derive(keyword, {"type": json_type, opposite: value + change})]]


def _combined(subschema: Subschema, keyword: str) -> Ways:
    parts = subschemas_at(subschema, keyword)
    if keyword == "allOf":
        return [[part.negated()] for part in parts]
    ways = [[part.negated() for part in parts]]
    if keyword == "oneOf":
        ways += [[one, other] for number, other in enumerate(parts) for one in parts[:number]]
    return ways


def _not(subschema: Subschema) -> Ways:
    return [[subschema.child("not")]]


def _if(subschema: Subschema) -> Ways:
    condition = subschema.child("if")
    ways = [[condition, subschema.child("then").negated()]] if subschema.has("then") else []
    return [*ways, [condition.negated(), subschema.child("else").negated()]] if subschema.has("else") else ways


def _enum(subschema: Subschema) -> Ways:
    return [[subschema.derive("enum", {"~enum": enumerated_values(subschema)})]]


def _const(subschema: Subschema) -> Ways:
    return [] if subschema.has("enum") else _enum(subschema)


def _required(subschema: Subschema) -> Ways:
    names = subschema.get("required")
    if not isinstance(names, list):
        return []
    return [[subschema.derive(f"required {name}", {"type": "object", "~absent": [name]})] for name in names]


def _properties(subschema: Subschema) -> Ways:
    return [
        [subschema.derive(f"member {name}", _member(name, subschema.child("properties", name).negated()))]
        for name in entries(subschema, "properties")
    ]


def _member(name: str, value: Subschema) -> dict[str, Any]:
    return {"type": "object", "required": [name], "~member": {name: value}}


def _pattern_properties(subschema: Subschema) -> Ways:
    ways: Ways = []
    for pattern in entries(subschema, "patternProperties"):
        key = subschema.derive(f"key {pattern}", {"pattern": pattern})
        value = subschema.child("patternProperties", pattern).negated()
        ways.append([_some_property(subschema, f"some {pattern}", key, value)])
    return ways


def _additional_properties(subschema: Subschema) -> Ways:
    declared, patterns = entries(subschema, "properties"), entries(subschema, "patternProperties")
    schema: dict[str, Any] = {"~enum": list(declared)} if declared else {}
    if patterns:
        schema["allOf"] = [{"not": {"pattern": pattern}} for pattern in patterns]
    key, value = subschema.derive("other key", schema), subschema.child("additionalProperties").negated()
    return [[_some_property(subschema, "some other", key, value)]]


def _property_names(subschema: Subschema) -> Ways:
    key, value = subschema.child("propertyNames").negated(), subschema.derive("any", {})
    return [[_some_property(subschema, "some name", key, value)]]


def _some_property(subschema: Subschema, name: str, key: Subschema, value: Subschema) -> Subschema:
    return subschema.derive(name, {"type": "object", "~some": (key, value)})


def _items(subschema: Subschema) -> Ways:
    items = subschema.get("items")
    if isinstance(items, list):
        return _prefix(subschema, "items", len(items))
    prefix = subschema.get("prefixItems", [])
    return [[_some_item(subschema, len(prefix) if isinstance(prefix, list) else 0, subschema.child("items"))]]


def _some_item(subschema: Subschema, first: int, value: Subschema) -> Subschema:
    if first == 0:
        return subschema.derive("some item", {"type": "array", "contains": value.negated()})
    return subschema.derive("some item", {"type": "array", "~item": (first, value.negated())})


def _prefix(subschema: Subschema, keyword: str, count: int) -> Ways:
    ways: Ways = []
    for number in range(count):
        prefix = [*[True] * number, subschema.child(keyword, number).negated()]
        schema = {"type": "array", "minItems": number + 1, "prefixItems": prefix}
        ways.append([subschema.derive(f"{keyword} {number}", schema)])
    return ways


def _prefix_items(subschema: Subschema) -> Ways:
    return _prefix(subschema, "prefixItems", len(subschema.get("prefixItems")))


def _additional_items(subschema: Subschema) -> Ways:
    if not isinstance(subschema.get("items"), list):
        return []
    return [[_some_item(subschema, len(subschema.get("items")), subschema.child("additionalItems"))]]


def _contains(subschema: Subschema) -> Ways:
    item = subschema.child("contains")
    least, most = subschema.get("minContains", 1), subschema.get("maxContains")
    ways: Ways = []
    if least == 1:
        ways.append([subschema.derive("no item", {"type": "array", "items": item.negated()})])
    elif least > 1:
        few = {"type": "array", "contains": item, "minContains": 0, "maxContains": least - 1}
        ways.append([subschema.derive("few items", few)])
    if most is not None:
        many = {"type": "array", "contains": item, "minContains": most + 1}
        ways.append([subschema.derive("many items", many)])
    return ways


def _dependent_required(subschema: Subschema) -> Ways:
    ways: Ways = []
    for name, needed in entries(subschema, "dependentRequired").items():
        for other in needed if isinstance(needed, list) else []:
            schema = {"type": "object", "required": [name], "~absent": [other]}
            ways.append([subschema.derive(f"depends {name} {other}", schema)])
    return ways


def _dependent_schemas(subschema: Subschema) -> Ways:
    return [
        [
            subschema.derive(f"depends {name}", {"type": "object", "required": [name]}),
            subschema.child("dependentSchemas", name).negated(),
        ]
        for name in entries(subschema, "dependentSchemas")
    ]


def _pattern(subschema: Subschema) -> Ways:
    return [[subschema.derive("pattern", {"type": "string", "~pattern": subschema.get("pattern")})]]


def _multiple(subschema: Subschema) -> Ways:
    return [[subschema.derive("multiple", {"type": "number", "~multiple": subschema.get("multipleOf")})]]


_SIMPLE: dict[str, Callable[[Subschema], Ways]] = {
    "not": _not, "if": _if, "enum": _enum, "required": _required, "properties": _properties,
    "patternProperties": _pattern_properties, "additionalProperties": _additional_properties,
    "propertyNames": _property_names, "items": _items, "prefixItems": _prefix_items,
    "additionalItems": _additional_items, "contains": _contains, "dependentRequired": _dependent_required,
    "dependentSchemas": _dependent_schemas, "pattern": _pattern, "multipleOf": _multiple, "const": _const,
}  # fmt: skip
