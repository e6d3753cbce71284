"""POST /v1/messages: the same asked as Anthropic's API asks, and told in its blocks, without anything kept.

What comes in is made into a chat completion. `cache_control` means nothing here: what prompts have in common is always
kept.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import AsyncGenerator, Iterator, Mapping
from contextlib import aclosing
from typing import Annotated, Any, Literal

from fastapi.concurrency import run_in_threadpool
from pydantic import BaseModel, ConfigDict, Field

from edgefc.chat.reply import Reply
from edgefc.errors import RequestError
from edgefc.server.api.chat import MOST_MESSAGES, MOST_TOOLS
from edgefc.server.api.fields import MOST_STOPS, Refused, Text, refuse
from edgefc.server.api.translate import Conversation, Places, TranslatedCall
from edgefc.server.errors import ApiError
from edgefc.server.service import Served
from edgefc.types import Delta

Block = dict[str, Any]
Event = dict[str, Any]
REFUSED: Refused = {
    "thinking": (None, {"type": "disabled"}), "container": (None,), "mcp_servers": (None, []), "output_format": (None,),
}  # fmt: skip
_OF_TOOLS: Refused = {
    "defer_loading": (None, False), "allowed_callers": (None, ["direct"]), "input_examples": (None, []),
}  # fmt: skip
# What chat completions call otherwise.
_PLACES = {
    "stop": "stop_sequences", "max_completion_tokens": "max_tokens", "response_format": "output_config.format",
    "response_format.json_schema": "output_config.format",
}  # fmt: skip
_CHOICES = {"auto": "auto", "any": "required", "none": "none"}


class MessageToolChoice(BaseModel):
    """What the model may do with tools."""

    model_config = ConfigDict(strict=True, extra="allow")

    type: Literal["auto", "any", "tool", "none"]
    name: str | None = None
    disable_parallel_tool_use: bool | None = None


class OutputConfig(BaseModel):
    """What text must be."""

    model_config = ConfigDict(strict=True, extra="allow")

    format: dict[str, Any] | None = None


class TokenCountRequest(BaseModel):
    """What a prompt is made of; fields that are not named here are ignored, as far as they change no answer."""

    model_config = ConfigDict(strict=True, extra="allow")

    model: str | None = None
    messages: Annotated[list[dict[str, Any]], Field(min_length=1, max_length=MOST_MESSAGES)]
    system: str | list[dict[str, Any]] | None = None
    tools: Annotated[list[dict[str, Any]], Field(max_length=MOST_TOOLS)] | None = None
    tool_choice: MessageToolChoice | None = None
    output_config: OutputConfig | None = None


class MessageRequest(TokenCountRequest):
    """The body of a message."""

    max_tokens: Annotated[int, Field(ge=1)]
    stop_sequences: Annotated[list[Text], Field(max_length=MOST_STOPS)] | None = None
    temperature: Annotated[float, Field(ge=0, le=100)] | None = None
    top_p: Annotated[float, Field(ge=0, le=1)] | None = None
    top_k: Annotated[int, Field(ge=0, le=1 << 31)] | None = None
    stream: bool | None = None


class MessageCall:
    """A request's body, understood. Raises RequestError, or ApiError, for what cannot be had."""

    def __init__(self, body: MessageRequest, served: Served) -> None:
        self._body, self._name = body, served.name
        if body.messages[-1].get("role") == "assistant":
            last = f"messages[{len(body.messages) - 1}]"
            raise RequestError(last, "an answer cannot be begun for the model", "End with a user's turn.")
        options = {
            "max_completion_tokens": body.max_tokens, "stop": body.stop_sequences, "temperature": body.temperature,
            "top_p": body.top_p, "top_k": body.top_k,
        }  # fmt: skip
        self._chat = _translated(body, served, options)

    async def completion(self) -> dict[str, Any]:
        """The whole message."""
        (reply,) = [piece async for piece in self._chat.pieces(whole=True) if isinstance(piece, Reply)]
        return {**self._head(), "content": _blocks(reply), **self._end(reply), "usage": _usage(reply)}

    async def chunks(self) -> AsyncGenerator[Event, None]:
        """The message as it grows."""
        blocks = _Blocks()
        async with aclosing(self._chat.pieces()) as pieces:
            async for piece in pieces:
                if isinstance(piece, Reply):
                    for event in blocks.end():
                        yield event
                    yield {"type": "message_delta", "delta": self._end(piece), "usage": _usage(piece)}
                    yield {"type": "message_stop"}
                    continue
                if "role" in piece:
                    # The model has begun already; how much of the prompt it knew is told with the end.
                    count = await run_in_threadpool(self._chat.count_prompt)
                    yield {"type": "message_start", "message": {**self._head(), "usage": _counts(count, 0, 0)}}
                for event in blocks.feed(piece):
                    yield event

    def _head(self) -> dict[str, Any]:
        return {
            "id": f"msg_{secrets.token_hex(12)}", "type": "message", "role": "assistant", "model": self._name,
            "content": [], "stop_reason": None, "stop_sequence": None,
        }  # fmt: skip

    def _end(self, reply: Reply) -> dict[str, Any]:
        """Why the message ended."""
        stop = reply.stopped_by if reply.stopped_by in (self._body.stop_sequences or ()) else None
        if reply.outcome == "call":
            reason, stop = "tool_use", None
        elif stop is not None:
            reason = "stop_sequence"
        else:
            reason = "max_tokens" if reply.outcome == "length" else "end_turn"
        return {"stop_reason": reason, "stop_sequence": stop}


