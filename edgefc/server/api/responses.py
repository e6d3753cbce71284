"""POST /v1/responses: OpenAI's Responses API, without stored state.

A request is translated to a chat completion, and to one more after calls of MCP tools that run here. The answer
consists of items; events of a stream carry their item's id and index.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any

from edgefc.chat.loop import MAX_ROUNDS
from edgefc.chat.reply import Reply
from edgefc.errors import FieldPath, RequestError
from edgefc.server.api.fields import (
    ExtensionFields,
    MessageList,
    Temperature,
    TokenLimit,
    ToolList,
    TopP,
    Unsupported,
    quote,
    reject_unsupported,
)
from edgefc.server.api.foreign_fields import MUST_BE_HONOURED, wishes_in
from edgefc.server.api.responses_items import Event, ItemEvents
from edgefc.server.api.responses_mcp import (
    Item,
    OfferedTools,
    approvals_in,
    choice_of_mcp,
    new_id,
    read_entries,
    result_in,
    run_approved,
)
from edgefc.server.api.translate import ChatBuilder, TranslatedChat, shared_fields
from edgefc.server.service import RequestContext
from edgefc.tools.schemas import without_nulls

NEED_STATE: Unsupported = {
    "previous_response_id": (None,), "conversation": (None,), "background": (None, False), "prompt": (None,),
}  # fmt: skip
UNSUPPORTED: Unsupported = {**MUST_BE_HONOURED, "max_tool_calls": (), "top_logprobs": (0,), "n": (1,)}
# Paths in a chat completion, and in a response request.
RENAMED: dict[FieldPath, FieldPath] = {
    ("messages",): ("input",),
    ("max_completion_tokens",): ("max_output_tokens",),
    ("max_tokens",): ("max_output_tokens",),
    ("response_format",): ("text", "format"),
    ("response_format", "json_schema"): ("text", "format"),
    ("reasoning_effort",): ("reasoning", "effort"),
}
# Items of past answers that a model cannot read, or need not.
SKIPPED_ITEMS = {
    "reasoning", "web_search_call", "file_search_call", "code_interpreter_call", "image_generation_call",
    "mcp_list_tools", "mcp_approval_request", "mcp_approval_response", "tool_search_call", "tool_search_output",
    "compaction", "compaction_summary",
}  # fmt: skip
# Fields in which calls have their arguments: functions, custom tools, shells, patches.
ARGUMENTS = ("arguments", "input", "action", "operation")


class ResponseRequest(ExtensionFields):
    """The body of a response. Unknown fields are ignored unless they would change the answer."""

    model: str | None = None
    input: str | MessageList
    instructions: str | None = None
    tools: ToolList | None = None
    tool_choice: bool | str | dict[str, Any] | None = None
    parallel_tool_calls: bool | None = None
    max_output_tokens: TokenLimit | None = None
    temperature: Temperature | None = None
    top_p: TopP | None = None
    text: dict[str, Any] | None = None
    reasoning: dict[str, Any] | None = None
    stream: bool | None = None
    metadata: dict[str, Any] | None = None
    user: str | None = None


class ResponseHandler:
    """Answers one response request. Raises RequestError or ApiError for an unsupported body."""

    def __init__(self, body: ResponseRequest, context: RequestContext) -> None:
        self._body, self._context = body, context
        context.record.warn(f"{name} has no effect" for name in _wishes(body))
        self._entries = read_entries(body.tools or [], context.mcp)
        items = [] if isinstance(body.input, str) else body.input
        self._approvals = approvals_in(items, context.mcp)
        # Without MCP, mistakes are found before anything else happens.
        self._chat = None if self._entries or self._approvals else TranslatedChat(_to_chat(body), context)

    async def response(self) -> dict[str, Any]:
        """Return the whole response."""
        last: Event = {}
        async with aclosing(self.events()) as events:
            async for event in events:
                last = event
        response: dict[str, Any] = last["response"]
        return response

    async def events(self) -> AsyncGenerator[Event, None]:
        """Yield the response as events; the last one contains the whole."""
        items = ItemEvents(_head(self._body, self._context.model_name))
        replies: list[Reply] = []
        chats = self._chats_with_mcp(items, replies) if self._chat is None else _only(self._chat)
        async with aclosing(chats):
            async for chat in chats:
                async with aclosing(chat.deltas()) as deltas:
                    async for delta in deltas:
                        if isinstance(delta, Reply):
                            replies.append(delta)
                        else:
                            for event in items.feed(delta):
                                yield event
                for event in items.end_round(replies[-1]):
                    yield event
                for item, tool in items.waiting_calls:
                    for event in items.end_call(item, await tool.run(item["arguments"])):
                        yield event
        for event in items.finish(replies):
            yield event

    async def _chats_with_mcp(self, items: ItemEvents, replies: list[Reply]) -> AsyncGenerator[TranslatedChat, None]:
        """Yield the chats of an answer, the next one when the calls of the one before have their results."""
        servers = self._context.mcp
        assert servers is not None
        offered = await asyncio.to_thread(OfferedTools, list(self._entries.values()), servers)
        items.offer(offered, without=[item.get("server_label") for item in self._items("mcp_list_tools")])
        approved = await run_approved(self._approvals, offered)
        items.add_first(approved)
        choice = choice_of_mcp(self._body.tool_choice, offered)
        body = self._body.model_copy(update={"tools": self._tools(offered), "tool_choice": choice})
        builder = _to_chat(body, McpHistory(offered, {item["approval_request_id"]: item for item in approved}))
        for number in range(MAX_ROUNDS):
            if number == MAX_ROUNDS - 1:
                builder.fields["tool_choice"] = "none"
            yield TranslatedChat(builder, self._context)
            reply = replies[-1]
            if reply.is_cut or not items.all_calls_ran:
                return
            builder.add_message(dict(reply.message), ("input",))
            for call, result in zip(reply.tool_calls, items.results, strict=True):
                builder.add_message({"role": "tool", "tool_call_id": call["id"], "content": result}, ("input",))
            builder.fields["tool_choice"] = "auto"

    def _items(self, kind: str) -> list[Mapping[str, Any]]:
        return [] if isinstance(self._body.input, str) else [i for i in self._body.input if i.get("type") == kind]

    def _tools(self, offered: OfferedTools) -> list[dict[str, Any]]:
        """Return the request's tools with those of MCP servers behind them."""
        own = [tool for number, tool in enumerate(self._body.tools or []) if number not in self._entries]
        return [*own, *offered.schemas]


