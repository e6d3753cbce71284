"""What each keyword of JSON Schema asserts, read from one place: types, values, bounds.

Type names are those of draft 2020-12 and of the dialects that models and data sets use.
"""

from __future__ import annotations

import difflib
import functools
import json
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

from edgefc.errors import SchemaError
from edgefc.grammar.document import Place, kind_of

# `number` is `integer` and `fraction` together, so that types intersect as sets.
KINDS = ("object", "array", "string", "integer", "fraction", "boolean", "null")
TYPES = {
    "object": {"object"}, "array": {"array"}, "string": {"string"}, "number": {"integer", "fraction"},
    "integer": {"integer"}, "boolean": {"boolean"}, "null": {"null"},
}  # fmt: skip
DIALECTS = {
    "str": "string", "text": "string", "char": "string", "int": "integer", "long": "integer",
    "float": "number", "double": "number", "bool": "boolean", "list": "array", "tuple": "array", "set": "array",
    "dict": "object", "dictionary": "object", "map": "object", "hashmap": "object", "none": "null",
}  # fmt: skip
ANNOTATIONS = {
    "title", "description", "default", "examples", "example", "deprecated", "readOnly", "writeOnly", "$comment",
    "$schema", "$id", "id", "$defs", "definitions", "$anchor", "$dynamicAnchor", "$vocabulary", "format",
    "contentMediaType", "contentEncoding", "contentSchema", "strict", "optional", "nullable",
}  # fmt: skip
COMBINING = {"$ref", "allOf", "anyOf", "oneOf"}
GENERAL = {"type", "enum", "const"}
OBJECT = {"properties", "required", "additionalProperties", "minProperties", "maxProperties"}
ARRAY = {"items", "prefixItems", "additionalItems", "minItems", "maxItems"}
STRING = {"minLength", "maxLength"}
NUMBER = {"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"}
ENFORCED = COMBINING | GENERAL | OBJECT | ARRAY | STRING | NUMBER
# Assertions of the standard that a grammar here cannot make; each with what to do instead.
REFUSED = {
    "pattern": "Drop it, or list the values with enum.",
    "not": "Say what is allowed instead.",
    "if": "Use anyOf with one branch for each case.",
    "then": "Use anyOf with one branch for each case.",
    "else": "Use anyOf with one branch for each case.",
    "multipleOf": "Drop it, or list the values with enum.",
    "uniqueItems": "Drop it, and check the call's arguments yourself.",
    "contains": "Use prefixItems, or drop it.",
    "minContains": "Use prefixItems, or drop it.",
    "maxContains": "Use prefixItems, or drop it.",
    "patternProperties": "List the properties by name.",
    "propertyNames": "List the properties by name.",
    "dependentRequired": "Use anyOf with one branch for each case.",
    "dependentSchemas": "Use anyOf with one branch for each case.",
    "dependencies": "Use anyOf with one branch for each case.",
    "unevaluatedProperties": "Use additionalProperties in a schema without combinators.",
    "unevaluatedItems": "Use items in a schema without combinators.",
    "$dynamicRef": "Use $ref.",
    "$recursiveRef": "Use $ref.",
    "divisibleBy": "Drop it.",
    "extends": "Use allOf.",
    "disallow": "Say what is allowed instead.",
}
# Values of these keywords that assert nothing.
IDLE = {"uniqueItems": (False,), "patternProperties": ({},), "propertyNames": (True, {}), "dependencies": ({},)}


MAX_COUNT = 10**9
_SURROGATE = re.compile("[\ud800-\udfff]")


def check_keywords(place: Place) -> None:
    """Refuses keywords that assert what cannot be enforced, and what looks like a misspelt one.

    Any other unknown keyword is an annotation (draft 2020-12 core, §4.3.1).
    """
    for keyword, value in place.schema.items():
        if keyword in ENFORCED or keyword in ANNOTATIONS or value in IDLE.get(keyword, ()):
            continue
        if keyword in REFUSED:
            raise SchemaError((*place.path, keyword), f"{keyword!r} cannot be enforced", REFUSED[keyword])
        if meant := _misspelt(keyword):
            raise SchemaError((*place.path, keyword), f"unknown keyword {keyword!r}", f"Is {meant!r} meant?")


