"""Every keyword: texts that its grammar must accept or refuse, in both executors.

The accepted texts are also checked with the jsonschema package, so the table cannot promise nonsense.
"""

from __future__ import annotations

import json
from typing import Any

import jsonschema
import pytest

from edgefc.grammar import compile_schema
from tests.grammar.executors import accepts

S = {"type": "string"}
POINT = {"type": "object", "properties": {"x": {"type": "integer"}, "y": {"type": "integer"}}, "required": ["x", "y"]}
TREE = {
    "$ref": "#/$defs/node",
    "$defs": {
        "node": {
            "type": "object",
            "properties": {"v": {"type": "integer"}, "kids": {"type": "array", "items": {"$ref": "#/$defs/node"}}},
            "required": ["v"],
        }
    },
}

CASES: list[tuple[str, Any, list[str], list[str]]] = [
    ("true", True, ["1", '{"a": [null, {}]}', '"x"', "[]", "-0.5e-7"], ["", "1,", "[1 ,2]", '{"a":1}', "NaN", "01"]),
    ("string", S, ['""', '"a\\n\\u00e9🙂"', '"\\ud83d\\ude00"', '"\u007f"'], ['"a', "a", '"\n"', '"\\x"', '"\\ud83d"', '"\\ude00"', "'a'"]),
    ("integer", {"type": "integer"}, ["0", "-7", "1234567890123456"], ["1.0", "01", "+1", "1e3", "-", '"1"']),
    ("number", {"type": "number"}, ["0", "-7.25", "1e-07", "1.256e-06", "5E+3"], [".5", "1.", "1e", "Infinity", "0x1"]),
    ("boolean", {"type": "boolean"}, ["true", "false"], ["True", "1", '"true"', "tru"]),
    ("null", {"type": "null"}, ["null"], ["None", "nul", "0"]),
    ("object", {"type": "object"}, ["{}", '{"a": 1, "b": {}}'], ["[]", "{a: 1}", '{"a": 1,}', '{1: 2}']),
    ("array", {"type": "array"}, ["[]", '[1, "a", [null]]'], ["{}", "[1,]", "[,]", "[1 2]"]),
    ("type list", {"type": ["integer", "null"]}, ["1", "null"], ["true", "1.5", '"1"']),
    ("dialect names", {"type": "dict", "properties": {"a": {"type": "Str"}, "b": {"type": "FLOAT"}}, "additionalProperties": False}, ['{"a": "x", "b": 1.5}'], ['{"a": 1}']),
    ("any", {"type": "any"}, ["1", "[{}]"], ["x"]),
    ("nullable", {"type": "integer", "nullable": True}, ["1"], ['"x"', "true"]),
    ("no type", {"minLength": 2}, ["1", '"ab"', "[]", "null"], ['"a"']),
    ("enum", {"enum": ["a", "ab", 1, 1.5, None, True, {"k": [1]}, []]}, ['"a"', '"ab"', "1", "1.5", "null", "true", '{"k": [1]}', "[]"], ['"b"', "2", "false", '{"k": []}', "{}"]),
    ("enum filtered by type", {"type": "string", "enum": ["a", 1, None]}, ['"a"'], ["1", "null"]),
    ("enum filtered by bounds", {"enum": [1, 5, 9], "minimum": 4, "exclusiveMaximum": 9}, ["5"], ["1", "9"]),
    ("enum of objects beside properties", {"enum": [{"x": 1, "y": 2}, {"x": 1}], **POINT}, ['{"x": 1, "y": 2}'], ['{"x": 1}']),
    ("const", {"const": {"a": [1, "b"]}}, ['{"a": [1, "b"]}'], ['{"a": [1]}', "{}"]),
    ("const with unusual characters", {"const": 'q"\\\n\u0000\ud800é🙂'}, ['"q\\"\\\\\\n\\u0000\\ud800é🙂"'], ['"q"']),
    ("const and enum", {"const": 1, "enum": [1, 2]}, ["1"], ["2"]),
    ("minLength", {**S, "minLength": 2}, ['"ab"', '"🙂🙂"', '"\\ud83d\\ude00a"'], ['"a"', '"🙂"', '"\\ud83d\\ude00"']),
    ("maxLength", {**S, "maxLength": 2}, ['""', '"🙂🙂"', '"\\n\\\\"'], ['"abc"']),
    ("maxLength 0", {**S, "maxLength": 0}, ['""'], ['"a"']),
    ("maxLength of 2001", {**S, "maxLength": 2001}, [json.dumps("a" * 2001)], [json.dumps("a" * 2002)]),
    ("minLength of 1203", {**S, "minLength": 1203}, [json.dumps("a" * 1203)], [json.dumps("a" * 1202)]),
    ("maxLength of 1e9", {**S, "maxLength": 1e9}, ['""', json.dumps("a" * 3000)], ['"']),
    ("minimum", {"type": "integer", "minimum": -12}, ["-12", "0", "99999"], ["-13", "-100"]),
    ("maximum", {"type": "integer", "maximum": 207}, ["-99999", "0", "207", "200"], ["208", "1000"]),
    ("exclusive bounds of an integer", {"type": "integer", "exclusiveMinimum": 0, "exclusiveMaximum": 10}, ["1", "9"], ["0", "10"]),
    ("fractional bounds of an integer", {"type": "integer", "minimum": 0.5, "maximum": 2.5}, ["1", "2"], ["0", "3"]),
    ("bounds of a number", {"type": "number", "minimum": -0.5, "maximum": 1.25}, ["-0.5", "-0.1", "0", "1.25", "1.2", "0.999"], ["-0.51", "1.26", "2", "-1", "1e0"]),
    ("exclusive bounds of a number", {"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 1}, ["0.5", "0.001", "0.99999999999999"], ["0", "1", "0.0", "1.0", "0.00000000000000000001"]),
    ("number from a bound", {"type": "number", "minimum": 1.5}, ["1.5", "1.500", "2", "123.25"], ["1.4", "0", "-2"]),
    ("bounds of any number", {"minimum": 3}, ["3", "3.5", '"x"'], ["2", "2.9"]),
    ("a draft 4 exclusive flag", {"type": "integer", "minimum": 3, "exclusiveMinimum": True}, ["4"], ["2"]),
    ("properties", POINT, ['{"x": 1, "y": 2}', '{"x": 1, "y": 2, "z": 3}'], ['{"y": 2, "x": 1}', '{"x": 1}', '{"x":1,"y":2}']),
    ("optional properties", {"type": "object", "properties": {"a": S, "b": S, "c": S}}, ["{}", '{"a": ""}', '{"b": ""}', '{"a": "", "c": ""}', '{"a": "", "b": "", "c": ""}'], ['{"b": "", "a": ""}', '{, "a": ""}', '{"a": "",}', '{"a": "", "a": ""}']),
    ("an optional property before a required one", {"type": "object", "properties": {"a": S, "b": S}, "required": ["b"]}, ['{"b": ""}', '{"a": "", "b": ""}'], ["{}", '{"a": ""}']),
    ("a required property that is not declared", {"type": "object", "properties": {"a": S}, "required": ["b"]}, ['{"b": [1]}', '{"a": "", "b": 1}'], ["{}", '{"a": ""}']),
    ("keys with unusual characters", {"type": "object", "properties": {'a"\\\n é\u0000': S}, "required": ['a"\\\n é\u0000']}, ['{"a\\"\\\\\\n é\\u0000": "x"}'], ["{}"]),
    ("no additional properties", {"type": "object", "additionalProperties": False}, ["{}"], ['{"a": 1}']),
    ("additional properties of a type", {"type": "object", "additionalProperties": {"type": "integer"}}, ["{}", '{"a": 1, "b": 2}'], ['{"a": "1"}']),
    ("additional beside declared", {"type": "object", "properties": {"ab": S}, "additionalProperties": {"type": "integer"}}, ["{}", '{"ab": "x"}', '{"ab": "x", "a": 1}', '{"abc": 1, "b": 2}', '{"": 1}'], ['{"ab": 1}', '{"a": "x"}', '{"a": 1, "ab": "x"}', '{"\\u0061b": 1}']),
    ("additional beside required", {"type": "object", "properties": {"a": S}, "required": ["a"], "additionalProperties": True}, ['{"a": "x"}', '{"a": "x", "b": {}}'], ["{}", '{"b": 1}', '{"a": 1}']),
    ("an impossible optional property", {"type": "object", "properties": {"a": False, "b": {"type": "integer", "enum": ["x"]}, "c": S}}, ['{"c": ""}', "{}"], ['{"a": 1}', '{"b": "x"}']),
    ("minProperties", {"type": "object", "properties": {"a": S, "b": S, "c": S}, "minProperties": 2}, ['{"a": "", "c": ""}', '{"a": "", "b": "", "c": ""}'], ['{"a": ""}', "{}"]),
    ("maxProperties", {"type": "object", "properties": {"a": S, "b": S, "c": S}, "maxProperties": 1}, ["{}", '{"c": ""}'], ['{"a": "", "b": ""}']),
    ("minProperties of free names", {"type": "object", "minProperties": 1}, ['{"a": 1}'], ["{}"]),
    ("maxProperties of free names", {"type": "object", "maxProperties": 2, "properties": {"a": S}, "required": ["a"], "additionalProperties": S}, ['{"a": ""}', '{"a": "", "b": ""}'], ['{"a": "", "b": "", "c": ""}', '{"b": ""}']),
    ("items", {"type": "array", "items": {"type": "integer"}}, ["[]", "[1, 2]"], ['["a"]', "[1,2]"]),
    ("minItems and maxItems", {"type": "array", "items": {"type": "boolean"}, "minItems": 1, "maxItems": 2}, ["[true]", "[true, false]"], ["[]", "[true, true, true]"]),
    ("maxItems of 1e9", {"type": "array", "items": {"type": "integer"}, "maxItems": 1e9}, ["[]", json.dumps([1] * 700)], ["["]),
    ("maxItems of 1203", {"type": "array", "items": {"const": 1}, "maxItems": 1203}, [json.dumps([1] * 1203)], [json.dumps([1] * 1204)]),
    ("prefixItems", {"type": "array", "prefixItems": [{"type": "integer"}, S]}, ["[]", "[1]", '[1, "a"]', '[1, "a", null]'], ['["a"]', "[1, 2]"]),
    ("prefixItems and no more", {"type": "array", "prefixItems": [{"type": "integer"}, S], "items": False, "minItems": 1}, ["[1]", '[1, "a"]'], ["[]", '[1, "a", 2]']),
    ("prefixItems with minItems beyond", {"type": "array", "prefixItems": [S], "items": {"type": "integer"}, "minItems": 3, "maxItems": 4}, ['["a", 1, 2]', '["a", 1, 2, 3]'], ['["a", 1]', '["a", 1, 2, 3, 4]']),
    ("items as a list", {"$schema": "http://json-schema.org/draft-07/schema#", "type": "array", "items": [S], "additionalItems": {"type": "integer"}}, ["[]", '["a", 1]'], ["[1]", '["a", "b"]']),
    ("impossible items", {"type": "array", "items": {"enum": ["a"], "type": "integer"}}, ["[]"], ['["a"]']),
    ("anyOf", {"anyOf": [{"type": "integer"}, {**S, "maxLength": 1}]}, ["12", '"a"'], ['"ab"', "true"]),
    ("anyOf beside properties", {**POINT, "required": [], "anyOf": [{"required": ["x"]}, {"required": ["y"]}]}, ['{"x": 1}', '{"y": 1}', '{"x": 1, "y": 2}'], ["{}"]),
    ("anyOf of objects with a common beginning", {"anyOf": [{"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}, {"type": "object", "additionalProperties": S}]}, ['{"a": 1}', '{"a": "x"}', '{"ab": "x"}', "{}"], ['{"ab": 1}']),
    ("anyOf of an empty and a longer object", {"type": "array", "prefixItems": [{"anyOf": [{"const": {}}, {"type": "object", "properties": {"a": S}}]}]}, ["[{}]", '[{"a": ""}]', "[{}, 1]", '[{"b": 1}]'], ['[{"a": 1}]']),
    ("oneOf by type", {"oneOf": [S, {"type": "integer"}, {"type": "null"}]}, ['"a"', "1", "null"], ["1.5", "true"]),
    ("oneOf by a const property", {"oneOf": [{"type": "object", "properties": {"k": {"const": c}, c: S}, "required": ["k", c]} for c in "ab"]}, ['{"k": "a", "a": ""}', '{"k": "b", "b": ""}'], ['{"k": "a", "b": ""}', '{"k": "c"}']),
    ("oneOf by required names", {"oneOf": [{"type": "object", "properties": {c: S}, "required": [c]} for c in "ab"]}, ['{"a": ""}', '{"b": ""}'], ["{}", '{"a": "", "b": ""}']),
    ("oneOf by range", {"type": "integer", "oneOf": [{"maximum": 3}, {"minimum": 7}]}, ["3", "7"], ["4", "6"]),
    ("allOf", {"allOf": [{"type": "integer", "minimum": 2}, {"type": "number", "maximum": 4}, {"enum": [1, 2, 4, 5]}]}, ["2", "4"], ["1", "5", "3", "2.5"]),
    ("allOf of properties", {"allOf": [{"type": "object", "properties": {"a": S}, "required": ["a"]}, {"properties": {"b": {"type": "integer"}, "a": {"minLength": 1}}}]}, ['{"a": "x"}', '{"a": "x", "b": 1}'], ['{"a": ""}', '{"b": 1}']),
    ("allOf of anyOf", {"allOf": [{"anyOf": [S, {"type": "integer"}]}, {"anyOf": [{"type": "integer"}, {"type": "null"}]}]}, ["1"], ['"a"', "null"]),
    ("$ref", {"type": "object", "properties": {"p": {"$ref": "#/$defs/a~1b%25"}}, "required": ["p"], "$defs": {"a/b%": S}}, ['{"p": "x"}'], ['{"p": 1}']),
    ("$ref beside other keywords", {"$ref": "#/$defs/s", "maxLength": 1, "$defs": {"s": S}}, ['"a"'], ['"ab"', "1"]),
    ("$ref to an anchor", {"$ref": "#here", "$defs": {"a": {"$anchor": "here", "type": "integer"}}}, ["1"], ['"a"']),
    ("$ref inside an embedded schema", {"$id": "http://e.x/root", "type": "array", "items": {"$ref": "item"}, "$defs": {"i": {"$id": "item", "$ref": "#/$defs/t", "$defs": {"t": S}}, "t": {"type": "integer"}}}, ['["a"]'], ["[1]"]),
    ("recursion", TREE, ['{"v": 1}', '{"v": 1, "kids": [{"v": 2, "kids": []}, {"v": 3}]}'], ['{"kids": []}', '{"v": 1, "kids": [{}]}']),
    ("recursion through the root", {"type": "object", "properties": {"next": {"$ref": "#"}}}, ["{}", '{"next": {"next": {}}}'], ['{"next": 1}']),
    ("recursion that can only end one way", {"anyOf": [{"type": "array", "items": {"$ref": "#"}, "minItems": 1}, {"type": "integer"}]}, ["1", "[1, [2]]"], ["[]", "[[]]"]),
    ("formats", {"type": "array", "prefixItems": [{**S, "format": "date"}, {**S, "format": "email", "maxLength": 8}, {"format": "ipv4"}]}, ['["2024-02-29", "a@b.c", 1]', '["1999-12-31", "a@b.c", "1.2.3.4"]'], ['["2023-02-29"]', '["2024-02-01", "abc@def.gh"]', '["2024-02-01", "a@b.c", "1.2.3"]']),
    ("annotations", {**S, "title": "t", "description": "d", "default": 1, "examples": [1], "$comment": "c", "x-own": 1, "vendor": {}, "format": "own", "deprecated": True}, ['"a"'], ["1"]),
]  # fmt: skip


@pytest.mark.parametrize(("schema", "good", "bad"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_a_grammar_accepts_exactly_what_its_schema_allows(schema: Any, good: list[str], bad: list[str]) -> None:
    grammar = compile_schema(schema)
    assert [text for text in good if not accepts(grammar, text)] == []
    assert [text for text in bad if accepts(grammar, text)] == []


# The jsonschema package reads dialects and older drafts differently, or not at all.
DIALECTS = {"dialect names", "any", "a draft 4 exclusive flag"}


@pytest.mark.parametrize("case", [case for case in CASES if case[0] not in DIALECTS], ids=lambda case: case[0])
def test_the_accepted_texts_of_the_table_are_valid(case: tuple[str, Any, list[str], list[str]]) -> None:
    schema = case[1]
    draft = jsonschema.validators.validator_for(schema, jsonschema.Draft202012Validator)
    assert [text for text in case[2] if not draft(schema).is_valid(json.loads(text))] == []
