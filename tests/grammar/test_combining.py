"""Patterns, negations and keywords built on them: texts that both executors must accept or refuse.

Every text is also checked with the jsonschema package, so the table cannot promise nonsense.
"""

from __future__ import annotations

import json
from typing import Any

import jsonschema
import pytest

from edgefc.grammar import compile_calls, compile_output, compile_schema
from edgefc.types import OutputSyntax, ToolChoice
from tests.grammar.executors import accepts

S = {"type": "string"}
INT = {"type": "integer"}
OBJ = {"type": "object"}

CASES: list[tuple[str, Any, list[str], list[str]]] = [
    ("pattern, anchored", {**S, "pattern": "^[a-c]{2,3}$"}, ['"ab"', '"abc"'], ['"a"', '"abcd"', '"xab"']),
    ("pattern, found anywhere", {**S, "pattern": "a.c"}, ['"abc"', '"xxa c!"', '"\\"a\\"c\\\\"'], ['"ac"', '"a\\nc"', '""']),
    ("pattern of any type", {"pattern": "^a$"}, ['"a"', "1", "null", '{"a": 1}'], ['"b"']),
    ("pattern with an end alone", {**S, "pattern": "x$"}, ['"x"', '"yx"'], ['"xy"', '""']),
    ("pattern of alternatives half anchored", {**S, "pattern": "^a|b$"}, ['"ax"', '"xb"'], ['"xa"', '"bx"']),
    ("pattern with a lookahead", {**S, "pattern": "^(?=.*[0-9])(?!.*--)[a-z0-9-]+$"}, ['"a-1"', '"7"'], ['"abc"', '"a--1"', '"1!"']),
    ("pattern with a lookahead in the middle", {**S, "pattern": "^a(?!b)[a-z]+$"}, ['"ac"', '"acb"'], ['"ab"', '"abc"', '"a"']),
    ("pattern with classes", {**S, "pattern": r"^\d\w\s\S$"}, ['"1a b"'], ['"aa b"', '"1- b"']),
    ("pattern with Unicode", {**S, "pattern": "^[à-ü]\\u00e9\\u{1f642}\\x41$"}, ['"éé🙂A"'], ['"eé🙂A"']),
    ("pattern with a property", {**S, "pattern": "^\\p{Lu}\\p{L}*$"}, ['"Éa"', '"Ω"'], ['"éa"', '"1"']),
    ("pattern with quotes and backslashes", {**S, "pattern": '^"\\\\\\t$'}, ['"\\"\\\\\\t"'], ['"a"']),
    ("pattern with lengths", {**S, "pattern": "^a+b*$", "minLength": 2, "maxLength": 3}, ['"aa"', '"abb"'], ['"a"', '"aaaa"', '"bb"']),
    ("pattern of one class with lengths", {**S, "pattern": "^[a-z]*$", "minLength": 2, "maxLength": 3}, ['"aa"'], ['"a"', '"aaaa"']),
    ("pattern, counted far", {**S, "pattern": "^a{2500}$"}, [json.dumps("a" * 2500)], [json.dumps("a" * 2499), json.dumps("a" * 2501)]),
    ("two patterns", {**S, "allOf": [{"pattern": "^a"}, {"pattern": "b$"}]}, ['"ab"', '"a b"'], ['"a"', '"b"', '"ba"']),
    ("an enum that a pattern filters", {"enum": ["ab", "cd", 1], "pattern": "^a"}, ['"ab"', "1"], ['"cd"']),
    ("not a type", {"not": S}, ["1", "null", "{}", "[]"], ['"a"']),
    ("not several types", {"not": {"type": ["integer", "boolean"]}}, ['"a"', "1.5"], ["1", "true"]),
    ("not an enum", {"type": ["string", "integer"], "not": {"enum": ["a", "bc", 12]}}, ['"b"', '"ab"', '"bcd"', '""', "1", "120", "-12"], ['"a"', '"bc"', "12"]),
    ("not a const", {"not": {"const": None}}, ["1", '"x"'], ["null"]),
    ("not the empty ones", {"not": {"enum": [{}, [], ""]}}, ['{"a": 1}', "[1]", '"a"'], ["{}", "[]", '""']),
    ("not a pattern", {**S, "not": {"pattern": "^x-"}}, ['"x"', '"ax-"', '""'], ['"x-"', '"x-1"']),
    ("not lengths", {**S, "not": {"minLength": 2, "maxLength": 3}}, ['""', '"a"', '"abcd"'], ['"ab"', '"abc"']),
    ("not bounds", {**INT, "not": {"minimum": 3, "maximum": 5}}, ["2", "6"], ["3", "5"]),
    ("not required", {**OBJ, "not": {"required": ["a"]}}, ["{}", '{"b": 1}'], ['{"a": 1}', '{"b": 1, "a": 2}']),
    ("not required together", {**OBJ, "properties": {"a": INT, "b": INT}, "not": {"required": ["a", "b"]}}, ["{}", '{"a": 1}', '{"b": 1}'], ['{"a": 1, "b": 2}']),
    ("not a property's value", {**OBJ, "not": {"properties": {"a": S}}}, ['{"a": 1}'], ["{}", '{"a": "x"}', '{"b": 1}']),
    ("not items", {"type": "array", "not": {"items": INT}}, ['["a"]', '[1, "a"]'], ["[]", "[1]"]),
    ("not contains", {"type": "array", "not": {"contains": INT}}, ["[]", '["a"]'], ["[1]", '["a", 1]']),
    ("not anyOf", {"not": {"anyOf": [S, INT, {"type": "null"}]}}, ["true", "[]", "1.5"], ['"a"', "1", "null"]),
    ("not allOf", {**INT, "not": {"allOf": [{"minimum": 3}, {"multipleOf": 2}]}}, ["1", "2", "3", "5"], ["4", "6"]),
    ("not not", {"not": {"not": INT}}, ["1"], ['"a"']),
    ("not a reference", {"not": {"$ref": "#/$defs/a"}, "$defs": {"a": {"type": ["integer", "string"], "maxLength": 2}}}, ["true", '"abc"'], ["1", '"ab"']),
    ("not names of properties", {**OBJ, "not": {"propertyNames": {"pattern": "^a"}}}, ['{"b": 1}', '{"a": 1, "b": 1}', '{"b": 1, "a": 1}'], ["{}", '{"a": 1}']),
    ("not additional properties", {**OBJ, "not": {"properties": {"a": True}, "additionalProperties": INT}}, ['{"b": "x"}', '{"a": 1, "b": "x"}', '{"c": 1, "b": "x"}'], ["{}", '{"a": "x"}', '{"b": 1}']),
    ("not properties of a pattern", {**OBJ, "not": {"patternProperties": {"^a": INT}}}, ['{"a": "x"}', '{"b": 1, "ab": null}'], ["{}", '{"a": 1}', '{"b": "x"}', '{"a": "x", "a": 1}']),
    ("if then else", {"if": S, "then": {"minLength": 2}, "else": {"type": "integer"}}, ['"ab"', "1"], ['"a"', "null"]),
    ("if then", {"if": {"properties": {"k": {"const": "a"}}, "required": ["k"]}, "then": {"required": ["v"]}, **OBJ, "properties": {"k": S, "v": INT}}, ['{"k": "a", "v": 1}', '{"k": "b"}', "{}"], ['{"k": "a"}']),
    ("if else", {"if": {"maximum": 3}, "else": {"multipleOf": 5}, **INT}, ["1", "3", "5"], ["4", "6"]),
    ("dependentRequired", {**OBJ, "properties": {"a": INT, "b": INT}, "dependentRequired": {"a": ["b"]}}, ["{}", '{"b": 1}', '{"a": 1, "b": 1}'], ['{"a": 1}']),
    ("dependentSchemas", {**OBJ, "properties": {"a": INT, "b": INT}, "dependentSchemas": {"a": {"properties": {"b": {"minimum": 5}}, "required": ["b"]}}}, ['{"b": 1}', '{"a": 1, "b": 5}'], ['{"a": 1}', '{"a": 1, "b": 1}']),
    ("dependencies of draft 7", {"$schema": "http://json-schema.org/draft-07/schema#", **OBJ, "properties": {"a": INT, "b": INT}, "dependencies": {"a": ["b"]}}, ["{}", '{"a": 1, "b": 1}'], ['{"a": 1}']),
    ("oneOf that overlaps", {"oneOf": [S, {**S, "minLength": 2}, INT]}, ['"a"', '""', "1"], ['"ab"']),
    ("oneOf of open objects", {"oneOf": [{**OBJ, "required": ["a"]}, {**OBJ, "required": ["b"]}]}, ['{"a": 1}', '{"b": 1}', '{"a": 1, "c": 2}'], ["{}", '{"a": 1, "b": 1}']),
    ("oneOf of multiples", {**INT, "oneOf": [{"multipleOf": 3}, {"multipleOf": 5}]}, ["3", "5", "10", "-9"], ["1", "15", "0"]),
    ("multipleOf", {**INT, "multipleOf": 7}, ["0", "7", "-14", "7777"], ["1", "8", "-13"]),
    ("multipleOf within bounds", {**INT, "multipleOf": 12, "minimum": 10, "maximum": 50}, ["12", "48"], ["0", "60", "13"]),
    ("multipleOf of cents", {"type": "number", "multipleOf": 0.25}, ["0.25", "1.5", "2", "-0.75", "3.250"], ["0.1", "0.26", "1.125"]),
    ("multipleOf of a fraction for integers", {**INT, "multipleOf": 2.5}, ["5", "10"], ["1", "2"]),
    ("multipleOf of any type", {"multipleOf": 2}, ["2", '"a"', "null"], ["1", "2.5"]),
    ("multipleOf of longer numbers than doubles hold", {"type": "number", "multipleOf": 5}, ["9488597908999845"], ["9488597908999845.0"]),
    ("no integer", {"type": "number", "not": INT}, ["1.5", "-0.25"], ["1", "1.0"]),
    ("patternProperties", {**OBJ, "patternProperties": {"^n": INT, "x$": S}, "additionalProperties": False}, ["{}", '{"n": 1}', '{"ax": "s"}', '{"n": 1, "x": ""}'], ['{"n": "a"}', '{"nx": 1}', '{"nx": "a"}', '{"b": 1}']),
    ("patternProperties, open", {**OBJ, "patternProperties": {"^n": INT}}, ['{"n": 1}', '{"b": "x", "n2": 2}'], ['{"n": "x"}', '{"b": 1, "no": null}']),
    ("patternProperties beside properties", {**OBJ, "properties": {"name": {"minimum": 5}, "b": S}, "patternProperties": {"^n": INT}}, ['{"name": 5}', '{"b": "", "n": 1}'], ['{"name": 4}', '{"name": "x"}']),
    ("patternProperties and what is left", {**OBJ, "patternProperties": {"^x": True}, "additionalProperties": INT}, ['{"x": "a"}', '{"a": 1}'], ['{"a": "x"}']),
    ("propertyNames", {**OBJ, "propertyNames": {"pattern": "^[a-z]+$", "maxLength": 3}}, ["{}", '{"abc": 1}'], ['{"A": 1}', '{"abcd": 1}']),
    ("propertyNames of an enum", {**OBJ, "propertyNames": {"enum": ["a", "b"]}, "additionalProperties": INT}, ['{"a": 1, "b": 2}'], ['{"c": 1}', '{"a": "x"}']),
    ("propertyNames that forbid a declared one", {**OBJ, "properties": {"ab": INT, "b": INT}, "propertyNames": {"maxLength": 1}}, ['{"b": 1}', '{"c": 1}'], ['{"ab": 1}']),
    ("contains", {"type": "array", "contains": {"const": 5}}, ["[5]", "[1, 5]", '[5, "a"]'], ["[]", "[1]"]),
    ("contains between counts", {"type": "array", "items": INT, "contains": {"minimum": 10}, "minContains": 1, "maxContains": 2}, ["[10]", "[1, 10, 2, 11]"], ["[]", "[1]", "[10, 11, 12]"]),
    ("contains none", {"type": "array", "contains": INT, "minContains": 0}, ["[]", "[1]", '["a"]'], ["1"]),
    ("contains at most", {"type": "array", "contains": INT, "minContains": 0, "maxContains": 1}, ["[]", '["a", 1]'], ["[1, 2]"]),
    ("contains within sizes", {"type": "array", "items": INT, "contains": {"const": 1}, "minItems": 2, "maxItems": 3}, ["[1, 2]", "[2, 1]", "[2, 2, 1]"], ["[1]", "[2, 2]", "[1, 1, 1, 1]"]),
    ("contains behind heads", {"type": "array", "prefixItems": [S], "contains": INT}, ['["a", 1]'], ['["a"]', "[1]"]),
    ("unique enum", {"type": "array", "items": {"enum": ["a", "b", 1]}, "uniqueItems": True}, ["[]", '["b", "a", 1]', "[1]"], ['["a", "a"]', '["a", "b", "a"]']),
    ("unique booleans", {"type": "array", "items": {"type": "boolean"}, "uniqueItems": True, "minItems": 1}, ["[true]", "[false, true]"], ["[]", "[true, true]"]),
    ("unevaluatedProperties", {**OBJ, "properties": {"a": INT}, "allOf": [{"properties": {"b": INT}}], "unevaluatedProperties": False}, ['{"b": 1, "a": 1}', "{}"], ['{"c": 1}']),
    ("unevaluatedProperties behind a reference", {"$ref": "#/$defs/a", "unevaluatedProperties": S, "$defs": {"a": {**OBJ, "properties": {"a": INT}}}}, ['{"a": 1, "b": "x"}'], ['{"a": 1, "b": 1}']),
    ("unevaluatedProperties and a branch", {**OBJ, "anyOf": [{"properties": {"a": {"const": 1}}, "required": ["a"]}, {"properties": {"b": INT}}], "unevaluatedProperties": False}, ['{"a": 1}', '{"b": 2}'], ['{"c": 1}']),
    ("unevaluatedItems", {"type": "array", "prefixItems": [INT], "allOf": [{"prefixItems": [True, S]}], "unevaluatedItems": False}, ["[]", '[1, "a"]'], ['[1, "a", 2]', '["a"]']),
    ("unevaluatedItems", {"type": "array", "anyOf": [{"contains": {"const": 1}}, {"contains": {"const": 2}}], "unevaluatedItems": False}, ["[1]", "[1, 1]", "[2]", "[2, 2]"], ["[1, 3]", "[3]", "[]"]),
    ("$dynamicRef to its only anchor", {"$dynamicRef": "#t", "$defs": {"a": {"$dynamicAnchor": "t", "type": "integer"}}}, ["1"], ['"a"']),
    ("recursion through not", {"$defs": {"n": {**OBJ, "properties": {"n": {"not": {"$ref": "#/$defs/n"}}}}}, "$ref": "#/$defs/n"}, ["{}", '{"n": 1}', '{"n": {"n": {}}}'], ['{"n": {}}', "1"]),
]  # fmt: skip


