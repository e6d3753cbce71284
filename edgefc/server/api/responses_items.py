"""The items and events of `/v1/responses`: what a client reads while chats answer one request."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from edgefc.chat import openai
from edgefc.chat.reply import Reply
from edgefc.server.api.responses_mcp import Item, OfferedTool, OfferedTools, call_item, new_id, set_result
from edgefc.types import Delta

Event = dict[str, Any]
# Items that have arguments → the beginning of the names of their events.
_ARGUMENT_EVENTS = {"function_call": "response.function_call_arguments", "mcp_call": "response.mcp_call_arguments"}


class ItemEvents:
    """Turns chats' deltas into events of output items, and collects the items in the response.

    waiting_calls  calls of MCP tools in the last chat that have no result yet, each with its tool
    results        of the MCP calls of the last chat
    """

    def __init__(self, response: dict[str, Any]) -> None:
        self._response = response
        self._sequence_number = 0
        self._item: Item | None = None  # the open item
        self._call_index = -1
        self._first: list[Item] = []  # items that precede the model's
        self._has_begun = False
        self._tools: Mapping[str, OfferedTool] = {}
        self._calls: list[tuple[Item, OfferedTool | None]] = []  # of the last chat
        self.waiting_calls: list[tuple[Item, OfferedTool]] = []
        self.results: list[str] = []

    def offer(self, offered: OfferedTools, *, without: Sequence[Any]) -> None:
        """Offer MCP tools, and tell the listings of all servers but those `without`."""
        self._tools = offered.by_name
        self._first += [item for item in offered.listings if item["server_label"] not in without]

    def add_first(self, items: Sequence[Item]) -> None:
        """Tell items before the model's."""
        self._first += items

    @property
    def all_calls_ran(self) -> bool:
        """True if the last chat called tools, and all of them ran here."""
        return bool(self._calls) and len(self.results) == len(self._calls)

    def feed(self, delta: Delta) -> Iterator[Event]:
        if "role" in delta:
            self._call_index, self._calls, self.results = -1, [], []
            yield from self._begin()
        if thoughts := delta.get("reasoning_content"):
            yield from self._add_text("reasoning", thoughts)
        if text := delta.get("content"):
            yield from self._add_text("message", text)
        for call in delta.get("tool_calls", ()):
            function = call.get("function", {})
            if call["index"] != self._call_index:
                self._call_index = call["index"]
                yield from self._open_call(call.get("id", ""), function.get("name", ""))
            assert self._item is not None
            if arguments := function.get("arguments"):
                self._item["arguments"] += arguments
                if (prefix := _ARGUMENT_EVENTS.get(self._item["type"])) is not None:
                    yield self._item_event(f"{prefix}.delta", delta=arguments)

    def end_round(self, reply: Reply) -> Iterator[Event]:
        """Close the open item; calls that were cut are dropped."""
        is_cut = reply.is_cut or reply.outcome == "length"
        yield from self._close_item("incomplete" if is_cut else "completed")
        complete, cut = self._calls[: len(reply.tool_calls)], [item for item, _ in self._calls[len(reply.tool_calls) :]]
        self._response["output"] = [item for item in self._response["output"] if not any(item is one for one in cut)]
        self._calls = complete
        for item, tool in complete:
            if tool is None:
                item["status"] = "completed"
        self.waiting_calls = [(item, tool) for item, tool in complete if tool is not None and not tool.needs_approval]

    def end_call(self, item: Item, result: str) -> Iterator[Event]:
        """Complete a call of an MCP tool."""
        set_result(item, result)
        self.results.append(result)
        index = self._response["output"].index(item)
        yield self._event(f"response.mcp_call.{item['status']}", item_id=item["id"], output_index=index)
        yield self._event("response.output_item.done", output_index=index, item=dict(item))

    def finish(self, replies: Sequence[Reply]) -> Iterator[Event]:
        """Close the response, which took these chats."""
        reply, response = replies[-1], self._response
        is_cut = reply.is_cut or reply.outcome == "length"
        response["status"] = "incomplete" if is_cut else "completed"
        response["completed_at"] = int(time.time())
        if is_cut:
            response["incomplete_details"] = {"reason": "max_output_tokens"}
        response["usage"] = _usage(replies)
        response |= openai.extension(reply)
        yield self._event(f"response.{response['status']}", response=dict(response))

    def _begin(self) -> Iterator[Event]:
        """Begin the response, before the first chat's first item."""
        if self._has_begun:
            return
        self._has_begun = True
        yield self._event("response.created", response=dict(self._response))
        yield self._event("response.in_progress", response=dict(self._response))
        for item in self._first:
            index = len(self._response["output"])
            self._response["output"] = [*self._response["output"], item]
            status = "failed" if item.get("error") else "completed"
            yield self._event("response.output_item.added", output_index=index, item=dict(item))
            yield self._event(f"response.{item['type']}.in_progress", item_id=item["id"], output_index=index)
            yield self._event(f"response.{item['type']}.{status}", item_id=item["id"], output_index=index)
            yield self._event("response.output_item.done", output_index=index, item=dict(item))

    def _add_text(self, kind: str, text: str) -> Iterator[Event]:
        if self._item is None or self._item["type"] != kind:
            yield from self._open_item(_text_item(kind))
            yield self._item_event("response.content_part.added", content_index=0, part=dict(self._content_part()))
        self._content_part()["text"] += text
        yield self._text_event(kind, "delta", delta=text)

    def _open_call(self, call_id: str, name: str) -> Iterator[Event]:
        tool = self._tools.get(name)
        item = _call_item(call_id, name) if tool is None else call_item(tool)
        yield from self._open_item(item)
        self._calls.append((item, tool))
        if item["type"] == "mcp_call":
            yield self._item_event("response.mcp_call.in_progress")

    def _open_item(self, item: Item) -> Iterator[Event]:
        yield from self._close_item("completed")
        self._item = item
        empty = {**item, "content": []} if "content" in item else dict(item)
        yield self._event("response.output_item.added", output_index=len(self._response["output"]), item=empty)

    def _close_item(self, status: str) -> Iterator[Event]:
        if self._item is None:
            return
        item, index = self._item, len(self._response["output"])
        if (prefix := _ARGUMENT_EVENTS.get(item["type"])) is not None:
            yield self._item_event(f"{prefix}.done", arguments=item["arguments"], name=item["name"])
        elif "content" in item:
            yield self._text_event(item["type"], "done", text=self._content_part()["text"])
            yield self._item_event("response.content_part.done", content_index=0, part=dict(self._content_part()))
        if "status" in item and item["type"] != "mcp_call":
            item["status"] = status
        if item["type"] != "mcp_call":  # it is done when it has run
            yield self._event("response.output_item.done", output_index=index, item=dict(item))
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


