"""POST /api/chat and /api/generate: Ollama's API.

A request is translated to a chat completion, or to a completion where it is `raw`. Streams are lines of JSON.
"""

from __future__ import annotations

import json
import math
import re
import time
from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import aclosing, suppress
from datetime import UTC, datetime
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from edgefc import limits
from edgefc.chat import openai
from edgefc.chat.completion import Completion
from edgefc.chat.reply import Reply
from edgefc.engine import GenerationStats, TokenLogprob
from edgefc.errors import FieldPath, RequestError
from edgefc.server.api.completions import CompletionHandler, CompletionRequest
from edgefc.server.api.fields import (
    SEED_LIMIT,
    ExtensionFields,
    Integer,
    StopList,
    StopString,
    Temperature,
    TokenLimit,
    ToolList,
    TopK,
    TopP,
    between,
    quote,
    reject_unsupported,
)
from edgefc.server.api.foreign_fields import MUST_BE_HONOURED, read_foreign_fields
from edgefc.server.api.translate import ChatBuilder, TranslatedChat
from edgefc.server.service import RequestContext
from edgefc.tools.schemas import without_nulls
from edgefc.types import Delta

Part = dict[str, Any]
NANOSECONDS = 1e9
_DURATION = re.compile(r"[-+]?(?:\d+(?:\.\d*)?(?:ns|us|µs|ms|s|m|h))+|[-+]?\d+")
_DURATION_PART = re.compile(r"(\d+(?:\.\d*)?)(ns|us|µs|ms|s|m|h|\Z)")
_SECONDS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1, "m": 60, "h": 3600, "": 1}
# Paths in a chat completion, and in a request to Ollama.
_SAME_NAMES = (
    "temperature", "top_k", "top_p", "min_p", "seed", "stop", "repeat_penalty", "presence_penalty",
    "frequency_penalty",
)  # fmt: skip
_RENAMED: dict[FieldPath, FieldPath] = {
    ("response_format",): ("format",),
    ("response_format", "json_schema", "schema"): ("format",),
    ("max_completion_tokens",): ("options", "num_predict"),
    ("max_tokens",): ("options", "num_predict"),
    ("penalty_last_n",): ("options", "repeat_last_n"),
    **{(name,): ("options", name) for name in _SAME_NAMES},
}


def parse_keep_alive(value: float | str) -> float:
    """Return the seconds of Ollama's `keep_alive`: a number, or Go's notation; negative ones are infinite."""
    if isinstance(value, str):
        text = value.strip()
        if not _DURATION.fullmatch(text):
            raise ValueError("must be seconds, or a duration such as '90s', '5m' or '1h30m'; -1: forever")
        seconds = sum(float(number) * _SECONDS[unit] for number, unit in _DURATION_PART.findall(text))
        return math.inf if text.startswith("-") else seconds
    return math.inf if value < 0 else float(value)


def _check_keep_alive(value: float | str) -> float | str:
    parse_keep_alive(value)
    return value


def _range(name: str) -> Any:
    return between(limits.SAMPLING[name])


class OllamaOptions(BaseModel):
    """Options of an answer in Ollama's spelling. A context of `num_ctx` tokens must fit into the model's."""

    model_config = ConfigDict(strict=True, extra="allow")

    num_ctx: Annotated[Integer, Field(ge=0)] | None = None
    num_predict: TokenLimit | None = None
    temperature: Temperature | None = None
    top_k: TopK | None = None
    top_p: TopP | None = None
    min_p: Annotated[float, _range("min_p")] | None = None
    seed: Annotated[Integer, Field(ge=-SEED_LIMIT, lt=SEED_LIMIT)] | None = None
    stop: StopString | StopList | None = None
    repeat_penalty: Annotated[float, _range("repeat_penalty")] | None = None
    repeat_last_n: Annotated[Integer, Field(ge=-1)] | None = None
    presence_penalty: Annotated[float, _range("presence_penalty")] | None = None
    frequency_penalty: Annotated[float, _range("frequency_penalty")] | None = None

    def chat_fields(self) -> dict[str, Any]:
        """Return the options as fields of a chat completion."""
        fields = {
            "max_completion_tokens": self.num_predict, "temperature": self.temperature, "top_k": self.top_k,
            "top_p": self.top_p, "min_p": self.min_p, "seed": None if self.seed == -1 else self.seed,
            "stop": self.stop, "repeat_penalty": self.repeat_penalty, "penalty_last_n": self.repeat_last_n,
            "presence_penalty": self.presence_penalty, "frequency_penalty": self.frequency_penalty,
        }  # fmt: skip
        return without_nulls(fields)


