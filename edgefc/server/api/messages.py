"""POST /v1/messages: Anthropic's Messages API, without stored state.

A request is translated to a chat completion. `cache_control` has no effect: prompt prefixes are always cached.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import AsyncGenerator, Iterator, Mapping
from contextlib import aclosing
from typing import Any

from pydantic import BaseModel, ConfigDict

from edgefc.chat import openai
from edgefc.chat.reply import Reply
from edgefc.errors import FieldPath, RequestError
from edgefc.formats.content import content_of
from edgefc.server.api.fields import (
    BlockList,
    ExtensionFields,
    MessageList,
    StopList,
    Temperature,
    TokenLimit,
    ToolList,
    TopK,
    TopP,
    Unsupported,
    quote,
    reject_unsupported,
)
from edgefc.server.api.foreign_fields import MUST_BE_HONOURED, wishes_in
from edgefc.server.api.translate import ChatBuilder, TranslatedChat, shared_fields
from edgefc.server.errors import ApiError
from edgefc.server.service import RequestContext
from edgefc.tools.definition import SCHEMA_KEYS, unsupported_type
from edgefc.tools.schemas import without_nulls
from edgefc.types import Delta

Block = dict[str, Any]
Event = dict[str, Any]
UNSUPPORTED: Unsupported = {
    **MUST_BE_HONOURED, "container": (), "mcp_servers": ([],), "output_format": (), "n": (1,), "best_of": (1,),
}  # fmt: skip
UNSUPPORTED_IN_TOOLS: Unsupported = {"allowed_callers": (["direct"],)}
TOOL_WISHES = ("defer_loading", "input_examples")
# Blocks of past answers that a model cannot read, or need not. Results of Anthropic's own tools end in _tool_result.
SKIPPED_BLOCKS = {"redacted_thinking", "server_tool_use", "mcp_tool_use", "container_upload", "compaction", "fallback"}
# Paths in a chat completion, and in a message request.
RENAMED: dict[FieldPath, FieldPath] = {
    ("stop",): ("stop_sequences",),
    ("max_completion_tokens",): ("max_tokens",),
    ("response_format",): ("output_config", "format"),
    ("response_format", "json_schema"): ("output_config", "format"),
}


class OutputConfig(BaseModel):
    """The format of text."""

    model_config = ConfigDict(strict=True, extra="allow")

    format: dict[str, Any] | None = None


class TokenCountRequest(ExtensionFields):
    """The parts of a prompt. Unknown fields are ignored unless they would change the answer."""

    model: str | None = None
    messages: MessageList
    system: str | BlockList | None = None
    tools: ToolList | None = None
    tool_choice: bool | str | dict[str, Any] | None = None
    output_config: OutputConfig | None = None


class MessageRequest(TokenCountRequest):
    """The body of a message."""

    max_tokens: TokenLimit
    stop_sequences: StopList | None = None
    temperature: Temperature | None = None
    top_p: TopP | None = None
    top_k: TopK | None = None
    stream: bool | None = None


class MessageHandler:
    """Answers one message request. Raises RequestError or ApiError for an unsupported body."""

    def __init__(self, body: MessageRequest, context: RequestContext) -> None:
        self._body, self._context = body, context
        context.record.warn(f"{name} has no effect" for name in _wishes(body))
        if body.messages[-1].get("role") == "assistant":
            raise RequestError(
                ("messages", len(body.messages) - 1), "prefilling the answer is not supported", "End with a user turn."
            )
        builder = _to_chat(body)
        own = {
            "max_completion_tokens": body.max_tokens, "stop": body.stop_sequences, "temperature": body.temperature,
            "top_p": body.top_p, "top_k": body.top_k, **body.extensions(),
        }  # fmt: skip
        builder.fields |= without_nulls(own)
        self._chat = TranslatedChat(builder, context)

    async def response(self) -> dict[str, Any]:
        """Return the whole message."""
        reply = await self._chat.reply()
        fields = {**self._stop_fields(reply), "usage": _usage(reply), **openai.extension(reply)}
        return {**self._head(), "content": _blocks(reply), **fields}

    async def events(self) -> AsyncGenerator[Event, None]:
        """Yield the message as events."""
        blocks = BlockEvents()
        async with aclosing(self._chat.deltas()) as deltas:
            async for delta in deltas:
                if isinstance(delta, Reply):
                    for event in blocks.finish():
                        yield event
                    fields = {"delta": self._stop_fields(delta), "usage": _usage(delta), **openai.extension(delta)}
                    yield {"type": "message_delta", **fields}
                    yield {"type": "message_stop"}
                    continue
                if "role" in delta:
                    # How much of the prompt was cached is known at the end only.
                    usage = _token_counts(self._chat.prompt_tokens, 0, 0)
                    yield {"type": "message_start", "message": {**self._head(), "usage": usage}}
                for event in blocks.feed(delta):
                    yield event

    def _head(self) -> dict[str, Any]:
        return {
            "id": f"msg_{secrets.token_hex(12)}", "type": "message", "role": "assistant",
            "model": self._context.model_name, "content": [], "stop_reason": None, "stop_sequence": None,
        }  # fmt: skip

    def _stop_fields(self, reply: Reply) -> dict[str, Any]:
        stop = reply.stopped_by if reply.stopped_by in (self._body.stop_sequences or ()) else None
        if reply.is_cut:
            reason = "max_tokens"
        elif reply.outcome == "call":
            reason, stop = "tool_use", None
        elif stop is not None:
            reason = "stop_sequence"
        else:
            reason = "max_tokens" if reply.outcome == "length" else "end_turn"
        return {"stop_reason": reason, "stop_sequence": stop}


def count_tokens(body: TokenCountRequest, context: RequestContext) -> dict[str, int]:
    """Answer /v1/messages/count_tokens."""
    return {"input_tokens": TranslatedChat(_to_chat(body), context).count_prompt_tokens()}


class BlockEvents:
    """Turns a chat's deltas into events of content blocks."""

    def __init__(self) -> None:
        self._index = -1
        self._open: str | int | None = None  # the open block: "thinking", "text" or a call's index

    def feed(self, delta: Delta) -> Iterator[Event]:
        if thoughts := delta.get("reasoning_content"):
            yield from self._open_block("thinking", _thinking_block(""))
            yield self._event("content_block_delta", delta={"type": "thinking_delta", "thinking": thoughts})
        if text := delta.get("content"):
            yield from self._open_block("text", _text_block(""))
            yield self._event("content_block_delta", delta={"type": "text_delta", "text": text})
        for call in delta.get("tool_calls", ()):
            function = call.get("function", {})
            block = _tool_use_block(call.get("id", ""), function.get("name", ""), {})
            yield from self._open_block(call["index"], block)
            if arguments := function.get("arguments"):
                yield self._event("content_block_delta", delta={"type": "input_json_delta", "partial_json": arguments})

    def finish(self) -> Iterator[Event]:
        """Close the open block."""
        if self._open is not None:
            yield self._event("content_block_stop")
            self._open = None

    def _open_block(self, key: str | int, block: Block) -> Iterator[Event]:
        """Start a block, unless it is the open one."""
        if key != self._open:
            yield from self.finish()
            self._index, self._open = self._index + 1, key
            yield self._event("content_block_start", content_block=block)

    def _event(self, kind: str, **fields: Any) -> Event:
        return {"type": kind, "index": self._index, **fields}


