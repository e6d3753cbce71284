"""POST /v1/responses: OpenAI's Responses API, without stored state.

A request is translated to a chat completion. The answer consists of items; events of a stream carry their item's id and
index.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import AsyncGenerator, Iterator, Mapping
from contextlib import aclosing
from typing import Any

from edgefc.chat import openai
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
from edgefc.server.api.translate import ChatBuilder, TranslatedChat, shared_fields
from edgefc.server.service import RequestContext
from edgefc.tools.schemas import without_nulls
from edgefc.types import Delta

Item = dict[str, Any]
Event = dict[str, Any]
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
    "mcp_list_tools", "mcp_call", "mcp_approval_request", "mcp_approval_response", "tool_search_call",
    "tool_search_output", "compaction", "compaction_summary",
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
        self._chat = TranslatedChat(_to_chat(body), context)

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
        async with aclosing(self._chat.deltas()) as deltas:
            async for delta in deltas:
                for event in items.finish(delta) if isinstance(delta, Reply) else items.feed(delta):
                    yield event


class ItemEvents:
    """Turns a chat's deltas into events of output items, and collects the items in the response."""

    def __init__(self, response: dict[str, Any]) -> None:
        self._response = response
        self._sequence_number = 0
        self._item: Item | None = None  # the open item
        self._call_index = -1

    def feed(self, delta: Delta) -> Iterator[Event]:
        if "role" in delta:
            yield self._event("response.created", response=dict(self._response))
            yield self._event("response.in_progress", response=dict(self._response))
        if thoughts := delta.get("reasoning_content"):
            yield from self._add_text("reasoning", thoughts)
        if text := delta.get("content"):
            yield from self._add_text("message", text)
        for call in delta.get("tool_calls", ()):
            function = call.get("function", {})
            if call["index"] != self._call_index:
                self._call_index = call["index"]
                yield from self._open_item(_call_item(call.get("id", ""), function.get("name", "")))
            assert self._item is not None
            if arguments := function.get("arguments"):
                self._item["arguments"] += arguments
                yield self._item_event("response.function_call_arguments.delta", delta=arguments)

    def finish(self, reply: Reply) -> Iterator[Event]:
        """Close the open item and the response."""
        is_cut = reply.is_cut or reply.outcome == "length"
        yield from self._close_item("incomplete" if is_cut else "completed")
        response, usage = self._response, reply.usage
        response["output"] = _without_incomplete_call(response["output"], len(reply.tool_calls))
        response["status"] = "incomplete" if is_cut else "completed"
        response["completed_at"] = int(time.time())
        if is_cut:
            response["incomplete_details"] = {"reason": "max_output_tokens"}
        response["usage"] = {
            "input_tokens": usage["prompt_tokens"],
            "input_tokens_details": {"cached_tokens": usage["prompt_tokens_details"]["cached_tokens"]},
            "output_tokens": usage["completion_tokens"],
            "output_tokens_details": dict(usage["completion_tokens_details"]),
            "total_tokens": usage["total_tokens"],
        }
        response |= openai.extension(reply)
        yield self._event(f"response.{response['status']}", response=dict(response))

    def _add_text(self, kind: str, text: str) -> Iterator[Event]:
        if self._item is None or self._item["type"] != kind:
            yield from self._open_item(_text_item(kind))
            yield self._item_event("response.content_part.added", content_index=0, part=dict(self._content_part()))
        self._content_part()["text"] += text
        yield self._text_event(kind, "delta", delta=text)

    def _open_item(self, item: Item) -> Iterator[Event]:
        yield from self._close_item("completed")
        self._item = item
        empty = {**item, "content": []} if "content" in item else dict(item)
        yield self._event("response.output_item.added", output_index=len(self._response["output"]), item=empty)

    def _close_item(self, status: str) -> Iterator[Event]:
        if self._item is None:
            return
        item = self._item
        if item["type"] == "function_call":
            fields = {"arguments": item["arguments"], "name": item["name"]}
            yield self._item_event("response.function_call_arguments.done", **fields)
        else:
            yield self._text_event(item["type"], "done", text=self._content_part()["text"])
            yield self._item_event("response.content_part.done", content_index=0, part=dict(self._content_part()))
        item["status"] = status
        yield self._event("response.output_item.done", output_index=len(self._response["output"]), item=dict(item))
        self._response["output"] = [*self._response["output"], item]
        self._item = None

    def _content_part(self) -> dict[str, Any]:
        assert self._item is not None
        part: dict[str, Any] = self._item["content"][0]
        return part

    def _text_event(self, kind: str, step: str, **fields: Any) -> Event:
        if kind == "message":
            return self._item_event(f"response.output_text.{step}", content_index=0, **fields, logprobs=[])
        return self._item_event(f"response.reasoning_text.{step}", content_index=0, **fields)

    def _item_event(self, kind: str, **fields: Any) -> Event:
        """Build an event of the open item."""
        assert self._item is not None
        return self._event(kind, item_id=self._item["id"], output_index=len(self._response["output"]), **fields)

    def _event(self, kind: str, **fields: Any) -> Event:
        event = {"type": kind, "sequence_number": self._sequence_number, **fields}
        self._sequence_number += 1
        return event


