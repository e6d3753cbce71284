"""POST /v1/chat/completions: what may be asked, and how it is answered."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Iterator, Mapping, Sequence
from contextlib import aclosing
from functools import partial
from typing import Annotated, Any, cast

from pydantic import Field

from edgefc.chat import openai
from edgefc.chat.options import ChatOptions
from edgefc.chat.reply import ChatStream, Reply
from edgefc.chat.request import checked_tools
from edgefc.engine import TokenLogprob
from edgefc.errors import RequestError
from edgefc.formats import Prompt
from edgefc.server.api.fields import Asked, Refused, for_choice, refuse
from edgefc.server.service import Served
from edgefc.tools import parse_tool_choice
from edgefc.types import Delta, Message, Tool

MOST_MESSAGES, MOST_TOOLS = 4096, 256
# What is understood, cannot be had here, and would change the answer; with the values that mean nothing.
REFUSED: Refused = {
    "audio": (None,),
    "modalities": (None, ["text"]),
    "web_search_options": (None,),
    "chat_template": (None,),
    "continue_final_message": (None, False),
    "add_generation_prompt": (None, True),
    "previous_response_id": (None,),
}


class ChatRequest(Asked):
    """The body of a chat completion."""

    messages: Annotated[list[dict[str, Any]], Field(min_length=1, max_length=MOST_MESSAGES)]
    tools: Annotated[list[dict[str, Any]], Field(max_length=MOST_TOOLS)] | None = None
    tool_choice: str | dict[str, Any] | None = None
    parallel_tool_calls: bool | None = None
    functions: Annotated[list[dict[str, Any]], Field(max_length=MOST_TOOLS)] | None = None
    function_call: str | dict[str, Any] | None = None
    max_completion_tokens: Annotated[int, Field(ge=1)] | None = None
    max_tokens: Annotated[int, Field(ge=1)] | None = None
    logprobs: bool | None = None
    top_logprobs: Annotated[int, Field(ge=0, le=20)] | None = None
    reasoning_effort: str | None = None
    chat_template_kwargs: dict[str, Any] | None = None


Piece = tuple[int, Delta | Reply, Sequence[TokenLogprob]]


class Answer:
    """The choices of an answer, generated side by side: their deltas with their numbers, and each one's Reply, with the
    logprobs that came meanwhile.
    """

    def __init__(self, begin: Callable[[int], ChatStream], choices: int, *, whole: bool = False) -> None:
        """`whole`: Replies alone; each delta handed over takes time that the model could have."""
        self._whole = whole
        self._streams: list[ChatStream] = []
        try:
            for index in range(choices):
                self._streams.append(begin(index))
        except BaseException:
            self.cancel()
            raise

    def __iter__(self) -> Iterator[Piece]:
        for index, stream in enumerate(self._streams):
            for delta in () if self._whole else stream:
                yield index, delta, stream.new_logprobs()
            yield index, stream.reply, stream.new_logprobs()

    def cancel(self) -> None:
        for stream in self._streams:
            stream.cancel()


class ChatCall:
    """A request's body, understood: what it asks of `Model.chat`, and how it wants to be told.

    Raises RequestError for what cannot be had.
    """

    def __init__(self, body: ChatRequest, served: Served) -> None:
        self._body, self._served, self._model = body, served, served.model
        refuse(body, REFUSED)
        served.check_grammar(body.grammar)
        if body.stream_options is not None and not body.stream:
            raise RequestError("stream_options", "is for streams only", "Set stream, or leave it out.")
        if body.top_logprobs is not None and not body.logprobs:
            raise RequestError("top_logprobs", "is for logprobs only", "Set logprobs, or leave it out.")
        self.legacy = body.functions is not None
        if self.legacy and body.tools is not None:
            raise RequestError("functions", "cannot be combined with tools", "Use tools alone.")
        self._tools = self._offered()
        self._options = self._chat_options()

    def begin(self, *, whole: bool = False) -> Answer:
        """Submit it. Raises what `Model.chat` raises."""
        return Answer(self._choice, self._body.n or 1, whole=whole)

    def prompt(self) -> Prompt:
        """What the model would be sent. Raises what `Model.chat` raises of messages and tools."""
        tools = None if self._tools is None else checked_tools(self._tools)
        choice = parse_tool_choice(self._options.get("tool_choice", "auto"), tools or [])
        messages, model = cast("list[Message]", self._body.messages), self._model
        special = model.engine.tokenizer.special_tokens
        thinking = self._options.get("thinking")
        return model.family.render(messages, tools, choice=choice, thinking=thinking, special_tokens=special)

    def count_prompt(self) -> int:
        """Its length in tokens."""
        return len(self._model.engine.tokenizer.encode(self.prompt(), bos=self._model.family.bos))

    async def completion(self) -> dict[str, Any]:
        """The whole answer."""
        pieces = self.pieces(whole=True)
        replies = [piece async for _, piece, _ in pieces if isinstance(piece, Reply)]
        logprobs = [self._logprobs(reply.logprobs) for reply in replies]
        return openai.completion(openai.head(self._served.name), replies, legacy=self.legacy, logprobs=logprobs)

    async def chunks(self) -> AsyncGenerator[dict[str, Any], None]:
        """The answer in chunks."""
        about, replies = openai.head(self._served.name), list[Reply]()
        async with aclosing(self.pieces()) as pieces:
            async for index, piece, new in pieces:
                told = self._logprobs(new) if new else None
                if isinstance(piece, Reply):
                    replies.append(piece)
                    reason = openai.finish_reason(piece, legacy=self.legacy)
                    yield openai.chunk(about, {}, reason, index=index, logprobs=told)
                else:
                    # As llama-server begins streams; there are clients that read `content` of what has a role unasked.
                    delta = {**piece, "content": None} if "role" in piece else piece
                    yield openai.chunk(about, delta, index=index, legacy=self.legacy, logprobs=told)
        if self._body.wants_usage:
            yield openai.usage_chunk(about, replies)

    def _logprobs(self, tokens: Sequence[TokenLogprob]) -> dict[str, Any] | None:
        return openai.logprobs_of(self._model.engine.tokenizer, tokens) if self._body.logprobs else None

    async def pieces(self, *, whole: bool = False) -> AsyncGenerator[Piece, None]:
        """Deltas with their choices' numbers, and each one's Reply."""
        async with aclosing(self._served.jobs.pieces(partial(self.begin, whole=whole))) as pieces:
            async for index, piece, new in pieces:
                if isinstance(piece, Reply):
                    self._served.metrics.generated(piece.stats)
                yield index, piece, new

    def _choice(self, index: int) -> ChatStream:
        options = for_choice(self._options, index)
        messages = cast("list[Message]", self._body.messages)
        tools = cast("list[Tool] | None", self._tools)
        answer: ChatStream = self._model.chat(messages, tools=tools, stream=True, **options)
        return answer

    def _offered(self) -> list[dict[str, Any]] | None:
        if self._body.functions is None:
            return self._body.tools
        return [{"type": "function", "function": function} for function in self._body.functions]

    def _chat_options(self) -> ChatOptions:
        body, options = self._body, self._body.options()
        choice: str | Mapping[str, Any] | None = body.tool_choice
        if self.legacy:
            choice = openai.choice_of(body.function_call)
            options["parallel_tool_calls"] = False
        if choice is not None:
            options["tool_choice"] = choice
        options["max_tokens"] = body.max_completion_tokens or body.max_tokens
        if body.logprobs:
            options["logprobs"] = body.top_logprobs or 0
        thinking = (body.chat_template_kwargs or {}).get("enable_thinking")
        if isinstance(thinking, bool) or body.reasoning_effort == "none":
            options["thinking"] = thinking is True
        return options
