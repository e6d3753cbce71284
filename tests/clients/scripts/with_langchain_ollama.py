"""LangChain's ChatOllama: bind_tools, with_structured_output by schema and by call."""

from __future__ import annotations

from common import HELLO, MAX_TOKENS, MODEL, URL, WEATHER, City, get_weather, report
from langchain_core.messages import HumanMessage
from langchain_core.tools import tool
from langchain_ollama import ChatOllama

llm = ChatOllama(
    model=MODEL, base_url=URL.removesuffix("/v1"), temperature=0, num_predict=MAX_TOKENS, num_ctx=2048,
    validate_model_on_init=True,
)  # fmt: skip
weather = tool(get_weather)

plain = llm.invoke(HELLO)
chunks = list(llm.stream(HELLO))
with_tools = llm.bind_tools([weather])
messages = [HumanMessage(WEATHER)]
call_answer = with_tools.invoke(messages)
first, *others = with_tools.stream(messages)
streamed = sum(others, start=first)

messages.append(call_answer)
messages += [weather.invoke(call) for call in call_answer.tool_calls]
answer = with_tools.invoke(messages)

report(
    plain=plain.text,
    streamed=[chunk.text for chunk in chunks],
    tokens=(plain.usage_metadata["input_tokens"], plain.usage_metadata["output_tokens"]),
    calls=[(call["name"], call["args"]) for call in call_answer.tool_calls],
    streamed_calls=[(call["name"], call["args"]) for call in streamed.tool_calls],
    answer=answer.text,
    structured=[llm.with_structured_output(City, method="json_schema").invoke(HELLO)],
)
