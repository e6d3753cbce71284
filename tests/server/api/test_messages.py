"""The Messages API of the demo model through anthropic's Python SDK, as its users write it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anthropic
import jsonschema
import pytest
from anthropic import Anthropic
from openai import OpenAI

import edgefc
from edgefc.formats import load_family
from edgefc.server import ModelPool, Settings
from edgefc.server.api import messages as api
from edgefc.server.service import Service
from tests.server.examples import HELLO, RUNNERS, SCHEMAS, TOOLS, WEATHER, City
from tests.server.server_process import HttpResponse, ServerProcess, endless_server

MESSAGES = "/v1/messages"
ANTHROPIC_TOOLS: Any = [
    {
        "name": tool["function"]["name"],
        "description": tool["function"]["description"],
        "input_schema": tool["function"]["parameters"],
    }
    for tool in TOOLS
]
GREEDY: Any = {"model": "demo", "max_tokens": 300, "extra_body": {"temperature": 0}}
# For a model that never ends its answer.
ENDLESS: Any = {
    "model": "demo", "max_tokens": 4000, "messages": HELLO,
    "extra_body": {"temperature": 0, "x_edgefc_loop_guard": False},
}  # fmt: skip
SMALL: dict[str, Any] = {"messages": HELLO, "max_tokens": 4, "temperature": 0}


def client_of(server: ServerProcess, **options: Any) -> Anthropic:
    url = server.url.removesuffix("/v1")
    return Anthropic(base_url=url, **{"api_key": "none", "max_retries": 0, **options})


@pytest.fixture(scope="module")
def claude(server: ServerProcess) -> Iterator[Anthropic]:
    with client_of(server) as client:
        yield client


def calls_of(message: Any) -> list[tuple[str, str]]:
    """Return names and inputs; the latter as text, so that the order of fields counts."""
    return [(block.name, json.dumps(block.input)) for block in message.content if block.type == "tool_use"]


def text_of(message: Any) -> str:
    return "".join(block.text for block in message.content if block.type == "text")


def error_message(answer: HttpResponse, status: int, kind: str) -> str:
    """Check that this is an error in Anthropic's form, and return its message."""
    assert answer.status == status, answer.body
    body = answer.json
    assert body.keys() == {"type", "error"}
    assert body["type"] == "error"
    assert body["error"].keys() in ({"type", "message"}, {"type", "message", "details"})
    assert body["error"]["type"] == kind
    return str(body["error"]["message"])


def test_the_answer_is_that_of_a_chat_completion(claude: Anthropic, client: OpenAI) -> None:
    chat = client.chat.completions.create(model="demo", messages=WEATHER, tools=TOOLS, temperature=0)
    message = claude.messages.create(messages=WEATHER, tools=ANTHROPIC_TOOLS, **GREEDY)
    assert (message.type, message.role, message.model) == ("message", "assistant", "demo")
    assert message.id.startswith("msg_")
    assert (message.stop_reason, message.stop_sequence) == ("tool_use", None)
    assert all(block.id.startswith("toolu_") for block in message.content if block.type == "tool_use")
    assert len({block.id for block in message.content if block.type == "tool_use"}) == 2
    calls = [call.function for call in chat.choices[0].message.tool_calls or [] if call.type == "function"]
    assert calls_of(message) == [(call.name, json.dumps(json.loads(call.arguments))) for call in calls]
    usage = message.usage
    assert chat.usage is not None
    assert usage.input_tokens + (usage.cache_read_input_tokens or 0) == chat.usage.prompt_tokens
    assert usage.output_tokens == chat.usage.completion_tokens


