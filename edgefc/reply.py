"""What a chat gives back: a `Reply`, or a `ChatStream` of deltas that ends in the same `Reply`."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from typing_extensions import Self, TypedDict

from edgefc.errors import CancelledError
from edgefc.types import Delta, FinishReason, Message, Outcome, ToolCall

if TYPE_CHECKING:
    from edgefc.engine import Generation, GenerationStats
    from edgefc.formats import StreamParser


class Usage(TypedDict):
    """Token counts in OpenAI's spelling."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int


@dataclass(frozen=True, slots=True)
class Reply:
    """One finished answer.

    message   OpenAI's assistant message, ready to be appended to the conversation
    outcome   call | answer | clarify (an argument is missing) | no_tool (none fits) | length (cut off)
    missing   for a clarification, the tools that wait for arguments
    usage     token counts
    stats     what it cost: forced and sampled tokens, model steps, constraint microseconds, seconds
    """

    message: Message
    outcome: Outcome
    finish_reason: FinishReason
    missing: tuple[str, ...]
    usage: Usage
    stats: GenerationStats

    @property
    def content(self) -> str:
        """The text of the answer; empty when the model only called tools."""
        return self.message.get("content") or ""

    @property
    def tool_calls(self) -> list[ToolCall]:
        return self.message.get("tool_calls") or []


class ChatStream:
    """Iterates over a reply's deltas while they are generated; `.reply` is there once it ended.

    Leaving the loop early, `close()` or the end of a `with` block cancels the request.
    """

    def __init__(self, generation: Generation, parser: StreamParser) -> None:
        self._generation = generation
        self._parser = parser
        self._reply: Reply | None = None
        self._deltas = self._run()

    def __iter__(self) -> Iterator[Delta]:
        return self

    def __next__(self) -> Delta:
        return next(self._deltas)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def reply(self) -> Reply:
        """The whole reply; reads the rest of the stream first. Raises CancelledError after `close()`."""
        for _ in self._deltas:
            pass
        if self._reply is None:
            raise CancelledError("the stream was closed before the reply was complete")
        return self._reply

    def close(self) -> None:
        """Stop generating; does nothing when the reply is complete."""
        self._deltas.close()
        if self._reply is None:
            self._generation.cancel()

    def _run(self) -> Generator[Delta, None, None]:
        try:
            yield {"role": "assistant"}
            for text in self._generation:
                yield from self._parser.feed(text)
            yield from self._finish()
        finally:
            if self._reply is None:
                self._generation.cancel()

    def _finish(self) -> tuple[Delta, ...]:
        """Make the reply; the deltas that were held back until the end."""
        result = self._generation.result()
        parsed = self._parser.finish(result.finish_reason)
        stats = result.stats
        finish: FinishReason = "tool_calls" if parsed.outcome == "call" else result.finish_reason
        self._reply = Reply(
            message=parsed.message,
            outcome=parsed.outcome,
            finish_reason=finish,
            missing=parsed.missing,
            usage={
                "prompt_tokens": stats.prompt_tokens,
                "completion_tokens": stats.completion_tokens,
                "total_tokens": stats.prompt_tokens + stats.completion_tokens,
            },
            stats=stats,
        )
        return parsed.deltas