class OllamaRequest(ExtensionFields):
    """The fields that chats and completions share. Unknown ones are ignored unless they would change the answer."""

    model: str
    stream: bool | None = True
    format: str | dict[str, Any] | None = None
    options: OllamaOptions | None = None
    keep_alive: Annotated[float | str, AfterValidator(_check_keep_alive)] | None = None
    think: bool | str | None = None
    logprobs: bool | None = None
    top_logprobs: Annotated[Integer, Field(ge=0, le=limits.MAX_TOP_LOGPROBS)] | None = None

    def model_post_init(self, _context: Any) -> None:
        self.stream = self.stream is not False  # null is "not given", too

    @property
    def conversation(self) -> list[tuple[dict[str, Any], FieldPath]]:
        """The messages, each with its place in the request; none: no answer is wanted."""
        raise NotImplementedError

    @property
    def is_for_unloading(self) -> bool:
        """True for a request that asks for the model to be unloaded at once."""
        return not self.conversation and self.keep_alive is not None and parse_keep_alive(self.keep_alive) == 0


class OllamaChatRequest(OllamaRequest):
    """The body of /api/chat. Without messages, it loads the model, or unloads it where `keep_alive` is 0."""

    messages: Annotated[list[dict[str, Any]], Field(max_length=limits.MAX_MESSAGES)] | None = None
    tools: ToolList | None = None
    tool_choice: bool | str | dict[str, Any] | None = None

    @property
    def conversation(self) -> list[tuple[dict[str, Any], FieldPath]]:
        return [(message, ("messages", number)) for number, message in enumerate(self.messages or ())]


class GenerateRequest(OllamaRequest):
    """The body of /api/generate. Without a prompt, it loads the model, or unloads it where `keep_alive` is 0."""

    prompt: str | None = None
    system: str | None = None
    raw: bool | None = None

    @property
    def conversation(self) -> list[tuple[dict[str, Any], FieldPath]]:
        if not self.prompt:
            return []
        messages: list[tuple[dict[str, Any], FieldPath]] = [({"role": "user", "content": self.prompt}, ("prompt",))]
        return [({"role": "system", "content": self.system}, ("system",)), *messages] if self.system else messages


class OllamaHandler:
    """Answers a request to /api/chat."""

    def __init__(self, body: OllamaRequest, context: RequestContext) -> None:
        _prepare(body, context)
        self._context, self._has_logprobs = context, bool(body.logprobs)
        self._chat = TranslatedChat(_to_chat(body), context) if body.conversation else None

    async def response(self) -> Part:
        """Return the whole answer."""
        if self._chat is None:
            return {**_head(self._context), **self._part({"content": ""}), "done": True, "done_reason": "load"}
        reply = await self._chat.reply()
        return {
            **_head(self._context),
            **self._part(_message(reply), reply.logprobs),
            **_reply_end(reply, self._context),
        }

    async def events(self) -> AsyncGenerator[Part, None]:
        """Yield the answer in parts; a call is a part of its own, once it is complete."""
        if self._chat is None:
            yield await self.response()
            return
        calls = CallParts()
        async with aclosing(self._chat.outputs()) as outputs:
            async for _, value, tokens, _ in outputs:
                parts = list(calls.finish() if isinstance(value, Reply) else calls.feed(value))
                for number, part in enumerate(parts):
                    yield {**_head(self._context), **self._part(part, () if number else tokens), "done": False}
                if isinstance(value, Reply):
                    end = _reply_end(value, self._context)
                    yield {**_head(self._context), **self._part({"content": ""}, () if parts else tokens), **end}

    def _part(self, message: Part, tokens: Sequence[TokenLogprob] = ()) -> Part:
        """Return a part of the answer: a message, and the logprobs of its tokens if they were asked for."""
        part: Part = {"message": {"role": "assistant", "content": "", **message}}
        if self._has_logprobs and tokens:
            part["logprobs"] = openai.logprobs_of(self._context.model.engine.tokenizer, tokens)["content"]
        return part


