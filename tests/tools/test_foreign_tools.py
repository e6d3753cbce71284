"""Tools as MCP, Anthropic, Google, the AI SDK and PHP write them: read as they were meant, or refused by name."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from edgefc.errors import RequestError
from edgefc.grammar import compile_calls, compile_schema
from edgefc.lint import lint_tools
from edgefc.tools import ToolSet, load_tools
from tests.grammar.executors import accepts

PATH = {"type": "object", "properties": {"path": {"type": "string"}}, "required": ["path"]}
PLAIN = {"type": "function", "function": {"name": "read", "description": "Read", "parameters": PATH}}

SAME: dict[str, Any] = {
    "MCP": {"name": "read", "description": "Read", "inputSchema": PATH, "annotations": {"readOnlyHint": True}},
    "MCP with a result": {"name": "read", "description": "Read", "inputSchema": PATH, "outputSchema": PATH, "title": "R"},
    "Anthropic": {"name": "read", "description": "Read", "input_schema": PATH, "cache_control": {"type": "ephemeral"}},
    "Anthropic's custom": {"type": "custom", "name": "read", "description": "Read", "input_schema": PATH},
    "Responses": {"type": "function", "name": "read", "description": "Read", "parameters": PATH},
    "inside of function": {"type": "function", "function": {"name": "read", "description": "Read", "inputSchema": PATH}},
    "beside function": {"type": "function", "function": {"name": "read", "description": "Read"}, "parameters": PATH},
    "two names of one schema": {"name": "read", "description": "Read", "parameters": PATH, "input_schema": PATH},
    "nulls": {"type": None, "name": "read", "description": "Read", "parameters": PATH, "strict": None, "title": None},
    "nulls in function": {"type": "function", "function": {**PLAIN["function"], "strict": None, "x": None}},
    "Google": {"functionDeclarations": [{"name": "read", "description": "Read", "parametersJsonSchema": PATH}]},
    "an unknown key": {"name": "read", "description": "Read", "parameters": PATH, "category": "files"},
    "an extension": {"name": "read", "description": "Read", "parameters": PATH, "x-group": {"type": "object"}},
}  # fmt: skip


@pytest.mark.parametrize("tool", SAME.values(), ids=SAME.keys())
def test_a_tool_of_another_protocol_is_the_same_tool(tool: Any) -> None:
    assert list(ToolSet.of([tool])) == [PLAIN]
    if "functionDeclarations" not in tool:
        (report,) = lint_tools([tool])
        assert not report.is_refused
        assert report.grammar_bytes == lint_tools([PLAIN])[0].grammar_bytes


NOT_GIVEN: dict[str, tuple[Any, Any]] = {
    "description": ({"name": "f", "description": None, "parameters": PATH}, {"name": "f", "parameters": PATH}),
    "parameters": ({"name": "f", "parameters": None}, {"name": "f"}),
    "PHP: no parameters": ({"name": "f", "parameters": []}, {"name": "f", "parameters": {}}),
    "PHP: no properties": (
        {"name": "f", "parameters": {"type": "object", "properties": [], "required": {}}},
        {"name": "f", "parameters": {"type": "object", "properties": {}, "required": []}},
    ),
    "PHP: a list with a gap": (
        {"name": "f", "parameters": {**PATH, "required": {"1": "path"}}},
        {"name": "f", "parameters": PATH},
    ),
    "keywords": (
        {"name": "f", "parameters": {**PATH, "$defs": None, "additionalProperties": None, "title": None}},
        {"name": "f", "parameters": PATH},
    ),
    "keywords of a property": (
        {"name": "f", "parameters": {"properties": {"a": {"type": "integer", "enum": None, "default": None}}}},
        {"name": "f", "parameters": {"properties": {"a": {"type": "integer", "default": None}}}},
    ),
    "a property's schema": (
        {"name": "f", "parameters": {"properties": {"a": None, "b": []}}},
        {"name": "f", "parameters": {"properties": {"a": {}, "b": {}}}},
    ),
    "null as a value": (
        {"name": "f", "parameters": {"properties": {"a": {"enum": ["x", None]}, "b": {"const": None}}}},
        {"name": "f", "parameters": {"properties": {"a": {"enum": ["x", None]}, "b": {"const": None}}}},
    ),
}


@pytest.mark.parametrize(("tool", "meant"), NOT_GIVEN.values(), ids=NOT_GIVEN.keys())
def test_null_is_not_given_and_phps_brackets_are_those_that_were_meant(tool: Any, meant: Any) -> None:
    (read,) = ToolSet.of([tool])
    assert read["function"] == meant
    assert compile_calls([tool]).lark == compile_calls([meant]).lark


def test_what_is_read_differently_is_listed() -> None:
    schema = {"properties": {"a": {"type": "string", "pattern": None}}, "required": {}}
    changes = [str(finding) for finding in compile_calls([{"name": "f", "inputSchema": schema}]).changes]
    parameters = "tools[0].function.parameters"
    assert f"{parameters}.properties.a.pattern: null is read as not given" in changes
    assert f"{parameters}.required: an object with numbers for names is read as an array" in changes
    assert any("inputSchema is read as parameters" in change for change in changes)
    assert [str(finding) for finding in compile_schema({"type": "string", "enum": None}).changes] == [
        "enum: null is read as not given"
    ]


REFUSED: dict[str, tuple[Any, str, str]] = {
    "a typing error": ({"name": "f", "paramters": PATH}, "tools[0].paramters", "Did you mean 'parameters'"),
    "another spelling": ({"name": "f", "input-schema": PATH}, 'tools[0]["input-schema"]', "Did you mean"),
    "in function": ({"type": "function", "function": {"name": "f", "descripton": "x"}}, "tools[0].function.descripton", "Did"),
    "a schema elsewhere": ({"name": "f", "schema": PATH}, "tools[0].schema", "Put it under 'parameters'"),
    "properties elsewhere": ({"name": "f", "args": {"a": {"type": "string"}}}, "tools[0].args", "Put it under"),
    "beside function": ({"type": "function", "function": {"name": "f"}, "args_schema": PATH}, "tools[0].args_schema", "Put"),
    "two schemas": ({"name": "f", "parameters": PATH, "inputSchema": {"type": "object"}}, "tools[0].function.inputSchema", "Remove"),
    "a wrong type": ({"type": "functon", "name": "f"}, "tools[0]", '{"type": "function"'),
}  # fmt: skip


@pytest.mark.parametrize(("tool", "path", "hint"), REFUSED.values(), ids=REFUSED.keys())
def test_no_tool_loses_its_parameters_silently(tool: Any, path: str, hint: str) -> None:
    with pytest.raises(RequestError) as caught:
        ToolSet.of([tool], omit=True)
    assert caught.value.param == path
    assert hint in str(caught.value)
    assert lint_tools([tool])[0].is_refused


def test_a_key_without_effect_is_a_warning_of_lint() -> None:
    (report,) = lint_tools([{**PLAIN["function"], "category": "files"}])
    assert {problem["message"]: problem["level"] for problem in report.problems}[
        "unknown key 'category' has no effect"
    ] == "warning"


def test_a_file_with_the_answer_of_tools_list_is_a_list_of_tools(tmp_path: Path) -> None:
    path = tmp_path / "tools.json"
    path.write_text(json.dumps({"tools": [SAME["MCP"]]}))
    assert list(load_tools(path)) == [PLAIN]
    path.write_text(json.dumps({"tools": {"read": {"description": "Read", "inputSchema": PATH}}}))  # the AI SDK's
    assert list(load_tools(path)) == [PLAIN]
    path.write_text('{"tools": {}}')
    assert not load_tools(path)


ARRAYS: list[tuple[Any, str, str]] = [
    ("string[]", '["a", "b"]', "[1]"),
    ("number[][]", "[[1.5], []]", "[1.5]"),
    ("Array<integer>", "[1, 2]", '["1"]'),
    ("List[int]", "[1]", "[true]"),
    ("array of strings", '["a"]', '"a"'),
    ("(string)[]", '["a"]', '"a"'),
    (["string[]", "null"], "null", "[null]"),
]


@pytest.mark.parametrize(("name", "good", "bad"), ARRAYS, ids=[str(name) for name, _, _ in ARRAYS])
def test_a_type_with_brackets_is_an_array_of_that_type(name: Any, good: str, bad: str) -> None:
    compiled = compile_schema({"type": name})
    assert accepts(compiled, good)
    assert not accepts(compiled, bad)
    assert "is read as an array with items" in str(compiled.changes[0])
