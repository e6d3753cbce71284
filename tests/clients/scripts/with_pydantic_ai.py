"""pydantic-ai: agents with tools and with output types; over chat completions and over responses."""

from __future__ import annotations

from typing import Any

from common import ENDPOINT, HELLO, KEY, MAX_TOKENS, MODEL, URL, WEATHER, City, get_weather, report
from pydantic_ai import Agent, NativeOutput, ToolOutput
from pydantic_ai.messages import ModelMessage, ToolCallPart
from pydantic_ai.models.openai import OpenAIChatModel, OpenAIResponsesModel
from pydantic_ai.providers.openai import OpenAIProvider

kind = {"chat": OpenAIChatModel, "responses": OpenAIResponsesModel}[ENDPOINT]
model = kind(MODEL, provider=OpenAIProvider(base_url=URL, api_key=KEY))
SETTINGS: Any = {"temperature": 0, "max_tokens": MAX_TOKENS, "parallel_tool_calls": True}


def calls_in(messages: list[ModelMessage]) -> list[tuple[str, Any]]:
    parts = [part for message in messages for part in message.parts]
    return [(part.tool_name, part.args_as_dict()) for part in parts if isinstance(part, ToolCallPart)]


talker = Agent(model, model_settings=SETTINGS)
plain = talker.run_sync(HELLO)
stream = talker.run_stream_sync(HELLO)
streamed = list(stream.stream_text(delta=True, debounce_by=None))
assert stream.usage.total_tokens == plain.usage.total_tokens

agent = Agent(model, tools=[get_weather], model_settings=SETTINGS)
call_answer = agent.run_sync(WEATHER)
streaming = agent.run_stream_sync(WEATHER)
assert "".join(streaming.stream_text(delta=True)) == call_answer.output

report(
    plain=plain.output,
    streamed=streamed,
    tokens=(plain.usage.input_tokens, plain.usage.output_tokens),
    calls=calls_in(call_answer.all_messages()),
    streamed_calls=calls_in(streaming.all_messages()),
    answer=call_answer.output,
    structured=[
        Agent(model, output_type=form(City), model_settings=SETTINGS).run_sync(HELLO).output
        for form in (ToolOutput, NativeOutput)
    ],
)
