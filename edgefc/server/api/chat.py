"""POST /v1/chat/completions."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterator, Mapping, Sequence
from contextlib import aclosing
from functools import partial
from typing import Annotated, Any, NamedTuple, cast

from pydantic import Field

from edgefc.chat import openai
from edgefc.chat.options import ChatOptions
from edgefc.chat.prompt import ModelPrompt
from edgefc.chat.reply import ChatStream, Reply
from edgefc.chat.request import Request
from edgefc.chat.trace import TracedToken
from edgefc.engine import TokenLogprob
from edgefc.errors import RequestError
from edgefc.limits import MAX_TOP_LOGPROBS
from edgefc.server.api.fields import (
    CommonFields,
    Integer,
    MessageList,
    TokenLimit,
    ToolList,
    Unsupported,
    choice_seed,
    reject_unsupported,
)
from edgefc.server.api.foreign_fields import MUST_BE_HONOURED, wishes_in
from edgefc.server.jobs import start_all
from edgefc.server.service import RequestContext
from edgefc.tools.choice import forbids_parallel
from edgefc.types import Delta, Message, Tool

UNSUPPORTED: Unsupported = {**MUST_BE_HONOURED, "stop_token_ids": ([],)}


class ChatRequest(CommonFields):
    """The body of a chat completion."""

    messages: MessageList
    tools: ToolList | None = None
    tool_choice: bool | str | dict[str, Any] | None = None
    parallel_tool_calls: bool | None = None
    functions: ToolList | None = None
    function_call: str | dict[str, Any] | None = None
    max_completion_tokens: TokenLimit | None = None
    max_tokens: TokenLimit | None = None
    logprobs: bool | None = None
    top_logprobs: Annotated[Integer, Field(ge=0, le=MAX_TOP_LOGPROBS)] | None = None
    reasoning_effort: str | None = None
    chat_template_kwargs: dict[str, Any] | None = None
    x_edgefc_trace: bool | None = None


class ChoiceOutput(NamedTuple):
    """A delta of a choice (its index), or its complete reply, with facts about the tokens since the last output."""

    choice: int
    value: Delta | Reply
    logprobs: Sequence[TokenLogprob]
    trace: Sequence[TracedToken] = ()


class ChoiceStreams:
    """The choices of one answer, generated side by side and read one after the other."""

    def __init__(self, streams: Sequence[ChatStream], *, deltas: bool = True) -> None:
        """Without `deltas`, only replies are yielded: each delta handed over takes time from the model."""
        self._streams, self._deltas = streams, deltas

    def __iter__(self) -> Iterator[ChoiceOutput]:
        for index, stream in enumerate(self._streams):
            for delta in stream if self._deltas else ():
                yield ChoiceOutput(index, delta, stream.pop_logprobs(), stream.pop_trace())
            yield ChoiceOutput(index, stream.reply, stream.pop_logprobs(), stream.pop_trace())

    def cancel(self) -> None:
        for stream in self._streams:
            stream.cancel()


class ChatHandler:
    """Answers one chat completion request. Raises RequestError for an unsupported body."""

    def __init__(self, body: ChatRequest, context: RequestContext) -> None:
        self._body, self._context, self._model = body, context, context.model
        reject_unsupported(body, UNSUPPORTED)
        context.record.warn(f"{name} has no effect" for name in self._wishes())
        context.check_grammar(body.grammar)
        if body.stream_options is not None and not body.stream:
            raise RequestError(("stream_options",), "requires stream", "Set stream, or omit the field.")
        if body.top_logprobs and not body.logprobs:
            raise RequestError(("top_logprobs",), "requires logprobs", "Set logprobs, or omit the field.")
        self._is_legacy = body.functions is not None
        if self._is_legacy and body.tools is not None:
            raise RequestError(("functions",), "cannot be combined with tools", "Use tools alone.")
        self._messages = cast("list[Message]", body.messages)
        self._tools = cast("list[Tool] | None", self._body_tools())
        self._options = self._chat_options()
        self._request: Request | None = None

    def prompt(self) -> ModelPrompt:
        """Render the prompt without generating. Raises what `Model.prompt` raises."""
        return self._model.prompt(self._messages, self._tools, **self._options)

    @property
    def prompt_tokens(self) -> int:
        """The prompt's length, once an output has been read."""
        assert self._request is not None
        return len(self._request.prompt.ids)

    async def response(self) -> dict[str, Any]:
        """Return the whole response."""
        outputs = self.outputs(deltas=False)
        replies = [output.value async for output in outputs if isinstance(output.value, Reply)]
        logprobs = [self._logprobs_field(reply.logprobs) for reply in replies]
        head = openai.head(self._context.model_name)
        return openai.completion(head, replies, legacy=self._is_legacy, logprobs=logprobs)

    async def events(self) -> AsyncGenerator[dict[str, Any], None]:
        """Yield the response in chunks."""
        head, replies = openai.head(self._context.model_name), list[Reply]()
        async with aclosing(self.outputs()) as outputs:
            async for index, value, tokens, trace in outputs:
                logprobs = self._logprobs_field(tokens) if tokens else None
                if isinstance(value, Reply):
                    replies.append(value)
                    reason = openai.finish_reason(value, legacy=self._is_legacy)
                    yield openai.chunk(head, {}, reason, index=index, logprobs=logprobs, reply=value, trace=trace)
                else:
                    # As llama-server does: some clients read `content` of the first delta without a check.
                    delta = {**value, "content": None} if "role" in value else value
                    legacy = self._is_legacy
                    yield openai.chunk(head, delta, index=index, legacy=legacy, logprobs=logprobs, trace=trace)
        if self._body.include_usage:
            yield openai.usage_chunk(head, replies)

    async def outputs(self, *, deltas: bool = True) -> AsyncGenerator[ChoiceOutput, None]:
        """Yield the deltas of all choices, unless they are not needed, and each one's reply."""
        async with aclosing(self._context.jobs.read(partial(self._start, deltas=deltas))) as outputs:
            async for output in outputs:
                if isinstance(output.value, Reply):
                    self._context.metrics.record_generation(output.value.stats)
                    self._context.record.count(output.value.usage)
                yield output

    def _start(self, *, deltas: bool) -> ChoiceStreams:
        """Check and submit the request, once for each choice."""
        request = self._request = self._model.request(self._messages, self._tools, **self._options)
        self._context.record.warn_of_tools(request.tools)
        choices = [request.with_seed(choice_seed(self._options, index)) for index in range(self._body.n or 1)]
        return ChoiceStreams(start_all(partial(self._model.submit, choice) for choice in choices), deltas=deltas)

    def _logprobs_field(self, tokens: Sequence[TokenLogprob]) -> dict[str, Any] | None:
        return openai.logprobs_of(self._model.engine.tokenizer, tokens) if self._body.logprobs else None

    def _body_tools(self) -> list[dict[str, Any]] | None:
        if self._body.functions is None:
            return self._body.tools
        # The older API names a function by itself.
        return [{"type": "function", "function": function} for function in self._body.functions]

    def _chat_options(self) -> ChatOptions:
        body, options = self._body, self._context.with_adapter(self._body.chat_options())
        choice: bool | str | Mapping[str, Any] | None = body.tool_choice
        if self._is_legacy:
            choice = openai.choice_of(body.function_call)
            options["parallel_tool_calls"] = False
        if choice is not None:
            options["tool_choice"] = choice
        if forbids_parallel(choice):
            options["parallel_tool_calls"] = False
        options.setdefault("on_unsupported", self._context.settings.on_unsupported)
        options.setdefault("tool_budget", self._context.settings.tool_budget)
        options["max_tokens"] = body.max_completion_tokens or body.max_tokens
        if body.logprobs:
            options["logprobs"] = body.top_logprobs or 0
        if body.x_edgefc_trace:
            options["trace"] = True
        thinking = (body.chat_template_kwargs or {}).get("enable_thinking")
        if isinstance(thinking, bool) or body.reasoning_effort == "none":
            options["thinking"] = thinking is True
        return options

    def _wishes(self) -> list[str]:
        """Return the names of the fields that have no effect."""
        effort = self._body.reasoning_effort
        extra = self._body.model_extra or {}
        return [*wishes_in(extra), *(["reasoning_effort"] if effort not in (None, "none") else [])]