def test_a_tool_loop_with_two_calls_ends_in_an_answer(claude: Anthropic, client: OpenAI) -> None:
    messages = list(WEATHER)
    first = claude.messages.create(messages=messages, tools=ANTHROPIC_TOOLS, **GREEDY)
    uses: Any = [block for block in first.content if block.type == "tool_use"]
    assert len(uses) == 2
    results = []
    for use in uses:
        jsonschema.validate(use.input, SCHEMAS[use.name])
        results.append(json.dumps(RUNNERS[use.name](**use.input)))
    contents: Any = [results[0], [{"type": "text", "text": results[1]}]]
    blocks = [
        {"type": "tool_result", "tool_use_id": use.id, "content": content}
        for use, content in zip(uses, contents, strict=True)
    ]
    # The results come in another order than the calls; their ids match them.
    messages += [{"role": "assistant", "content": first.content}, {"role": "user", "content": blocks[::-1]}]
    last = claude.messages.create(messages=messages, tools=ANTHROPIC_TOOLS, **GREEDY)
    assert last.stop_reason == "end_turn"
    chat: Any = [
        *WEATHER,
        {"role": "assistant", "content": None, "tool_calls": [
            {"id": use.id, "type": "function", "function": {"name": use.name, "arguments": json.dumps(use.input)}}
            for use in uses]},
        *({"role": "tool", "tool_call_id": use.id, "content": text} for use, text in zip(uses, results, strict=True)),
    ]  # fmt: skip
    chat_answer = client.chat.completions.create(model="demo", messages=chat, tools=TOOLS, temperature=0)
    assert text_of(last)
    assert text_of(last) == chat_answer.choices[0].message.content


def test_an_error_result_is_rendered_as_an_error(claude: Anthropic, client: OpenAI) -> None:
    use: Any = {"type": "tool_use", "id": "toolu_1", "name": "get_weather", "input": {"location": "Paris"}}
    result: Any = {"type": "tool_result", "tool_use_id": "toolu_1", "content": "no such city"}
    turns: Any = [{"role": "user", "content": "What is the weather in Paris?"}, {"role": "assistant", "content": [use]}]

    def tokens(result: Any) -> int:
        messages: Any = [*turns, {"role": "user", "content": [result]}]
        return claude.messages.count_tokens(model="demo", messages=messages, tools=ANTHROPIC_TOOLS).input_tokens

    call = {"id": "1", "type": "function", "function": {"name": "get_weather", "arguments": '{"location": "Paris"}'}}
    chat: Any = [turns[0], {"role": "assistant", "tool_calls": [call]},
                 {"role": "tool", "tool_call_id": "1", "content": '{"error": "no such city"}'}]  # fmt: skip
    chat_answer = client.chat.completions.create(model="demo", messages=chat, tools=TOOLS, temperature=0, max_tokens=1)
    assert chat_answer.usage is not None
    assert tokens({**result, "is_error": True}) == chat_answer.usage.prompt_tokens
    assert tokens({**result, "is_error": False}) == tokens(result) < chat_answer.usage.prompt_tokens


def events_of(server: ServerProcess, body: dict[str, Any]) -> list[Any]:
    """Return the events of a stream, after checking that each is named by its type."""
    answer = server.post(MESSAGES, {**body, "stream": True})
    assert answer.status == 200, answer.body
    assert answer.headers["content-type"].startswith("text/event-stream")
    events = []
    for event in answer.body.decode().removesuffix("\n\n").split("\n\n"):
        if event.startswith(":"):
            continue
        name, data = event.split("\n")
        events.append(json.loads(data.removeprefix("data: ")))
        assert name == f"event: {events[-1]['type']}"
    return events


