"""Keywords that combine schemas: each stands for one or more ways in which a list of places may hold."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from edgefc.errors import SchemaError, SchemaPath
from edgefc.grammar.json_schema.document import Place
from edgefc.grammar.json_schema.findings import Unenforceable
from edgefc.grammar.json_schema.keywords import mapping, schemas
from edgefc.grammar.json_schema.negation import ways_to_fail

if TYPE_CHECKING:
    from edgefc.grammar.json_schema.compiler import SchemaCompiler

Flat = tuple[Place, ...]  # places without such keywords that must all hold of a value
Trail = frozenset[tuple[SchemaPath, bool]]  # the places on the way to one, and whether they were negated
Step = tuple[Place, Trail]

MAX_DEPENDENT = 8
# In the order in which they are dealt with.
SPLITTING = (
    "$ref", "$dynamicRef", "allOf", "not", "anyOf", "oneOf", "if", "dependentRequired", "dependentSchemas",
    "dependencies",
)  # fmt: skip


def combinations(compiler: SchemaCompiler, place: Place, trail: Trail) -> list[list[Step]] | None:
    """The ways in which one place may hold; None: it has no keyword that combines. Raises SchemaError."""
    inner = trail | {(place.path, place.negative)}
    if place.negative:
        return [[(part, inner) for part in way] for way in ways_to_fail(compiler, place)]
    for keyword in SPLITTING:
        if place.has(keyword):
            rest = (place.without(keyword, *(("then", "else") if keyword == "if" else ())), trail)
            ways = [[(part, inner) for part in way] for way in _WAYS[keyword](compiler, place)]
            # The order decides in which order properties are written.
            return [[*way, rest] if keyword in {"$ref", "$dynamicRef", "allOf"} else [rest, *way] for way in ways]
    return None


def _ref(compiler: SchemaCompiler, place: Place) -> list[list[Place]]:
    return [[compiler.document.resolve(place)]]


def _dynamic_ref(compiler: SchemaCompiler, place: Place) -> list[list[Place]]:
    return [[compiler.document.resolve(place, "$dynamicRef")]]


def _all_of(_: SchemaCompiler, place: Place) -> list[list[Place]]:
    return [schemas(place, "allOf")]


def _any_of(_: SchemaCompiler, place: Place) -> list[list[Place]]:
    return [[branch] for branch in schemas(place, "anyOf")]


def _one_of(compiler: SchemaCompiler, place: Place) -> list[list[Place]]:
    """Each branch, without what satisfies another one too."""
    branches, key = schemas(place, "oneOf"), (place.path, "oneOf")
    if compiler.frugal or key in compiler.unenforced:
        return [[branch] for branch in branches]
    overlapping = compiler.overlapping(place, branches)
    return [
        [branch, *(other.negated(key) for j, other in enumerate(branches) if (i, j) in overlapping)]
        for i, branch in enumerate(branches)
    ]


def _not(_: SchemaCompiler, place: Place) -> list[list[Place]]:
    return [[place.inside("not").negated((place.path, "not"))]]


def _if(_: SchemaCompiler, place: Place) -> list[list[Place]]:
    condition = place.inside("if")
    if not (place.has("then") or place.has("else")):
        return [[]]
    passes = [condition, *([place.inside("then")] if place.has("then") else [])]
    fails = [condition.negated((place.path, "if")), *([place.inside("else")] if place.has("else") else [])]
    return [passes, fails]


def _dependent_required(_: SchemaCompiler, place: Place) -> list[list[Place]]:
    needs: dict[str, Any] = {}
    for name, names in mapping(place, "dependentRequired").items():
        if not isinstance(names, list) or not all(isinstance(other, str) for other in names):
            raise SchemaError((*place.path, "dependentRequired", name), "must be an array of property names")
        needs[name] = names
    return _dependent(place, "dependentRequired", needs)


def _dependent_schemas(_: SchemaCompiler, place: Place) -> list[list[Place]]:
    return _dependent(place, "dependentSchemas", mapping(place, "dependentSchemas"))


def _dependencies(_: SchemaCompiler, place: Place) -> list[list[Place]]:
    return _dependent(place, "dependencies", mapping(place, "dependencies"))


def _dependent(place: Place, keyword: str, needs: Mapping[str, Any]) -> list[list[Place]]:
    """For each property: it is absent, or what it needs is there as well."""
    if len(needs) > MAX_DEPENDENT:
        raise Unenforceable(place.path, keyword, f"more than {MAX_DEPENDENT} properties that need others")
    ways: list[list[Place]] = [[]]
    for name, needed in needs.items():
        absent = place.made(f"{keyword} without {name}", {"~absent": [name]})
        there = [place.made(f"{keyword} {name}", {"type": "object", "required": [name]})]
        if isinstance(needed, list):
            names = [other for other in needed if isinstance(other, str)]
            there = [place.made(f"{keyword} {name}", {"type": "object", "required": [name, *names]})]
        else:
            there.append(place.inside(keyword, name))
        ways = [[*way, *more] for way in ways for more in ([absent], there)]
    return ways


_WAYS = {
    "$ref": _ref, "$dynamicRef": _dynamic_ref, "allOf": _all_of, "not": _not, "anyOf": _any_of, "oneOf": _one_of,
    "if": _if, "dependentRequired": _dependent_required, "dependentSchemas": _dependent_schemas,
    "dependencies": _dependencies,
}  # fmt: skip


def unevaluated(flat: tuple[Step, ...]) -> Flat:
    """The places, with what `unevaluatedProperties` and `unevaluatedItems` ask written out.

    Evaluated is what the schema itself or one that was applied on the way from it declares. That another branch of
    an `anyOf` might hold as well is left out of account: it would only allow more.
    """
    places = [place for place, _ in flat]
    for place, _ in flat:
        applied = [
            other
            for other, trail in flat
            if other.path == place.path or ((place.path, False) in trail and not any(negative for _, negative in trail))
        ]
        if place.has("unevaluatedProperties") and (made := _properties(place, applied)):
            places.append(made)
        if place.has("unevaluatedItems") and (made := _items(place, applied)):
            places.append(made)
    return tuple(places)


def _properties(place: Place, applied: list[Place]) -> Place | None:
    others = [other for other in applied if other != place]
    if any(other.has("additionalProperties") for other in applied) or any(
        other.has("unevaluatedProperties") for other in others
    ):
        return None
    names = {name: True for other in applied for name in mapping(other, "properties")}
    patterns = {pattern: True for other in applied for pattern in mapping(other, "patternProperties")}
    rest = place.inside("unevaluatedProperties")
    made = {"properties": names, "patternProperties": patterns, "additionalProperties": rest}
    return place.made("unevaluatedProperties", made)


def _items(place: Place, applied: list[Place]) -> Place | None:
    others = [other for other in applied if other != place]
    if any(other.has("items") or other.has("additionalItems") for other in applied) or any(
        other.has("unevaluatedItems") for other in others
    ):
        return None
    heads = [other.get("prefixItems") for other in applied if isinstance(other.get("prefixItems"), list)]
    count = max(map(len, heads), default=0)
    rest: Any = place.inside("unevaluatedItems")
    contained = [other.inside("contains") for other in applied if other.has("contains")]
    if contained:
        rest = place.made("unevaluated item", {"anyOf": [rest, *contained]})
    return place.made("unevaluatedItems", {"prefixItems": [True] * count, "items": rest})
