"""Root objects without `properties` mean what they say; what no value satisfies is a finding."""

from __future__ import annotations

import json
from typing import Any

import pytest

from edgefc.grammar import backtracking, compile_calls, compile_schema
from edgefc.lint import lint_tools
from tests.grammar.executors import accepts

ROOTS: list[tuple[dict[str, Any], list[Any], list[Any]]] = [
    ({"type": "object"}, [{}], [{"a": 1}]),
    ({"type": "object", "properties": {}}, [{}], [{"a": 1}]),
    ({"type": "object", "additionalProperties": True}, [{}, {"a": 1}], []),
    ({"type": "object", "additionalProperties": {}}, [{}, {"a": 1}], []),
    ({"type": "object", "additionalProperties": {"type": "string"}}, [{"a": "1"}], [{"a": 1}]),
    ({"additionalProperties": {"type": "string"}}, [{"a": "1"}], [{"a": 1}]),
    ({"type": "object", "additionalProperties": False}, [{}], [{"a": 1}]),
    ({"type": "object", "patternProperties": {"^x-": {"type": "string"}}}, [{"x-a": "1"}], [{"x-a": 1}]),
    ({"type": "object", "propertyNames": {"pattern": "^[a-z]+$"}}, [{"a": 1}], [{"A": 1}]),
    ({"type": "object", "minProperties": 1}, [{"a": 1}], [{}]),
    ({"type": "object", "maxProperties": 1}, [{}, {"a": 1}], [{"a": 1, "b": 2}]),
    ({"type": "object", "required": ["query"]}, [{"query": "x"}, {"query": 1}], [{}]),
    ({"required": ["query"]}, [{"query": "x"}], [{}]),
    ({"type": "object", "required": []}, [{}], [{"a": 1}]),
]


@pytest.mark.parametrize(("parameters", "good", "bad"), ROOTS, ids=[json.dumps(schema) for schema, _, _ in ROOTS])
def test_a_root_object_means_what_it_says(parameters: dict[str, Any], good: list[Any], bad: list[Any]) -> None:
    grammar = compile_calls([{"type": "function", "function": {"name": "t", "parameters": parameters}}])
    for arguments in (*good, *bad):
        text = f'[{{"name": "t", "arguments": {json.dumps(arguments)}}}]'
        assert accepts(grammar, text) == (arguments in good), arguments


IMPOSSIBLE: list[tuple[Any, tuple[str | int, ...]]] = [
    ({"type": "integer", "enum": ["1", "2"]}, ()),
    ({"type": "string", "enum": [1, 2]}, ()),
    ({"type": "string", "enum": [True, False]}, ()),
    ({"type": "integer", "minimum": 5, "maximum": 1}, ()),
    ({"type": "string", "minLength": 3, "maxLength": 2}, ()),
    ({"anyOf": [{"type": "string"}, {"type": "integer", "enum": ["1"]}]}, ("anyOf", 1)),
    ({"type": "array", "items": {"type": "boolean", "enum": ["yes"]}}, ("items",)),
    ({"type": "object", "properties": {"a": {"type": "null", "const": 1}}}, ("properties", "a")),
]


@pytest.mark.parametrize(("schema", "path"), IMPOSSIBLE, ids=[str(schema) for schema, _ in IMPOSSIBLE])
def test_what_nothing_satisfies_is_a_finding(schema: Any, path: tuple[str | int, ...]) -> None:
    parameters = {"type": "object", "properties": {"q": {"type": "string"}, "page": schema}, "required": ["q"]}
    tool = {"type": "function", "function": {"name": "search", "parameters": parameters}}
    (finding,) = compile_calls([tool]).unsatisfiable
    assert finding.path == ("tools", 0, "function", "parameters", "properties", "page", *path)
    assert finding in compile_calls([tool]).changes
    (report,) = lint_tools([tool])
    assert not report.is_refused
    assert any("no value satisfies this" in problem["message"] for problem in report.problems)


@pytest.mark.parametrize(
    "schema",
    [{"type": "string"}, {"not": {}}, {"anyOf": [{"type": "string"}, {"type": "null"}]}, {"enum": ["a", 1]},
     {"allOf": [{"anyOf": [{"const": "a"}, {"const": "b"}]}, {"anyOf": [{"const": "b"}, {"const": "a"}]}]}],
    ids=str,
)  # fmt: skip
def test_what_something_satisfies_is_none(schema: Any) -> None:
    assert not compile_schema({"type": "object", "properties": {"a": schema}}).unsatisfiable


PATTERNS: list[tuple[str, list[str], list[str]]] = [
    (r"^\p{Extended_Pictographic}+$", ["😀"], ["a", ""]),
    (r"\bTODO\b", ["a TODO b", "TODO"], ["TODOS"]),
    (r"(?i)^(yes|no)$", ["YES", "no"], ["yes\n", "maybe"]),
    (r"^(?<!x)a", ["ab"], ["b"]),
    (r"(?<=\d)\w$", ["1a"], ["٣a", "1é"]),
    (r"^[^\]$]\u{1F600}(?<n>a)\k<n>$", ["x😀aa"], ["]😀aa", "x😀ab"]),
    (r"(?<!a)[^][\s\d]$", ["x5"], ["xa"]),
]


@pytest.mark.parametrize(("pattern", "good", "bad"), PATTERNS, ids=[pattern for pattern, _, _ in PATTERNS])
def test_a_pattern_without_an_automaton_is_checked_as_ecma_262_reads_it(
    pattern: str, good: list[str], bad: list[str]
) -> None:
    assert all(backtracking.matches(pattern, text) for text in good)
    assert not any(backtracking.matches(pattern, text) for text in bad)
    tool = {"name": "f", "parameters": {"properties": {"a": {"type": "string", "pattern": pattern}}}}
    (finding,) = compile_calls([tool], check_patterns=True).unenforced
    assert finding.path[-1] == "pattern"


def test_a_pattern_that_takes_for_ever_is_no_match() -> None:
    with pytest.raises(backtracking.NotCheckableError, match="takes more than"):
        backtracking.matches(r"(?<!x)^(a|aa|a)+$", "a" * 60 + "b")
    assert not backtracking.is_valid("(?<!")
