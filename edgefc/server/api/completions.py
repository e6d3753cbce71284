"""POST /v1/completions: raw prompts, as evaluation harnesses send them."""

from __future__ import annotations

import secrets
import time
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing
from typing import Annotated, Any

from pydantic import Field

from edgefc.chat import openai
from edgefc.chat.completion import Completion, TextStream
from edgefc.chat.options import ChatOptions
from edgefc.errors import RequestError
from edgefc.server.api.fields import MOST_STOPS, Asked, Refused, for_choice, refuse
from edgefc.server.service import Served

MOST_PROMPTS, MOST_TOKENS = 64, 1 << 20
REFUSED: Refused = {
    "suffix": (None, ""), "echo": (None, False), "logprobs": (None, 0, False), "best_of": (None, 1),
    "skip_special_tokens": (None, True),
}  # fmt: skip
Token = Annotated[int, Field(ge=0, lt=1 << 31)]
Tokens = Annotated[list[Token], Field(min_length=1, max_length=MOST_TOKENS)]


class CompletionRequest(Asked):
    """The body of a completion."""

    prompt: str | Tokens | Annotated[list[str | Tokens], Field(min_length=1, max_length=MOST_PROMPTS)]
    max_tokens: Annotated[int, Field(ge=1)] | None = None
    stop_token_ids: Annotated[list[Token], Field(max_length=MOST_STOPS)] | None = None


class _Answers:
    """The completions of all prompts, generated side by side: their text with their numbers, and each one's end."""

    def __init__(self, streams: list[TextStream]) -> None:
        self._streams = streams

    def __iter__(self) -> Iterator[tuple[int, str | Completion]]:
        for index, stream in enumerate(self._streams):
            for text in stream:
                yield index, text
            yield index, stream.completion

    def cancel(self) -> None:
        for stream in self._streams:
            stream.cancel()


class CompletionCall:
    """A request's body, understood. Raises RequestError for what cannot be had."""

    def __init__(self, body: CompletionRequest, served: Served) -> None:
        self._body, self._served, self._model = body, served, served.model
        refuse(body, REFUSED)
        served.check_grammar(body.grammar)
        prompt = body.prompt
        several = isinstance(prompt, list) and not isinstance(prompt[0], int)
        self._prompts: list[Any] = list(prompt) if several else [prompt]
        self._options = self._complete_options()

    def begin(self) -> _Answers:
        """Submit them all. Raises what `Model.complete` raises."""
        streams: list[TextStream] = []
        try:
            for prompt in self._prompts:
                for choice in range(self._body.n or 1):
                    options = for_choice(self._options, choice)
                    # One by one: those that were begun are cancelled when another cannot be.
                    streams.append(self._model.complete(prompt, **options))
        except BaseException:
            _Answers(streams).cancel()
            raise
        return _Answers(streams)

    async def completion(self) -> dict[str, Any]:
        """The whole answer."""
        done = [piece async for _, piece in self._pieces() if isinstance(piece, Completion)]
        choices = [_choice(index, one.text, one.finish_reason) for index, one in enumerate(done)]
        return {**self._head(), "choices": choices, **self._spent(done)}

    async def chunks(self) -> AsyncGenerator[dict[str, Any], None]:
        """The answer in chunks."""
        about, done = self._head(), list[Completion]()
        async with aclosing(self._pieces()) as pieces:
            async for index, piece in pieces:
                if isinstance(piece, Completion):
                    done.append(piece)
                    yield {**about, "choices": [_choice(index, "", piece.finish_reason)]}
                else:
                    yield {**about, "choices": [_choice(index, piece, None)]}
        if self._body.wants_usage:
            yield {**about, "choices": [], **self._spent(done)}

    async def _pieces(self) -> AsyncGenerator[tuple[int, str | Completion], None]:
        async with aclosing(self._served.jobs.pieces(self.begin)) as pieces:
            async for index, piece in pieces:
                if isinstance(piece, Completion):
                    self._served.metrics.generated(piece.stats)
                yield index, piece

    def _head(self) -> dict[str, Any]:
        about = {"id": f"cmpl-{secrets.token_hex(12)}", "object": "text_completion", "created": int(time.time())}
        return {**about, "model": self._served.name, "system_fingerprint": openai.FINGERPRINT}

    def _spent(self, done: list[Completion]) -> dict[str, Any]:
        return openai.spent(done, self._body.n or 1)

    def _complete_options(self) -> ChatOptions:
        body, options = self._body, self._body.options()
        options["max_tokens"] = body.max_tokens or 16  # OpenAI's default
        if body.stop_token_ids:
            stops = [body.stop] if isinstance(body.stop, str) else list(body.stop or ())
            options["stop"] = [*stops, *map(self._special, body.stop_token_ids)]
        return options

    def _special(self, token: int) -> str:
        tokenizer = self._model.engine.tokenizer
        for text in tokenizer.special_tokens:
            if tokenizer.special_id(text) == token:
                return text
        raise RequestError("stop_token_ids", f"{token} is no special token", "Give its text in `stop`.")


def _choice(index: int, text: str, reason: str | None) -> dict[str, Any]:
    return {"index": index, "text": text, "logprobs": None, "finish_reason": reason}