class GenerateHandler(OllamaHandler):
    """Answers a request to /api/generate: a chat of one question, whose text is `response`."""

    def _part(self, message: Part, tokens: Sequence[TokenLogprob] = ()) -> Part:
        part = super()._part(message, tokens)
        fields = part.pop("message")
        thoughts = {"thinking": fields["thinking"]} if "thinking" in fields else {}
        return {"response": fields["content"], **thoughts, **part}


class RawHandler:
    """Answers a request to /api/generate whose prompt is `raw`: it is continued without a chat template."""

    def __init__(self, body: GenerateRequest, context: RequestContext) -> None:
        _prepare(body, context)
        for name in ("system", "think", "logprobs"):
            if getattr(body, name):
                raise RequestError((name,), "cannot be combined with raw", "Omit one of them.")
        fields = _fields(body)
        fields["max_tokens"] = fields.pop("max_completion_tokens", limits.MAX_ANSWER_TOKENS)
        request = CompletionRequest.model_construct(prompt=body.prompt or "", **fields)
        self._context, self._handler = context, CompletionHandler(request, context)

    async def response(self) -> Part:
        """Return the whole answer."""
        (whole,) = [output async for _, output in self._handler.outputs() if isinstance(output, Completion)]
        return {**_head(self._context), "response": whole.text, **_raw_end(whole, self._context)}

    async def events(self) -> AsyncGenerator[Part, None]:
        """Yield the answer in parts."""
        async with aclosing(self._handler.outputs()) as outputs:
            async for _, output in outputs:
                if isinstance(output, Completion):
                    yield {**_head(self._context), "response": "", **_raw_end(output, self._context)}
                else:
                    yield {**_head(self._context), "response": output, "done": False}


class CallParts:
    """Turns a chat's deltas into parts of a message: text and thoughts as they come, calls when they are complete."""

    def __init__(self) -> None:
        self._number = -1
        self._call: dict[str, str] = {}

    def feed(self, delta: Delta) -> Iterator[Part]:
        if thoughts := delta.get("reasoning_content"):
            yield {"thinking": thoughts}
        if text := delta.get("content"):
            yield {"content": text}
        for call in delta.get("tool_calls", ()):
            if call["index"] != self._number:
                yield from self.finish()
                self._number, self._call = call["index"], {"id": call.get("id", ""), "name": "", "arguments": ""}
            function = call.get("function", {})
            self._call["name"] += function.get("name", "")
            self._call["arguments"] += function.get("arguments", "")

    def finish(self) -> Iterator[Part]:
        """Yield the call that has been collected, if there is one."""
        call, self._call = self._call, {}
        with suppress(ValueError):  # the answer was cut off in it
            if call:
                yield {"tool_calls": [_call(self._number, call["id"], call["name"], json.loads(call["arguments"]))]}


