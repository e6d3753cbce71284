"""POST /v1/responses: OpenAI's other way to ask the same, without anything kept between requests.

What comes in is made into a chat completion; what the model says is told in items, and while it is said in events that
carry their item's id and place.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import AsyncGenerator, Iterator, Mapping
from contextlib import aclosing
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from edgefc.chat.reply import Reply
from edgefc.errors import RequestError
from edgefc.server.api.chat import MOST_MESSAGES, MOST_TOOLS
from edgefc.server.api.fields import Refused, refuse
from edgefc.server.api.translate import Conversation, Places, TranslatedCall
from edgefc.server.service import Served
from edgefc.types import Delta

Event = dict[str, Any]
REFUSED: Refused = {
    "previous_response_id": (None,), "conversation": (None,), "background": (None, False), "prompt": (None,),
    "truncation": (None, "disabled"), "max_tool_calls": (None,), "top_logprobs": (None, 0),
}  # fmt: skip
# What chat completions call otherwise.
_PLACES = {
    "messages": "input", "max_completion_tokens": "max_output_tokens", "max_tokens": "max_output_tokens",
    "response_format": "text.format", "response_format.json_schema": "text.format",
    "reasoning_effort": "reasoning.effort",
}  # fmt: skip
_TEXTS = ("input_text", "output_text", "text", "summary_text", "reasoning_text")


class ResponseRequest(BaseModel):
    """The body of a response; fields that are not named here are ignored, as far as they change no answer."""

    model_config = ConfigDict(strict=True, extra="allow")

    model: str | None = None
    input: str | Annotated[list[dict[str, Any]], Field(min_length=1, max_length=MOST_MESSAGES)]
    instructions: str | None = None
    tools: Annotated[list[dict[str, Any]], Field(max_length=MOST_TOOLS)] | None = None
    tool_choice: str | dict[str, Any] | None = None
    parallel_tool_calls: bool | None = None
    max_output_tokens: Annotated[int, Field(ge=1)] | None = None
    temperature: Annotated[float, Field(ge=0, le=100)] | None = None
    top_p: Annotated[float, Field(ge=0, le=1)] | None = None
    text: dict[str, Any] | None = None
    reasoning: dict[str, Any] | None = None
    stream: bool | None = None
    metadata: dict[str, Any] | None = None
    user: str | None = None


class ResponseCall:
    """A request's body, understood. Raises RequestError, or ApiError, for what cannot be had."""

    def __init__(self, body: ResponseRequest, served: Served) -> None:
        refuse(body, REFUSED, ": nothing is kept between requests")
        self._body, self._served = body, served
        self._chat = _translated(body, served)

    async def completion(self) -> dict[str, Any]:
        """The whole response."""
        last: Event = {}
        async with aclosing(self.chunks()) as chunks:
            async for event in chunks:
                last = event
        response: dict[str, Any] = last["response"]
        return response

    async def chunks(self) -> AsyncGenerator[Event, None]:
        """The response as it grows."""
        builder = _Builder(_head(self._body, self._served.name))
        async with aclosing(self._chat.pieces()) as pieces:
            async for piece in pieces:
                for event in builder.finish(piece) if isinstance(piece, Reply) else builder.feed(piece):
                    yield event