@pytest.mark.parametrize(
    "change",
    [
        {"messages": WEATHER, "tools": ANTHROPIC_TOOLS},
        {},
        {"tools": ANTHROPIC_TOOLS},
        {"tools": ANTHROPIC_TOOLS, "tool_choice": {"type": "any"}},
    ],
    ids=["calls", "text", "text beside tools", "forced"],
)
def test_a_stream_adds_up_to_the_whole(server: ServerProcess, change: dict[str, Any]) -> None:
    body = {"messages": HELLO, "max_tokens": 300, "temperature": 0, **change}
    whole = server.post(MESSAGES, body).json
    start, *steps, delta, stop = events_of(server, body)
    blocks: list[Any] = []
    content = ""
    is_open = False
    for event in steps:
        if event["type"] == "content_block_start":
            assert not is_open
            assert event["index"] == len(blocks)
            blocks.append(event["content_block"])
            is_open, content = True, ""
            continue
        assert is_open
        assert event["index"] == len(blocks) - 1
        block = blocks[-1]
        if event["type"] == "content_block_delta":
            kind, field = {"text": ("text_delta", "text"), "tool_use": ("input_json_delta", "partial_json")}[
                block["type"]
            ]
            assert event["delta"].keys() == {"type", field}
            assert event["delta"]["type"] == kind
            content += event["delta"][field]
            continue
        assert event["type"] == "content_block_stop"
        is_open = False
        if block["type"] == "text":
            assert block["text"] == ""
            block["text"] = content
        else:
            assert block["input"] == {}
            block["input"] = json.loads(content)
    assert not is_open
    assert blocks
    for block in (*blocks, *whole["content"]):
        assert block["type"] != "tool_use" or block.pop("id").startswith("toolu_")
    # Compared as text, so that the order of fields counts.
    assert json.dumps(blocks) == json.dumps(whole["content"])
    head = start["message"]
    assert start.keys() == {"type", "message"}
    assert head.keys() == whole.keys() - {"x_edgefc"}
    assert delta.get("x_edgefc") == whole.get("x_edgefc")
    assert (head["content"], head["stop_reason"], head["stop_sequence"]) == ([], None, None)
    assert delta["delta"] == {"stop_reason": whole["stop_reason"], "stop_sequence": None}
    usages = [head["usage"], delta["usage"], whole["usage"]]
    prompts = {usage["input_tokens"] + usage["cache_read_input_tokens"] for usage in usages}
    assert len(prompts) == 1
    assert delta["usage"]["output_tokens"] == whole["usage"]["output_tokens"]
    assert stop == {"type": "message_stop"}


