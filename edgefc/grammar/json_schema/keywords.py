"""Readings of keywords: types, values and counts of one subschema, or of several that must all hold.

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
from edgefc.grammar.json_schema.document import Conjunction, Subschema, describe_type
from edgefc.grammar.json_schema.findings import Finding

# `number` is `integer` and `fraction` together, so that types intersect as sets.
JSON_TYPES = ("object", "array", "string", "integer", "fraction", "boolean", "null")
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
# Assertions of older drafts, each with its newer form.
REFUSED = {
    "$recursiveRef": "Use $ref.",
    "divisibleBy": "Use multipleOf.",
    "extends": "Use allOf.",
    "disallow": "Use not.",
}

MAX_COUNT = 10**9
_SURROGATE = re.compile("[\ud800-\udfff]")


def check_keywords(subschema: Subschema) -> None:
    """Refuse keywords of older drafts, and unknown ones that look misspelt. Raises SchemaError.

    Any other unknown keyword is an annotation (draft 2020-12 core, §4.3.1).
    """
    for keyword in subschema.schema:
        if keyword in ENFORCED or keyword in ANNOTATIONS or subschema.is_synthetic:
            continue
        path = (*subschema.path, keyword)
        if keyword in REFUSED:
            raise SchemaError(path, f"unsupported keyword {keyword!r}", REFUSED[keyword])
        if intended := _misspelt(keyword):
            raise SchemaError(path, f"unknown keyword {keyword!r}", f"Did you mean {intended!r}?")


@functools.lru_cache(maxsize=1024)
def _misspelt(keyword: str) -> str | None:
    """Return the keyword that an unknown one resembles; `x-…` and `_…` are deliberate extensions."""
    if len(keyword) < 4 or not keyword[0].isalpha() or keyword.startswith("x-"):
        return None
    keywords = {name.lower(): name for name in ENFORCED | REFUSED.keys()}
    near = difflib.get_close_matches(keyword.lower(), keywords, 1, 0.85)
    return keywords[near[0]] if near else None


def declared_types(subschema: Subschema) -> set[str] | None:
    """Return the JSON types that `type` allows; None: any. Raises SchemaError."""
    if not subschema.has("type"):
        return None
    value = subschema.get("type")
    names = value if isinstance(value, list) else [value]
    path = (*subschema.path, "type")
    if not names:
        raise SchemaError(path, "must name at least one type")
    types: set[str] = {"null"} if subschema.get("nullable") is True else set()
    for name in names:
        if not isinstance(name, str):
            raise SchemaError(path, f"must be a type name or an array of them, not {describe_type(name)}")
        standard = standard_type(name)
        if standard == "any":
            return None
        if standard not in TYPES:
            raise SchemaError(path, f"unknown type {name!r}", f"Types are {', '.join(TYPES)}.")
        types |= TYPES[standard]
    return types


def standard_type(name: str) -> str:
    """Translate a dialect's type name, such as `Str`, `List[int]` or `str, optional`; unknown names stay."""
    base = name.partition(",")[0].partition("[")[0].strip().lower()
    return DIALECTS.get(base, base)


def reinterpretations(subschema: Subschema) -> list[Finding]:
    """List the keywords that are read differently from draft 2020-12."""
    path, value = subschema.path, subschema.get("type")
    findings = [
        Finding((*path, "type"), f"{name!r} is read as {standard_type(name)!r}")
        for name in (value if isinstance(value, list) else [value])
        if isinstance(name, str) and name not in TYPES
    ]
    if subschema.get("nullable") is True:
        findings.append(Finding((*path, "nullable"), "null is allowed besides the type"))
    if isinstance(subschema.get("required"), bool):
        findings.append(Finding((*path, "required"), "a boolean is ignored: required must be an array of names"))
    findings += [
        Finding((*path, keyword), "a boolean is read as in draft 4")
        for keyword in ("exclusiveMinimum", "exclusiveMaximum")
        if isinstance(subschema.get(keyword), bool)
    ]
    if isinstance(subschema.get("items"), list):
        findings.append(Finding((*path, "items"), "an array of schemas is read as prefixItems"))
    if subschema.has("dependencies"):
        findings.append(Finding((*path, "dependencies"), "is read as dependentRequired or dependentSchemas"))
    return findings


