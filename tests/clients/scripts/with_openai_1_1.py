"""openai-python 1.1.0, the oldest with tools: chat completions, streams put together by hand."""

from __future__ import annotations

import json
from typing import Any

from common import FUNCTION, HELLO, KEY, MAX_TOKENS, MODEL, URL, WEATHER, City, get_weather, report
from openai import OpenAI

completions = OpenAI(base_url=URL, api_key=KEY, max_retries=0).chat.completions
OPTIONS: Any = {"model": MODEL, "temperature": 0, "max_tokens": MAX_TOKENS}
hello: Any = [{"role": "user", "content": HELLO}]
messages: Any = [{"role": "user", "content": WEATHER}]
tools: Any = [{"type": "function", "function": FUNCTION}]

plain = completions.create(messages=hello, **OPTIONS)
assert plain.choices[0].finish_reason == "stop"
streamed = [
    chunk.choices[0].delta.content or "" for chunk in completions.create(messages=hello, stream=True, **OPTIONS)
]

call_answer = completions.create(messages=messages, tools=tools, **OPTIONS)
assert call_answer.choices[0].finish_reason == "tool_calls"
calls = call_answer.choices[0].message.tool_calls
gathered: dict[int, list[str]] = {}
for chunk in completions.create(messages=messages, tools=tools, stream=True, **OPTIONS):
    for part in chunk.choices[0].delta.tool_calls or []:
        call = gathered.setdefault(part.index, ["", ""])
        call[0] += part.function.name or ""
        call[1] += part.function.arguments or ""

messages.append(call_answer.choices[0].message.model_dump(exclude_none=True))
for call in calls:
    result = get_weather(**json.loads(call.function.arguments))
    messages.append({"role": "tool", "tool_call_id": call.id, "content": result})
answer = completions.create(messages=messages, tools=tools, **OPTIONS)
assert answer.choices[0].finish_reason == "stop"

# It knows `{"type": "json_object"}` alone, and passes other values through.
form: Any = {"type": "json_schema", "json_schema": {"name": "city", "schema": City.model_json_schema()}}
structured = completions.create(messages=hello, response_format=form, **OPTIONS)

report(
    plain=plain.choices[0].message.content,
    streamed=streamed,
    tokens=(plain.usage.prompt_tokens, plain.usage.completion_tokens),
    calls=[(call.function.name, json.loads(call.function.arguments)) for call in calls],
    streamed_calls=[(name, json.loads(arguments)) for name, arguments in gathered.values()],
    answer=answer.choices[0].message.content,
    structured=[City.model_validate_json(structured.choices[0].message.content)],
)
