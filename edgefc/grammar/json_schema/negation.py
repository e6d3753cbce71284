"""What it takes for a schema not to hold: one of its assertions fails.

Each way is a list of places that must hold. Keywords that begin with a tilde are the compiler's own: they say of a
value what no keyword of the standard does.

~type      kinds of value that are excluded
~enum      values that are excluded
~pattern   a pattern that is not found
~multiple  a number of which it is no multiple
~absent    names of properties that are not there
~member    schemas of properties, besides `properties`
~some      (key place, value place): a property must exist of which the name satisfies the one, the value the other
~item      (number, place): an item from this number on must satisfy the place
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from edgefc.grammar.json_schema.document import Place
from edgefc.grammar.json_schema.findings import Unenforceable
from edgefc.grammar.json_schema.keywords import kinds_of, mapping, schemas, values_of

if TYPE_CHECKING:
    from edgefc.grammar.json_schema.compiler import SchemaCompiler

Ways = list[list[Place]]

_FLIPPED = {
    "minimum": ("number", "exclusiveMaximum", 0), "maximum": ("number", "exclusiveMinimum", 0),
    "exclusiveMinimum": ("number", "maximum", 0), "exclusiveMaximum": ("number", "minimum", 0),
    "minLength": ("string", "maxLength", -1), "maxLength": ("string", "minLength", 1),
    "minItems": ("array", "maxItems", -1), "maxItems": ("array", "minItems", 1),
    "minProperties": ("object", "maxProperties", -1), "maxProperties": ("object", "minProperties", 1),
}  # fmt: skip


def ways_to_fail(compiler: SchemaCompiler, place: Place) -> Ways:
    """The ways in which a place does not hold; none: it always does. Raises Unenforceable."""
    place = place if not place.negative else place.negated()
    ways: Ways = []
    for keyword in place.schema:
        if place.has(keyword):
            ways += _ways(compiler, place, keyword)
    return ways


def _ways(compiler: SchemaCompiler, place: Place, keyword: str) -> Ways:
    value = place.get(keyword)
    if keyword in _FLIPPED:
        return _flipped(place, keyword, value)
    if keyword in {"allOf", "anyOf", "oneOf"}:
        return _combined(place, keyword)
    simple = _SIMPLE.get(keyword)
    if simple is not None:
        return simple(place)
    if keyword in {"$ref", "$dynamicRef"}:
        return [[compiler.document.resolve(place, keyword).negated()]]
    if keyword in {"type", "nullable"}:
        kinds = kinds_of(place)
        return [] if kinds is None or keyword == "nullable" else [[place.made("type", {"~type": sorted(kinds)})]]
    if keyword in {"uniqueItems", "unevaluatedProperties", "unevaluatedItems", "dependencies"} and value not in (
        {"uniqueItems": (False,), "dependencies": ({},)}.get(keyword, (True, {}))
    ):
        raise _cannot(place, keyword)
    return []


def _cannot(place: Place, keyword: str) -> Unenforceable:
    path, outer = place.origin or (place.path, keyword)
    return Unenforceable(path, outer, f"the opposite of {keyword!r} cannot be enforced")


def _flipped(place: Place, keyword: str, value: Any) -> Ways:
    kind, other, step = _FLIPPED[keyword]
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise _cannot(place, keyword)
    if step == -1 and value < 1:
        return []
    return [[place.made(keyword, {"type": kind, other: value + step})]]


def _combined(place: Place, keyword: str) -> Ways:
    parts = schemas(place, keyword)
    if keyword == "allOf":
        return [[part.negated()] for part in parts]
    ways = [[part.negated() for part in parts]]
    if keyword == "oneOf":
        ways += [[one, other] for number, other in enumerate(parts) for one in parts[:number]]
    return ways


def _not(place: Place) -> Ways:
    return [[place.inside("not")]]


def _if(place: Place) -> Ways:
    condition = place.inside("if")
    ways = [[condition, place.inside("then").negated()]] if place.has("then") else []
    return [*ways, [condition.negated(), place.inside("else").negated()]] if place.has("else") else ways


def _values(place: Place) -> Ways:
    return [[place.made("enum", {"~enum": values_of(place)})]]


def _const(place: Place) -> Ways:
    return [] if place.has("enum") else _values(place)


def _required(place: Place) -> Ways:
    names = place.get("required")
    if not isinstance(names, list):
        return []
    return [[place.made(f"required {name}", {"type": "object", "~absent": [name]})] for name in names]


def _properties(place: Place) -> Ways:
    return [
        [place.made(f"member {name}", _member(name, place.inside("properties", name).negated()))]
        for name in mapping(place, "properties")
    ]


def _member(name: str, value: Place) -> dict[str, Any]:
    return {"type": "object", "required": [name], "~member": {name: value}}


def _pattern_properties(place: Place) -> Ways:
    ways: Ways = []
    for pattern in mapping(place, "patternProperties"):
        key = place.made(f"key {pattern}", {"pattern": pattern})
        ways.append([_some(place, f"some {pattern}", key, place.inside("patternProperties", pattern).negated())])
    return ways


def _additional_properties(place: Place) -> Ways:
    declared, patterns = mapping(place, "properties"), mapping(place, "patternProperties")
    others = {"~enum": list(declared)} if declared else {}
    key = place.made("other key", {**others, "allOf": [{"not": {"pattern": pattern}} for pattern in patterns]})
    if not patterns:
        key = place.made("other key", others)
    return [[_some(place, "some other", key, place.inside("additionalProperties").negated())]]


def _property_names(place: Place) -> Ways:
    return [[_some(place, "some name", place.inside("propertyNames").negated(), place.made("any", {}))]]


def _some(place: Place, name: str, key: Place, value: Place) -> Place:
    return place.made(name, {"type": "object", "~some": (key, value)})


def _items(place: Place) -> Ways:
    items = place.get("items")
    if isinstance(items, list):
        return _heads(place, "items", len(items))
    heads = place.get("prefixItems", [])
    return [[_item(place, len(heads) if isinstance(heads, list) else 0, place.inside("items"))]]


def _item(place: Place, first: int, value: Place) -> Place:
    if first == 0:
        return place.made("some item", {"type": "array", "contains": value.negated()})
    return place.made("some item", {"type": "array", "~item": (first, value.negated())})


def _heads(place: Place, keyword: str, count: int) -> Ways:
    return [
        [
            place.made(
                f"{keyword} {number}",
                {
                    "type": "array",
                    "minItems": number + 1,
                    "prefixItems": [*[True] * number, place.inside(keyword, number).negated()],
                },
            )
        ]
        for number in range(count)
    ]


def _prefix_items(place: Place) -> Ways:
    return _heads(place, "prefixItems", len(place.get("prefixItems")))


def _additional_items(place: Place) -> Ways:
    if not isinstance(place.get("items"), list):
        return []
    return [[_item(place, len(place.get("items")), place.inside("additionalItems"))]]


def _contains(place: Place) -> Ways:
    item = place.inside("contains")
    least, most = place.get("minContains", 1), place.get("maxContains")
    ways: Ways = []
    if least == 1:
        ways.append([place.made("no item", {"type": "array", "items": item.negated()})])
    elif least > 1:
        few = {"type": "array", "contains": item, "minContains": 0, "maxContains": least - 1}
        ways.append([place.made("few items", few)])
    if most is not None:
        ways.append([place.made("many items", {"type": "array", "contains": item, "minContains": most + 1})])
    return ways


def _dependent(place: Place) -> Ways:
    ways: Ways = []
    for name, needed in mapping(place, "dependentRequired").items():
        for other in needed if isinstance(needed, list) else []:
            made = {"type": "object", "required": [name], "~absent": [other]}
            ways.append([place.made(f"depends {name} {other}", made)])
    return ways


def _dependent_schemas(place: Place) -> Ways:
    return [
        [
            place.made(f"depends {name}", {"type": "object", "required": [name]}),
            place.inside("dependentSchemas", name).negated(),
        ]
        for name in mapping(place, "dependentSchemas")
    ]


def _pattern(place: Place) -> Ways:
    return [[place.made("pattern", {"type": "string", "~pattern": place.get("pattern")})]]


def _multiple(place: Place) -> Ways:
    return [[place.made("multiple", {"type": "number", "~multiple": place.get("multipleOf")})]]


_SIMPLE = {
    "not": _not, "if": _if, "enum": _values, "required": _required, "properties": _properties,
    "patternProperties": _pattern_properties, "additionalProperties": _additional_properties,
    "propertyNames": _property_names, "items": _items, "prefixItems": _prefix_items,
    "additionalItems": _additional_items, "contains": _contains, "dependentRequired": _dependent,
    "dependentSchemas": _dependent_schemas, "pattern": _pattern, "multipleOf": _multiple, "const": _const,
}  # fmt: skip