def json_type(value: Any) -> str:
    """Return the JSON type of a value; 1.0 is an integer, and booleans are not numbers."""
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, int | float):
        return "integer" if value == math.floor(value) else "fraction"
    return {str: "string", list: "array", type(None): "null"}.get(type(value), "object")


def json_equal(a: Any, b: Any) -> bool:
    """Compare JSON values: 1 equals 1.0, but not true."""
    if json_type(a) != json_type(b):
        return False
    if isinstance(a, Mapping):
        return a.keys() == b.keys() and all(json_equal(a[key], b[key]) for key in a)
    if isinstance(a, list):
        return len(a) == len(b) and all(json_equal(x, y) for x, y in zip(a, b, strict=True))
    return bool(a == b)


def json_types(conjunction: Conjunction) -> list[str]:
    """Return the JSON types that all subschemas allow."""
    types = list(JSON_TYPES)
    for subschema in conjunction:
        declared = declared_types(subschema)
        if declared is not None:
            types = [name for name in types if name in declared]
        if subschema.has("~type"):
            types = [name for name in types if name not in subschema.get("~type")]
    return types


def excluded_values(conjunction: Conjunction) -> list[Any]:
    """Return the values that negations of `enum` and `const` exclude."""
    return [value for subschema in conjunction for value in subschema.get("~enum", ())]


def enumerated_values(subschema: Subschema) -> list[Any] | None:
    """Return the values that `enum` and `const` allow; None: the subschema has neither. Raises SchemaError."""
    values: list[Any] | None = None
    if subschema.has("enum"):
        values = subschema.get("enum")
        if not isinstance(values, list) or not values:
            raise SchemaError((*subschema.path, "enum"), "must be an array with at least one value")
    if subschema.has("const"):
        value = subschema.get("const")
        values = [value] if values is None or any(json_equal(value, other) for other in values) else []
    return values


def count_bounds(conjunction: Sequence[Subschema], minimum: str, maximum: str) -> tuple[int, int | None]:
    """Return the narrowest bounds that two counting keywords set together; they may exclude every count."""
    low, high = 0, None
    for subschema in conjunction:
        for keyword in (minimum, maximum):
            if not subschema.has(keyword):
                continue
            value, path = subschema.get(keyword), (*subschema.path, keyword)
            if isinstance(value, bool) or not isinstance(value, int | float) or value < 0 or value != math.floor(value):
                raise SchemaError(path, f"must be a non-negative integer, not {value!r}")
            if keyword == minimum:
                low = max(low, int(value))
            else:
                high = min(MAX_COUNT, int(value)) if high is None else min(high, int(value))
            if low > MAX_COUNT:
                raise SchemaError(path, f"above the limit of {MAX_COUNT:,}")
    return low, high


def subschemas_at(subschema: Subschema, keyword: str) -> list[Subschema]:
    """Return the schemas in a combining keyword's array. Raises SchemaError."""
    parts = subschema.get(keyword)
    if not isinstance(parts, list) or not parts:
        raise SchemaError((*subschema.path, keyword), "must be an array with at least one schema")
    return [subschema.child(keyword, number) for number in range(len(parts))]


def entries(subschema: Subschema, keyword: str) -> Mapping[str, Any]:
    """Return the value of a keyword that must be an object; empty if it is missing. Raises SchemaError."""
    value = subschema.get(keyword)
    if value is not None and not isinstance(value, dict):
        raise SchemaError((*subschema.path, keyword), f"must be an object, not {describe_type(value)}")
    return value or {}


def to_json(value: Any) -> str:
    """Write a JSON value as models do: plain characters, escaped only where JSON demands it."""
    text = json.dumps(value, ensure_ascii=False)
    # A lone surrogate has no UTF-8, but an escape.
    return _SURROGATE.sub(lambda found: f"\\u{ord(found[0]):04x}", text)
