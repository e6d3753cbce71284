"""Chat completions of the demo model through openai-python, as its users write them."""

from __future__ import annotations

import asyncio
import json
import math
from pathlib import Path
from typing import Any

import jsonschema
import openai
import pytest
from openai import OpenAI

import edgefc
from edgefc.errors import RequestError
from edgefc.server import ModelPool, Settings
from edgefc.server.api.chat import ChatHandler, ChatRequest
from edgefc.server.api.fields import ExtensionFields
from edgefc.server.errors import OWN_OPTIONS, PREFIX, ApiError
from edgefc.server.service import Service
from tests.server.examples import HELLO, RUNNERS, SCHEMAS, TOOLS, WEATHER, City
from tests.server.server_process import ServerProcess


def check(calls: Any) -> None:
    """Assert that there are calls, and that each fits the schema of its tool."""
    assert calls
    for call in calls:
        jsonschema.validate(json.loads(call.function.arguments), SCHEMAS[call.function.name])


def test_the_answer_is_that_of_the_python_api(client: OpenAI) -> None:
    answer = client.chat.completions.create(model="demo", messages=WEATHER, tools=TOOLS, temperature=0)
    with edgefc.load("demo") as model:
        reply = model.chat(WEATHER, tools=TOOLS, temperature=0)
    (choice,) = answer.choices
    assert choice.finish_reason == "tool_calls"
    assert choice.message.content is None
    calls = choice.message.tool_calls or []
    check(calls)
    functions = [(call.function.name, call.function.arguments) for call in calls if call.type == "function"]
    assert functions == [(call["function"]["name"], call["function"]["arguments"]) for call in reply.tool_calls]
    assert answer.id.startswith("chatcmpl-")
    assert answer.usage is not None
    assert answer.usage.prompt_tokens == reply.usage["prompt_tokens"]
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens


def test_a_stream_adds_up_to_the_whole_and_keeps_the_form_that_clients_rely_on(client: OpenAI) -> None:
    whole = client.chat.completions.create(model="demo", messages=WEATHER, tools=TOOLS, temperature=0)
    chunks = list(
        client.chat.completions.create(
            model="demo", messages=WEATHER, tools=TOOLS, temperature=0, stream=True,
            stream_options={"include_usage": True},
        )
    )  # fmt: skip
    assert len({chunk.id for chunk in chunks}) == 1
    *steps, last = chunks
    assert not last.choices
    assert last.usage is not None
    assert last.usage.completion_tokens > 0
    assert all(chunk.usage is None for chunk in steps)
    assert steps[0].choices[0].delta.role == "assistant"
    assert [chunk.choices[0].finish_reason for chunk in steps][-1] == "tool_calls"
    assert not any(chunk.choices[0].finish_reason for chunk in steps[:-1])
    calls: dict[int, dict[str, str]] = {}
    for chunk in steps:
        delta = chunk.choices[0].delta
        assert delta.content is None, "no text before or beside calls"
        assert len(delta.tool_calls or []) <= 1
        for part in delta.tool_calls or []:
            assert isinstance(part.index, int)
            if part.index not in calls:
                assert part.id
                assert part.type == "function"
                assert part.function
                assert part.function.name
                calls[part.index] = {"name": part.function.name, "arguments": ""}
            else:
                assert part.id is None
                assert part.type is None
                assert part.function
                assert part.function.name is None
            assert part.function
            calls[part.index]["arguments"] += part.function.arguments or ""
    functions = [
        {"name": call.function.name, "arguments": call.function.arguments}
        for call in whole.choices[0].message.tool_calls or []
        if call.type == "function"
    ]
    assert [calls[index] for index in sorted(calls)] == functions


@pytest.mark.parametrize("path", ["/chat/completions", "/completions"])
def test_timings_come_with_an_answer_and_with_the_usage_of_a_stream(server: ServerProcess, path: str) -> None:
    body = {"messages": HELLO, "prompt": ["Once", "In the"], "n": 2, "max_tokens": 6, "seed": 1}
    whole = server.post(path, body).json
    streamed = server.post(path, {**body, "stream": True, "stream_options": {"include_usage": True}})
    chunks = [json.loads(line[6:]) for line in streamed.body.splitlines() if line.startswith(b"data: {")]
    assert not any("timings" in chunk for chunk in chunks[:-1])
    assert {chunk["system_fingerprint"] for chunk in chunks} == {whole["system_fingerprint"]}
    assert edgefc.__version__ in whole["system_fingerprint"]
    for response in (whole, chunks[-1]):
        usage, timings = response["usage"], response["timings"]
        assert timings["predicted_n"] == usage["completion_tokens"]
        assert timings["cache_n"] == usage["prompt_tokens_details"]["cached_tokens"]
        assert timings["cache_n"] + timings["prompt_n"] == usage["prompt_tokens"]
        for kind in ("prompt", "predicted"):
            rate = timings[f"{kind}_n"] / timings[f"{kind}_ms"] * 1000
            assert timings[f"{kind}_per_second"] == pytest.approx(rate)


