"""LangChain's ChatOpenAI: bind_tools, with_structured_output; over chat completions and over responses."""

from __future__ import annotations

from common import ENDPOINT, HELLO, KEY, MAX_TOKENS, MODEL, URL, WEATHER, City, get_weather, report
from langchain_core.messages import HumanMessage
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI

llm = ChatOpenAI(
    model=MODEL, base_url=URL, api_key=KEY, temperature=0, max_tokens=MAX_TOKENS, max_retries=0, stream_usage=True,
    use_responses_api=ENDPOINT == "responses",
)  # fmt: skip
weather = tool(get_weather)

plain = llm.invoke(HELLO)
chunks = list(llm.stream(HELLO))
(usage,) = [chunk.usage_metadata for chunk in chunks if chunk.usage_metadata]
assert usage["total_tokens"] == plain.usage_metadata["total_tokens"]

forced = llm.bind_tools([weather], tool_choice="any")
messages = [HumanMessage(WEATHER)]
call_answer = forced.invoke(messages)
first, *others = forced.stream(messages)
streamed = sum(others, start=first)

messages.append(call_answer)
messages += [weather.invoke(call) for call in call_answer.tool_calls]
answer = llm.bind_tools([weather]).invoke(messages)

report(
    plain=plain.text,
    streamed=[chunk.text for chunk in chunks],
    tokens=(plain.usage_metadata["input_tokens"], plain.usage_metadata["output_tokens"]),
    calls=[(call["name"], call["args"]) for call in call_answer.tool_calls],
    streamed_calls=[(call["name"], call["args"]) for call in streamed.tool_calls],
    answer=answer.text,
    structured=[
        llm.with_structured_output(City, method=method).invoke(HELLO) for method in ("json_schema", "function_calling")
    ],
)
