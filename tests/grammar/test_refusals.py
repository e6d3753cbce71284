"""What cannot be enforced, is malformed or beyond a limit: refused, with the path of the place."""

from __future__ import annotations

from typing import Any

import pytest

from edgefc.errors import SchemaError
from edgefc.grammar import compile_schema

S = {"type": "string"}
CASES: list[tuple[Any, tuple[str | int, ...]]] = [
    (5, ()),
    ([], ()),
    (None, ()),
    ("string", ()),
    (False, ()),
    ({"type": 5}, ("type",)),
    ({"type": {}}, ("type",)),
    ({"type": []}, ("type",)),
    ({"type": ["string", 5]}, ("type",)),
    ({"type": "strnig"}, ("type",)),
    ({"properties": []}, ("properties",)),
    ({"properties": {"a": 5}}, ("properties", "a")),
    ({"properties": {"a": {"type": "text?"}}}, ("properties", "a", "type")),
    ({"type": "object", "required": "a"}, ("required",)),
    ({"type": "object", "required": [1]}, ("required",)),
    ({"type": "array", "items": 5}, ("items",)),
    ({"type": "array", "prefixItems": {}}, ("prefixItems",)),
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
    # What nothing can satisfy.
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
    ({"$ref": "#"}, ("$ref",)),
    ({"$ref": "#/$defs/a", "$defs": {"a": {"anyOf": [{"$ref": "#/$defs/b"}]}, "b": {"allOf": [{"$ref": "#/$defs/a"}]}}}, ("$defs", "b", "allOf", 0, "$ref")),
    # What a grammar here cannot say yet.
    ({"properties": {"a": {**S, "pattern": "^a$"}}}, ("properties", "a", "pattern")),
    ({"not": {}}, ("not",)),
    ({"if": {}, "then": {}}, ("if",)),
    ({"type": "integer", "multipleOf": 2}, ("multipleOf",)),
    ({"type": "array", "uniqueItems": True}, ("uniqueItems",)),
    ({"type": "array", "contains": {}}, ("contains",)),
    ({"patternProperties": {"a": {}}}, ("patternProperties",)),
    ({"propertyNames": S}, ("propertyNames",)),
    ({"dependentRequired": {"a": ["b"]}}, ("dependentRequired",)),
    ({"unevaluatedProperties": False}, ("unevaluatedProperties",)),
    ({"oneOf": [S, {"type": "string", "minLength": 2}]}, ("oneOf", 1)),
    ({"oneOf": [{"type": "object", "properties": {"a": S}}, {"type": "object", "properties": {"b": S}}]}, ("oneOf", 1)),
    ({"type": "object", "minProperties": 2}, ("minProperties",)),
    # Misspelt keywords would else be annotations that promise what nothing enforces.
    ({"type": "string", "maxLenght": 3}, ("maxLenght",)),
    ({"type": "object", "properties": {"a": {"type": "string", "minlength": 3}}}, ("properties", "a", "minlength")),
]  # fmt: skip


@pytest.mark.parametrize(("schema", "path"), CASES, ids=lambda value: str(value)[:60])
def test_a_schema_is_refused_at_its_place(schema: Any, path: tuple[str | int, ...]) -> None:
    with pytest.raises(SchemaError) as caught:
        compile_schema(schema)
    assert caught.value.path == path
    assert caught.value.reason


@pytest.mark.parametrize(
    "value", [float("nan"), float("inf"), {1: 2}, {"a": {1}}, object(), 1 << 20000], ids=lambda v: type(v).__name__
)
def test_what_is_no_json_is_refused(value: Any) -> None:
    with pytest.raises(SchemaError):
        compile_schema({"const": value})
