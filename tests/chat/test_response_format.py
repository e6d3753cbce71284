"""Answers that are calls of tools, or JSON of a schema: told apart by what they begin with, or refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import pytest

import edgefc
from edgefc.errors import RequestError, SchemaError
from edgefc.formats import family_names, load_family
from edgefc.formats.write import write_assistant
from edgefc.grammar import compile_output
from edgefc.types import Tool, ToolChoice
from tests.grammar import executors

SCHEMA = {
    "type": "object", "properties": {"city": {"type": "string", "maxLength": 12}, "warm": {"type": "boolean"}},
    "required": ["city", "warm"], "additionalProperties": False,
}  # fmt: skip
PLACE = {"type": "object", "properties": {"location": {"enum": ["Paris", "Oslo"]}}, "required": ["location"]}
TOOLS: list[Tool] = [{"type": "function", "function": {"name": "get_weather", "description": "d", "parameters": PLACE}}]
AUTO = ToolChoice("auto", ("get_weather",))
FORMAT = {"type": "json_schema", "json_schema": {"name": "answer", "schema": SCHEMA}}
# Their text is a JSON string, or their calls begin as JSON does.
UNTOLD = {
    "arch-chat", "bitagent-bounty", "demo", "llama-pythonic", "llama3-json", "xlam-fc-v1", "xlam-r", "xlam2-llama",
    "xlam2-qwen",
}  # fmt: skip


@pytest.mark.parametrize("name", family_names())
def test_json_and_calls_are_told_apart_in_every_family_or_refused(name: str) -> None:
    family, text = load_family(name), json.dumps(SCHEMA)
    # Where the prompt would begin thoughts, it does so for the model that is to think.
    thinking = False if family.opens_thoughts else None
    syntax = family.syntax_for(TOOLS, AUTO, text_schema=text, thinking=thinking)
    if name in UNTOLD:
        with pytest.raises(RequestError, match="this family"):
            compile_output(syntax, TOOLS, AUTO)
        return
    grammar = compile_output(syntax, TOOLS, AUTO)
    marks = [mark for mark in (family.syntax.marker, family.syntax.calls_head) if mark]
    begin, end = family.syntax.begin + family.syntax.text_begin, family.syntax.end
    for city in ("Paris", *(mark[:12] for mark in marks)):
        value = {"city": city, "warm": True}
        answer = begin + json.dumps(value, ensure_ascii=False) + end
        assert executors.accepts(grammar, answer), answer
        parser = family.parser(TOOLS, AUTO, text_schema=text, thinking=thinking)
        for character in answer:
            parser.feed(character)
        parsed = parser.finish("stop")
        assert parsed.outcome == "answer"
        assert json.loads(parsed.message["content"] or "") == value
    call: Any = {"id": "123456789", "name": "get_weather", "arguments": {"location": "Oslo"}}
    written = write_assistant(family.syntax, {"role": "assistant", "content": None, "tool_calls": [call]})
    assert executors.accepts(grammar, written), written
    parser = family.parser(TOOLS, AUTO, text_schema=text, thinking=thinking)
    parser.feed(written)
    (parsed_call,) = parser.finish("stop").message["tool_calls"]
    assert parsed_call["function"] == {"name": "get_weather", "arguments": '{"location": "Oslo"}'}
    for wrong in (begin + "It is warm in Paris.", begin + '{"city": 5, "warm": true}', begin + '{"city": "Paris"}'):
        assert not executors.accepts(grammar, wrong + end)


def test_a_model_says_one_or_the_other(family_model: Callable[[str], Path]) -> None:
    """Random weights, so that whatever the grammar allows is said sooner or later."""
    said: set[str] = set()
    with edgefc.load(family_model("hermes"), family="hermes", n_ctx=1024) as model:
        for seed in range(24):
            reply = model.chat(
                [{"role": "user", "content": "x"}], tools=TOOLS, response_format=FORMAT, temperature=1.5, seed=seed,
                max_tokens=120,
            )  # fmt: skip
            said.add(reply.outcome)
            if reply.outcome == "call":
                for call in reply.tool_calls:
                    jsonschema.validate(json.loads(call["function"]["arguments"]), PLACE)
            elif reply.outcome == "answer":
                jsonschema.validate(json.loads(reply.content), SCHEMA)
    assert "answer" in said


def test_what_can_only_be_one_is(demo_path: Path) -> None:
    hello: Any = [{"role": "user", "content": "Hello!"}]
    with edgefc.load(demo_path) as model:
        with pytest.raises(RequestError, match="JSON string") as raised:
            model.chat(hello, tools=TOOLS, response_format=FORMAT)
        assert raised.value.param == "response_format"
        reply = model.chat(hello, tools=TOOLS, response_format=FORMAT, tool_choice="none", max_tokens=300)
        if reply.outcome != "length":
            jsonschema.validate(json.loads(reply.content), SCHEMA)
        forced = model.chat(hello, tools=TOOLS, tool_choice="required", max_tokens=300)
        assert forced.tool_calls
        bad = {"type": "json_schema", "json_schema": {"schema": {"type": "thing"}}}
        with pytest.raises(SchemaError) as wrong:
            model.chat(hello, tools=TOOLS, response_format=bad)
        assert wrong.value.path[:3] == ("response_format", "json_schema", "schema")


@pytest.mark.parametrize("name", family_names())
def test_properties_of_any_name_beside_others_in_every_spelling(name: str) -> None:
    """In `auto`, calls may be spelled in ways whose property names stand without quotes."""
    text = {"type": "string"}
    parameters = {"type": "object", "properties": {"x": {**text, "not": {"pattern": "a.*b"}}},
                  "patternProperties": {"^[a-z]{1,40}$": text}, "additionalProperties": False}  # fmt: skip
    tools: list[Tool] = [{"type": "function", "function": {"name": "call", "parameters": parameters}}]
    choice = ToolChoice("auto", ("call",))
    family = load_family(name)
    syntax = family.syntax_for(tools, choice, thinking=False if family.opens_thoughts else None)
    grammar = compile_output(syntax, tools, choice, any_spelling=True)
    for arguments, is_valid in (({"other": "ab"}, True), ({"x": "ab"}, False)):
        call: Any = {"id": "123456789", "name": "call", "arguments": arguments}
        written = write_assistant(family.syntax, {"role": "assistant", "content": None, "tool_calls": [call]})
        assert executors.accepts(grammar, written) == is_valid


def test_a_format_of_an_odd_type_is_refused() -> None:
    with edgefc.load("demo") as model, pytest.raises(RequestError, match="response_format"):
        model.chat([{"role": "user", "content": "Hi"}], response_format={"type": {"a": 1}})
