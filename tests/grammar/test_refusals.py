"""Schemas that are malformed, contradictory or not enforceable: refused with the path."""

from __future__ import annotations

from typing import Any

import pytest

from edgefc.errors import SchemaError
from edgefc.grammar import compile_schema

S = {"type": "string"}
CASES: list[tuple[Any, tuple[str | int, ...]]] = [
    (5, ()),
    ([1], ()),
    (None, ()),
    ("string", ()),
    (False, ()),
    ({"type": 5}, ("type",)),
    ({"type": {}}, ("type",)),
    ({"type": []}, ("type",)),
    ({"type": ["string", 5]}, ("type",)),
    ({"type": "strnig"}, ("type",)),
    ({"properties": [1]}, ("properties",)),
    ({"properties": {"a": 5}}, ("properties", "a")),
    ({"properties": {"a": {"type": "text?"}}}, ("properties", "a", "type")),
    ({"type": "object", "required": "a"}, ("required",)),
    ({"type": "object", "required": [1]}, ("required",)),
    ({"type": "array", "items": 5}, ("items",)),
    ({"type": "array", "prefixItems": {"a": 1}}, ("prefixItems",)),
    ({"type": "array", "minItems": -1}, ("minItems",)),
    ({"type": "array", "maxItems": 1.5}, ("maxItems",)),
    ({"type": "string", "maxLength": "3"}, ("maxLength",)),
    ({"type": "string", "minLength": True}, ("minLength",)),
    ({"type": "integer", "minimum": "3"}, ("minimum",)),
    ({"enum": []}, ("enum",)),
    ({"enum": {}}, ("enum",)),
    ({"anyOf": []}, ("anyOf",)),
    ({"anyOf": {}}, ("anyOf",)),
    ({"allOf": [5]}, ("allOf", 0)),
    # Contradictions.
    ({"type": "string", "enum": [1]}, ()),
    ({"type": "string", "minLength": 3, "maxLength": 2}, ()),
    ({"type": "integer", "minimum": 3, "maximum": 2}, ()),
    ({"type": "integer", "minimum": 110, "maximum": 100}, ()),
    ({"type": "integer", "minimum": -100, "maximum": -110}, ()),
    ({"type": "number", "exclusiveMinimum": 2, "maximum": 2}, ()),
    ({"type": "array", "items": {"allOf": [S, {"type": "null"}]}, "minItems": 1}, ("items", "allOf", 0)),
    ({"type": "object", "properties": {"a": False}, "required": ["a"]}, ("properties", "a")),
    ({"type": "object", "properties": {"a": {"$ref": "#"}}, "required": ["a"]}, ()),
    # References.
    ({"$ref": "#/$defs/none"}, ("$ref",)),
    ({"$ref": 5}, ("$ref",)),
    ({"$ref": "#nowhere"}, ("$ref",)),
    ({"properties": {"a": {"$ref": "http://example.com/schema"}}}, ("properties", "a", "$ref")),
    ({"$ref": "file:///etc/passwd"}, ("$ref",)),
    ({"$ref": "other.json#/a"}, ("$ref",)),
    ({"$ref": "#"}, ()),
    ({"$ref": "#/$defs/a", "$defs": {"a": {"anyOf": [{"$ref": "#/$defs/b"}]}, "b": {"allOf": [{"$ref": "#/$defs/a"}]}}}, ("$defs", "a")),
    # Patterns that are malformed, or that no automaton can express.
    ({"properties": {"a": {**S, "pattern": "(a)\\1"}}}, ("properties", "a", "pattern")),
    ({"pattern": "(?<=a)b"}, ("pattern",)),
    ({"pattern": "a\\b"}, ("pattern",)),
    ({"pattern": "(a"}, ("pattern",)),
    ({"pattern": "a)"}, ("pattern",)),
    ({"pattern": "[a"}, ("pattern",)),
    ({"pattern": "*a"}, ("pattern",)),
    ({"pattern": "a**"}, ("pattern",)),
    ({"pattern": "(?=a)*"}, ("pattern",)),
    ({"pattern": "a{3,2}"}, ("pattern",)),
    ({"pattern": "[b-a]"}, ("pattern",)),
    ({"pattern": "\\p{Nonsense}"}, ("pattern",)),
    ({"pattern": "(" * 70 + ")" * 70}, ("pattern",)),
    ({"pattern": "a" * 5000}, ("pattern",)),
    ({"pattern": 5}, ("pattern",)),
    ({"not": {"pattern": "("}}, ("not", "~pattern", "~pattern")),
    ({"type": "object", "patternProperties": {"(": {}}}, ("patternProperties",)),
    ({"multipleOf": 0}, ("multipleOf",)),
    ({"multipleOf": "2"}, ("multipleOf",)),
    ({"dependentRequired": {"a": [1]}}, ("dependentRequired", "a")),
    ({"not": {}}, ("not",)),
    ({"not": True}, ("not",)),
    ({"const": 1, "not": {"const": 1}}, ()),
    ({"pattern": "^a$", "maxLength": 0, "type": "string"}, ()),
    ({"type": "string", "allOf": [{"pattern": "^a"}, {"pattern": "^b"}]}, ("allOf", 0)),
    ({"type": "integer", "minimum": 8, "maximum": 13, "multipleOf": 7}, ()),
    ({"type": "integer", "$recursiveRef": "#"}, ("$recursiveRef",)),
    # Misspelt keywords would otherwise be annotations, and promise something that nothing enforces.
    ({"type": "string", "maxLenght": 3}, ("maxLenght",)),
    ({"type": "object", "properties": {"a": {"type": "string", "minlength": 3}}}, ("properties", "a", "minlength")),
]  # fmt: skip


@pytest.mark.parametrize(("schema", "path"), CASES, ids=lambda value: str(value)[:60])
def test_a_schema_is_refused_with_its_path(schema: Any, path: tuple[str | int, ...]) -> None:
    with pytest.raises(SchemaError) as caught:
        compile_schema(schema)
    assert caught.value.path == path
    assert caught.value.reason


@pytest.mark.parametrize(
    "value", [float("nan"), float("inf"), {1: 2}, {"a": {1}}, object(), 1 << 20000], ids=lambda v: type(v).__name__
)
def test_values_that_are_not_json_are_refused(value: Any) -> None:
    with pytest.raises(SchemaError):
        compile_schema({"const": value})
