"""openai-python, the newest: chat completions and responses."""

from __future__ import annotations

import json
from typing import Any

from common import ENDPOINT, FUNCTION, HELLO, KEY, MAX_TOKENS, MODEL, URL, WEATHER, City, get_weather, report
from openai import OpenAI

client = OpenAI(base_url=URL, api_key=KEY, max_retries=0)


def chat() -> None:
    completions = client.chat.completions
    options: Any = {"model": MODEL, "temperature": 0, "max_tokens": MAX_TOKENS}
    hello: Any = [{"role": "user", "content": HELLO}]
    messages: Any = [{"role": "user", "content": WEATHER}]
    tools: Any = [{"type": "function", "function": FUNCTION}]

    plain = completions.create(messages=hello, **options)
    assert plain.choices[0].finish_reason == "stop"
    chunks = completions.create(messages=hello, stream=True, stream_options={"include_usage": True}, **options)
    *steps, last = chunks
    assert last.usage.total_tokens == plain.usage.total_tokens

    call_answer = completions.create(messages=messages, tools=tools, tool_choice="required", **options)
    assert call_answer.choices[0].finish_reason == "tool_calls"
    with completions.stream(messages=messages, tools=tools, tool_choice="required", **options) as stream:
        streamed_calls = stream.get_final_completion().choices[0].message.tool_calls

    calls = call_answer.choices[0].message.tool_calls
    messages.append(call_answer.choices[0].message)
    for call in calls:
        result = get_weather(**json.loads(call.function.arguments))
        messages.append({"role": "tool", "tool_call_id": call.id, "content": result})
    answer = completions.create(messages=messages, tools=tools, **options)
    assert answer.choices[0].finish_reason == "stop"

    parsed = completions.parse(messages=hello, response_format=City, **options)
    report(
        plain=plain.choices[0].message.content,
        streamed=[step.choices[0].delta.content or "" for step in steps],
        tokens=(plain.usage.prompt_tokens, plain.usage.completion_tokens),
        calls=[(call.function.name, json.loads(call.function.arguments)) for call in calls],
        streamed_calls=[(call.function.name, json.loads(call.function.arguments)) for call in streamed_calls],
        answer=answer.choices[0].message.content,
        structured=[parsed.choices[0].message.parsed],
    )


def responses() -> None:
    options: Any = {"model": MODEL, "temperature": 0, "max_output_tokens": MAX_TOKENS}
    tools: Any = [{"type": "function", "strict": False, **FUNCTION}]
    items: Any = [{"role": "user", "content": WEATHER}]

    plain = client.responses.create(input=HELLO, **options)
    assert plain.status == "completed"
    with client.responses.stream(input=HELLO, **options) as stream:
        streamed = [event.delta for event in stream if event.type == "response.output_text.delta"]
        assert stream.get_final_response().usage.total_tokens == plain.usage.total_tokens

    call_answer = client.responses.create(input=items, tools=tools, tool_choice="required", **options)
    with client.responses.stream(input=items, tools=tools, tool_choice="required", **options) as stream:
        streamed_calls = [event.item for event in stream if event.type == "response.output_item.done"]

    calls = [item for item in call_answer.output if item.type == "function_call"]
    items += call_answer.output
    for call in calls:
        result = get_weather(**json.loads(call.arguments))
        items.append({"type": "function_call_output", "call_id": call.call_id, "output": result})
    answer = client.responses.create(input=items, tools=tools, **options)

    report(
        plain=plain.output_text,
        streamed=streamed,
        tokens=(plain.usage.input_tokens, plain.usage.output_tokens),
        calls=[(call.name, json.loads(call.arguments)) for call in calls],
        streamed_calls=[(call.name, json.loads(call.arguments)) for call in streamed_calls],
        answer=answer.output_text,
        structured=[client.responses.parse(input=HELLO, text_format=City, **options).output_parsed],
    )


{"chat": chat, "responses": responses}[ENDPOINT]()