def token_count(body: TokenCountRequest, served: Served) -> dict[str, int]:
    """How many tokens the prompt of a message would have."""
    return {"input_tokens": _translated(body, served, {}).count_prompt()}


class _Blocks:
    """Makes events of a chat's deltas, block by block."""

    def __init__(self) -> None:
        self._index = -1
        self._said: str | int | None = None  # what is being said: thinking, text or a call's number

    def feed(self, delta: Delta) -> Iterator[Event]:
        if thoughts := delta.get("reasoning_content"):
            yield from self._begin("thinking", _thinking(""))
            yield self._event("content_block_delta", delta={"type": "thinking_delta", "thinking": thoughts})
        if text := delta.get("content"):
            yield from self._begin("text", _text_block(""))
            yield self._event("content_block_delta", delta={"type": "text_delta", "text": text})
        for call in delta.get("tool_calls", ()):
            function = call.get("function", {})
            yield from self._begin(call["index"], _tool_use(call.get("id", ""), function.get("name", ""), {}))
            if arguments := function.get("arguments"):
                yield self._event("content_block_delta", delta={"type": "input_json_delta", "partial_json": arguments})

    def end(self) -> Iterator[Event]:
        """Close the block that is being said."""
        if self._said is not None:
            yield self._event("content_block_stop")
            self._said = None

    def _begin(self, said: str | int, block: Block) -> Iterator[Event]:
        if said != self._said:
            yield from self.end()
            self._index, self._said = self._index + 1, said
            yield self._event("content_block_start", content_block=block)

    def _event(self, kind: str, **more: Any) -> Event:
        return {"type": kind, "index": self._index, **more}


def _blocks(reply: Reply) -> list[Block]:
    """A whole answer in blocks, in the order in which it is said."""
    blocks: list[Block] = []
    if thoughts := reply.message.get("reasoning_content"):
        blocks.append(_thinking(thoughts))
    if reply.content:
        blocks.append(_text_block(reply.content))
    for call in reply.tool_calls:
        function = call["function"]
        blocks.append(_tool_use(call["id"], function["name"], json.loads(function["arguments"])))
    return blocks


def _text_block(text: str) -> Block:
    return {"type": "text", "text": text}


def _thinking(thoughts: str) -> Block:
    return {"type": "thinking", "thinking": thoughts, "signature": ""}


def _tool_use(call_id: str, name: str, arguments: Any) -> Block:
    return {"type": "tool_use", "id": f"toolu_{call_id.removeprefix('call_')}", "name": name, "input": arguments}


def _usage(reply: Reply) -> dict[str, int]:
    usage = reply.usage
    cached = usage["prompt_tokens_details"]["cached_tokens"]
    return _counts(usage["prompt_tokens"] - cached, cached, usage["completion_tokens"])


def _counts(read: int, cached: int, written: int) -> dict[str, int]:
    """A prompt is as long as what was `read` of it and what was `cached`, together."""
    return {
        "input_tokens": read, "cache_creation_input_tokens": 0, "cache_read_input_tokens": cached,
        "output_tokens": written,
    }  # fmt: skip


def _translated(body: TokenCountRequest, served: Served, options: Mapping[str, Any]) -> TranslatedCall:
    """The chat completion that asks the same."""
    if (body.model_extra or {}).get("thread") is not None:
        # The SDK's tool runner knows this code, and goes on without.
        reason = "thread: nothing is kept between requests\nSend the whole conversation."
        raise ApiError(400, reason, param="thread", code="thread_unsupported_request")
    refuse(body, REFUSED)
    places = Places(_PLACES)
    asked: dict[str, Any] = {"messages": _messages(body, places), **options}
    if body.tools:
        asked["tools"] = [_tool(number, tool, places) for number, tool in enumerate(body.tools)]
    if (choice := body.tool_choice) is not None:
        named = {"type": "function", "function": {"name": choice.name}}
        asked["tool_choice"] = named if choice.type == "tool" else _CHOICES[choice.type]
        asked["parallel_tool_calls"] = not choice.disable_parallel_tool_use
    if body.output_config is not None and body.output_config.format is not None:
        asked["response_format"] = _format(body.output_config.format)
    if (body.model_extra or {}).get("thinking") is not None:  # none but disabled can be asked for
        asked["chat_template_kwargs"] = {"enable_thinking": False}
    return TranslatedCall(asked, places, served)


