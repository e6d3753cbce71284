"""Chats, calls, streams and the tool loop of real models."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from typing import Any, Literal

import jsonschema
import pytest

import edgefc
from tests.real.tool_cases import QUESTIONS, SCHEMAS, TOOLS, ask

ANSWER_TOKENS = 40
CALL_TOKENS = 128  # more than the longest call that the tools' schemas allow needs


def check_calls(reply: edgefc.Reply) -> None:
    """Every call is one of the tools', and its arguments fit the schema."""
    for call in reply.calls:
        jsonschema.validate(call.arguments, SCHEMAS[call.name])


def joined(deltas: Iterable[Any]) -> dict[str, Any]:
    """Join streamed deltas to a message, as a client does."""
    content, calls = "", dict[int, list[str]]()
    for delta in deltas:
        content += delta.get("content", "")
        for part in delta.get("tool_calls", ()):
            call = calls.setdefault(part["index"], ["", ""])
            call[0] += part["function"].get("name", "")
            call[1] += part["function"].get("arguments", "")
    return {"content": content, "calls": [tuple(calls[index]) for index in sorted(calls)]}


def summary(reply: edgefc.Reply) -> dict[str, Any]:
    calls = [(call["function"]["name"], call["function"]["arguments"]) for call in reply.tool_calls]
    return {"content": reply.content, "calls": calls}


def test_a_chat_without_tools_is_readable_text_with_an_end(real_model: edgefc.Model) -> None:
    # Without a full stop at the end SmolLM2 answers in French; so it does in llama.cpp.
    reply = real_model.chat(ask("What is the capital of France."), max_tokens=ANSWER_TOKENS, temperature=0)
    assert reply.outcome in {"answer", "length"}
    assert reply.finish_reason == ("stop" if reply.outcome == "answer" else "length")
    assert reply.outcome == "answer" or reply.usage["completion_tokens"] == ANSWER_TOKENS
    assert len(re.findall(r"[A-Za-z]{3,}", reply.content)) >= 3
    assert not [char for char in reply.content if unicodedata.category(char) in {"Cc", "Cn", "Co"} - {"\n"}]
    assert not [text for text in ("<|im_start|>", "<|im_end|>", "<end_of_turn>", "<eos>") if text in reply.content]


@pytest.mark.parametrize(("question", "temperature"), [(QUESTIONS[0], 0.0), (QUESTIONS[1], 1.0)])
def test_a_required_call_fits_its_schema(real_model: edgefc.Model, question: str, temperature: float) -> None:
    reply = real_model.chat(
        ask(question), tools=TOOLS, tool_choice="required", parallel_tool_calls=False,
        max_tokens=CALL_TOKENS, temperature=temperature, seed=1,
    )  # fmt: skip
    assert (reply.outcome, len(reply.calls)) == ("call", 1)
    check_calls(reply)


def test_a_complete_call_ends_the_answer(real_model: edgefc.Model) -> None:
    reply = real_model.chat(
        ask(QUESTIONS[0]), tools=TOOLS, tool_choice="required", parallel_tool_calls=False,
        max_tokens=CALL_TOKENS, temperature=0,
    )  # fmt: skip
    assert reply.finish_reason == "tool_calls"


def test_a_named_tool_is_the_one_that_is_called(real_model: edgefc.Model) -> None:
    for name in SCHEMAS:
        reply = real_model.chat(
            ask(QUESTIONS[0]), tools=TOOLS, tool_choice={"type": "function", "function": {"name": name}},
            parallel_tool_calls=False, max_tokens=CALL_TOKENS, temperature=0,
        )  # fmt: skip
        assert [call.name for call in reply.calls] == [name]
        check_calls(reply)


@pytest.mark.parametrize(
    "options", [{"tool_choice": "auto"}, {"tool_choice": "required"}, {"tool_choice": "required", "max_tokens": 20}]
)
def test_streamed_deltas_are_the_message(real_model: edgefc.Model, options: dict[str, Any]) -> None:
    options = {"tools": TOOLS, "max_tokens": 48, "temperature": 0, **options}
    with real_model.chat(ask(QUESTIONS[0]), stream=True, **options) as stream:
        deltas = list(stream)
    whole = real_model.chat(ask(QUESTIONS[0]), **options)
    check_calls(whole)
    assert summary(stream.reply) == summary(whole)
    assert stream.reply.outcome == whole.outcome
    streamed = joined(deltas)
    if whole.finish_reason == "length":  # the call that was cut off has been streamed, but is not one of the reply's
        streamed["calls"] = streamed["calls"][: len(whole.calls)]
    assert streamed == summary(whole)


def test_the_tool_loop_ends(real_model: edgefc.Model) -> None:
    cities: list[str] = []

    @edgefc.tool
    def get_weather(city: Literal["Oslo", "Paris", "Lima"]) -> dict[str, Any]:
        """Get the current weather in a city"""
        cities.append(city)
        return {"city": city, "temperature": 18, "conditions": "light rain"}

    @edgefc.tool
    def get_time(city: Literal["Oslo", "Paris", "Lima"]) -> str:
        """Get the current time in a city"""
        raise RuntimeError(f"no clock in {city}")

    result = real_model.run(
        "What is the weather in Oslo?", tools=[get_weather, get_time], tool_choice="required", max_rounds=4,
        parallel_tool_calls=False, max_tokens=ANSWER_TOKENS, temperature=0,
    )  # fmt: skip
    called = [call for message in result.messages for call in message.get("tool_calls", ())]
    results = [message for message in result.messages if message["role"] == "tool"]
    assert called, "the first round must call"
    assert [call["id"] for call in called] == [message["tool_call_id"] for message in results]
    assert len(cities) == sum(call["function"]["name"] == "get_weather" for call in called)
    assert 2 <= result.rounds <= 4
    assert result.outcome != "call"
    assert result.messages[-1] == result.reply.message


def test_a_users_grammar_ends_where_its_marker_stands(real_model: edgefc.Model) -> None:
    """Lines may begin with a backtick, but not with three: there the longest lexeme is not the right one."""
    line = r'line ::= "\n" | [^`\n] [^\n]{0,60} "\n" | "`" [^`\n] [^\n]{0,60} "\n"'
    reply = real_model.chat(
        [{"role": "user", "content": "Write a Python function that adds two numbers."}],
        grammar=f'root ::= "```python\\n" line{{1,6}} "```"\n{line}',
        temperature=0,
        max_tokens=200,
    )
    assert reply.outcome == "answer"
    assert re.fullmatch(r"```python\n((?!```).*\n){1,6}```", reply.content)
