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
from edgefc.grammar.json_schema.document import Place, kind_of
from edgefc.grammar.json_schema.findings import Finding

# `number` is `integer` and `fraction` together, so that types intersect as sets.
KINDS = ("object", "array", "string", "integer", "fraction", "boolean", "null")
TYPES = {
    "object": {"object"}, "array": {"array"}, "string": {"string"}, "number": {"integer", "fraction"},
    "integer": {"integer"}, "boolean": {"boolean"}, "null": {"null"},
}  # fmt: skip
DIALECTS = {
    "str": "string", "text": "string", "char": "string", "int": "integer", "long": "integer", "short": "integer",
    "byte": "integer", "bigint": "integer", "float": "number", "double": "number", "bool": "boolean",
    "list": "array", "tuple": "array", "set": "array", "arraylist": "array", "hashset": "array",
    "dict": "object", "dictionary": "object", "map": "object", "hashmap": "object", "hashtable": "object",
    "none": "null",
}  # fmt: skip
ANNOTATIONS = {
    "title", "description", "default", "examples", "example", "deprecated", "readOnly", "writeOnly", "$comment",
    "$schema", "$id", "id", "$defs", "definitions", "$anchor", "$dynamicAnchor", "$vocabulary",
    "contentMediaType", "contentEncoding", "contentSchema", "strict", "optional", "nullable",
}  # fmt: skip
COMBINING = {"$ref", "allOf", "anyOf", "oneOf", "not", "if"}
GENERAL = {"type", "enum", "const", "$dynamicRef", "then", "else", "dependentSchemas", "dependencies"}
OBJECT = {
    "properties", "required", "additionalProperties", "minProperties", "maxProperties", "patternProperties",
    "propertyNames", "dependentRequired", "unevaluatedProperties",
}  # fmt: skip
ARRAY = {
    "items", "prefixItems", "additionalItems", "minItems", "maxItems", "uniqueItems", "contains", "minContains",
    "maxContains", "unevaluatedItems",
}  # fmt: skip
STRING = {"minLength", "maxLength", "pattern", "format"}
NUMBER = {"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"}
ENFORCED = COMBINING | GENERAL | OBJECT | ARRAY | STRING | NUMBER
# Assertions of older drafts that have a newer form; each with it.
REFUSED = {
    "$recursiveRef": "Use $ref.",
    "divisibleBy": "Use multipleOf.",
    "extends": "Use allOf.",
    "disallow": "Use not.",
}


MAX_COUNT = 10**9
_SURROGATE = re.compile("[\ud800-\udfff]")


def check_keywords(place: Place) -> None:
    """Refuses keywords that assert what cannot be enforced, and what looks like a misspelt one.

    Any other unknown keyword is an annotation (draft 2020-12 core, §4.3.1).
    """
    for keyword in place.schema:
        if keyword in ENFORCED or keyword in ANNOTATIONS or place.own:
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
        plain = plain_type(name)
        if plain == "any":
            return None
        if plain not in TYPES:
            raise SchemaError(path, f"unknown type {name!r}", f"Types are {', '.join(TYPES)}.")
        kinds |= TYPES[plain]
    return kinds


def plain_type(name: str) -> str:
    """A dialect's type as the standard's: `Str`, `List[int]` and `str, optional` too. Unknown names stay."""
    base = name.partition(",")[0].partition("[")[0].strip().lower()
    return DIALECTS.get(base, base)


def changes_at(place: Place) -> list[Finding]:
    """What is read otherwise than draft 2020-12 reads it."""
    given = place.get("type")
    found = [
        Finding((*place.path, "type"), f"{name!r} is read as {plain_type(name)!r}")
        for name in (given if isinstance(given, list) else [given])
        if isinstance(name, str) and name not in TYPES
    ]
    if place.get("nullable") is True:
        found.append(Finding((*place.path, "nullable"), "null is allowed besides the type"))
    if isinstance(place.get("required"), bool):
        found.append(Finding((*place.path, "required"), "says nothing about a value: only an array of names does"))
    found += [
        Finding((*place.path, keyword), "a boolean is read as draft 4 does")
        for keyword in ("exclusiveMinimum", "exclusiveMaximum")
        if isinstance(place.get(keyword), bool)
    ]
    if isinstance(place.get("items"), list):
        found.append(Finding((*place.path, "items"), "an array of schemas is read as prefixItems"))
    if place.has("dependencies"):
        found.append(Finding((*place.path, "dependencies"), "is read as dependentRequired or dependentSchemas"))
    return found


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
    if value is not None and not isinstance(value, dict):
        raise SchemaError((*place.path, keyword), f"must be an object, not {kind_of(value)}")
    return value or {}


def spelled(value: Any, *, spaced: bool = True) -> str:
    """A JSON value as models write it: plain characters, escaped only where JSON demands it."""
    text = json.dumps(value, ensure_ascii=False, separators=(", ", ": ") if spaced else (",", ":"))
    # A lone surrogate has no UTF-8; its escape has.
    return _SURROGATE.sub(lambda found: f"\\u{ord(found[0]):04x}", text)