def _messages(body: TokenCountRequest, places: Places) -> list[dict[str, Any]]:
    chat = Conversation(places)
    if body.system:
        chat.say({"role": "system", "content": _text("system", body.system)}, "system", content="system")
    for number, message in enumerate(body.messages):
        place, role, content = f"messages[{number}]", message.get("role"), message.get("content")
        if role not in ("user", "assistant", "system"):
            raise RequestError(f"{place}.role", f"unknown role {role!r}", "Roles are user, assistant and system.")
        if role == "system":
            chat.say({"role": role, "content": _text(f"{place}.content", content)}, place)
            continue
        if isinstance(content, str):
            content = [_text_block(content)]
        if not isinstance(content, list):
            raise RequestError(f"{place}.content", "must be a text or a list of blocks")
        if role == "user":
            _user(chat, place, content)
        else:
            _assistant(chat, place, content)
    return chat.messages


def _user(chat: Conversation, place: str, content: list[Any]) -> None:
    """A user's turn: results of calls, and text. Turns that follow one another are one."""
    if not content:
        raise RequestError(f"{place}.content", "is empty")
    for number, block in enumerate(content):
        where = f"{place}.content[{number}]"
        if _kind(where, block) == "tool_result":
            result = {"role": "tool", "tool_call_id": block.get("tool_use_id"), "content": _result(where, block)}
            chat.say(result, where, tool_call_id=f"{where}.tool_use_id")
        elif chat.speaker == "user":
            chat.messages[-1]["content"] += "\n" + _text_of(where, block)
        else:
            chat.say({"role": "user", "content": _text_of(where, block)}, place)


def _assistant(chat: Conversation, place: str, content: list[Any]) -> None:
    """What the model said: its blocks are one message."""
    if chat.speaker != "assistant":
        chat.say({"role": "assistant", "content": ""}, place)
    message = chat.messages[-1]
    for number, block in enumerate(content):
        where, kind = f"{place}.content[{number}]", _kind(f"{place}.content[{number}]", block)
        if kind == "tool_use":
            call = {"name": block.get("name"), "arguments": block.get("input")}
            chat.call(block.get("id"), call, where, **{"function.arguments": f"{where}.input"})
        elif kind == "thinking" and isinstance(block.get("thinking"), str):
            message["reasoning_content"] = message.get("reasoning_content", "") + block["thinking"]
        else:
            message["content"] += _text_of(where, block)


def _result(place: str, block: Mapping[str, Any]) -> str:
    content = block.get("content")
    text = "" if content is None else _text(f"{place}.content", content)
    # As a tool that fails tells it elsewhere in edgefc.
    return json.dumps({"error": text}, ensure_ascii=False) if block.get("is_error") else text


def _text(place: str, content: Any) -> str:
    """A text, or the lines of a list of text blocks."""
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        raise RequestError(place, "must be a text or a list of text blocks")
    return "\n".join(_text_of(f"{place}[{number}]", block) for number, block in enumerate(content))


def _text_of(place: str, block: Any) -> str:
    kind = _kind(place, block)
    if kind != "text":
        raise RequestError(
            f"{place}.type", f"{kind!r} cannot be had here", "Blocks are text, tool_use and tool_result."
        )
    if not isinstance(text := block.get("text"), str):
        raise RequestError(f"{place}.text", "must be a text")
    return text


def _kind(place: str, block: Any) -> Any:
    if not isinstance(block, Mapping):
        raise RequestError(place, "must be a block, an object with a type")
    return block.get("type")


def _tool(number: int, tool: Mapping[str, Any], places: Places) -> dict[str, Any]:
    place = f"tools[{number}]"
    if (kind := tool.get("type")) not in (None, "custom"):
        raise RequestError(f"{place}.type", f"{kind!r} is not offered here", "Tools with an input_schema are.")
    refuse(tool, _OF_TOOLS, place=place)
    if not isinstance(tool.get("input_schema"), Mapping):
        raise RequestError(f"{place}.input_schema", "must be a JSON Schema object")
    places.add(f"{place}.function", place)
    places.add(f"{place}.function.parameters", f"{place}.input_schema")
    function = {"name": tool.get("name"), "parameters": tool["input_schema"]}
    if tool.get("description") is not None:
        function["description"] = tool["description"]
    return {"type": "function", "function": function}


def _format(wanted: Mapping[str, Any]) -> dict[str, Any]:
    if wanted.get("type") != "json_schema":
        raise RequestError("output_config.format.type", f"must be json_schema, not {wanted.get('type')!r}")
    return {"type": "json_schema", "json_schema": {"schema": wanted.get("schema")}}