def test_a_tool_loop_with_two_calls_ends_in_an_answer(client: OpenAI) -> None:
    messages = list(WEATHER)
    first = client.chat.completions.create(model="demo", messages=messages, tools=TOOLS, temperature=0)
    message = first.choices[0].message
    calls = message.tool_calls or []
    assert len(calls) == 2
    messages.append(message.model_dump(exclude_none=True))
    for call in calls:
        assert call.type == "function"
        result = RUNNERS[call.function.name](**json.loads(call.function.arguments))
        messages.append({"role": "tool", "tool_call_id": call.id, "content": json.dumps(result)})
    last = client.chat.completions.create(model="demo", messages=messages, tools=TOOLS, temperature=0)
    assert last.choices[0].finish_reason == "stop"
    assert last.choices[0].message.content


def test_a_stream_begins_with_a_role_and_null_for_content(server: ServerProcess) -> None:
    for fields in ({}, {"tools": TOOLS, "tool_choice": "required"}):
        answer = server.post("/chat/completions", {"messages": WEATHER, "max_tokens": 64, "stream": True, **fields})
        deltas = [
            json.loads(line[6:])["choices"][0]["delta"] for line in answer.body.splitlines() if b"choices" in line
        ]
        assert deltas[0] == {"role": "assistant", "content": None}
        assert not any("role" in delta or delta.get("content", "x") is None for delta in deltas[1:])


def test_plain_text_streams(client: OpenAI) -> None:
    stream = client.chat.completions.create(model="demo", messages=HELLO, temperature=0, stream=True, max_tokens=20)
    text = "".join(chunk.choices[0].delta.content or "" for chunk in stream)
    whole = client.chat.completions.create(model="demo", messages=HELLO, temperature=0, max_tokens=20)
    assert text == whole.choices[0].message.content
    assert text


@pytest.mark.parametrize(
    "choice",
    [
        "required",
        {"type": "function", "function": {"name": "roll_dice"}},
        {"type": "allowed_tools", "allowed_tools": {
            "mode": "required", "tools": [{"type": "function", "function": {"name": "roll_dice"}}]}},
    ],
    ids=["required", "named", "allowed"],
)  # fmt: skip
def test_a_required_choice_gives_a_call_whatever_the_question(client: OpenAI, choice: Any) -> None:
    answer = client.chat.completions.create(
        model="demo", messages=HELLO, tools=TOOLS, tool_choice=choice, temperature=0, max_tokens=200
    )
    calls = answer.choices[0].message.tool_calls
    check(calls)
    if choice != "required":
        assert {call.function.name for call in calls or [] if call.type == "function"} == {"roll_dice"}
    none = client.chat.completions.create(
        model="demo", messages=WEATHER, tools=TOOLS, tool_choice="none", temperature=0, max_tokens=40
    )
    assert not none.choices[0].message.tool_calls


def test_parallel_calls_can_be_turned_off(client: OpenAI) -> None:
    answer = client.chat.completions.create(
        model="demo", messages=WEATHER, tools=TOOLS, parallel_tool_calls=False, temperature=0
    )
    assert len(answer.choices[0].message.tool_calls or []) == 1


def test_structured_output_is_parsed(client: OpenAI) -> None:
    answer = client.chat.completions.parse(
        model="demo", messages=HELLO, response_format=City, temperature=0, max_tokens=400
    )
    if answer.choices[0].finish_reason == "stop":
        assert isinstance(answer.choices[0].message.parsed, City)
    else:
        pytest.fail("the demo model did not end its answer")


@pytest.mark.parametrize("path", ["/chat/completions", "/completions"])
def test_a_schema_in_llama_servers_short_form_is_enforced(server: ServerProcess, path: str) -> None:
    answer = server.post(path, {"messages": HELLO, "prompt": "x", "json_schema": {"const": "42"}, "max_tokens": 8})
    assert answer.status == 200, answer.body
    (choice,) = answer.json["choices"]
    assert json.loads(choice["text"] if path == "/completions" else choice["message"]["content"]) == "42"


