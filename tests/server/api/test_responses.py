"""The Responses API through openai-python: requests, items, and events that fit together."""

from __future__ import annotations

import json
from typing import Any

import jsonschema
import openai
import pytest
from openai import OpenAI

from tests.server.examples import HELLO, RUNNERS, SCHEMAS, TOOLS, WEATHER, City
from tests.server.server_process import ServerProcess

FLAT: Any = [{"type": "function", **tool["function"]} for tool in TOOLS]
QUESTION = WEATHER[0]["content"]


def test_the_answer_is_that_of_a_chat_completion(client: OpenAI) -> None:
    chat = client.chat.completions.create(model="demo", messages=WEATHER, tools=TOOLS, temperature=0)
    response = client.responses.create(model="demo", input=QUESTION, tools=FLAT, temperature=0)
    assert response.status == "completed"
    assert response.id.startswith("resp_")
    items = [(item.name, item.arguments) for item in response.output if item.type == "function_call"]
    calls = chat.choices[0].message.tool_calls or []
    assert items == [(call.function.name, call.function.arguments) for call in calls if call.type == "function"]
    assert response.usage is not None
    assert chat.usage is not None
    assert response.usage.input_tokens == chat.usage.prompt_tokens
    assert response.usage.output_tokens == chat.usage.completion_tokens


def test_a_tool_loop(client: OpenAI) -> None:
    items: Any = [{"role": "user", "content": [{"type": "input_text", "text": QUESTION}]}]
    first = client.responses.create(model="demo", input=items, tools=FLAT, temperature=0)
    calls = [item for item in first.output if item.type == "function_call"]
    assert len(calls) == 2
    items += [item.model_dump(exclude_none=True) for item in first.output]
    for call in calls:
        jsonschema.validate(json.loads(call.arguments), SCHEMAS[call.name])
        result = RUNNERS[call.name](**json.loads(call.arguments))
        items.append({"type": "function_call_output", "call_id": call.call_id, "output": json.dumps(result)})
    last = client.responses.create(model="demo", input=items, tools=FLAT, temperature=0)
    assert last.output_text
    messages: Any = [
        *WEATHER,
        {"role": "assistant", "content": None, "tool_calls": [
            {"id": call.call_id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}
            for call in calls]},
        *({"role": "tool", "tool_call_id": item["call_id"], "content": item["output"]} for item in items[-2:]),
    ]  # fmt: skip
    chat = client.chat.completions.create(model="demo", messages=messages, tools=TOOLS, temperature=0)
    assert last.output_text == chat.choices[0].message.content


@pytest.mark.parametrize("question", [QUESTION, HELLO[0]["content"]])
def test_events_carry_ids_and_indices_and_add_up_to_the_whole(client: OpenAI, question: str) -> None:
    whole = client.responses.create(model="demo", input=question, tools=FLAT, temperature=0)
    events: list[Any] = list(
        client.responses.create(model="demo", input=question, tools=FLAT, temperature=0, stream=True)
    )
    assert [event.sequence_number for event in events] == list(range(len(events)))
    assert [event.type for event in events[:2]] == ["response.created", "response.in_progress"]
    assert events[-1].type == "response.completed"
    open_item: Any = None
    text = ""
    done: list[Any] = []
    for event in events[2:-1]:
        assert event.output_index == len(done)
        if event.type == "response.output_item.added":
            assert open_item is None
            open_item, text = event.item, ""
            continue
        if event.type == "response.output_item.done":
            assert event.item.id == open_item.id
            assert event.item.status == "completed"
            done.append(event.item)
            open_item = None
            continue
        assert event.item_id == open_item.id
        if event.type.endswith(".delta"):
            text += event.delta
        elif event.type == "response.function_call_arguments.done":
            assert event.arguments == text
        elif event.type == "response.output_text.done":
            assert event.text == text
    assert open_item is None
    final = events[-1].response
    assert [item.model_dump() for item in final.output] == [item.model_dump() for item in done]
    assert final.output_text == whole.output_text
    assert [getattr(i, "arguments", None) for i in done] == [getattr(i, "arguments", None) for i in whole.output]