@pytest.mark.parametrize(("schema", "good", "bad"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_a_grammar_accepts_exactly_what_its_schema_allows(schema: Any, good: list[str], bad: list[str]) -> None:
    grammar = compile_schema(schema)
    assert grammar.unenforced == ()
    assert [text for text in good if not accepts(grammar, text)] == []
    assert [text for text in bad if accepts(grammar, text)] == []


# Patterns that Python's re reads differently from ECMA-262.
ECMA = {"pattern with a property", "pattern with Unicode"}


@pytest.mark.parametrize("case", [case for case in CASES if case[0] not in ECMA], ids=lambda case: case[0])
def test_the_table_agrees_with_jsonschema(case: tuple[str, Any, list[str], list[str]]) -> None:
    _, schema, good, bad = case
    draft = jsonschema.validators.validator_for(schema, jsonschema.Draft202012Validator)
    assert [text for text in good if not draft(schema).is_valid(json.loads(text))] == []
    # To a validator, a name written twice is one property; the grammar refuses it because of its first value.
    assert [text for text in bad if text.count('"a":') < 2 and draft(schema).is_valid(json.loads(text))] == []


UNENFORCED = [
    ({"type": "array", "uniqueItems": True}, ("uniqueItems",)),
    ({"type": "array", "items": {"type": "array", "items": S, "uniqueItems": True}}, ("items", "uniqueItems")),
    ({"not": {"type": "array", "uniqueItems": True}}, ("not",)),
    ({"type": "object", "not": {"const": {"a": 1}}}, ("not",)),
    ({"type": "object", "minProperties": 3}, ("minProperties",)),
    ({"type": "integer", "multipleOf": 99991}, ("multipleOf",)),
    ({"type": "string", "pattern": "a.*b", "maxLength": 60000}, ("maxLength",)),
    ({"type": "object", "properties": {"a": {"oneOf": [{"type": "array", "uniqueItems": True}, {"type": "array", "minItems": 2}]}}}, ("properties", "a", "oneOf")),
]  # fmt: skip


@pytest.mark.parametrize(("schema", "path"), UNENFORCED, ids=[str(case[0])[:60] for case in UNENFORCED])
def test_keywords_that_a_grammar_cannot_enforce_are_listed(schema: Any, path: tuple[str | int, ...]) -> None:
    found = compile_schema(schema).unenforced
    assert path in [finding.path for finding in found]
    assert all(finding.reason for finding in found)


def test_findings_of_tools_name_the_tool() -> None:
    parameters = {"type": "dict", "properties": {"a": {"type": "list", "uniqueItems": True, "items": S}}}
    tools = [{"type": "function", "function": {"name": name, "parameters": parameters}} for name in "ab"]
    syntax = OutputSyntax(call='{"name": "{name}", "arguments": {arguments}}', marker="{")
    grammar = compile_output(syntax, tools, ToolChoice("required", ("b",)))
    path = ("tools", 1, "function", "parameters")
    assert [finding.path for finding in grammar.unenforced] == [(*path, "properties", "a", "uniqueItems")]
    assert [str(finding) for finding in grammar.changes] == [
        "tools[1].function.parameters.type: 'dict' is read as 'object'",
        "tools[1].function.parameters.properties.a.type: 'list' is read as 'array'",
    ]


def test_the_compilers_own_keywords_are_annotations_in_a_schema() -> None:
    grammar = compile_schema({"type": "string", "~pattern": "a", "~enum": ["b"], "~type": ["string"]})
    assert accepts(grammar, '"ab"')
    assert accepts(grammar, '"b"')


def test_properties_may_come_in_any_order_on_request() -> None:
    inner = {**OBJ, "properties": {"x": INT, "y": INT}, "additionalProperties": False}
    schema = {
        **OBJ,
        "properties": {"a": INT, "b": inner, "c": S},
        "required": ["a"],
        "additionalProperties": {"type": "null"},
    }
    grammar = compile_schema(schema, any_order=True)
    good = ['{"a": 1}', '{"c": "", "a": 1}', '{"b": {"y": 1, "x": 2}, "a": 1}', '{"c": "", "b": {}, "a": 1, "z": null}']
    bad = [
        "{}",
        '{"c": ""}',
        '{"a": 1, "a": 1}',
        '{"z": null, "a": 1}',
        '{"a": 1, "b": {"y": 1, "y": 1}}',
        '{"a": 1, "z": 1}',
    ]
    assert [text for text in good if not accepts(grammar, text)] == []
    assert [text for text in bad if accepts(grammar, text)] == []
    assert not accepts(compile_schema(schema), good[1])


def test_the_schemas_order_stays_where_any_order_would_take_too_many_rules() -> None:
    names = "abcdefgh"
    schema = {
        **OBJ,
        "properties": dict.fromkeys(names, INT),
        "required": list(names),
        "additionalProperties": False,
    }
    grammar = compile_schema(schema, any_order=True)
    assert accepts(grammar, json.dumps(dict.fromkeys(names, 1)))
    assert not accepts(grammar, json.dumps(dict.fromkeys(reversed(names), 1)))
    assert len(grammar.gbnf) < 1000


def test_dialects_of_tools_are_read_and_reported() -> None:
    parameters = {
        "city": {"type": "str"},
        "days": {"type": "int, optional"},
        "tags": {"type": "List[str]", "default": []},
    }
    grammar = compile_calls([{"name": "f", "parameters": parameters}])  # type: ignore[typeddict-item]
    good = ['{"city": "x"}', '{"city": "x", "days": 2, "tags": ["a"]}']
    bad = ["{}", '{"days": 2}', '{"city": 1}', '{"city": "x", "more": 1}']
    assert [text for text in good if not accepts(grammar, f'[{{"name": "f", "arguments": {text}}}]')] == []
    assert [text for text in bad if accepts(grammar, f'[{{"name": "f", "arguments": {text}}}]')] == []
    changes = [str(finding) for finding in grammar.changes]
    assert changes[0] == "tools[0]: a bare function is read as a tool of type function"
    assert any("bare properties" in line for line in changes)
    assert any("'int, optional' is read as 'integer'" in line for line in changes)
    untyped = compile_calls([{"type": "function", "function": {"name": "f", "parameters": {"properties": {"a": S}}}}])
    assert [str(finding) for finding in untyped.changes] == [
        "tools[0].function.parameters: a schema without a type is read as that of an object"
    ]