def test_choices_differ_and_repeat_with_the_same_seed(client: OpenAI) -> None:
    def generate() -> list[str | None]:
        answer = client.chat.completions.create(
            model="demo", messages=HELLO, n=3, temperature=1.5, seed=11, max_tokens=16
        )
        assert [choice.index for choice in answer.choices] == [0, 1, 2]
        assert answer.usage is not None
        assert answer.usage.completion_tokens <= 48
        return [choice.message.content for choice in answer.choices]

    first = generate()
    assert len(set(first)) > 1
    assert generate() == first
    stream = client.chat.completions.create(
        model="demo", messages=HELLO, n=3, temperature=1.5, seed=11, max_tokens=16, stream=True
    )
    texts = ["", "", ""]
    for chunk in stream:
        (choice,) = chunk.choices
        texts[choice.index] += choice.delta.content or ""
    assert texts == first


def test_a_request_is_prepared_once_for_all_choices(demo_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def respond(model: edgefc.Model) -> dict[str, Any]:
        service = Service(ModelPool.of_loaded(model), Settings())
        async with service.open(None) as context:
            return await ChatHandler(ChatRequest(messages=HELLO, n=3, max_tokens=4), context).response()

    with edgefc.load("demo", n_ctx=512) as model:
        request, calls = model.request, []
        monkeypatch.setattr(model, "request", lambda *a, **options: calls.append(a) or request(*a, **options))
        response = asyncio.run(respond(model))
    assert len(response["choices"]) == 3
    assert len(calls) == 1


@pytest.mark.parametrize("messages", [HELLO, WEATHER], ids=["text", "calls"])
def test_logprobs_cover_all_tokens_streamed_or_not(client: OpenAI, messages: Any) -> None:
    """Also in calls: forced tokens have logprob 0, and greedily sampled ones are the most likely."""
    options: Any = {"model": "demo", "messages": messages, "tools": TOOLS, "temperature": 0, "max_tokens": 300}
    answer = client.chat.completions.create(**options, logprobs=True, top_logprobs=3)
    plain = client.chat.completions.create(**options)
    (choice,) = answer.choices
    assert choice.message.content == plain.choices[0].message.content
    assert choice.logprobs is not None
    tokens = choice.logprobs.content or []
    assert answer.usage is not None
    assert len(tokens) == answer.usage.completion_tokens
    assert all(token.logprob <= 0 for token in tokens)
    chosen = [token for token in tokens if len(token.top_logprobs) == 3]
    assert chosen
    for token in tokens:
        if token not in chosen:
            assert [(other.token, other.logprob) for other in token.top_logprobs] == [(token.token, 0.0)]
            assert token.logprob == 0.0
    for token in chosen:
        best = [other.logprob for other in token.top_logprobs]
        assert best == sorted(best, reverse=True)
        assert sum(math.exp(value) for value in best) <= 1 + 1e-9
        assert token.logprob <= best[0]
    if choice.message.content:
        text = b"".join(bytes(token.bytes or []) for token in tokens).decode()
        assert json.dumps(choice.message.content, ensure_ascii=False)[1:-1] in text
    chunks = list(client.chat.completions.create(**options, logprobs=True, top_logprobs=3, stream=True))
    streamed = [
        token for chunk in chunks if chunk.choices[0].logprobs for token in chunk.choices[0].logprobs.content or []
    ]
    assert [(t.token, t.logprob) for t in streamed] == [(t.token, t.logprob) for t in tokens]


def test_the_older_functions(server: ServerProcess) -> None:
    body = {"messages": WEATHER, "functions": [tool["function"] for tool in TOOLS], "temperature": 0}
    choice = server.post("/v1/chat/completions", body).json["choices"][0]
    assert choice["finish_reason"] == "function_call"
    call = choice["message"]["function_call"]
    jsonschema.validate(json.loads(call["arguments"]), SCHEMAS[call["name"]])
    assert "tool_calls" not in choice["message"]
    result = json.dumps(RUNNERS[call["name"]](**json.loads(call["arguments"])))
    messages = [*WEATHER, choice["message"], {"role": "function", "name": call["name"], "content": result}]
    follow_up = {"messages": messages, "function_call": "none"}
    choice = server.post("/v1/chat/completions", body | follow_up).json["choices"][0]
    assert choice["finish_reason"] == "stop"
    assert choice["message"]["content"]


def test_fields_that_do_not_change_the_answer_are_ignored(server: ServerProcess) -> None:
    fields = {
        "user": "me", "metadata": {"a": "b"}, "store": False, "service_tier": "auto", "safety_identifier": "x",
        "prompt_cache_key": "k", "verbosity": "low", "logprobs": False, "frequency_penalty": None, "tools": None,
        "modalities": ["text"], "anything": {"at": "all"},
    }  # fmt: skip
    plain = {"model": "any-other-name", "messages": HELLO, "temperature": 0, "max_tokens": 8}
    one, other = (server.post("/chat/completions", body).json for body in (plain, plain | fields))
    assert one["choices"] == other["choices"]
    assert one["model"] == "demo"


@pytest.mark.parametrize(
    ("change", "param"),
    [
        ({"messages": []}, "messages"),
        ({"messages": "hello"}, "messages"),
        ({"messages": [{"role": "king", "content": "x"}]}, "messages[0].role"),
        ({"messages": [{"role": "user", "content": 5}]}, "messages[0].content"),
        ({"temperature": -1}, "temperature"),
        ({"temperature": "hot"}, "temperature"),
        ({"top_p": 1.5}, "top_p"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"max_tokens": True}, "max_tokens"),
        ({"max_completion_tokens": 1.5}, "max_completion_tokens"),
        ({"n": 9}, "n"),
        ({"seed": 1 << 63}, "seed"),
        ({"stop": ["x"] * 17}, "stop"),
        ({"stop": ""}, "stop"),
        ({"logit_bias": {"x": 1}}, "logit_bias"),
        ({"logit_bias": {"999999": 1}}, "logit_bias"),
        ({"top_logprobs": 3}, "top_logprobs"),
        ({"logprobs": True, "top_logprobs": 21}, "top_logprobs"),
        ({"modalities": ["audio"]}, "modalities"),
        ({"grammar": 'root ::= "a"'}, "grammar"),
        ({"chat_template": "{{ messages }}"}, "chat_template"),
        ({"continue_final_message": True}, "continue_final_message"),
        ({"add_generation_prompt": False}, "add_generation_prompt"),
        ({"stream_options": {"include_usage": True}}, "stream_options"),
        ({"response_format": {"type": "xml"}}, "response_format"),
        ({"response_format": {"type": "json_schema", "json_schema": {"schema": {"type": "thing"}}}},
         "response_format.json_schema.schema.type"),
        ({"json_schema": {"type": "object"}, "response_format": {"type": "json_object"}}, "json_schema"),
        ({"json_schema": {"type": "thing"}}, "response_format.schema.type"),
        ({"tools": TOOLS, "tool_choice": "sometimes"}, "tool_choice"),
        ({"tools": TOOLS, "tool_choice": {"type": "function", "function": {"name": "nothing"}}}, "tool_choice"),
        ({"tool_choice": "required"}, "tool_choice"),
        ({"tools": [{"type": "function"}]}, "tools[0]"),
        ({"tools": [{"type": "function", "function": {"name": "f", "parameters": {"type": "string"}}}],
          "x_edgefc_on_unsupported": "refuse"}, "tools[0].function.parameters"),
        ({"tools": TOOLS * 65}, "tools"),
        ({"tools": TOOLS, "functions": [TOOLS[0]["function"]]}, "functions"),
    ],
    ids=str,
)  # fmt: skip
def test_an_error_names_the_field(server: ServerProcess, change: dict[str, Any], param: str) -> None:
    for stream in (False, True):
        body = {"messages": HELLO, "max_tokens": 4, **({"stream": True} if stream else {}), **change}
        if stream and "stream_options" in change:
            continue
        answer = server.post("/v1/chat/completions", body)
        assert answer.status == 400, answer.body
        assert answer.error["type"] == "invalid_request_error"
        assert (answer.error["param"] or "").startswith(param), answer.error
        assert answer.error["message"]