def test_a_stream_takes_its_input_tokens_from_the_request(demo_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The prompt is not rendered a second time."""

    async def events(model: edgefc.Model) -> list[Any]:
        service = Service(ModelPool.of_loaded(model), Settings())
        body = api.MessageRequest(messages=HELLO, tools=ANTHROPIC_TOOLS, max_tokens=4, stream=True)
        async with service.open(None) as context:
            return [event async for event in api.MessageHandler(body, context).events()]

    with edgefc.load("demo", n_ctx=1024) as model:
        count = len(model.prompt(HELLO, TOOLS).ids)
        monkeypatch.delattr(edgefc.Model, "prompt")
        start, *_ = asyncio.run(events(model))
    assert start["type"] == "message_start"
    assert start["message"]["usage"]["input_tokens"] == count


def test_the_sdk_accumulates_a_stream(claude: Anthropic) -> None:
    whole = claude.messages.create(messages=WEATHER, tools=ANTHROPIC_TOOLS, **GREEDY)
    with claude.messages.stream(messages=WEATHER, tools=ANTHROPIC_TOOLS, **GREEDY) as stream:
        final = stream.get_final_message()
    assert calls_of(final) == calls_of(whole)
    assert final.stop_reason == whole.stop_reason == "tool_use"
    assert final.usage.output_tokens == whole.usage.output_tokens
    with claude.messages.stream(messages=HELLO, **GREEDY) as stream:
        text = "".join(stream.text_stream)
        assert text == text_of(stream.get_final_message())
    assert text == text_of(claude.messages.create(messages=HELLO, **GREEDY))


@pytest.mark.parametrize("choice", [{"type": "any"}, {"type": "tool", "name": "roll_dice"}], ids=["any", "named"])
def test_a_required_choice_gives_a_call_whatever_the_question(claude: Anthropic, choice: Any) -> None:
    message = claude.messages.create(messages=HELLO, tools=ANTHROPIC_TOOLS, tool_choice=choice, **GREEDY)
    assert message.stop_reason == "tool_use"
    uses: Any = [block for block in message.content if block.type == "tool_use"]
    assert uses == message.content
    for use in uses:
        jsonschema.validate(use.input, SCHEMAS[use.name])
    assert choice["type"] == "any" or {use.name for use in uses} == {"roll_dice"}


def test_calls_and_parallel_calls_can_be_turned_off(claude: Anthropic) -> None:
    none = claude.messages.create(messages=WEATHER, tools=ANTHROPIC_TOOLS, tool_choice={"type": "none"}, **GREEDY)
    assert none.stop_reason == "end_turn"
    assert not calls_of(none)
    one = claude.messages.create(
        messages=WEATHER,
        tools=ANTHROPIC_TOOLS,
        tool_choice={"type": "auto", "disable_parallel_tool_use": True},
        **GREEDY,
    )
    assert len(calls_of(one)) == 1


def test_stop_reasons(claude: Anthropic) -> None:
    text = text_of(claude.messages.create(messages=HELLO, **GREEDY))
    stop = text[5:8]
    options: Any = {**GREEDY, "messages": HELLO, "stop_sequences": ["never generated", stop]}
    stopped = claude.messages.create(**options)
    assert (stopped.stop_reason, stopped.stop_sequence) == ("stop_sequence", stop)
    assert text_of(stopped) == text[: text.index(stop)]
    with claude.messages.stream(**options) as stream:
        final = stream.get_final_message()
    assert (final.stop_reason, final.stop_sequence) == ("stop_sequence", stop)
    cut = claude.messages.create(**{**GREEDY, "max_tokens": 8}, messages=HELLO)
    assert cut.stop_reason == "max_tokens"
    assert cut.usage.output_tokens == 8
    ended = claude.messages.create(**{**options, "stop_sequences": ["never generated"]})
    assert (ended.stop_reason, ended.stop_sequence) == ("end_turn", None)


def test_a_truncated_message_has_its_complete_calls_and_no_partial_one(claude: Anthropic) -> None:
    found = set()
    for limit in range(1, 30, 4):
        message = claude.messages.create(
            **{**GREEDY, "max_tokens": limit}, messages=WEATHER, tools=ANTHROPIC_TOOLS, tool_choice={"type": "any"}
        )
        assert message.stop_reason == "max_tokens"
        found.add(tuple(calls_of(message)))
    assert found == {(), (("get_weather", '{"location": "Paris"}'),)}


def test_a_stop_sequence_inside_a_call(claude: Anthropic) -> None:
    options: Any = {**GREEDY, "messages": WEATHER, "tools": ANTHROPIC_TOOLS, "tool_choice": {"type": "any"}}
    message = claude.messages.create(**options, stop_sequences=["Par"])
    assert (message.stop_reason, message.stop_sequence) == ("tool_use", None), "it applies to text"
    assert calls_of(message) == calls_of(claude.messages.create(**options))


def test_counted_tokens_are_those_of_the_prompt(claude: Anthropic) -> None:
    for fields in ({}, {"tools": ANTHROPIC_TOOLS}, {"tools": ANTHROPIC_TOOLS, "system": "Be short."}):
        options: Any = {"messages": WEATHER, **fields}
        usage = claude.messages.create(**GREEDY, **options).usage
        count = claude.messages.count_tokens(model="demo", **options).input_tokens
        assert count == usage.input_tokens + (usage.cache_read_input_tokens or 0)
    # A conversation may end with the assistant here.
    messages: Any = [*HELLO, {"role": "assistant", "content": "Hello."}]
    assert claude.messages.count_tokens(model="demo", messages=messages).input_tokens > 0


def test_fields_that_do_not_change_the_answer_are_accepted(claude: Anthropic, server: ServerProcess) -> None:
    """Fields that agents written for Anthropic's API send."""
    mark = {"cache_control": {"type": "ephemeral"}}
    plain: Any = {**GREEDY, "messages": WEATHER, "tools": ANTHROPIC_TOOLS, "system": "Be short.\nBe kind."}
    marked: Any = {
        "system": [{"type": "text", "text": "Be short.", **mark}, {"type": "text", "text": "Be kind.", **mark}],
        "messages": [{"role": "user", "content": [{"type": "text", "text": WEATHER[0]["content"], **mark}]}],
        "tools": [*ANTHROPIC_TOOLS[:-1], {**ANTHROPIC_TOOLS[-1], **mark, "type": "custom", "strict": True}],
        "metadata": {"user_id": "me"},
        "thinking": {"type": "disabled"},
        "service_tier": "auto",
        "extra_headers": {"anthropic-beta": "prompt-caching-2024-07-31,some-other"},
        "extra_query": {"beta": "true"},
        "cache_control": {"type": "ephemeral"},
    }
    one, other = claude.messages.create(**plain), claude.messages.create(**{**plain, **marked})
    assert calls_of(one) == calls_of(other)
    assert calls_of(one)
    tokens = [m.usage.input_tokens + (m.usage.cache_read_input_tokens or 0) for m in (one, other)]
    assert tokens[0] == tokens[1]
    assert other.usage.cache_read_input_tokens
    assert server.post("/messages", SMALL).status == 200
    beta: Any = claude.beta.messages.create(model="demo", max_tokens=4, messages=HELLO)
    assert beta.stop_reason == "max_tokens"


def test_consecutive_turns_are_joined(claude: Anthropic) -> None:
    def tokens(*messages: Any) -> int:
        return claude.messages.count_tokens(model="demo", messages=list(messages)).input_tokens

    apart: Any = [{"role": "user", "content": "Hello!"}, {"role": "user", "content": "How are you?"}]
    blocks = {"role": "user", "content": [{"type": "text", "text": turn["content"]} for turn in apart]}
    joined = {"role": "user", "content": "Hello!\nHow are you?"}
    assert tokens(*apart) == tokens(blocks) == tokens(joined)


@anthropic.beta_tool
def get_weather(location: str) -> str:
    """Get the current weather for a city

    Args:
        location: City name
    """
    return json.dumps(RUNNERS["get_weather"](location=location))


def test_the_sdks_tool_runner(claude: Anthropic) -> None:
    """It asks the server to store the conversation, and continues without when that is refused."""
    first, last = claude.beta.messages.tool_runner(tools=[get_weather], messages=WEATHER, **GREEDY)
    assert (first.stop_reason, last.stop_reason) == ("tool_use", "end_turn")
    assert len(calls_of(first)) == 2
    assert text_of(last)


def test_structured_output_is_parsed(claude: Anthropic) -> None:
    message = claude.messages.parse(messages=HELLO, output_format=City, **{**GREEDY, "max_tokens": 400})
    assert message.stop_reason == "end_turn"
    assert isinstance(message.parsed_output, City)


USE: Any = {"role": "assistant", "content": [{"type": "tool_use", "id": "toolu_1", "name": "f", "input": {}}]}
RESULT: Any = {"type": "tool_result", "tool_use_id": "toolu_1", "content": "x"}
BAD_SCHEMA = {"type": "object", "properties": {"a": {"type": "thing"}}}


@pytest.mark.parametrize(
    ("change", "param"),
    [
        ({"max_tokens": None}, "max_tokens"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"messages": []}, "messages"),
        ({"messages": [{"role": "king", "content": "x"}]}, "messages[0].role"),
        ({"messages": [{"role": ["user"], "content": "x"}]}, "messages[0].role"),
        ({"messages": [{"role": "user"}]}, "messages[0].content"),
        ({"messages": [{"role": "user", "content": []}]}, "messages[0].content"),
        ({"messages": [{"role": "user", "content": ["x"]}]}, "messages[0].content[0]"),
        ({"messages": [{"role": "user", "content": [{"type": "text"}]}]}, "messages[0].content[0].text"),
        ({"messages": [{"role": "user", "content": [{"type": "image", "source": {}}]}]}, "messages[0].content[0].type"),
        ({"messages": [*HELLO, {"role": "assistant", "content": "The answer is ("}]}, "messages[1]"),
        ({"messages": [*HELLO, USE, {"role": "user", "content": [{**RESULT, "content": [{"type": "document"}]}]}]},
         "messages[2].content[0].content[0]"),
        ({"system": [{"type": "image"}]}, "system[0].type"),
        ({"system": "Go on. " * 5000}, "messages"),
        ({"tools": [{"type": "bash_20250124", "name": "bash"}], "x_edgefc_on_unsupported": "refuse"}, "tools[0].type"),
        ({"tools": [*ANTHROPIC_TOOLS, {"name": "f"}]}, f"tools[{len(ANTHROPIC_TOOLS)}].input_schema"),
        ({"tools": [{**ANTHROPIC_TOOLS[0], "name": "no name"}]}, "tools[0].name"),
        ({"tools": [{**ANTHROPIC_TOOLS[0], "allowed_callers": ["code"]}]}, "tools[0].allowed_callers"),
        ({"tools": [ANTHROPIC_TOOLS[0], {"name": "f", "input_schema": BAD_SCHEMA}], "x_edgefc_on_unsupported": "refuse"},
         "tools[1].input_schema.properties.a.type"),
        ({"tools": ANTHROPIC_TOOLS, "tool_choice": {"type": "sometimes"}}, "tool_choice"),
        ({"tools": ANTHROPIC_TOOLS, "tool_choice": {"type": "tool", "name": "nothing"}}, "tool_choice"),
        ({"tools": ANTHROPIC_TOOLS, "tool_choice": {"type": "tool"}}, "tool_choice"),
        ({"tool_choice": {"type": "any"}}, "tool_choice"),
        ({"stop_sequences": [""]}, "stop_sequences"),
        ({"stop_sequences": ["x"] * 17}, "stop_sequences"),
        ({"temperature": -1}, "temperature"),
        ({"top_p": 1.5}, "top_p"),
        ({"top_k": -2}, "top_k"),
        ({"mcp_servers": [{"type": "url", "name": "x", "url": "http://x"}]}, "mcp_servers"),
        ({"container": "x"}, "container"),
        ({"thread": {"type": "create"}}, "thread"),
        ({"output_format": {"type": "json_schema", "schema": {}}}, "output_format"),
        ({"output_config": {"format": {"type": "xml"}}}, "output_config.format.type"),
        ({"output_config": {"format": {"type": "json_schema", "schema": BAD_SCHEMA}}},
         "output_config.format.schema.properties.a.type"),
    ],
    ids=str,
)  # fmt: skip
def test_an_unsupported_field_is_refused_by_name(server: ServerProcess, change: dict[str, Any], param: str) -> None:
    for stream in (False, True):
        answer = server.post(MESSAGES, {**SMALL, "stream": stream, **change})
        assert error_message(answer, 400, "invalid_request_error").startswith(f"{param}: ")