def test_structured_output_and_truncated_responses(client: OpenAI) -> None:
    parsed = client.responses.parse(
        model="demo", input="Hello!", text_format=City, temperature=0, max_output_tokens=400, instructions="Be short."
    )
    assert isinstance(parsed.output_parsed, City)
    cut = client.responses.create(
        model="demo", input=QUESTION, tools=FLAT, tool_choice={"type": "function", "name": "get_weather"},
        max_output_tokens=3, temperature=0,
    )  # fmt: skip
    assert cut.status == "incomplete"
    assert cut.incomplete_details is not None
    assert cut.incomplete_details.reason == "max_output_tokens"
    assert not [item for item in cut.output if item.type == "function_call"]


@pytest.mark.parametrize(
    ("change", "param"),
    [
        ({"previous_response_id": "resp_1"}, "previous_response_id"),
        ({"conversation": "conv_1"}, "conversation"),
        ({"background": True}, "background"),
        ({"input": []}, "input"),
        ({"input": [{"type": "item_reference", "id": "x"}]}, "input[0].type"),
        ({"input": [{"role": "user", "content": [{"type": "input_image", "image_url": "x"}]}]}, "input[0].content[0]"),
        ({"tools": [{"type": "web_search"}], "x_edgefc_on_unsupported": "refuse"}, "tools[0].type"),
        ({"tools": FLAT, "tool_choice": {"type": "mcp"}}, "tool_choice"),
        ({"tools": FLAT, "tool_choice": {"type": "function", "name": "nothing"}}, "tool_choice"),
        ({"max_output_tokens": 0}, "max_output_tokens"),
    ],
    ids=str,
)
def test_an_unsupported_field_is_refused_by_name(server: ServerProcess, change: dict[str, Any], param: str) -> None:
    answer = server.post("/v1/responses", {"input": "Hello!", **change})
    assert answer.status == 400, answer.body
    assert (answer.error["param"] or "").startswith(param), answer.error


CALL = {"type": "function_call", "call_id": "c1", "name": "get_weather", "arguments": "{}"}
ASK = {"role": "user", "content": "Hello!"}


@pytest.mark.parametrize(
    ("change", "param"),
    [
        ({"input": [{"role": "king", "content": "x"}]}, "input[0].role"),
        ({"input": [ASK, {"role": "user"}]}, "input[1].content"),
        ({"instructions": "x", "input": [ASK, {**CALL, "arguments": '{"a": "\\ud800"}'}]}, "input[1].arguments"),
        ({"input": [ASK, CALL]}, "input"),
        ({"input": "long " * 5000}, "input"),
        ({"tools": [{**FLAT[0], "name": "no name"}]}, "tools[0].name"),
        (
            {"tools": [{**FLAT[0], "parameters": {"type": "thing"}}], "x_edgefc_on_unsupported": "refuse"},
            "tools[0].parameters.type",
        ),
        ({"text": {"format": {"type": "xml"}}}, "text.format"),
        ({"text": {"format": "json"}}, "text.format"),
        ({"text": {"format": {"type": "json_schema", "schema": {"type": "x"}}}}, "text.format.schema.type"),
    ],
    ids=str,
)
def test_an_error_names_the_field_of_the_original_request(
    server: ServerProcess, change: dict[str, Any], param: str
) -> None:
    for stream in (False, True):
        answer = server.post("/v1/responses", {"input": "Hello!", "stream": stream, **change})
        assert answer.status == 400, answer.body
        assert answer.error["param"] == param
        assert answer.error["message"].startswith(f"{param}: ")


def test_the_prefix_v1_is_optional(server: ServerProcess) -> None:
    assert server.post("/responses", {"input": "Hello!", "max_output_tokens": 4}).status == 200
    with pytest.raises(openai.BadRequestError):
        server.client().responses.create(model="demo", input="x", previous_response_id="resp_x")
