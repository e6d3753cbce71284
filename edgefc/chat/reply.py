"""What a chat gives back: a `Reply`, or a `ChatStream` of deltas that ends in the same `Reply`."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol, Self

from typing_extensions import TypedDict

from edgefc.errors import CancelledError, InvalidCallError
from edgefc.types import Delta, FinishReason, Message, Outcome, ToolCall

if TYPE_CHECKING:
    from edgefc.engine import Generation, GenerationResult, GenerationStats, TokenLogprob
    from edgefc.formats import Parsed, StreamParser
    from edgefc.grammar import Finding


class PromptTokensDetails(TypedDict):
    """`cached_tokens` of the prompt were in the KV cache, or in a snapshot of it, already."""

    cached_tokens: int


class CompletionTokensDetails(TypedDict):
    """Of the answer: `reasoning_tokens` were thoughts, `forced_tokens` the only ones that the grammar allowed."""

    reasoning_tokens: int
    forced_tokens: int


class Usage(TypedDict):
    """Token counts in OpenAI's spelling."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    prompt_tokens_details: PromptTokensDetails
    completion_tokens_details: CompletionTokensDetails


@dataclass(frozen=True, slots=True)
class Reply:
    """One finished answer.

    message     OpenAI's assistant message, ready to be appended to the conversation
    outcome     call | answer | clarify (an argument is missing) | no_tool (none fits) | length (cut off)
    missing     for a clarification, the tools that wait for arguments
    usage       token counts
    logprobs    of all its tokens, those of the call syntax too, where they were asked for
    stopped_by  the one of `stop` that ended it, if one did
    stats       what it cost: tokens cached, sampled, forced and drafted, model steps, constraint microseconds, seconds
    """

    message: Message
    outcome: Outcome
    finish_reason: FinishReason
    missing: tuple[str, ...]
    usage: Usage
    stats: GenerationStats
    logprobs: Sequence[TokenLogprob] = ()
    stopped_by: str | None = None

    @property
    def content(self) -> str:
        """The text of the answer; empty when the model only called tools."""
        return self.message.get("content") or ""

    @property
    def tool_calls(self) -> list[ToolCall]:
        return self.message.get("tool_calls") or []


class Sampling(Protocol):
    """Where a stream's answer comes from, and how it is checked."""

    def parser(self) -> StreamParser:
        """A parser of one answer."""

    @property
    def is_checked(self) -> bool:
        """Whether calls have to be checked once they are there."""

    def first_problem(self, calls: Sequence[ToolCall]) -> tuple[int, Finding] | None:
        """The first call that is not valid, and why."""

    def reasoning_tokens(self, result: GenerationResult) -> int:
        """How many of its tokens are thoughts."""

    def again(self, result: GenerationResult, call: int, attempt: int) -> Generation:
        """The same answer up to this call, and from there on another one."""


MAX_RESAMPLES = 3  # one for each of the temperatures in edgefc.chat.request


