"""Keywords that combine schemas: each stands for one or more ways in which subschemas may hold."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from edgefc.errors import SchemaError
from edgefc.grammar.json_schema.context import SchemaContext
from edgefc.grammar.json_schema.document import Conjunction, Step, Subschema
from edgefc.grammar.json_schema.findings import UnenforceableError
from edgefc.grammar.json_schema.keywords import entries, subschemas_at
from edgefc.grammar.json_schema.negation import ways_to_fail

MAX_DEPENDENT = 8
_UNEVALUATED = {"unevaluatedProperties", "unevaluatedItems"}
# In the order in which they are expanded.
SPLITTING = (
    "$ref", "$dynamicRef", "allOf", "not", "anyOf", "oneOf", "if", "dependentRequired", "dependentSchemas",
    "dependencies",
)  # fmt: skip

Ways = list[list[Subschema]]
Part = tuple[Subschema, bool]  # what must hold in one way, and whether a keyword has led to it


def expand_keyword(schemas: SchemaContext, subschema: Subschema) -> list[list[Part]] | None:
    """Expand the first combining keyword of a subschema into the ways in which it may hold.

    None: the subschema has no such keyword. Raises SchemaError.
    """
    if subschema.is_negated:
        return [[(part, True) for part in way] for way in ways_to_fail(schemas, subschema)]
    if isinstance(subschema.schema, dict) and subschema.schema.keys().isdisjoint(SPLITTING):
        return None
    for keyword in SPLITTING:
        if subschema.has(keyword):
            rest = (subschema.without(keyword, *(("then", "else") if keyword == "if" else ())), False)
            ways = [[(part, True) for part in way] for way in _EXPANSIONS[keyword](schemas, subschema)]
            # The order of the steps becomes the order of properties.
            return [[*way, rest] if keyword in {"$ref", "$dynamicRef", "allOf"} else [rest, *way] for way in ways]
    return None


def _ref(schemas: SchemaContext, subschema: Subschema) -> Ways:
    return [[schemas.document.resolve(subschema)]]


def _dynamic_ref(schemas: SchemaContext, subschema: Subschema) -> Ways:
    return [[schemas.document.resolve(subschema, "$dynamicRef")]]


def _all_of(_: SchemaContext, subschema: Subschema) -> Ways:
    return [subschemas_at(subschema, "allOf")]


def _any_of(_: SchemaContext, subschema: Subschema) -> Ways:
    return [[branch] for branch in subschemas_at(subschema, "anyOf")]


def _one_of(schemas: SchemaContext, subschema: Subschema) -> Ways:
    """Return each branch, with those negated that a value of it may satisfy as well."""
    branches, origin = subschemas_at(subschema, "oneOf"), (subschema.path, "oneOf")
    overlapping = schemas.overlapping(subschema, branches)
    return [
        [branch, *(other.negated(origin) for j, other in enumerate(branches) if (i, j) in overlapping)]
        for i, branch in enumerate(branches)
    ]


def _not(_: SchemaContext, subschema: Subschema) -> Ways:
    return [[subschema.child("not").negated((subschema.path, "not"))]]


def _if(_: SchemaContext, subschema: Subschema) -> Ways:
    condition = subschema.child("if")
    if not (subschema.has("then") or subschema.has("else")):
        return [[]]
    holds = [condition, *([subschema.child("then")] if subschema.has("then") else [])]
    fails = [condition.negated((subschema.path, "if")), *([subschema.child("else")] if subschema.has("else") else [])]
    return [holds, fails]


def _dependent_required(_: SchemaContext, subschema: Subschema) -> Ways:
    needs: dict[str, Any] = {}
    for name, names in entries(subschema, "dependentRequired").items():
        if not isinstance(names, list) or not all(isinstance(other, str) for other in names):
            raise SchemaError((*subschema.path, "dependentRequired", name), "must be an array of property names")
        needs[name] = names
    return _dependent(subschema, "dependentRequired", needs)


def _dependent_schemas(_: SchemaContext, subschema: Subschema) -> Ways:
    return _dependent(subschema, "dependentSchemas", entries(subschema, "dependentSchemas"))


def _dependencies(_: SchemaContext, subschema: Subschema) -> Ways:
    return _dependent(subschema, "dependencies", entries(subschema, "dependencies"))


def _dependent(subschema: Subschema, keyword: str, needs: Mapping[str, Any]) -> Ways:
    """Return, for each property, two ways: it is absent, or it is present with what it needs."""
    if len(needs) > MAX_DEPENDENT:
        raise UnenforceableError(subschema.path, keyword, f"more than {MAX_DEPENDENT} properties that need others")
    ways: Ways = [[]]
    for name, needed in needs.items():
        absent = subschema.derive(f"{keyword} without {name}", {"~absent": [name]})
        if isinstance(needed, list):
            required = [name, *(other for other in needed if isinstance(other, str))]
            present = [subschema.derive(f"{keyword} {name}", {"type": "object", "required": required})]
        else:
            present = [
                subschema.derive(f"{keyword} {name}", {"type": "object", "required": [name]}),
                subschema.child(keyword, name),
            ]
        ways = [[*way, *more] for way in ways for more in ([absent], present)]
    return ways


_EXPANSIONS: dict[str, Callable[[SchemaContext, Subschema], Ways]] = {
    "$ref": _ref, "$dynamicRef": _dynamic_ref, "allOf": _all_of, "not": _not, "anyOf": _any_of, "oneOf": _one_of,
    "if": _if, "dependentRequired": _dependent_required, "dependentSchemas": _dependent_schemas,
    "dependencies": _dependencies,
}  # fmt: skip


def add_unevaluated(steps: tuple[Step, ...]) -> Conjunction:
    """Return the subschemas of the steps, with their `unevaluatedProperties` and `unevaluatedItems` written out.

    A property or item is evaluated if the schema itself, or one that was applied on the way from it, declares it.
    Other branches of an `anyOf` that might hold as well are ignored: they would only allow more.
    """
    found = [subschema for subschema, _ in steps]
    if all(subschema.schema.keys().isdisjoint(_UNEVALUATED) for subschema in found):
        return tuple(found)
    for subschema, _ in steps:
        applied = [
            other
            for other, trail in steps
            if other.path == subschema.path
            or ((subschema.path, False) in trail and not any(is_negated for _, is_negated in trail))
        ]
        if subschema.has("unevaluatedProperties") and (rest := _unevaluated_properties(subschema, applied)):
            found.append(rest)
        if subschema.has("unevaluatedItems") and (rest := _unevaluated_items(subschema, applied)):
            found.append(rest)
    return tuple(found)


def _unevaluated_properties(subschema: Subschema, applied: list[Subschema]) -> Subschema | None:
    others = [other for other in applied if other != subschema]
    if any(other.has("additionalProperties") for other in applied) or any(
        other.has("unevaluatedProperties") for other in others
    ):
        return None
    names = {name: True for other in applied for name in entries(other, "properties")}
    patterns = {pattern: True for other in applied for pattern in entries(other, "patternProperties")}
    rest = subschema.child("unevaluatedProperties")
    schema = {"properties": names, "patternProperties": patterns, "additionalProperties": rest}
    return subschema.derive("unevaluatedProperties", schema)


def _unevaluated_items(subschema: Subschema, applied: list[Subschema]) -> Subschema | None:
    others = [other for other in applied if other != subschema]
    if any(other.has("items") or other.has("additionalItems") for other in applied) or any(
        other.has("unevaluatedItems") for other in others
    ):
        return None
    prefixes = [other.get("prefixItems") for other in applied if isinstance(other.get("prefixItems"), list)]
    count = max(map(len, prefixes), default=0)
    rest: Any = subschema.child("unevaluatedItems")
    contained = [other.child("contains") for other in applied if other.has("contains")]
    if contained:
        # Its name tells its branches: schemas with the same path are taken to be the same.
        branches = " ".join("/".join(map(str, one.path)) for one in contained)
        rest = subschema.derive(f"unevaluated item {branches}", {"anyOf": [rest, *contained]})
    return subschema.derive("unevaluatedItems", {"prefixItems": [True] * count, "items": rest})