@functools.lru_cache(maxsize=1024)
def _misspelt(keyword: str) -> str | None:
    """The known keyword that an unknown one resembles; `x-…` and `_…` are somebody's own on purpose."""
    if len(keyword) < 4 or not keyword[0].isalpha() or keyword.startswith("x-"):
        return None
    known = {name.lower(): name for name in ENFORCED | REFUSED.keys()}
    near = difflib.get_close_matches(keyword.lower(), known, 1, 0.85)
    return known[near[0]] if near else None


def kinds_of(place: Place) -> set[str] | None:
    """The kinds of value the place's `type` allows; None: any."""
    if not place.has("type"):
        return None
    given = place.get("type")
    names = given if isinstance(given, list) else [given]
    path = (*place.path, "type")
    if not names:
        raise SchemaError(path, "must name at least one type")
    kinds: set[str] = {"null"} if place.get("nullable") is True else set()
    for name in names:
        if not isinstance(name, str):
            raise SchemaError(path, f"must be a type name or an array of them, not {kind_of(name)}")
        plain = DIALECTS.get(name.lower(), name.lower())
        if plain == "any":
            return None
        if plain not in TYPES:
            raise SchemaError(path, f"unknown type {name!r}", f"Types are {', '.join(TYPES)}.")
        kinds |= TYPES[plain]
    return kinds


def kind(value: Any) -> str:
    """The kind of a JSON value; 1.0 is an integer, true is no number."""
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, int | float):
        return "integer" if value == math.floor(value) else "fraction"
    return {str: "string", list: "array", type(None): "null"}.get(type(value), "object")


def same(a: Any, b: Any) -> bool:
    """Equality of JSON values: 1 is 1.0, but not true."""
    if kind(a) != kind(b):
        return False
    if isinstance(a, Mapping):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if isinstance(a, list):
        return len(a) == len(b) and all(same(x, y) for x, y in zip(a, b, strict=True))
    return bool(a == b)


def values_of(place: Place) -> list[Any] | None:
    """The values that the place's `enum` and `const` leave; None: it has neither."""
    found: list[Any] | None = None
    if place.has("enum"):
        found = place.get("enum")
        if not isinstance(found, list) or not found:
            raise SchemaError((*place.path, "enum"), "must be an array with at least one value")
    if place.has("const"):
        value = place.get("const")
        found = [value] if found is None or any(same(value, other) for other in found) else []
    return found


def size(places: Sequence[Place], least: str, most: str) -> tuple[int, int | None]:
    """The narrowest bounds that counting keywords of several places give together; may be empty."""
    low, high = 0, None
    for place in places:
        for keyword in (least, most):
            if not place.has(keyword):
                continue
            value = place.get(keyword)
            if isinstance(value, bool) or not isinstance(value, int | float) or value < 0 or value != math.floor(value):
                raise SchemaError((*place.path, keyword), f"must be an integer that is not negative, not {value!r}")
            if keyword == least:
                low = max(low, int(value))
            else:
                high = min(MAX_COUNT, int(value)) if high is None else min(high, int(value))
            if low > MAX_COUNT:
                raise SchemaError((*place.path, keyword), f"more than the {MAX_COUNT:,} that any answer can hold")
    return low, high


def schemas(place: Place, keyword: str) -> list[Place]:
    """The schemas in a combining keyword's array."""
    parts = place.get(keyword)
    if not isinstance(parts, list) or not parts:
        raise SchemaError((*place.path, keyword), "must be an array with at least one schema")
    return [place.inside(keyword, number) for number in range(len(parts))]


def mapping(place: Place, keyword: str) -> Mapping[str, Any]:
    """The value of a keyword that must be an object; empty when it is missing."""
    value = place.get(keyword)
    if value is not None and not isinstance(value, Mapping):
        raise SchemaError((*place.path, keyword), f"must be an object, not {kind_of(value)}")
    return value or {}


def spelled(value: Any, *, spaced: bool = True) -> str:
    """A JSON value as models write it: plain characters, escaped only where JSON demands it."""
    text = json.dumps(value, ensure_ascii=False, separators=(", ", ": ") if spaced else (",", ":"))
    # A lone surrogate has no UTF-8; its escape has.
    return _SURROGATE.sub(lambda found: f"\\u{ord(found[0]):04x}", text)