def _blocks(reply: Reply) -> list[Block]:
    """Return the reply's content blocks, in the order of generation."""
    blocks: list[Block] = []
    if thoughts := reply.message.get("reasoning_content"):
        blocks.append(_thinking_block(thoughts))
    if reply.content:
        blocks.append(_text_block(reply.content))
    blocks += [_tool_use_block(call.id, call.name, call.arguments) for call in reply.calls]
    return blocks


def _text_block(text: str) -> Block:
    return {"type": "text", "text": text}


def _thinking_block(thoughts: str) -> Block:
    return {"type": "thinking", "thinking": thoughts, "signature": ""}


def _tool_use_block(call_id: str, name: str, arguments: Any) -> Block:
    return {"type": "tool_use", "id": f"toolu_{call_id.removeprefix('call_')}", "name": name, "input": arguments}


def _usage(reply: Reply) -> dict[str, int]:
    usage = reply.usage
    cached = usage["prompt_tokens_details"]["cached_tokens"]
    return _token_counts(usage["prompt_tokens"] - cached, cached, usage["completion_tokens"])


def _token_counts(uncached: int, cached: int, output: int) -> dict[str, int]:
    """Build a usage field. The prompt has `uncached` + `cached` tokens."""
    return {
        "input_tokens": uncached, "cache_creation_input_tokens": 0, "cache_read_input_tokens": cached,
        "output_tokens": output,
    }  # fmt: skip