def _without_incomplete_call(items: list[Item], n_calls: int) -> list[Item]:
    """Return the items of a response that has this many complete calls; a further one was cut off."""
    calls = [item for item in items if item["type"] == "function_call"]
    for item in calls[:n_calls]:
        item["status"] = "completed"
    return [item for item in items if item not in calls[n_calls:]]


def _new_id(prefix: str) -> str:
    return f"{prefix}_{secrets.token_hex(16)}"


def _text_item(kind: str) -> Item:
    if kind == "reasoning":
        part: dict[str, Any] = {"type": "reasoning_text", "text": ""}
        return {"id": _new_id("rs"), "type": "reasoning", "status": "in_progress", "summary": [], "content": [part]}
    part = {"type": "output_text", "text": "", "annotations": [], "logprobs": []}
    return {"id": _new_id("msg"), "type": "message", "status": "in_progress", "role": "assistant", "content": [part]}


def _call_item(call_id: str, name: str) -> Item:
    return {
        "id": _new_id("fc"), "type": "function_call", "status": "in_progress", "call_id": call_id, "name": name,
        "arguments": "",
    }  # fmt: skip


def _head(body: ResponseRequest, model: str) -> dict[str, Any]:
    """Build a response without output; it repeats the request's options."""
    return {
        "id": _new_id("resp"), "object": "response", "created_at": int(time.time()), "status": "in_progress",
        "error": None, "incomplete_details": None, "instructions": body.instructions,
        "max_output_tokens": body.max_output_tokens, "model": model, "output": [],
        "parallel_tool_calls": body.parallel_tool_calls is not False, "previous_response_id": None,
        "reasoning": body.reasoning or {"effort": None, "summary": None}, "store": False,
        "temperature": body.temperature, "text": body.text or {"format": {"type": "text"}},
        "tool_choice": body.tool_choice or "auto", "tools": body.tools or [], "top_p": body.top_p,
        "truncation": "disabled", "usage": None, "user": body.user, "metadata": body.metadata or {},
    }  # fmt: skip


def _to_chat(body: ResponseRequest) -> ChatBuilder:
    """Translate the request to a chat completion."""
    reject_unsupported(
        body, NEED_STATE, reason="not supported: the server stores no state", hint="Send the whole conversation."
    )
    reject_unsupported(body, UNSUPPORTED)
    builder = ChatBuilder(RENAMED)
    _add_messages(body, builder)
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


def _add_messages(body: ResponseRequest, builder: ChatBuilder) -> None:
    if body.instructions:
        message = {"role": "system", "content": body.instructions}
        builder.add_message(message, ("instructions",), content=("instructions",))
    if isinstance(body.input, str):
        builder.add_message({"role": "user", "content": body.input}, ("input",), content=("input",))
        return
    for number, item in enumerate(body.input):
        _add_item(item, ("input", number), builder)


def _add_item(item: Mapping[str, Any], path: FieldPath, builder: ChatBuilder) -> None:
    kind = item.get("type") or "message"
    if kind == "message":
        builder.add_message({"role": item.get("role"), "content": item.get("content")}, path)
    elif kind in SKIPPED_ITEMS:
        return
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
