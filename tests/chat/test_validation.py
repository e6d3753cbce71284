"""What no grammar enforces is checked after decoding, and a call that fails is sampled again: on the real engine."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

import edgefc
from edgefc.chat.validation import CallChecker
from edgefc.errors import InvalidCallError
from edgefc.grammar import Finding
from edgefc.types import Call


@pytest.fixture(scope="module")
def model() -> Iterator[edgefc.Model]:
    with edgefc.load("demo") as loaded:
        yield loaded


def tool(name: str = "pick", **items: Any) -> dict[str, Any]:
    numbers = {
        "type": "array",
        "uniqueItems": True,
        "minItems": 2,
        "maxItems": 3,
        "items": {"type": "integer", **items},
    }
    parameters = {"type": "object", "properties": {"numbers": numbers}, "required": ["numbers"]}
    return {"type": "function", "function": {"name": name, "description": "Pick numbers", "parameters": parameters}}


def ask(model: edgefc.Model, tools: list[dict[str, Any]], **options: Any) -> edgefc.Reply:
    messages = [{"role": "user", "content": "Pick two numbers"}]
    options = {"parallel_tool_calls": False, "max_tokens": 120, **options}
    return model.chat(messages, tools=tools, tool_choice="required", **options)


def test_calls_are_sampled_until_they_are_valid(model: edgefc.Model) -> None:
    resampled = 0
    for seed in range(24):
        try:
            reply = ask(model, [tool(minimum=0, maximum=9)], temperature=2.0, seed=seed)
        except InvalidCallError:
            continue
        resampled += reply.stats.resamples
        assert reply.stats.seed == seed
        for call in reply.tool_calls:
            numbers = json.loads(call["function"]["arguments"])["numbers"]
            assert len(set(numbers)) == len(numbers)
    assert resampled > 0, "none of them had equal numbers at first, so this showed nothing"


def test_the_same_seed_gives_the_same_reply_with_its_resamples(model: edgefc.Model) -> None:
    told: list[Any] = []
    for _ in range(2):
        for seed in range(8):
            for temperature in (0.0, 2.0):
                try:
                    reply = ask(model, [tool(minimum=0, maximum=9)], temperature=temperature, seed=seed)
                    told.append([call["function"] for call in reply.tool_calls])
                except InvalidCallError as error:
                    told.append(str(error))
    assert told[:16] == told[16:]


def test_greedy_sampling_finds_another_answer(model: edgefc.Model) -> None:
    """Sampling again at temperature 0 would say the same for ever."""
    resampled = 0
    for most in range(2, 14):
        try:
            reply = ask(model, [tool(minimum=1, maximum=most)], temperature=0, seed=most)
        except InvalidCallError:
            continue
        numbers = reply.calls[0].arguments["numbers"]
        assert len(set(numbers)) == len(numbers)
        resampled += reply.stats.resamples
    assert resampled > 0


def test_what_is_never_valid_is_an_error_and_not_a_call(model: edgefc.Model) -> None:
    with pytest.raises(InvalidCallError) as caught:
        ask(model, [tool(minimum=1, maximum=1)])
    assert caught.value.tool == "pick"
    assert caught.value.path == ("arguments", "numbers")
    assert "4 attempts" in str(caught.value)
    assert "pick: arguments.numbers" in str(caught.value)
    # The model goes on to serve.
    assert ask(model, [tool(enum=[1, 2, 3])]).outcome == "call"


def test_a_stream_shows_only_valid_calls(model: edgefc.Model) -> None:
    messages = [{"role": "user", "content": "Pick two numbers"}]
    options: dict[str, Any] = {"tool_choice": "required", "max_tokens": 400, "temperature": 1.0}
    for seed in range(8):
        stream = model.chat(messages, tools=[tool(minimum=0, maximum=99)], stream=True, seed=seed, **options)
        arguments: dict[int, str] = {}
        ids = []
        for delta in stream:
            for part in delta.get("tool_calls", ()):
                ids += [part["id"]] if "id" in part else []
                function = part.get("function", {})
                arguments[part["index"]] = arguments.get(part["index"], "") + function.get("arguments", "")
        calls = stream.reply.tool_calls
        assert [call["function"]["arguments"] for call in calls] == list(arguments.values())
        assert [call["id"] for call in calls] == ids


def test_tools_that_the_grammar_enforces_are_not_checked(model: edgefc.Model) -> None:
    reply = ask(model, [tool(enum=[1, 2, 3])])
    assert reply.stats.resamples == 0
    numbers = reply.calls[0].arguments["numbers"]
    assert len(set(numbers)) == len(numbers)


def call(name: str, **arguments: Any) -> Call:
    return Call("1", name, arguments)


def checker(parameters: dict[str, Any]) -> CallChecker:
    tools: Any = [{"type": "function", "function": {"name": "f", "parameters": parameters}}]
    return CallChecker(tools, [Finding(("tools", 0, "function", "parameters"), "all of it")])


CASES: list[tuple[dict[str, Any], dict[str, Any], tuple[str | int, ...] | None]] = [
    ({"type": "dict", "properties": {"a": {"type": "FLOAT"}}}, {"a": 1.5}, None),
    ({"type": "dict", "properties": {"a": {"type": "str"}}}, {"a": 1}, ("arguments", "a")),
    ({"properties": {"a": {"pattern": "^(a+)+$"}}}, {"a": "a" * 40 + "b"}, ("arguments", "a")),
    ({"properties": {"a": {"items": {"multipleOf": 7}}}}, {"a": [7, 15]}, ("arguments", "a", 1)),
    ({"patternProperties": {"^n": {"type": "integer"}}, "additionalProperties": False}, {"n1": 1}, None),
    ({"patternProperties": {"^n": {"type": "integer"}}, "additionalProperties": False}, {"m": 1}, ("arguments", "m")),
    ({"properties": {"a": {"$ref": "#/$defs/b"}}, "$defs": {"b": {"uniqueItems": True}}}, {"a": [1, 1]}, ("arguments", "a")),
    ({"properties": {"a": {"type": "integer", "nullable": True}}}, {"a": None}, None),
    ({"anyOf": [{"$ref": "#"}]}, {}, ("arguments",)),
]  # fmt: skip


@pytest.mark.parametrize(("parameters", "arguments", "place"), CASES, ids=[str(case[0])[:50] for case in CASES])
def test_the_check_reads_schemas_as_the_grammar_does(
    parameters: dict[str, Any], arguments: dict[str, Any], place: tuple[str | int, ...] | None
) -> None:
    problem = checker(parameters).first_problem([call("g"), call("f", **arguments)])
    if place is None:
        assert problem is None
    else:
        assert problem is not None
        assert problem[0] == 1
        assert problem[1].path == place
        assert problem[1].reason