class ChatStream:
    """Iterates over a reply's deltas while they are generated; `.reply` is there once it ended.

    Where calls have to be checked after decoding, their deltas come together, once they are valid. Leaving the loop
    early, `close()` or the end of a `with` block cancels the request.
    """

    def __init__(
        self, generation: Generation, sampling: Sampling, on_reply: Callable[[Reply], None] | None = None
    ) -> None:
        """`on_reply` is told the reply when it is complete, by whoever reads the stream."""
        self._generation = generation
        self._sampling = sampling
        self._on_reply = on_reply
        self._reply: Reply | None = None
        self._cancelled = False
        self._told = 0  # logprobs
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

    def new_logprobs(self) -> Sequence[TokenLogprob]:
        """Those of what was read since this was last asked; of calls that have to be checked, once they are valid."""
        if self._reply is not None:
            read = len(self._reply.logprobs)
        else:
            read = 0 if self._sampling.is_checked else self._generation.tokens_read
        new = self._generation.logprobs[self._told : read]
        self._told += len(new)
        return new

    def close(self) -> None:
        """Stop generating; does nothing when the reply is complete."""
        self._deltas.close()
        if self._reply is None:
            self._generation.cancel()

    def cancel(self) -> None:
        """Stop generating, from any thread: whoever reads the stream gets CancelledError."""
        self._cancelled = True
        self._generation.cancel()

    def _run(self) -> Generator[Delta, None, None]:
        try:
            yield {"role": "assistant"}
            yield from self._attempts()
        finally:
            if self._reply is None:
                self._generation.cancel()

    def _attempts(self) -> Generator[Delta, None, None]:
        """Deltas of the answer, sampled again from its first call that is not valid as long as there is one."""
        told = 0  # characters of text that were shown
        spent: list[GenerationStats] = []
        while True:
            parser, said, calls = self._sampling.parser(), 0, list[Delta]()
            for deltas in self._pieces(parser):
                for delta in deltas:
                    if "tool_calls" in delta and self._sampling.is_checked:
                        calls.append(delta)
                    elif "content" in delta:
                        said += len(delta["content"])
                        if said > told:
                            yield {**delta, "content": delta["content"][-(said - told) :]}
                            told = said
                    else:
                        yield delta
            result, parsed = self._generation.result(), self._parsed
            spent.append(result.stats)
            problem = self._sampling.first_problem(parsed.message.get("tool_calls") or [])
            if problem is None:
                yield from calls if parsed.outcome == "call" else ()
                thoughts = "reasoning_content" in parsed.message
                counted = self._sampling.reasoning_tokens(result) if thoughts else 0
                self._reply = _reply(parsed, result, spent, counted)
                if self._on_reply is not None:
                    self._on_reply(self._reply)
                return
            number, finding = problem
            if len(spent) > MAX_RESAMPLES:
                name = parsed.message["tool_calls"][number]["function"]["name"]
                raise InvalidCallError(name, finding.path, finding.reason, len(spent))
            self._generation = self._sampling.again(result, number, len(spent))
            if self._cancelled:
                self._generation.cancel()

    def _pieces(self, parser: StreamParser) -> Iterator[Sequence[Delta]]:
        for text in self._generation:
            yield parser.feed(text)
        self._parsed = parser.finish(self._generation.result().finish_reason)
        yield self._parsed.deltas


def _reply(parsed: Parsed, result: GenerationResult, spent: list[GenerationStats], thoughts: int) -> Reply:
    """The reply of the last attempt, with what all of them cost."""
    stats = result.stats
    if len(spent) > 1:
        stats = replace(
            stats,
            resamples=len(spent) - 1,
            seed=spent[0].seed,  # those of later attempts follow from it
            # Later attempts find the prompt of the first.
            cached_tokens=spent[0].cached_tokens,
            cached_from=spent[0].cached_from,
            **{name: sum(getattr(s, name) for s in spent) for name in _SUMMED},
        )
    return Reply(
        message=parsed.message,
        outcome=parsed.outcome,
        finish_reason="tool_calls" if parsed.outcome == "call" else result.finish_reason,
        missing=parsed.missing,
        usage=usage_of(stats, thoughts),
        stats=stats,
        logprobs=result.logprobs,
        stopped_by=result.stopped_by,
    )


def usage_of(stats: GenerationStats, reasoning_tokens: int = 0) -> Usage:
    """A request's token counts."""
    return {
        "prompt_tokens": stats.prompt_tokens,
        "completion_tokens": stats.completion_tokens,
        "total_tokens": stats.prompt_tokens + stats.completion_tokens,
        "prompt_tokens_details": {"cached_tokens": stats.cached_tokens},
        "completion_tokens_details": {
            "reasoning_tokens": reasoning_tokens,
            # Of all attempts together, where calls were sampled again; of the answer there are no more than it has.
            "forced_tokens": min(stats.forced_tokens, stats.completion_tokens),
        },
    }


_SUMMED = (
    "sampled_tokens", "forced_tokens", "drafted_tokens", "accepted_tokens", "model_steps", "constraint_us",
    "constraint_compile_us", "masks", "queue_s", "prefill_s", "decode_s",
)  # fmt: skip
