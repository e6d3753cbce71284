"""POST /v1/completions: raw prompts, as evaluation harnesses send them."""

from __future__ import annotations

import secrets
import time
from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import aclosing
from functools import partial
from typing import Annotated, Any

from pydantic import Field

from edgefc.chat import openai
from edgefc.chat.completion import Completion, TextStream
from edgefc.chat.options import ChatOptions
from edgefc.errors import RequestError
from edgefc.limits import MAX_STOP_STRINGS
from edgefc.server.api.fields import (
    CommonFields,
    Integer,
    TokenLimit,
    Unsupported,
    options_for_choice,
    reject_unsupported,
)
from edgefc.server.api.foreign_fields import MUST_BE_HONOURED, wishes_in
from edgefc.server.jobs import start_all
from edgefc.server.service import RequestContext

MAX_PROMPTS, MAX_PROMPT_TOKENS = 64, 1 << 20
DEFAULT_MAX_TOKENS = 16  # OpenAI's
UNSUPPORTED: Unsupported = {**MUST_BE_HONOURED, "logprobs": (0, False), "tools": ([],), "functions": ([],)}
TokenId = Annotated[Integer, Field(ge=0, lt=1 << 31)]
TokenIds = Annotated[list[TokenId], Field(min_length=1, max_length=MAX_PROMPT_TOKENS, fail_fast=True)]


class CompletionRequest(CommonFields):
    """The body of a completion."""

    prompt: str | TokenIds | Annotated[list[str | TokenIds], Field(min_length=1, max_length=MAX_PROMPTS)]
    max_tokens: TokenLimit | None = None
    stop_token_ids: Annotated[list[TokenId], Field(max_length=MAX_STOP_STRINGS)] | None = None


class _CompletionStreams:
    """All completions, generated side by side: yields text with the index of its choice, then the whole of each."""

    def __init__(self, streams: Sequence[TextStream]) -> None:
        self._streams = streams

    def __iter__(self) -> Iterator[tuple[int, str | Completion]]:
        for index, stream in enumerate(self._streams):
            for text in stream:
                yield index, text
            yield index, stream.completion

    def cancel(self) -> None:
        for stream in self._streams:
            stream.cancel()


class CompletionHandler:
    """Answers one completion request. Raises RequestError for an unsupported body."""

    def __init__(self, body: CompletionRequest, context: RequestContext) -> None:
        self._body, self._context, self._model = body, context, context.model
        reject_unsupported(body, UNSUPPORTED)
        context.record.warn(f"{name} has no effect" for name in wishes_in(body.model_extra or {}))
        context.check_grammar(body.grammar)
        prompt = body.prompt
        is_batch = isinstance(prompt, list) and not isinstance(prompt[0], int)
        self._prompts: list[Any] = list(prompt) if is_batch else [prompt]
        self._n = body.n or 1
        self._options = self._completion_options()

    async def response(self) -> dict[str, Any]:
        """Return the whole response."""
        completions = [output async for _, output in self.outputs() if isinstance(output, Completion)]
        choices = [_choice_field(index, one.text, one.finish_reason) for index, one in enumerate(completions)]
        return {**self._head(), "choices": choices, **openai.usage_and_timings(completions, self._n)}

    async def events(self) -> AsyncGenerator[dict[str, Any], None]:
        """Yield the response in chunks."""
        head, completions = self._head(), list[Completion]()
        async with aclosing(self.outputs()) as outputs:
            async for index, output in outputs:
                if isinstance(output, Completion):
                    completions.append(output)
                    yield {**head, "choices": [_choice_field(index, "", output.finish_reason)]}
                else:
                    yield {**head, "choices": [_choice_field(index, output, None)]}
        if self._body.include_usage:
            yield {**head, "choices": [], **openai.usage_and_timings(completions, self._n)}

    async def outputs(self) -> AsyncGenerator[tuple[int, str | Completion], None]:
        """Yield the text of all completions, each with the index of its choice, then the whole of each."""
        async with aclosing(self._context.jobs.read(self._start)) as outputs:
            async for index, output in outputs:
                if isinstance(output, Completion):
                    self._context.metrics.record_generation(output.stats)
                    self._context.record.count(output.usage)
                yield index, output

    def _start(self) -> _CompletionStreams:
        """Submit all choices of all prompts."""
        return _CompletionStreams(
            start_all(
                partial(self._model.complete, prompt, **options_for_choice(self._options, index))
                for prompt in self._prompts
                for index in range(self._n)
            )
        )

    def _head(self) -> dict[str, Any]:
        return {
            "id": f"cmpl-{secrets.token_hex(12)}", "object": "text_completion", "created": int(time.time()),
            "model": self._context.model_name, "system_fingerprint": openai.FINGERPRINT,
        }  # fmt: skip

    def _completion_options(self) -> ChatOptions:
        body, options = self._body, self._context.with_adapter(self._body.chat_options())
        options["max_tokens"] = body.max_tokens or DEFAULT_MAX_TOKENS
        if body.stop_token_ids:
            stops = [body.stop] if isinstance(body.stop, str) else list(body.stop or ())
            options["stop"] = [*stops, *map(self._special_text, body.stop_token_ids)]
        return options

    def _special_text(self, token: int) -> str:
        tokenizer = self._model.engine.tokenizer
        for text in tokenizer.special_tokens:
            if tokenizer.special_id(text) == token:
                return text
        raise RequestError(
            ("stop_token_ids",), f"unsupported token {token}: only special tokens can stop", "Put its text into `stop`."
        )


def _choice_field(index: int, text: str, reason: str | None) -> dict[str, Any]:
    return {"index": index, "text": text, "logprobs": None, "finish_reason": reason}