def _to_chat(body: TokenCountRequest) -> ChatBuilder:
    """Translate the fields of the prompt to a chat completion."""
    extra = body.model_extra or {}
    if extra.get("thread") is not None:
        # The SDK's tool runner knows this code, and continues without threads.
        reason = "not supported: the server stores no state\nSend the whole conversation."
        raise ApiError(400, reason, path=("thread",), code="thread_unsupported_request")
    reject_unsupported(body, UNSUPPORTED)
    builder = ChatBuilder(RENAMED)
    _add_messages(body, builder)
    fields = builder.fields
    fields |= shared_fields(body.model_extra)
    if body.tools:
        fields["tools"] = [_to_chat_tool(number, tool, builder) for number, tool in enumerate(body.tools)]
    fields["tool_choice"] = body.tool_choice
    if body.output_config is not None and body.output_config.format is not None:
        fields["response_format"] = _to_response_format(body.output_config.format)
    if extra.get("thinking") in ({"type": "disabled"}, False):
        fields["chat_template_kwargs"] = {"enable_thinking": False}
    return builder


def _add_messages(body: TokenCountRequest, builder: ChatBuilder) -> None:
    if body.system:
        system = _text_content(("system",), body.system)
        builder.add_message({"role": "system", "content": system}, ("system",), content=("system",))
    for number, message in enumerate(body.messages):
        path: FieldPath = ("messages", number)
        role, content = message.get("role"), message.get("content")
        if role not in ("user", "assistant", "system"):
            raise RequestError((*path, "role"), f"unknown role {quote(role)}", "Roles are user, assistant and system.")
        if role == "system":
            builder.add_message({"role": role, "content": _text_content((*path, "content"), content)}, path)
            continue
        if content is None and role == "assistant":
            content = []
        if isinstance(content, str):
            content = [_text_block(content)]
        if not isinstance(content, list):
            raise RequestError((*path, "content"), "must be a string or a list of blocks")
        add_turn = _add_user_turn if role == "user" else _add_assistant_turn
        add_turn(builder, path, content)


def _add_user_turn(builder: ChatBuilder, path: FieldPath, content: list[Any]) -> None:
    """Add tool results and text; text of consecutive user turns becomes one message."""
    if not content:
        raise RequestError((*path, "content"), "must not be empty")
    for number, block in enumerate(content):
        block_path = (*path, "content", number)
        kind = _block_type(block_path, block)
        if _is_skipped(kind):
            continue
        if kind == "tool_result":
            message = {"role": "tool", "tool_call_id": block.get("tool_use_id"), "content": _result(block_path, block)}
            builder.add_message(message, block_path, tool_call_id=(*block_path, "tool_use_id"))
        elif builder.last_role == "user":
            builder.messages[-1]["content"] += "\n" + _block_text(block_path, block)
        else:
            builder.add_message({"role": "user", "content": _block_text(block_path, block)}, path)


