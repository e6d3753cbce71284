"""Stop strings apply to text; the finish_reason follows the outcome."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

import edgefc
from edgefc.chat.stops import TextStops
from edgefc.errors import InvalidCallError, RequestError, SchemaError
from edgefc.model import Model
from edgefc.tools.examples import EXAMPLE_TOOLS

HELLO: Any = [{"role": "user", "content": "Hello!"}]
WEATHER: Any = [{"role": "user", "content": "What is the weather in Paris?"}]
GREEDY: Any = {"temperature": 0, "max_tokens": 60}


@pytest.fixture(scope="module")
def model() -> Iterator[Model]:
    with edgefc.load("demo") as model:
        yield model


def test_a_stop_string_does_not_cut_arguments(model: Model) -> None:
    free = model.chat(WEATHER, tools=EXAMPLE_TOOLS, **GREEDY)
    stopped = model.chat(WEATHER, tools=EXAMPLE_TOOLS, stop=["Par", "weather"], **GREEDY)
    assert [(call.name, call.arguments) for call in stopped.calls] == [
        (call.name, call.arguments) for call in free.calls
    ]
    assert (stopped.outcome, stopped.finish_reason, stopped.stopped_by) == ("call", "tool_calls", None)


def test_a_stop_string_cuts_text_beside_tools_streamed_or_not(model: Model) -> None:
    text = model.chat(HELLO, tools=EXAMPLE_TOOLS, **GREEDY).content
    stop = text.split()[2]
    reply = model.chat(HELLO, tools=EXAMPLE_TOOLS, stop=stop, **GREEDY)
    assert reply.content == text[: text.index(stop)]
    assert (reply.outcome, reply.finish_reason, reply.stopped_by) == ("answer", "stop", stop)
    stream = model.chat(HELLO, tools=EXAMPLE_TOOLS, stop=[stop], stream=True, **GREEDY)
    assert "".join(delta.get("content", "") for delta in stream) == reply.content


def test_a_stop_string_in_pieces_is_found_and_its_beginning_is_not_lost() -> None:
    stops = TextStops(["END"])
    pieces: Any = [{"content": "aE"}, {"content": "Nx"}, {"content": "yE"}, {"content": "N"}, {"content": "D rest"}]
    told = [delta["content"] for piece in pieces for delta in stops.filter([piece])]
    assert ("".join(told), stops.found) == ("aENxy", "END")


def test_none_is_not_given_and_numbers_may_be_whole_floats(model: Model) -> None:
    plain = model.chat(HELLO, **GREEDY)
    nothing: Any = dict.fromkeys(
        ("stop", "tool_choice", "seed", "response_format", "parallel_tool_calls", "top_k", "grammar")
    )
    assert model.chat(HELLO, **nothing, **GREEDY).content == plain.content
    assert model.chat(HELLO, temperature=0, max_tokens=60.0, top_k=-1).content == plain.content  # type: ignore[arg-type]
    assert model.chat(HELLO, temperature=0, max_tokens=-1).finish_reason == "stop"
    with pytest.raises(TypeError, match="Did you mean 'temperature'"):
        model.chat(HELLO, temprature=0)  # type: ignore[call-overload]


def other(pattern: str) -> Any:
    parameters = {"type": "object", "properties": {"a": {"type": "string", "pattern": pattern}}, "required": ["a"]}
    return {"type": "function", "function": {"name": "other", "parameters": parameters}}


def test_what_cannot_be_enforced_is_refused_left_out_or_checked(model: Model) -> None:
    tools: Any = [other(r"\bTODO\b"), *EXAMPLE_TOOLS]
    with pytest.raises(SchemaError) as refused:
        model.chat(WEATHER, tools=tools, **GREEDY)
    assert refused.value.path[:2] == ("tools", 0)
    reply = model.chat(WEATHER, tools=tools, on_unsupported="omit", **GREEDY)
    assert reply.calls[0].name == "get_weather"
    assert [(tool.position, tool.name) for tool in reply.omitted] == [(0, "other")]
    assert '"other"' not in model.prompt(WEATHER, tools, on_unsupported="omit").text
    assert not model.chat(WEATHER, tools=tools, on_unsupported="check", **GREEDY).omitted
    with pytest.raises(RequestError, match="on_unsupported"):
        model.chat(WEATHER, tools=tools, on_unsupported="ignore")  # type: ignore[call-overload]


def test_a_pattern_is_checked_when_the_call_is_complete(model: Model) -> None:
    with pytest.raises(InvalidCallError, match="does not match"):
        model.chat(
            WEATHER, tools=[other(r"(?<!x)\bNEVER\d{30}\b")], tool_choice="other", on_unsupported="check", **GREEDY
        )
    reply = model.chat(
        WEATHER, tools=[other(r"(?i)^.*(?<!\d)$")], tool_choice="other", on_unsupported="check", **GREEDY
    )
    assert reply.calls[0].name == "other"