class _Builder:
    """Makes items and events of a chat's deltas."""

    def __init__(self, response: dict[str, Any]) -> None:
        self._response = response
        self._number = 0
        self._item: dict[str, Any] | None = None  # what is being said
        self._call = -1

    def feed(self, delta: Delta) -> Iterator[Event]:
        if "role" in delta:
            yield self._event("response.created", response=dict(self._response))
            yield self._event("response.in_progress", response=dict(self._response))
        for kind, name in (("reasoning", "reasoning_content"), ("message", "content")):
            if text := delta.get(name):
                if self._item is None or self._item["type"] != kind:
                    yield from self._begin(_text_item(kind))
                    yield self._told("response.content_part.added", content_index=0, part=dict(self._part()))
                self._part()["text"] += text
                yield self._said(kind, "delta", delta=text)
        for call in delta.get("tool_calls", ()):
            function = call.get("function", {})
            if call["index"] != self._call:
                self._call = call["index"]
                yield from self._begin(
                    {"id": _id("fc"), "type": "function_call", "status": "in_progress", "call_id": call.get("id", ""),
                     "name": function.get("name", ""), "arguments": ""}
                )  # fmt: skip
            assert self._item is not None
            if text := function.get("arguments"):
                self._item["arguments"] += text
                yield self._told("response.function_call_arguments.delta", delta=text)

    def finish(self, reply: Reply) -> Iterator[Event]:
        yield from self._end("incomplete" if reply.outcome == "length" else "completed")
        response = self._response
        usage = reply.usage
        response["status"] = "completed"
        response["completed_at"] = int(time.time())
        if reply.outcome == "length":
            response["status"], response["incomplete_details"] = "incomplete", {"reason": "max_output_tokens"}
        response["usage"] = {
            "input_tokens": usage["prompt_tokens"],
            "input_tokens_details": {"cached_tokens": usage["prompt_tokens_details"]["cached_tokens"]},
            "output_tokens": usage["completion_tokens"],
            "output_tokens_details": dict(usage["completion_tokens_details"]),
            "total_tokens": usage["total_tokens"],
        }
        yield self._event(f"response.{response['status']}", response=dict(response))

    def _begin(self, item: dict[str, Any]) -> Iterator[Event]:
        yield from self._end("completed")
        self._item = item
        shown = {**item, "content": []} if "content" in item else dict(item)
        yield self._event("response.output_item.added", output_index=len(self._response["output"]), item=shown)

    def _end(self, status: str) -> Iterator[Event]:
        """Close the item that is being said."""
        if self._item is None:
            return
        item = self._item
        if item["type"] == "function_call":
            done = {"arguments": item["arguments"], "name": item["name"]}
            yield self._told("response.function_call_arguments.done", **done)
        else:
            yield self._said(item["type"], "done", text=self._part()["text"])
            yield self._told("response.content_part.done", content_index=0, part=dict(self._part()))
        item["status"] = status
        yield self._event("response.output_item.done", output_index=len(self._response["output"]), item=dict(item))
        self._response["output"] = [*self._response["output"], item]
        self._item = None

    def _said(self, kind: str, what: str, **more: Any) -> Event:
        name = "output_text" if kind == "message" else "reasoning_text"
        if kind == "message":
            more["logprobs"] = []
        return self._told(f"response.{name}.{what}", content_index=0, **more)

    def _part(self) -> dict[str, Any]:
        assert self._item is not None
        part: dict[str, Any] = self._item["content"][0]
        return part

    def _told(self, kind: str, **more: Any) -> Event:
        """An event about the item that is being said."""
        assert self._item is not None
        return self._event(kind, item_id=self._item["id"], output_index=len(self._response["output"]), **more)

    def _event(self, kind: str, **more: Any) -> Event:
        event = {"type": kind, "sequence_number": self._number, **more}
        self._number += 1
        return event


def _id(kind: str) -> str:
    return f"{kind}_{secrets.token_hex(16)}"


def _text_item(kind: str) -> dict[str, Any]:
    if kind == "reasoning":
        part: dict[str, Any] = {"type": "reasoning_text", "text": ""}
        return {"id": _id("rs"), "type": "reasoning", "status": "in_progress", "summary": [], "content": [part]}
    part = {"type": "output_text", "text": "", "annotations": [], "logprobs": []}
    return {"id": _id("msg"), "type": "message", "status": "in_progress", "role": "assistant", "content": [part]}


def _head(body: ResponseRequest, model: str) -> dict[str, Any]:
    """A response before anything is said: what was asked is told again."""
    return {
        "id": _id("resp"), "object": "response", "created_at": int(time.time()), "status": "in_progress",
        "error": None, "incomplete_details": None, "instructions": body.instructions,
        "max_output_tokens": body.max_output_tokens, "model": model, "output": [],
        "parallel_tool_calls": body.parallel_tool_calls is not False, "previous_response_id": None,
        "reasoning": body.reasoning or {"effort": None, "summary": None}, "store": False,
        "temperature": body.temperature, "text": body.text or {"format": {"type": "text"}},
        "tool_choice": body.tool_choice or "auto", "tools": body.tools or [], "top_p": body.top_p,
        "truncation": "disabled", "usage": None, "user": body.user, "metadata": body.metadata or {},
    }  # fmt: skip


