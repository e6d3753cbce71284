"""The grammar of a whole answer, in every syntax: text, clarifications and calls, as the tool choice allows."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from edgefc.errors import FormatError, LocatedError, RequestError
from edgefc.grammar import CompiledGrammar, calls_gbnf, compile_output
from edgefc.tools import parse_tool_choice
from edgefc.types import OutputSyntax, ToolChoice
from tests.grammar.executors import END, Guidance, LlamaCpp, accepts, reach
from tests.grammar.syntaxes import HERMES, SYNTAXES, TEMPLATES, TOOLS, tool, written

NAMES = ("get", "get_weather", "now")
ROME = ("get", {"city": "Rome"})
PARIS = ("get_weather", {"city": "Paris", "unit": "celsius"})


def grammar(
    syntax: OutputSyntax, mode: Any = "required", names: tuple[str, ...] = NAMES, **options: Any
) -> CompiledGrammar:
    return compile_output(syntax, TOOLS, ToolChoice(mode, names), **options)


@pytest.mark.parametrize("family", SYNTAXES)
def test_a_required_choice_accepts_only_calls(family: str) -> None:
    syntax = SYNTAXES[family]
    compiled = grammar(syntax)
    for call in (ROME, PARIS, ("now", {})):
        assert accepts(compiled, written(syntax, [call]))
    for text in (
        "",
        "hello",
        written(syntax, [("none", {})]),
        written(syntax, [("get", {})]),
        written(syntax, [("ge", {})]),
    ):
        assert not accepts(compiled, text), text


@pytest.mark.parametrize("family", SYNTAXES)
def test_several_calls_are_accepted_where_family_and_request_allow_them(family: str) -> None:
    syntax = SYNTAXES[family]
    both = written(syntax, [ROME, PARIS, ROME])
    assert accepts(grammar(syntax), both) == syntax.parallel
    assert not accepts(grammar(syntax, parallel=False), both)
    assert accepts(grammar(syntax, parallel=False), written(syntax, [PARIS]))


@pytest.mark.parametrize("family", SYNTAXES)
def test_no_call_is_accepted_when_the_choice_is_none(family: str) -> None:
    syntax = SYNTAXES[family]
    assert not accepts(grammar(syntax, "none"), written(syntax, [ROME]))
    assert not accepts(compile_output(syntax, [], ToolChoice("auto", ())), written(syntax, [ROME]))


@pytest.mark.parametrize("family", SYNTAXES)
def test_only_allowed_names_are_accepted(family: str) -> None:
    syntax = SYNTAXES[family]
    for mode in ("auto", "required"):
        only = grammar(syntax, mode, ("get_weather",))
        assert accepts(only, written(syntax, [PARIS]))
        assert not accepts(only, written(syntax, [ROME]))


@pytest.mark.parametrize("family", [name for name in SYNTAXES if SYNTAXES[name].text is None])
def test_free_text_is_accepted_unless_it_contains_the_marker(family: str) -> None:
    syntax = SYNTAXES[family]
    for compiled in (grammar(syntax, "auto"), grammar(syntax, "none")):
        marker = syntax.marker
        for text in ("Hello, 世界 🙂\n{}[]<>", marker[:-1], f"x{marker[0]}{marker[:-1]}", f"{marker[1:]}"):
            assert accepts(compiled, text), text
        for text in ("", marker, f"text {marker}", f"{marker[:-1]}{marker} more"):
            assert not accepts(compiled, text), text


def test_text_may_precede_calls_only_where_the_family_allows_it_and_calls_are_optional() -> None:
    call = written(HERMES, [ROME])
    for text in (call, f"Let me see.\n{call}", f"<tool_call\n\n{call}\n{call}"):
        assert accepts(grammar(HERMES, "auto"), text), text
    for text in (f"Let me see.{call}", f"\n{call}", f"Let me see.\n{call}\nDone.", f"x\n{call[:-1]}"):
        assert not accepts(grammar(HERMES, "auto"), text), text
    assert not accepts(grammar(HERMES), f"Let me see.\n{call}")
    assert not accepts(grammar(replace(HERMES, calls_preamble=None), "auto"), f"Let me see.\n{call}")


def test_templates_accept_text_clarifications_and_no_tool() -> None:
    def fenced(text: str) -> str:
        return f"```json\n{text}\n```"

    auto, none = grammar(TEMPLATES, "auto"), grammar(TEMPLATES, "none")
    answer = fenced('{"response": "a \\"b\\""}')
    others = [
        fenced('{"no_tool": "no"}'),
        fenced('{"required_functions": ["get"], "clarification": "Where?"}'),
        fenced('{"required_functions": ["get", "now", "get_weather"], "clarification": "Where?"}'),
    ]
    assert accepts(auto, answer)
    assert accepts(none, answer)
    for text in others:
        assert accepts(auto, text), text
        assert not accepts(none, text), text
        assert not accepts(grammar(TEMPLATES), text), text
    for text in (
        '{"response": ""}',
        '{"required_functions": [], "clarification": "x"}',
        '{"required_functions": ["ge"], "clarification": "x"}',
        '{"response": 1}',
    ):
        assert not accepts(auto, fenced(text)), text
    assert not accepts(auto, answer[8:])


def test_names_with_a_common_beginning_are_distinguished() -> None:
    tools = [tool("get", a={"const": 1}), tool("get_weather", a={"const": 2}), tool("get_weather_now", a={"const": 3})]
    for syntax in SYNTAXES.values():
        names = tuple(one["function"]["name"] for one in tools)
        compiled = compile_output(syntax, tools, ToolChoice("required", names))
        for number, name in enumerate(names, 1):
            assert accepts(compiled, written(syntax, [(name, {"a": number})]))
            assert not accepts(compiled, written(syntax, [(name, {"a": number % 3 + 1})]))


def test_a_tool_may_have_the_name_of_a_rule() -> None:
    names = ("json", "root", "call", "char", "number")
    inner = {"type": "object", "properties": {"a": {"const": 1}}, "required": ["a"]}
    tools = [tool(name, value=inner, array={}, number={"type": "number"}) for name in names]
    compiled = compile_output(TEMPLATES, tools, ToolChoice("required", names))
    for name in names:
        assert accepts(compiled, written(TEMPLATES, [(name, {"value": {"a": 1}, "array": [{}], "number": 2})]))
        assert not accepts(compiled, written(TEMPLATES, [(name, {"value": 1})]))


def test_unusual_names_are_accepted_exactly() -> None:
    names = ("a", "A", "9", "ns:look.up-x_1", "..", "-")
    tools = [tool(name) for name in names]
    compiled = compile_output(TEMPLATES, tools, ToolChoice("required", names))
    for name in names:
        assert accepts(compiled, written(TEMPLATES, [(name, {})]))
    for name in ("b", "aa", "ns:look.up-x_", "."):
        assert not accepts(compiled, written(TEMPLATES, [(name, {})]))


@pytest.mark.parametrize(
    "parameters",
    [None, {}, {"type": "object"}, {"type": "object", "properties": {}}, {"type": "dict", "properties": {}}],
)
def test_a_tool_without_properties_accepts_no_arguments(parameters: Any) -> None:
    declared = {} if parameters is None else {"parameters": parameters}
    tools = [{"type": "function", "function": {"name": "f", **declared}}]
    compiled = compile_output(TEMPLATES, tools, ToolChoice("required", ("f",)))
    assert accepts(compiled, written(TEMPLATES, [("f", {})]))
    assert not accepts(compiled, written(TEMPLATES, [("f", {"a": 1})]))


@pytest.mark.parametrize(
    "parameters",
    [{"additionalProperties": True}, {"anyOf": [{"type": "string"}, {"type": "object", "properties": {"a": {}}}]}],
)
def test_arguments_are_always_an_object(parameters: Any) -> None:
    tools = [{"type": "function", "function": {"name": "f", "parameters": parameters}}]
    compiled = compile_output(TEMPLATES, tools, ToolChoice("required", ("f",)))
    assert accepts(compiled, written(TEMPLATES, [("f", {"a": 1})]))
    assert not accepts(compiled, written(TEMPLATES, [("f", "text")]))


def test_an_answer_ends_by_itself_where_its_syntax_ends() -> None:
    for syntax in (TEMPLATES, SYNTAXES["array"], SYNTAXES["compact"]):
        compiled = grammar(syntax)
        for walk in (Guidance(compiled.lark), LlamaCpp(compiled.gbnf)):
            assert reach(walk, written(syntax, [ROME])) == -1
            assert walk.mask() == {END}


def test_fixed_text_is_forced() -> None:
    walk = Guidance(grammar(HERMES, names=("get_weather",)).lark)
    forced = walk.forced()
    assert forced == b'<tool_call>\n{"name": "get_weather", "arguments": {"city": "'
    for byte in forced + b'Rome"':
        walk.accept(byte)
    for byte in b", ":
        walk.accept(byte)
    assert walk.forced() == b'"unit": "'


def test_an_invalid_tool_is_refused_with_its_path() -> None:
    def path(*tools: Any) -> tuple[str | int, ...]:
        with pytest.raises(LocatedError) as caught:
            calls_gbnf([TOOLS[0], *tools])
        return caught.value.path

    function = ("tools", 1, "function")
    assert path({}) == ("tools", 1)
    assert path({"type": "function", "function": {}}) == (*function, "name")
    assert path(tool("")) == (*function, "name")
    assert path(tool("a b")) == (*function, "name")
    assert path(tool('a"b')) == (*function, "name")
    assert path(tool("a\nb")) == (*function, "name")
    assert path(tool("é")) == (*function, "name")
    assert path(tool("get")) == (*function, "name")
    assert path(tool("f", a={"type": "x"})) == (*function, "parameters", "properties", "a", "type")
    assert path({"function": {"name": "f", "parameters": [1]}}) == (*function, "parameters")
    assert path({"function": {"name": "f", "parameters": {"type": "string"}}})[:4] == (*function, "parameters")
    assert path(tool("f", a={"enum": [float("nan")]})) == (*function, "parameters", "properties", "a", "enum", 0)


def test_a_choice_that_the_tools_do_not_allow_is_refused() -> None:
    named = {"type": "function", "function": {"name": "nothing"}}
    allowed = {"type": "allowed_tools", "mode": "required", "tools": [{"name": "get"}, {"name": "ge"}]}
    for value, tools in (("required", []), (named, TOOLS), (allowed, TOOLS)):
        with pytest.raises(RequestError) as caught:
            parse_tool_choice(value, tools)  # type: ignore[arg-type]
        assert caught.value.path == ("tool_choice",)
    with pytest.raises(AssertionError):  # the grammar relies on it
        compile_output(HERMES, TOOLS, ToolChoice("required", ("get", "ge")))


def test_more_than_256_tools_are_refused() -> None:
    tools = [tool(f"t{number}") for number in range(257)]
    names = tuple(one["function"]["name"] for one in tools)
    compile_output(HERMES, tools[:256], ToolChoice("required", names[:256]))
    with pytest.raises(RequestError):
        compile_output(HERMES, tools, ToolChoice("required", names))


@pytest.mark.parametrize(
    "change",
    [
        {"call": "{arguments}{name}"},
        {"call": "{name}"},
        {"marker": ""},
        {"marker": "elsewhere"},
        {"clarify": "{text}"},
        {"no_tool": "{text}"},
        {"end": "```"},
        {"text": "no place"},
        {"text": '{"a": {text}}', "no_tool": '{"a": {text}, "b": 1}'},
        {"calls_separator": "", "calls_end": "<tool_call>\n"},
    ],
    ids=str,
)
def test_an_ambiguous_syntax_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(FormatError):
        grammar(replace(HERMES, **change), "auto")
