"""openai-python 1.0.0, which knows functions alone, one at a time."""

from __future__ import annotations

import json
from typing import Any

from common import FUNCTION, HELLO, KEY, MAX_TOKENS, MODEL, URL, WEATHER, City, get_weather, report
from openai import OpenAI

completions = OpenAI(base_url=URL, api_key=KEY, max_retries=0).chat.completions
OPTIONS: Any = {"model": MODEL, "temperature": 0, "max_tokens": MAX_TOKENS}
hello: Any = [{"role": "user", "content": HELLO}]
messages: Any = [{"role": "user", "content": WEATHER}]

plain = completions.create(messages=hello, **OPTIONS)
assert plain.choices[0].finish_reason == "stop"
streamed = [
    chunk.choices[0].delta.content or "" for chunk in completions.create(messages=hello, stream=True, **OPTIONS)
]

forced: Any = {"functions": [FUNCTION], "function_call": {"name": "get_weather"}}
call_answer = completions.create(messages=messages, **forced, **OPTIONS)
assert call_answer.choices[0].finish_reason == "function_call"
call = call_answer.choices[0].message.function_call
name = arguments = ""
for chunk in completions.create(messages=messages, stream=True, **forced, **OPTIONS):
    if part := chunk.choices[0].delta.function_call:
        name += part.name or ""
        arguments += part.arguments or ""

messages.append(call_answer.choices[0].message.model_dump(exclude_none=True))
messages.append({"role": "function", "name": call.name, "content": get_weather(**json.loads(call.arguments))})
answer = completions.create(messages=messages, functions=[FUNCTION], function_call="none", **OPTIONS)
assert answer.choices[0].finish_reason == "stop"

# It has no `response_format`, so the schema goes into the extra body.
form = {"type": "json_schema", "json_schema": {"name": "city", "schema": City.model_json_schema()}}
structured = completions.create(messages=hello, extra_body={"response_format": form}, **OPTIONS)

report(
    plain=plain.choices[0].message.content,
    streamed=streamed,
    tokens=(plain.usage.prompt_tokens, plain.usage.completion_tokens),
    calls=[(call.name, json.loads(call.arguments))],
    streamed_calls=[(name, json.loads(arguments))],
    answer=answer.choices[0].message.content,
    structured=[City.model_validate_json(structured.choices[0].message.content)],
)
