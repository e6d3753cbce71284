"""LlamaIndex's OpenAILike: chat, chat_with_tools, structured_predict, and an agent."""

from __future__ import annotations

import asyncio

from common import HELLO, KEY, MAX_TOKENS, MODEL, URL, WEATHER, City, get_weather, report
from llama_index.core.agent.workflow import FunctionAgent
from llama_index.core.llms import ChatMessage
from llama_index.core.prompts import PromptTemplate
from llama_index.core.tools import FunctionTool
from llama_index.llms.openai_like import OpenAILike

llm = OpenAILike(
    model=MODEL, api_base=URL, api_key=KEY, temperature=0, max_tokens=MAX_TOKENS, max_retries=0,
    context_window=2048, is_chat_model=True, is_function_calling_model=True,
)  # fmt: skip
by_schema = llm.model_copy(update={"should_use_structured_outputs": True})
weather = FunctionTool.from_defaults(get_weather)


async def agent() -> str:
    return str(await FunctionAgent(tools=[weather], llm=llm).run(WEATHER))


plain = llm.chat([ChatMessage(HELLO)])
streamed = [part.delta for part in llm.stream_chat([ChatMessage(HELLO)])]
call_answer = llm.chat_with_tools([weather], user_msg=WEATHER, tool_required=True, allow_parallel_tool_calls=True)
*_, last = llm.stream_chat_with_tools([weather], user_msg=WEATHER, tool_required=True, allow_parallel_tool_calls=True)

report(
    plain=plain.message.content,
    streamed=streamed,
    tokens=(plain.raw.usage.prompt_tokens, plain.raw.usage.completion_tokens),
    calls=[(call.tool_name, call.tool_kwargs) for call in llm.get_tool_calls_from_response(call_answer)],
    streamed_calls=[(call.tool_name, call.tool_kwargs) for call in llm.get_tool_calls_from_response(last)],
    answer=asyncio.run(agent()),
    structured=[way.structured_predict(City, PromptTemplate(HELLO)) for way in (llm, by_schema)],
)