def test_a_prompt_that_is_too_long_is_refused_with_its_length(client: OpenAI) -> None:
    with pytest.raises(openai.BadRequestError) as raised:
        client.chat.completions.create(model="demo", messages=[{"role": "user", "content": "word " * 5000}])
    assert raised.value.code == "context_length_exceeded"
    assert isinstance(raised.value.body, dict)
    assert raised.value.body["n_prompt_tokens"] > raised.value.body["n_ctx"]


def test_a_truncated_answer_has_its_complete_calls_and_no_partial_one(client: OpenAI) -> None:
    counts = set()
    for limit in range(1, 40, 3):
        answer = client.chat.completions.create(
            model="demo", messages=WEATHER, tools=TOOLS, tool_choice="required", temperature=0, max_tokens=limit
        )
        assert answer.choices[0].finish_reason == "length"
        if calls := answer.choices[0].message.tool_calls:
            check(calls)
        counts.add(len(calls or ()))
    assert counts == {0, 1}


def test_certainty_is_a_field_of_the_choice_in_both_forms(client: OpenAI) -> None:
    fields: dict[str, Any] = {"model": "demo", "messages": WEATHER, "tools": TOOLS, "temperature": 0}
    (choice,) = client.chat.completions.create(**fields).choices
    whole = choice.model_dump()["x_edgefc"]
    assert (whole["outcome"], whole["end_reason"]) == ("call", "stop")
    found = whole["confidence"]
    assert found["call"]["probability"] + found["answer"]["probability"] == pytest.approx(1)
    assert found["call"]["logprob"] == pytest.approx(math.log(found["call"]["probability"]))
    call, _ = found["calls"]
    assert call["name"] == call["tools"][0]["token"] == "get_weather"
    assert sum(math.exp(tool["logprob"]) for tool in call["tools"]) == pytest.approx(1)
    assert 0 < call["arguments"]["location"]["probability"] <= call["arguments"]["location"]["allowed_probability"] <= 1
    chunks = list(client.chat.completions.create(**fields, stream=True))
    *others, last = [chunk.choices[0].model_dump() for chunk in chunks]
    assert last["x_edgefc"] == whole
    assert not any("x_edgefc" in other for other in others)
    assert "x_edgefc" not in client.chat.completions.create(model="demo", messages=HELLO).choices[0].model_dump()


