"""Families that decide on a call before anything is written: the json-list dialect on the demo model."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import jsonschema
import pytest

import edgefc
from edgefc.chat.decision import _CallTail, enumerations_of
from edgefc.chat.repeats import AnswerReader
from edgefc.formats import calls_since_question, load_family
from edgefc.tools.examples import EXAMPLE_TOOLS
from edgefc.tools.toolset import ToolSet
from edgefc.types import CallDecision

QUESTION = "What is the weather in Paris?"
ANSWER_FROM_RESULTS = "Answer in plain sentences, without code, from the results below the question."


@pytest.fixture(scope="module")
def model() -> Iterator[edgefc.Model]:
    # The demo model's own template refuses other formats, so the family's built-in one is used.
    with edgefc.load("demo", n_ctx=2048) as loaded:
        yield edgefc.Model(loaded.engine, load_family("json-list"), path=loaded.path, name="json-list")


def ask(model: edgefc.Model, **options: Any) -> edgefc.Reply:
    return model.chat([{"role": "user", "content": QUESTION}], tools=EXAMPLE_TOOLS, temperature=0, **options)


def test_a_high_bias_always_calls(model: edgefc.Model) -> None:
    reply = ask(model, call_bias=100.0, max_tokens=400)
    assert reply.outcome == "call"
    schemas = {tool["function"]["name"]: tool["function"]["parameters"] for tool in ToolSet.of(EXAMPLE_TOOLS)}
    for call in reply.calls:
        jsonschema.validate(call.arguments, schemas[call.name])


def test_a_low_bias_never_calls(model: edgefc.Model) -> None:
    reply = ask(model, call_bias=-100.0, max_tokens=60)
    assert not reply.tool_calls
    assert reply.outcome in {"answer", "length"}
    assert reply.confidence is not None
    assert reply.confidence.call is not None
    assert reply.confidence.calls == ()


def test_an_array_of_an_enumeration_ends_where_another_value_is_not_clearly_likelier(model: edgefc.Model) -> None:
    days = ["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"]

    def days_of(bias: float, **schema: Any) -> list[str]:
        items = {"type": "array", "items": {"type": "string", **schema}, "minItems": 1, "maxItems": 7}
        parameters = {"type": "object", "properties": {"days": items}, "required": ["days"]}
        tool: Any = {"type": "function", "function": {"name": "set_alarm", "parameters": parameters}}
        assert model.family.decision is not None
        family = replace(model.family, decision=replace(model.family.decision, item=bias))
        biased = edgefc.Model(model.engine, family, path=model.path, name="json-list")
        question: Any = [{"role": "user", "content": "Set an alarm on monday, tuesday and friday"}]
        reply = biased.chat(question, tools=[tool], tool_choice="required", temperature=0, max_tokens=300)
        named: list[str] = reply.calls[0].arguments["days"]
        return named

    assert len(days_of(0.0, enum=days)) > len(days_of(-100.0, enum=days)) == 1
    assert len(days_of(-100.0, maxLength=9)) == len(days_of(0.0, maxLength=9)) > 1  # other texts are not weighed


def test_arrays_of_enumerations_are_found_in_any_schema() -> None:
    array = {"type": "array", "items": {"enum": ["a"]}}
    schemas: list[Any] = [None, True, {"properties": None}, {"properties": {"x": True, "y": {"items": [array]}}}]
    tools: Any = [{"function": {"name": "odd", "parameters": schema}} for schema in schemas]
    tools.append({"function": {"name": "f", "parameters": {"properties": {"x": array, "y": {"type": "array"}}}}})
    tools.append({"function": {"name": "none"}})
    assert enumerations_of(tools) == {("f", "x")}


@pytest.mark.parametrize("bias", [100.0, -100.0])
def test_a_stream_tells_what_the_reply_holds(model: edgefc.Model, bias: float) -> None:
    messages: Any = [{"role": "user", "content": QUESTION}]
    options: Any = {"temperature": 0, "call_bias": bias, "max_tokens": 200}
    with model.chat(messages, tools=EXAMPLE_TOOLS, stream=True, **options) as stream:
        deltas = list(stream)
        reply = stream.reply
    assert "".join(delta.get("content", "") for delta in deltas) == reply.content
    told = [part for delta in deltas for part in delta.get("tool_calls", ())]
    assert len([part for part in told if "id" in part]) == len(reply.tool_calls) or reply.is_cut
    if reply.tool_calls:
        arguments = "".join(part["function"].get("arguments", "") for part in told if part["index"] == 0)
        assert arguments == reply.tool_calls[0]["function"]["arguments"]


def test_a_request_can_be_submitted_again_after_a_declined_call(model: edgefc.Model) -> None:
    messages: Any = [{"role": "user", "content": QUESTION}]
    request = model.request(messages, EXAMPLE_TOOLS, temperature=0, call_bias=-100.0, max_tokens=20)
    assert model.submit(request).reply.content == model.submit(request).reply.content


def test_required_calls_need_no_decision(model: edgefc.Model) -> None:
    assert ask(model, tool_choice="required", call_bias=-100.0, max_tokens=400).outcome == "call"


def test_one_call_where_parallel_calls_are_off(model: edgefc.Model) -> None:
    assert len(ask(model, tool_choice="required", parallel_tool_calls=False, max_tokens=400).tool_calls) == 1


@pytest.mark.parametrize(
    ("arguments", "after", "rest"),
    [
        ('{"a": 1}', "}, {", ", {"),
        ('{"a": "}"}', "}]\n", "]\n"),
        ('{"a": {"b": [1]}}', "}", ""),
        ('{"a": "x\\"}', "}", None),
        ('{"a": 1', "}", None),
    ],
)
def test_the_end_of_a_call(arguments: str, after: str, rest: str | None) -> None:
    tail = _CallTail("}")
    tail.feed(arguments)
    assert tail.text_after_call(after) == rest
    assert tail.feed(after) == rest


def doubting(model: edgefc.Model, arguments: float) -> edgefc.Model:
    """Return the same model, which doubts every call until its arguments are complete."""
    decision = CallDecision(call=-50.0, doubt=100.0, arguments=arguments)
    family = replace(model.family, decision=decision)
    return edgefc.Model(model.engine, family, path=model.path, name="doubting")


def test_plain_arguments_settle_a_doubtful_call(model: edgefc.Model) -> None:
    sure = ask(model, call_bias=100.0, max_tokens=400)
    doubtful = ask(doubting(model, arguments=0.0), max_tokens=400)
    assert doubtful.tool_calls
    assert [call.arguments for call in doubtful.calls] == [call.arguments for call in sure.calls]
    assert doubtful.confidence is not None
    assert doubtful.confidence.call is not None
    assert doubtful.confidence.call > 0.5


def test_unsure_arguments_end_a_doubtful_call(model: edgefc.Model) -> None:
    reply = ask(doubting(model, arguments=1e6), max_tokens=60)
    assert not reply.tool_calls
    assert reply.outcome in {"answer", "length"}
    assert reply.confidence is not None
    assert reply.confidence.call is not None
    assert reply.confidence.call < 0.5


@pytest.mark.parametrize("arguments", [0.0, 1e6])
def test_nothing_is_told_of_a_doubtful_call(model: edgefc.Model, arguments: float) -> None:
    messages: Any = [{"role": "user", "content": QUESTION}]
    options: Any = {"temperature": 0, "max_tokens": 200}
    with doubting(model, arguments).chat(messages, tools=EXAMPLE_TOOLS, stream=True, **options) as stream:
        told = [part for delta in stream for part in delta.get("tool_calls", ())]
        reply = stream.reply
    assert sum("id" in part for part in told) == len(reply.tool_calls) or reply.is_cut
    assert bool(told) == bool(reply.tool_calls)


def conversation_after(reply: edgefc.Reply) -> list[Any]:
    """Return the question, the calls of a reply, and a result for each of them."""
    results = [{"role": "tool", "tool_call_id": call["id"], "content": "18 °C"} for call in reply.tool_calls]
    return [{"role": "user", "content": QUESTION}, reply.message, *results]


def test_a_call_is_not_repeated_once_its_result_is_there(model: edgefc.Model) -> None:
    options: Any = {"temperature": 0, "tools": EXAMPLE_TOOLS, "call_bias": 100.0, "parallel_tool_calls": False}
    first = model.chat([{"role": "user", "content": QUESTION}], max_tokens=200, **options)
    messages = conversation_after(first)
    # Whatever the model would call next, it is told only if it differs from the call before.
    forced = model.chat(messages, max_tokens=200, tool_choice="required", **options)
    second = model.chat(messages, max_tokens=200, **options)
    assert forced.tool_calls
    if forced.calls[0].arguments == first.calls[0].arguments and forced.calls[0].name == first.calls[0].name:
        assert not second.tool_calls
        assert second.confidence is not None
    else:
        assert second.calls[0].arguments == forced.calls[0].arguments
    assert calls_since_question(messages) == [(first.calls[0].name, first.tool_calls[0]["function"]["arguments"])]
    assert calls_since_question([*messages, {"role": "user", "content": "And now?"}]) == []


def test_a_repeated_call_is_declined() -> None:
    earlier = [("get_weather", '{"city": "Paris", "days": 2}')]
    text = '```json\n[{"name": "get_weather", "arguments": {"days": 2, "city": "Paris"}}]\n```'
    family = load_family("json-list")
    reader = AnswerReader(family.parser(), earlier=earlier)
    assert not any("tool_calls" in delta for delta in reader.feed(text))
    assert reader.has_repeat
    assert not reader.finish("stop").message.get("tool_calls")
    reader = AnswerReader(family.parser(), earlier=earlier)
    other = text.replace("Paris", "Rome")
    assert [part for delta in reader.feed(other) for part in delta.get("tool_calls", ())]
    assert len(reader.finish("stop").message["tool_calls"]) == 1


def test_results_are_facts_below_the_question(model: edgefc.Model) -> None:
    messages: Any = [
        {"role": "user", "content": QUESTION},
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [
                {"id": "a", "type": "function", "function": {"name": "get_weather", "arguments": '{"city":"Paris"}'}}
            ],
        },
        {"role": "tool", "tool_call_id": "a", "content": "18 °C"},
    ]
    facts = f'{QUESTION}\n\nResults:\nget_weather({{"city":"Paris"}}): 18 °C<|im_end|>'
    prompt = model.family.render(messages, ToolSet.of(EXAMPLE_TOOLS), tells_results=True).text
    assert facts in prompt
    assert ANSWER_FROM_RESULTS not in prompt, "there may be more to call"
    assert ANSWER_FROM_RESULTS not in model.family.render(messages, None).text
    assert ANSWER_FROM_RESULTS not in model.family.render(messages[:1], None, tells_results=True).text
    prompt = model.family.render([{"role": "system", "content": "Be kind."}, *messages], None, tells_results=True).text
    assert f"<|im_start|>system\n{ANSWER_FROM_RESULTS}\n\nBe kind.<|im_end|>" in prompt
    assert facts in prompt
    later = [*messages, {"role": "assistant", "content": "18 °C."}, {"role": "user", "content": "Thanks!"}]
    assert ANSWER_FROM_RESULTS not in model.family.render(later, None, tells_results=True).text


@pytest.mark.parametrize(
    ("options", "asks"),
    [({}, True), ({"response_format": {"type": "text"}}, True), ({"response_format": {"type": "json_object"}}, False)],
)
def test_an_answer_of_free_text_tells_the_results(model: edgefc.Model, options: Any, asks: bool) -> None:
    call = {"id": "a", "type": "function", "function": {"name": "get_weather", "arguments": '{"city":"Paris"}'}}
    messages: Any = [
        {"role": "user", "content": QUESTION},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "a", "content": "18 °C"},
    ]
    for more in ({}, {"tools": EXAMPLE_TOOLS, "tool_choice": "none"}):
        prompt = model.request(messages, **more, **options).prompt.text
        assert (ANSWER_FROM_RESULTS in prompt) == asks