def _translated(body: ResponseRequest, served: Served) -> TranslatedCall:
    """The chat completion that asks the same."""
    places = Places(_PLACES)
    asked: dict[str, Any] = {"messages": _messages(body, places)}
    if body.tools is not None:
        asked["tools"] = [_tool(number, tool, places) for number, tool in enumerate(body.tools)]
    if body.tool_choice is not None:
        asked["tool_choice"] = _choice(body.tool_choice)
    if wanted := (body.text or {}).get("format"):
        asked["response_format"] = _format(wanted)
    if isinstance(effort := (body.reasoning or {}).get("effort"), str):
        asked["reasoning_effort"] = effort
    asked |= {
        "parallel_tool_calls": body.parallel_tool_calls, "max_completion_tokens": body.max_output_tokens,
        "temperature": body.temperature, "top_p": body.top_p,
    }  # fmt: skip
    return TranslatedCall(asked, places, served)


def _messages(body: ResponseRequest, places: Places) -> list[dict[str, Any]]:
    chat = Conversation(places)
    if body.instructions:
        chat.say({"role": "system", "content": body.instructions}, "instructions", content="instructions")
    if isinstance(body.input, str):
        chat.say({"role": "user", "content": body.input}, "input", content="input")
        return chat.messages
    for number, item in enumerate(body.input):
        kind = item.get("type", "message")
        place = f"input[{number}]"
        if kind == "reasoning":
            continue
        if kind == "message":
            chat.say({"role": item.get("role"), "content": _text(f"{place}.content", item.get("content"))}, place)
        elif kind == "function_call":
            if chat.speaker != "assistant":  # its turn may be several items
                chat.say({"role": "assistant", "content": None}, place)
            call = {"name": item.get("name"), "arguments": item.get("arguments")}
            chat.call(item.get("call_id"), call, place, id=f"{place}.call_id")
        elif kind == "function_call_output":
            output = _text(f"{place}.output", item.get("output"))
            result = {"role": "tool", "tool_call_id": item.get("call_id"), "content": output}
            chat.say(result, place, tool_call_id=f"{place}.call_id", content=f"{place}.output")
        else:
            raise RequestError(
                f"{place}.type", f"{kind!r} cannot be had here", "Items are messages, calls and results."
            )
    return chat.messages


def _text(place: str, content: Any) -> str:
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        raise RequestError(place, f"must be a text or a list of texts, not {content!r}"[:200])
    texts: list[str] = []
    for number, part in enumerate(content):
        if not isinstance(part, Mapping) or part.get("type") not in _TEXTS or not isinstance(part.get("text"), str):
            kind = part.get("type") if isinstance(part, Mapping) else part
            raise RequestError(f"{place}[{number}]", f"only text can be read here, not {kind!r}"[:200])
        texts.append(part["text"])
    return "".join(texts)


def _tool(number: int, tool: Mapping[str, Any], places: Places) -> dict[str, Any]:
    place = f"tools[{number}]"
    if tool.get("type") != "function":
        raise RequestError(f"{place}.type", f"{tool.get('type')!r} cannot be had here", "Only functions can.")
    places.add(f"{place}.function", place)
    return {"type": "function", "function": {key: value for key, value in tool.items() if key != "type"}}


def _choice(choice: str | Mapping[str, Any]) -> str | dict[str, Any]:
    if isinstance(choice, str):
        return choice
    if choice.get("type") == "function":
        return {"type": "function", "function": {"name": choice.get("name")}}
    if choice.get("type") == "allowed_tools" and isinstance(tools := choice.get("tools"), list):
        named = [
            {"type": "function", "function": {"name": tool.get("name")}} for tool in tools if isinstance(tool, Mapping)
        ]
        return {"type": "allowed_tools", "allowed_tools": {"mode": choice.get("mode", "auto"), "tools": named}}
    raise RequestError(
        "tool_choice", f"{choice.get('type')!r} cannot be had here", "Name a function, or allowed_tools."
    )


def _format(wanted: Mapping[str, Any]) -> dict[str, Any]:
    if wanted.get("type") != "json_schema":
        return dict(wanted)
    return {"type": "json_schema", "json_schema": {key: value for key, value in wanted.items() if key != "type"}}
