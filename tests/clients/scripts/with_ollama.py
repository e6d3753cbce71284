"""The ollama package: chats, streams, functions as tools, schemas as formats, the list of models."""

from __future__ import annotations

from common import HELLO, MODEL, URL, WEATHER, City, get_weather, report
from ollama import Client

client = Client(host=URL.removesuffix("/v1"))
assert [model.model for model in client.list().models] == [MODEL]
assert "tools" in client.show(MODEL).capabilities
options = {"temperature": 0, "num_ctx": 2048, "num_predict": 200}
hello = [{"role": "user", "content": HELLO}]
messages = [{"role": "user", "content": WEATHER}]


def calls_of(message):
    return [(call.function.name, dict(call.function.arguments)) for call in message.tool_calls or ()]


plain = client.chat(MODEL, hello, options=options)
chunks = list(client.chat(MODEL, hello, options=options, stream=True))
call_answer = client.chat(MODEL, messages, tools=[get_weather], options=options)
streamed = [
    call
    for part in client.chat(MODEL, messages, tools=[get_weather], options=options, stream=True)
    for call in calls_of(part.message)
]

messages.append(call_answer.message)
for name, arguments in calls_of(call_answer.message):
    messages.append({"role": "tool", "tool_name": name, "content": get_weather(**arguments)})
answer = client.chat(MODEL, messages, tools=[get_weather], options=options)
city = client.chat(MODEL, hello, format=City.model_json_schema(), options=options)

report(
    plain=plain.message.content,
    streamed=[part.message.content for part in chunks],
    tokens=(plain.prompt_eval_count, plain.eval_count),
    calls=calls_of(call_answer.message),
    streamed_calls=streamed,
    answer=answer.message.content,
    structured=[City.model_validate_json(city.message.content)],
)