def _prepare(body: OllamaRequest, context: RequestContext) -> None:
    """Check what the model can do of a request, and note how long it is to be kept. Raises RequestError."""
    reject_unsupported(body, {**MUST_BE_HONOURED, "tools": ([],)})
    options, model = body.options or OllamaOptions(), context.model
    reject_unsupported(options, MUST_BE_HONOURED, path=("options",))
    if options.num_ctx is not None and options.num_ctx > model.n_ctx:
        raise RequestError(
            ("options", "num_ctx"),
            f"{options.num_ctx} tokens do not fit into the context of {context.model_name}, which has {model.n_ctx}",
            f"Ask for at most {model.n_ctx}, or start the server with --n-ctx {options.num_ctx}.",
        )
    thinks = bool(model.family.syntax.think_begin)
    if body.think and not thinks:
        raise RequestError(("think",), f"{context.model_name} does not support thinking", "Omit the field.")
    extra = options.model_extra or {}
    warnings = [f"options.{name}" for name in extra if extra[name] is not None and name not in MUST_BE_HONOURED]
    if isinstance(body.think, str):
        warnings.append(f"think: the level {quote(body.think)}")
    context.record.warn(f"{name} has no effect" for name in warnings)
    if body.keep_alive is not None:
        context.keep_alive(parse_keep_alive(body.keep_alive))


def _head(context: RequestContext) -> Part:
    """Return the fields that all parts of an answer begin with."""
    return {"model": context.model_name, "created_at": timestamp(time.time())}


def timestamp(seconds: float) -> str:
    """Write a time as Ollama does."""
    return datetime.fromtimestamp(seconds, UTC).isoformat().replace("+00:00", "Z")


def _reply_end(reply: Reply, context: RequestContext) -> Part:
    """Return the fields with which an answer ends."""
    return {**_end(reply.is_cut, reply.stats, context), **openai.extension(reply)}


def _raw_end(completion: Completion, context: RequestContext) -> Part:
    return _end(completion.finish_reason == "length", completion.stats, context)


def _end(is_cut: bool, stats: GenerationStats, context: RequestContext) -> Part:
    record = context.record
    seconds = {
        "total_duration": time.perf_counter() - record.started, "load_duration": record.loaded - record.started,
        "prompt_eval_duration": stats.prefill_s, "eval_duration": stats.decode_s,
    }  # fmt: skip
    return {
        "done": True, "done_reason": "length" if is_cut else "stop",
        **{name: round(value * NANOSECONDS) for name, value in seconds.items()},
        "prompt_eval_count": stats.prompt_tokens, "eval_count": stats.completion_tokens,
    }  # fmt: skip


def _message(reply: Reply) -> Part:
    message: Part = {"content": reply.content}
    if thoughts := reply.message.get("reasoning_content"):
        message["thinking"] = thoughts
    if calls := reply.calls:
        message["tool_calls"] = [_call(n, call.id, call.name, call.arguments) for n, call in enumerate(calls)]
    return message


def _call(number: int, call_id: str, name: str, arguments: Any) -> Part:
    return {"id": call_id, "function": {"index": number, "name": name, "arguments": arguments}}


def _fields(body: OllamaRequest) -> dict[str, Any]:
    """Return a request's options as fields of a completion. Raises RequestError."""
    fields = (body.options or OllamaOptions()).chat_fields() | body.extensions()
    if body.format is not None:
        fields |= read_foreign_fields({"format": body.format})
    return fields


def _to_chat(body: OllamaRequest) -> ChatBuilder:
    """Translate a request to a chat completion. Raises RequestError."""
    builder = ChatBuilder(_RENAMED)
    for message, path in body.conversation:
        reject_unsupported(
            message, {"images": ([],)}, path=path, reason="images are not supported",
            hint="The models read text only: omit the field.",
        )  # fmt: skip
        thoughts = message.get("thinking")
        own = {"reasoning_content": thoughts} if isinstance(thoughts, str) and thoughts else {}
        content = {"content": path} if path in (("prompt",), ("system",)) else {}
        builder.add_message({**message, **own}, path, **content)
    builder.fields |= _fields(body)
    if isinstance(body, OllamaChatRequest):
        builder.fields |= without_nulls({"tools": body.tools, "tool_choice": body.tool_choice})
    if body.think is not None:
        builder.fields["chat_template_kwargs"] = {"enable_thinking": bool(body.think)}
    if body.logprobs:
        builder.fields |= {"logprobs": True, "top_logprobs": body.top_logprobs or 0}
    return builder
