"""instructor: models by tools and by JSON schema, whole, in parts and in parallel.

It reads no streamed calls but those that make up a model, and it runs no tools: text and the loop go through the client
that it wraps.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import instructor
from common import FUNCTION, HELLO, KEY, MAX_TOKENS, MODEL, URL, WEATHER, City, report
from common import get_weather as weather_of
from instructor import Mode
from openai import OpenAI
from pydantic import BaseModel, Field


class get_weather(BaseModel):  # noqa: N801 - a model's name is the function's
    """Get the current weather for a city"""

    location: str = Field(description="City name")


OPTIONS: Any = {"model": MODEL, "temperature": 0, "max_tokens": MAX_TOKENS}
by_tools, by_schema, in_parallel = (
    instructor.from_openai(OpenAI(base_url=URL, api_key=KEY, max_retries=0), mode=mode)
    for mode in (Mode.TOOLS, Mode.JSON_SCHEMA, Mode.PARALLEL_TOOLS)
)
hello: Any = [{"role": "user", "content": HELLO}]
messages: Any = [{"role": "user", "content": WEATHER}]
tools: Any = [{"type": "function", "function": FUNCTION}]

plain = by_tools.create(response_model=None, messages=hello, **OPTIONS)
chunks = by_tools.create(response_model=None, messages=hello, stream=True, **OPTIONS)
streamed = [chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices]

parallel = list(in_parallel.create(response_model=Iterable[get_weather], messages=messages, max_retries=0, **OPTIONS))

call_answer = by_tools.create(response_model=None, messages=messages, tools=tools, tool_choice="required", **OPTIONS)
calls = call_answer.choices[0].message.tool_calls
messages.append({"role": "assistant", "content": None, "tool_calls": [call.model_dump() for call in calls]})
for call in calls:
    result = weather_of(get_weather.model_validate_json(call.function.arguments).location)
    messages.append({"role": "tool", "tool_call_id": call.id, "content": result})
answer = by_tools.create(response_model=None, messages=messages, tools=tools, **OPTIONS)

structured = []
for client in (by_tools, by_schema):
    structured.append(client.create(response_model=City, messages=hello, max_retries=0, **OPTIONS))
    structured += list(client.create_partial(response_model=City, messages=hello, max_retries=0, **OPTIONS))[-1:]

report(
    plain=plain.choices[0].message.content,
    streamed=streamed,
    tokens=(plain.usage.prompt_tokens, plain.usage.completion_tokens),
    calls=[("get_weather", call.model_dump()) for call in parallel],
    streamed_calls=None,
    answer=answer.choices[0].message.content,
    structured=structured,
)