def test_errors_are_the_exceptions_of_the_sdk(claude: Anthropic) -> None:
    tools: Any = [{"name": "f", "input_schema": BAD_SCHEMA}]
    refusing: Any = {**GREEDY, "extra_body": {"x_edgefc_on_unsupported": "refuse"}}
    with pytest.raises(anthropic.BadRequestError) as raised:
        claude.messages.create(messages=HELLO, tools=tools, **refusing)
    assert raised.value.type == "invalid_request_error"
    assert (raised.value.api_message or "").startswith("tools[0].input_schema.properties.a.type: unknown type 'thing'")
    with pytest.raises(anthropic.BadRequestError) as raised:
        claude.messages.create(messages=[{"role": "user", "content": "word " * 5000}], **GREEDY)
    assert raised.value.error_code == "context_length_exceeded"
    assert raised.value.request_id == raised.value.response.headers["x-request-id"]
    with pytest.raises(anthropic.BadRequestError, match=r"tools\[0\]\.name: "):
        claude.messages.count_tokens(model="demo", messages=HELLO, tools=[{**ANTHROPIC_TOOLS[0], "name": "no name"}])
    with pytest.raises(anthropic.BadRequestError), claude.messages.stream(messages=HELLO, tools=tools, **refusing):
        pytest.fail("it began")