def _add_assistant_turn(builder: ChatBuilder, path: FieldPath, content: list[Any]) -> None:
    """Add the blocks of consecutive assistant turns to one message."""
    if builder.last_role != "assistant":
        builder.add_message({"role": "assistant", "content": ""}, path)
    message = builder.messages[-1]
    for number, block in enumerate(content):
        block_path = (*path, "content", number)
        kind = _block_type(block_path, block)
        if kind == "tool_use":
            function = {"name": block.get("name"), "arguments": block.get("input")}
            builder.add_call(block.get("id"), function, block_path, arguments_source=(*block_path, "input"))
        elif kind == "thinking":
            message["reasoning_content"] = message.get("reasoning_content", "") + (block.get("thinking") or "")
        elif not _is_skipped(kind):
            message["content"] += _block_text(block_path, block)


def _result(path: FieldPath, block: Mapping[str, Any]) -> str:
    text = content_of(block.get("content"), (*path, "content"), role="tool")
    # The form in which edgefc's own tool loop reports an error.
    return json.dumps({"error": text}, ensure_ascii=False) if block.get("is_error") else text


def _text_content(path: FieldPath, content: Any) -> str:
    """Return a string, or the text of a list of blocks, one per line."""
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        raise RequestError(path, "must be a string or a list of text blocks")
    return "\n".join(_block_text((*path, number), block) for number, block in enumerate(content))


def _block_text(path: FieldPath, block: Any) -> str:
    kind = _block_type(path, block)
    if kind != "text":
        raise RequestError(
            (*path, "type"),
            f"unsupported content block type {quote(kind)}",
            "Use text, tool_use or tool_result blocks.",
        )
    text = block.get("text", block)
    if text is None:
        return ""
    if not isinstance(text, str):
        raise RequestError((*path, "text"), "must be a string")
    return text


def _is_skipped(kind: object) -> bool:
    return isinstance(kind, str) and (kind in SKIPPED_BLOCKS or kind.endswith("_tool_result"))


def _wishes(body: TokenCountRequest) -> list[str]:
    """Return the names of the fields that have no effect."""
    names = wishes_in(body.model_extra or {})
    config = body.output_config
    if config is not None and (config.model_extra or {}).get("effort") is not None:
        names.append("output_config.effort")
    blocks = [*(body.system if isinstance(body.system, list) else ()), *(body.tools or ())]
    for message in body.messages:
        blocks += content if isinstance(content := message.get("content"), list) else ()
    if any(isinstance(block, Mapping) and block.get("cache_control") for block in blocks):
        names.append("cache_control")
    for number, tool in enumerate(body.tools or ()):
        names += [f"tools[{number}].{name}" for name in TOOL_WISHES if tool.get(name)]
    return names


def _block_type(path: FieldPath, block: Any) -> Any:
    if not isinstance(block, Mapping):
        raise RequestError(path, "must be a content block: an object with a type")
    return block.get("type")


def _to_chat_tool(number: int, tool: Mapping[str, Any], builder: ChatBuilder) -> dict[str, Any]:
    path: FieldPath = ("tools", number)
    reject_unsupported(tool, UNSUPPORTED_IN_TOOLS, path=path)
    builder.add_source((*path, "function"), path)
    schema_key = next((key for key in SCHEMA_KEYS if tool.get(key) is not None), "")
    if schema_key:
        builder.add_source((*path, "function", "parameters"), (*path, schema_key))
    elif (
        unsupported_type(tool) is None and tool.get("parameters") is None and not isinstance(tool.get("function"), dict)
    ):
        raise RequestError((*path, "input_schema"), "must be a JSON Schema object")
    return dict(tool)


def _to_response_format(output_format: Mapping[str, Any]) -> dict[str, Any]:
    kind = output_format.get("type")
    if kind != "json_schema":
        raise RequestError(
            ("output_config", "format", "type"), f"unsupported format type {quote(kind)}", "Use json_schema."
        )
    return {"type": "json_schema", "json_schema": {"schema": output_format.get("schema")}}
