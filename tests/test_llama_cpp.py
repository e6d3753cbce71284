"""edgefc's handlers on a real `llama_cpp.Llama` with the real demo model."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import llama_cpp
import pytest

import edgefc
from edgefc.engine import selftest
from edgefc.errors import (
    ContextOverflowError,
    EngineClosedError,
    FormatError,
    GrammarError,
    RequestError,
    SchemaError,
)
from edgefc.llama_cpp import chat_handler
from edgefc.tools import ToolSet
from edgefc.tools.examples import EXAMPLE_TOOLS as TOOLS

WEATHER = [{"role": "user", "content": "What is the weather in Paris and in Oslo?"}]
TOOL_SCHEMAS = list(ToolSet.of(TOOLS))
NAMES = [tool["function"]["name"] for tool in TOOL_SCHEMAS]


@pytest.fixture(scope="module")
def llama(demo_path: Path) -> Iterator[llama_cpp.Llama]:
    if selftest.verdict() != "fine":
        pytest.skip("this build of llama.cpp crashes on this processor when a stock Llama decodes")
    made = llama_cpp.Llama(str(demo_path), n_ctx=2048, verbose=False, chat_handler=chat_handler("demo"))
    yield made
    made.close()


def ask(llama: llama_cpp.Llama, **options: Any) -> dict[str, Any]:
    options = {"messages": WEATHER, "tools": TOOL_SCHEMAS, "temperature": 0.0, **options}
    answer = llama.create_chat_completion(**options)
    assert isinstance(answer, dict)
    return answer  # type: ignore[return-value]


def stream(llama: llama_cpp.Llama, **options: Any) -> list[dict[str, Any]]:
    options = {"messages": WEATHER, "tools": TOOL_SCHEMAS, "temperature": 0.0, **options}
    return list(llama.create_chat_completion(**options, stream=True))  # type: ignore[arg-type]


def calls_of(answer: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    calls = answer["choices"][0]["message"].get("tool_calls") or []
    return [(call["function"]["name"], json.loads(call["function"]["arguments"])) for call in calls]


def test_the_handler_says_what_edgefcs_own_engine_says(llama: llama_cpp.Llama) -> None:
    answer = ask(llama)
    with edgefc.load("demo") as model:
        own = model.chat(WEATHER, tools=TOOL_SCHEMAS, temperature=0)
    assert calls_of(answer) == [
        (call["function"]["name"], json.loads(call["function"]["arguments"])) for call in own.tool_calls
    ]
    assert len(calls_of(answer)) == 2
    assert {name: count for name, count in answer["usage"].items() if name != "prompt_tokens_details"} == {
        name: count for name, count in own.usage.items() if name != "prompt_tokens_details"
    }, "what was cached differs"
    assert answer["object"] == "chat.completion"
    assert answer["choices"][0]["finish_reason"] == "tool_calls"


def test_a_stream_adds_up_to_the_answer(llama: llama_cpp.Llama) -> None:
    chunks = stream(llama)
    deltas = [chunk["choices"][0]["delta"] for chunk in chunks]
    assert deltas[0] == {"role": "assistant"}
    assert {chunk["object"] for chunk in chunks} == {"chat.completion.chunk"}
    assert len({chunk["id"] for chunk in chunks}) == 1
    assert [c["choices"][0]["finish_reason"] for c in chunks if c["choices"][0]["finish_reason"]] == ["tool_calls"]
    calls: dict[int, dict[str, str]] = {}
    for part in [part for delta in deltas for part in delta.get("tool_calls", ())]:
        call = calls.setdefault(part["index"], {"name": "", "arguments": ""})
        call["name"] += part["function"].get("name", "")
        call["arguments"] += part["function"]["arguments"]
    assert [(c["name"], json.loads(c["arguments"])) for c in calls.values()] == calls_of(ask(llama))


@pytest.mark.parametrize("choice", ["none", "auto", "required", "named", "allowed"])
@pytest.mark.parametrize("temperature", [0.0, 1.5])
def test_tool_choice_holds(llama: llama_cpp.Llama, choice: str, temperature: float) -> None:
    wanted: Any = {
        "named": {"type": "function", "function": {"name": NAMES[1]}},
        "allowed": {
            "type": "allowed_tools",
            "allowed_tools": {"mode": "required", "tools": [{"type": "function", "function": {"name": NAMES[2]}}]},
        },
    }.get(choice, choice)
    for seed in range(3):
        answer = ask(llama, tool_choice=wanted, temperature=temperature, seed=seed, max_tokens=400)
        if answer["choices"][0]["finish_reason"] == "length":
            assert not calls_of(answer)
            continue
        names = {name for name, _ in calls_of(answer)}
        legal = {"named": {NAMES[1]}, "allowed": {NAMES[2]}, "none": set()}.get(choice, set(NAMES))
        assert names <= legal
        if choice in ("required", "named", "allowed"):
            assert names


def test_sampling_is_repeatable_and_a_stream_left_early_harms_nothing(llama: llama_cpp.Llama) -> None:
    options: dict[str, Any] = {"temperature": 8.0, "seed": 11, "tools": None, "max_tokens": 40}
    first = ask(llama, **options)["choices"][0]["message"]["content"]
    left = llama.create_chat_completion(messages=WEATHER, tools=TOOL_SCHEMAS, stream=True)  # type: ignore[arg-type]
    next(iter(left))
    assert ask(llama, **options)["choices"][0]["message"]["content"] == first
    assert ask(llama, **{**options, "seed": 12})["choices"][0]["message"]["content"] != first


def test_two_streams_taking_turns_say_what_each_says_alone(llama: llama_cpp.Llama) -> None:
    other = [{"role": "user", "content": "What is 17*23?"}]
    alone = [stream(llama), stream(llama, messages=other)]
    both: list[list[Any]] = [[], []]
    running = [
        iter(llama.create_chat_completion(messages=m, tools=TOOL_SCHEMAS, temperature=0.0, stream=True))  # type: ignore[arg-type]
        for m in (WEATHER, other)
    ]
    while any(running):
        for place, iterator in enumerate(running):
            chunk = next(iterator, None) if iterator else None
            if chunk is None:
                running[place] = None  # type: ignore[call-overload]
            else:
                both[place].append(chunk)

    def text(chunks: list[Any]) -> str:
        deltas = [chunk["choices"][0]["delta"] for chunk in chunks]
        return "".join(
            delta.get("content", "") + "".join(part["function"]["arguments"] for part in delta.get("tool_calls", ()))
            for delta in deltas
        )

    assert list(map(text, both)) == list(map(text, alone))
    assert text(alone[0]) != text(alone[1])


def test_registered_names_work(llama: llama_cpp.Llama, demo_path: Path) -> None:
    for name in ("edgefc.demo", "edgefc.auto"):
        named = llama_cpp.Llama(str(demo_path), n_ctx=2048, verbose=False, chat_format=name)
        assert calls_of(ask(named)) == calls_of(ask(llama))
        named.close()
    registry = llama_cpp.llama_chat_format.LlamaChatCompletionHandlerRegistry()
    assert registry.get_chat_completion_handler_by_name("edgefc.hammer2.1") is not None
    with pytest.raises(FormatError, match=r"hammer2\.1"):
        chat_handler("hammer2.2")


@pytest.mark.parametrize("family", ["hammer2.1", "functionary-v3.1", "xlam-fc-v1", "mistral", "hermes"])
def test_other_families_are_held_to_their_syntax(llama: llama_cpp.Llama, family: str) -> None:
    handler: Any = chat_handler(family)
    answer = handler(
        llama=llama, messages=WEATHER, tools=TOOL_SCHEMAS, tool_choice="required", temperature=1.0, max_tokens=600
    )
    reason = answer["choices"][0]["finish_reason"]
    assert reason in ("tool_calls", "length")
    assert bool(calls_of(answer)) == (reason == "tool_calls")
    assert {name for name, _ in calls_of(answer)} <= set(NAMES)


def test_the_older_functions_work(llama: llama_cpp.Llama) -> None:
    functions = [tool["function"] for tool in TOOL_SCHEMAS]
    answer = ask(llama, tools=None, functions=functions, function_call={"name": NAMES[0]})
    message = answer["choices"][0]["message"]
    assert message["function_call"]["name"] == NAMES[0]
    assert "tool_calls" not in message
    assert answer["choices"][0]["finish_reason"] == "function_call"
    chunks = stream(llama, tools=None, functions=functions, function_call={"name": NAMES[0]})
    parts = [chunk["choices"][0]["delta"].get("function_call", {}) for chunk in chunks]
    assert "".join(part.get("arguments", "") for part in parts) == message["function_call"]["arguments"]
    assert chunks[-1]["choices"][0]["finish_reason"] == "function_call"


def test_a_form_of_ones_own(llama: llama_cpp.Llama) -> None:
    schema = {"type": "object", "properties": {"n": {"type": "integer", "maximum": 9}}, "required": ["n"]}
    wanted = {"type": "json_schema", "json_schema": {"name": "n", "schema": {**schema, "additionalProperties": False}}}
    said = ask(llama, tools=None, response_format=wanted, temperature=1.0)["choices"][0]["message"]["content"]
    assert json.loads(said)["n"] <= 9
    said = ask(llama, tools=None, response_format={"type": "json_object", "schema": schema}, max_tokens=200)
    assert said["choices"][0]["message"]["content"].startswith('{"n": ')
    gbnf = llama_cpp.LlamaGrammar.from_string('root ::= ("yes" | "no") "!"')
    assert ask(llama, tools=None, grammar=gbnf)["choices"][0]["message"]["content"] in ("yes!", "no!")


def test_what_it_cannot_do_is_refused_by_name(llama: llama_cpp.Llama) -> None:
    with pytest.raises(RequestError, match="mirostat_mode"):
        ask(llama, mirostat_mode=2)
    with pytest.raises(RequestError, match="logprobs"):
        ask(llama, logprobs=True)
    with pytest.raises(RequestError, match="logits_processor"):
        ask(llama, logits_processor=llama_cpp.LogitsProcessorList([lambda _, scores: scores]))
    with pytest.raises(RequestError, match="response_format"):
        ask(llama, response_format={"type": "json_object"})
    with pytest.raises(RequestError, match="response_format"):
        ask(llama, tools=None, response_format={"type": "xml"})
    wanted = {"type": "json_schema", "json_schema": {"name": "n", "schema": {"type": "nothing"}}}
    with pytest.raises(SchemaError, match=r"response_format\.json_schema\.schema"):
        ask(llama, tools=None, response_format=wanted)
    with pytest.raises(GrammarError, match="GBNF"):
        ask(llama, tools=None, grammar=llama_cpp.LlamaGrammar.from_string("root ::= ("))
    with pytest.raises(RequestError, match="functions"):
        ask(llama, functions=[TOOL_SCHEMAS[0]["function"]])
    with pytest.raises(RequestError, match="tool_choice"):
        ask(llama, tool_choice={"type": "function", "function": {"name": "nothing"}})
    with pytest.raises(ContextOverflowError):
        ask(llama, messages=[{"role": "user", "content": "word " * 3000}])
    assert calls_of(ask(llama))  # and it goes on working


def test_a_closed_llama_is_an_error(demo_path: Path, llama: llama_cpp.Llama) -> None:
    closed = llama_cpp.Llama(str(demo_path), n_ctx=512, verbose=False, chat_handler=chat_handler())
    assert calls_of(ask(llama))
    running = iter(closed.create_chat_completion(messages=WEATHER, stream=True))  # type: ignore[arg-type]
    next(running)
    closed.close()
    with pytest.raises(EngineClosedError):
        list(running)
    with pytest.raises(EngineClosedError):
        ask(closed)