def test_errors_before_a_body_is_parsed_have_the_same_form(server: ServerProcess) -> None:
    assert "JSON" in error_message(server.request("POST", MESSAGES, raw=b"{"), 400, "invalid_request_error")
    error_message(server.request("POST", MESSAGES, raw=b" " * (9 << 20)), 413, "invalid_request_error")
    error_message(server.post(MESSAGES, SMALL, Origin="http://evil.example"), 403, "permission_error")
    error_message(server.post(f"{MESSAGES}/batches", SMALL), 404, "not_found_error")
    error_message(server.request("GET", MESSAGES), 405, "invalid_request_error")
    error_message(server.post(f"{MESSAGES}/count_tokens", {}), 400, "invalid_request_error")
    # On other paths they have OpenAI's form.
    assert server.post("/v1/messages_of_another", SMALL).error["type"] == "not_found_error"


def test_both_key_headers_of_the_sdk_are_accepted(demo_path: Path) -> None:
    with ServerProcess(("--api-key", "sk-secret")) as locked:
        assert client_of(locked, api_key="sk-secret").messages.create(messages=HELLO, **GREEDY).content
        token = client_of(locked, api_key=None, auth_token="sk-secret")
        assert token.messages.count_tokens(model="demo", messages=HELLO).input_tokens
        with pytest.raises(anthropic.AuthenticationError) as raised:
            client_of(locked, api_key="wrong").messages.create(messages=HELLO, **GREEDY)
        assert raised.value.type == "authentication_error"
        error_message(locked.post(MESSAGES, SMALL), 401, "authentication_error")