def test_a_request_may_ask_in_another_chat_format(server: ServerProcess, demo_path: Path) -> None:
    body: dict[str, Any] = {"messages": WEATHER, "tools": TOOLS, "temperature": 0, "tool_choice": "required"}
    body |= {"x_edgefc_family": "hermes", "max_tokens": 200}
    assert "hermes" in server.request("GET", "/families").json["data"]
    prompt = server.post("/apply-template", body).json["prompt"]
    assert "<tool_call>" in prompt
    with edgefc.load(demo_path, family="hermes", n_ctx=2048, prefix_disk=0) as model:
        assert prompt == model.prompt(WEATHER, tools=TOOLS, tool_choice="required").text
        expected = model.chat(WEATHER, tools=TOOLS, temperature=0, tool_choice="required", max_tokens=200)
    message = server.post("/v1/chat/completions", body).json["choices"][0]["message"]
    functions = [call["function"] for call in message.get("tool_calls") or ()]
    assert functions == [call["function"] for call in expected.tool_calls]
    for name in ("hermess", "chat_formats/hermes.toml", ""):
        refused = server.post("/v1/chat/completions", {**body, "x_edgefc_family": name})
        assert refused.status == 400
        assert refused.json["error"]["param"] == "x_edgefc_family"


def test_an_error_of_one_of_our_options_names_the_field_of_the_request() -> None:
    fields = {name.removeprefix(PREFIX) for name in ExtensionFields.model_fields}
    assert fields - {"lora"} == OWN_OPTIONS  # that one has a field without the prefix, too
    for name in sorted(OWN_OPTIONS):
        error = ApiError.from_exception(RequestError((name,), "must be something else"))
        assert error.message == f"x_edgefc_{name}: must be something else"
    assert ApiError.from_exception(RequestError(("seed",), "is no seed")).param == "seed"


def test_an_unsure_call_is_not_sent_in_either_form(client: OpenAI) -> None:
    fields: dict[str, Any] = {"model": "demo", "messages": WEATHER, "tools": TOOLS, "temperature": 0}
    fields["extra_body"] = {"x_edgefc_min_confidence": 0.99999}
    (choice,) = client.chat.completions.create(**fields).choices
    assert (choice.finish_reason, choice.message.tool_calls, choice.message.content) == ("stop", None, "")
    assert choice.model_dump()["x_edgefc"]["outcome"] == "unsure"
    chunks = list(client.chat.completions.create(**fields, stream=True))
    assert not any(chunk.choices[0].delta.tool_calls for chunk in chunks)
    fields["extra_body"] = {"x_edgefc_call_bias": -50}
    assert not client.chat.completions.create(**fields).choices[0].message.tool_calls
    fields["extra_body"] = {"x_edgefc_min_confidence": 2}
    with pytest.raises(openai.BadRequestError, match="x_edgefc_min_confidence"):
        client.chat.completions.create(**fields)