@dataclass(frozen=True, slots=True)
class McpHistory:
    """Knows what earlier responses said of MCP tools: those offered now, and the calls that questions have led to."""

    offered: OfferedTools | None = None
    answered: Mapping[str, Item] = field(default_factory=dict)

    def known(self, item: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return an item as the model knows it: with the call that a question has led to, and the tool's name here."""
        if item.get("type") == "mcp_approval_request":
            item = self.answered.get(str(item.get("id")), item)
        tool = self.offered.find(item.get("server_label"), item.get("name")) if self.offered else None
        return {**item, "name": tool.name} if tool is not None else item


async def _only(chat: TranslatedChat) -> AsyncGenerator[TranslatedChat, None]:
    yield chat


def _head(body: ResponseRequest, model: str) -> dict[str, Any]:
    """Build a response without output; it repeats the request's options."""
    return {
        "id": new_id("resp"), "object": "response", "created_at": int(time.time()), "status": "in_progress",
        "error": None, "incomplete_details": None, "instructions": body.instructions,
        "max_output_tokens": body.max_output_tokens, "model": model, "output": [],
        "parallel_tool_calls": body.parallel_tool_calls is not False, "previous_response_id": None,
        "reasoning": body.reasoning or {"effort": None, "summary": None}, "store": False,
        "temperature": body.temperature, "text": body.text or {"format": {"type": "text"}},
        "tool_choice": body.tool_choice or "auto", "tools": body.tools or [], "top_p": body.top_p,
        "truncation": "disabled", "usage": None, "user": body.user, "metadata": body.metadata or {},
    }  # fmt: skip


def _to_chat(body: ResponseRequest, history: McpHistory | None = None) -> ChatBuilder:
    """Translate the request to a chat completion."""
    reject_unsupported(
        body, NEED_STATE, reason="not supported: the server stores no state", hint="Send the whole conversation."
    )
    reject_unsupported(body, UNSUPPORTED)
    builder = ChatBuilder(RENAMED)
    _add_messages(body, builder, history or McpHistory())
    fields = builder.fields
    if body.tools is not None:
        for number in range(len(body.tools)):  # a function's fields stand beside its type
            builder.add_source(("tools", number, "function"), ("tools", number))
        fields["tools"] = body.tools
    if body.tool_choice is not None:
        fields["tool_choice"] = body.tool_choice
    if text_format := (body.text or {}).get("format"):
        fields["response_format"] = _to_response_format(text_format)
    if (body.reasoning or {}).get("effort") == "none":
        fields["reasoning_effort"] = "none"
    own = {
        "parallel_tool_calls": body.parallel_tool_calls, "max_completion_tokens": body.max_output_tokens,
        "temperature": body.temperature, "top_p": body.top_p, **body.extensions(),
    }  # fmt: skip
    builder.fields |= {**shared_fields(body.model_extra), **fields, **without_nulls(own)}
    return builder


def _add_messages(body: ResponseRequest, builder: ChatBuilder, history: McpHistory) -> None:
    if body.instructions:
        message = {"role": "system", "content": body.instructions}
        builder.add_message(message, ("instructions",), content=("instructions",))
    if isinstance(body.input, str):
        builder.add_message({"role": "user", "content": body.input}, ("input",), content=("input",))
        return
    for number, item in enumerate(body.input):
        _add_item(history.known(item), ("input", number), builder)


def _add_item(item: Mapping[str, Any], path: FieldPath, builder: ChatBuilder) -> None:
    kind = item.get("type") or "message"
    if kind == "message":
        builder.add_message({"role": item.get("role"), "content": item.get("content")}, path)
    elif isinstance(kind, str) and kind in SKIPPED_ITEMS:
        return
    elif kind == "mcp_call":
        if builder.last_role != "assistant":
            builder.add_message({"role": "assistant", "content": None}, path)
        builder.add_call(item.get("id"), {"name": item.get("name"), "arguments": item.get("arguments")}, path)
        builder.add_message({"role": "tool", "tool_call_id": item.get("id"), "content": result_in(item)}, path)
    elif isinstance(kind, str) and kind.endswith("_call"):
        if builder.last_role != "assistant":  # one assistant turn may consist of several items
            builder.add_message({"role": "assistant", "content": None}, path)
        arguments = next((item[key] for key in ARGUMENTS if item.get(key) is not None), None)
        name = item.get("name") or ("" if kind == "function_call" else kind.removesuffix("_call"))
        function = {"name": name, "arguments": arguments}
        builder.add_call(item.get("call_id"), function, path, id_source=(*path, "call_id"))
    elif isinstance(kind, str) and kind.endswith("_call_output"):
        output_path, id_path = (*path, "output"), (*path, "call_id")
        message = {"role": "tool", "tool_call_id": item.get("call_id"), "content": item.get("output")}
        builder.add_message(message, path, tool_call_id=id_path, content=output_path)
    else:
        hint = "Use message, function_call, function_call_output or reasoning items."
        raise RequestError((*path, "type"), f"unsupported item type {quote(kind)}", hint)


def _wishes(body: ResponseRequest) -> list[str]:
    """Return the names of the fields that have no effect."""
    names = wishes_in(body.model_extra or {})
    if any(value not in (None, "none", "auto") for value in (body.reasoning or {}).values()):
        names.append("reasoning")
    if (body.text or {}).get("verbosity") not in (None, "medium"):
        names.append("text.verbosity")
    return names


def _to_response_format(text_format: Any) -> dict[str, Any]:
    if not isinstance(text_format, Mapping):
        raise RequestError(("text", "format"), "must be an object with a type")
    if text_format.get("type") != "json_schema":
        return dict(text_format)
    return {"type": "json_schema", "json_schema": {key: value for key, value in text_format.items() if key != "type"}}