def _usage(replies: Sequence[Reply]) -> dict[str, Any]:
    """Return the tokens of all chats of a response."""
    counts: Counter[str] = Counter()
    details: Counter[str] = Counter()
    for usage in (reply.usage for reply in replies):
        details.update(usage["completion_tokens_details"])
        counts["cached"] += usage["prompt_tokens_details"]["cached_tokens"]
        for name in ("prompt_tokens", "completion_tokens", "total_tokens"):
            counts[name] += usage[name]
    return {
        "input_tokens": counts["prompt_tokens"],
        "input_tokens_details": {"cached_tokens": counts["cached"]},
        "output_tokens": counts["completion_tokens"],
        "output_tokens_details": dict(details),
        "total_tokens": counts["total_tokens"],
    }


def _text_item(kind: str) -> Item:
    if kind == "reasoning":
        part: dict[str, Any] = {"type": "reasoning_text", "text": ""}
        return {"id": new_id("rs"), "type": "reasoning", "status": "in_progress", "summary": [], "content": [part]}
    part = {"type": "output_text", "text": "", "annotations": [], "logprobs": []}
    return {"id": new_id("msg"), "type": "message", "status": "in_progress", "role": "assistant", "content": [part]}


def _call_item(call_id: str, name: str) -> Item:
    return {
        "id": new_id("fc"), "type": "function_call", "status": "in_progress", "call_id": call_id, "name": name,
        "arguments": "",
    }  # fmt: skip