def test_an_error_during_a_stream_is_an_event(tiny_model: Path) -> None:
    """With a model that never ends its answer, and a short timeout."""
    with endless_server(tiny_model, "--timeout", "1") as server, client_of(server) as client:
        with pytest.raises(anthropic.APIStatusError) as raised, client.messages.stream(**ENDLESS) as stream:
            for _ in stream:
                pass
        assert raised.value.type == "timeout_error"
        body = {"max_tokens": 4000, "messages": HELLO, "temperature": 0, "x_edgefc_loop_guard": False}
        late = server.post(MESSAGES, body)
        error_message(late, 408, "timeout_error")


def test_a_crash_of_the_worker_process(tiny_model: Path) -> None:
    with endless_server(tiny_model, "--worker") as server, client_of(server) as client:
        wrong = error_message(server.post(MESSAGES, {**SMALL, "messages": []}), 400, "invalid_request_error")
        assert wrong.startswith("messages: ")
        with client.messages.stream(**ENDLESS) as stream:
            for _ in range(5):
                next(stream)
            server.worker_process().kill()
            with pytest.raises(anthropic.APIStatusError) as raised:
                stream.until_done()
        assert (raised.value.type, raised.value.error_code) == ("overloaded_error", "model_crashed")
        again = client.messages.create(**{**ENDLESS, "max_tokens": 4})
        assert again.stop_reason == "max_tokens"


def test_thoughts_are_blocks_in_both_directions(tiny_model: Path) -> None:
    parser = load_family("qwen3").parser()
    chat_deltas = [*parser.feed("<think>\nHm.\n</think>\n\nHello!"), *parser.finish("stop").deltas]
    blocks = api.BlockEvents()
    events = [event for delta in chat_deltas for event in blocks.feed(delta)] + list(blocks.finish())
    started = [event["content_block"]["type"] for event in events if event["type"] == "content_block_start"]
    assert started == ["thinking", "text"]
    deltas = [event["delta"] for event in events if event["type"] == "content_block_delta"]
    assert "".join(delta.get("thinking", "") for delta in deltas) == "Hm."
    assert "".join(delta.get("text", "") for delta in deltas) == "Hello!"

    use = {"type": "tool_use", "id": "toolu_1", "name": "f", "input": {}}
    call = {"id": "toolu_1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    thought = {"type": "thinking", "thinking": "I should call f.", "signature": ""}
    with ServerProcess(("--family", "qwen3"), models=(str(tiny_model),)) as server:

        def tokens(content: list[Any]) -> int:
            turns = [*HELLO, {"role": "assistant", "content": content}, {"role": "user", "content": [RESULT]}]
            count: int = server.post(f"{MESSAGES}/count_tokens", {"messages": turns}).json["input_tokens"]
            return count

        previous_turn = {"role": "assistant", "reasoning_content": thought["thinking"], "tool_calls": [call]}
        chat = [*HELLO, previous_turn, {"role": "tool", "tool_call_id": "toolu_1", "content": "x"}]
        chat_tokens = server.post("/v1/chat/completions/input_tokens", {"messages": chat}).json["input_tokens"]
        assert tokens([thought, use]) == chat_tokens > tokens([use])
        off = server.post(f"{MESSAGES}/count_tokens", {"messages": HELLO, "thinking": {"type": "disabled"}}).json
        assert off["input_tokens"] > server.post(f"{MESSAGES}/count_tokens", {"messages": HELLO}).json["input_tokens"]
