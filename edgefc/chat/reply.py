"""The result of a chat: a `Reply`, or a `ChatStream` of deltas that ends in the same `Reply`."""

from __future__ import annotations

import functools
import operator
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Generic, Self

from typing_extensions import TypedDict, TypeVar

from edgefc.chat.confidence import Confidence
from edgefc.chat.guide import AnswerGuide
from edgefc.chat.options import stop_strings
from edgefc.chat.repeats import AnswerReader
from edgefc.chat.request import RESAMPLE_TEMPERATURES, Request
from edgefc.chat.trace import Trace, TracedToken, TraceReader
from edgefc.engine import GenerationResult, GenerationStats, TokenLogprob
from edgefc.engine.guide import EndReason
from edgefc.errors import CancelledError, InvalidAnswerError, InvalidCallError
from edgefc.formats import ParsedReply
from edgefc.tools import Omitted
from edgefc.tools.selection import ToolSelection
from edgefc.types import Call, Delta, FinishReason, Message, Outcome, ToolCall

if TYPE_CHECKING:
    from edgefc.tools.json_types import JsonType

T = TypeVar("T", default=Any)  # the type that was the request's `response_format`
MAX_RESAMPLES = len(RESAMPLE_TEMPERATURES)


class PromptTokensDetails(TypedDict):
    """`cached_tokens` of the prompt were already in the KV cache or in a snapshot of it."""

    cached_tokens: int


class CompletionTokensDetails(TypedDict):
    """Tokens of the answer that were thoughts, and tokens that the grammar forced."""

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
class Reply(Generic[T]):
    """A finished answer.

    message     OpenAI's assistant message, ready to be appended to the conversation
    outcome     call | answer | clarify (an argument is missing) | no_tool (none fits) | length (cut off). An answer
                that was cut off after complete calls is a call, too: they can be run; an incomplete one is dropped.
                unsure: the model's call was less certain than `min_confidence`, and is not delivered
    finish_reason  OpenAI's: length for an answer that was cut off, with calls or without
    missing     for a clarification, the tools that lack arguments
    usage       token counts
    logprobs    of all tokens, those of the call syntax included, if the request asked for them
    stopped_by  the stop string that ended the answer, if one did
    end_reason  stop (the model, the grammar or a stop string); max_tokens, context or loop (the same few tokens again
                and again) cut it off; repeated_call: a call equal to an earlier one followed, and was dropped; unsure:
                so was a call that the model was not sure enough of
    confidence  how sure the model was; None if it could not call
    omitted     tools that were left out of the request, with the reasons: see `on_unsupported`
    selection   the tools that the model was shown, with the reasons, if the request had more: see `tool_budget`
    trace       how the answer came about, token by token, if the request asked for it
    stats       costs: tokens cached, sampled, forced and drafted, model steps, constraint microseconds, seconds
    """

    message: Message
    outcome: Outcome
    finish_reason: FinishReason
    missing: tuple[str, ...]
    usage: Usage
    stats: GenerationStats
    logprobs: Sequence[TokenLogprob] = ()
    stopped_by: str | None = None
    end_reason: EndReason = "stop"
    confidence: Confidence | None = None
    omitted: tuple[Omitted, ...] = ()
    selection: ToolSelection | None = None
    trace: Trace | None = None

    answer_type: JsonType[T] | None = field(default=None, repr=False, compare=False)

    @property
    def parsed(self) -> T | None:
        """The answer as an object of the type that `response_format` was; None if it calls tools, or was cut off.

        Raises InvalidAnswerError if the type's own validators, which no grammar knows, refuse it.
        """
        if self.answer_type is None or self.outcome != "answer" or self.is_cut:
            return None
        from pydantic import ValidationError

        from edgefc.tools.json_types import describe

        try:
            return self.answer_type.parse_json(self.content)
        except ValidationError as error:
            raise InvalidAnswerError(describe(error)) from None

    @property
    def is_cut(self) -> bool:
        """True if the answer was cut off: by max_tokens, the end of the context or the loop guard."""
        return self.finish_reason == "length"

    @property
    def content(self) -> str:
        """The text of the answer; empty when the model only called tools."""
        return self.message.get("content") or ""

    @property
    def calls(self) -> list[Call]:
        """The tool calls, with `name` and `arguments` as an object."""
        return [Call.parse(call) for call in self.tool_calls]

    @property
    def tool_calls(self) -> list[ToolCall]:
        """The tool calls of `message`, as OpenAI's API has them: arguments are JSON text."""
        return self.message.get("tool_calls") or []


class ChatStream(Generic[T]):
    """Iterates over a reply's deltas while they are generated; afterwards `.reply` is the whole.

    If calls have to be checked after decoding, their deltas come together, once they are valid. Leaving the loop
    early, `close()` or the end of a `with` block cancels the request.
    """

    def __init__(self, request: Request, on_reply: Callable[[Reply[T]], None] | None = None) -> None:
        """Submit the request; `on_reply` receives the complete reply, in the thread that reads the stream."""
        self._request = request
        self._attempt = request.submit()
        self._on_reply = on_reply
        self._parsed: ParsedReply | None = None
        self._reply: Reply[T] | None = None
        self._cancelled = False
        self._stopped_by: str | None = None
        self._error: BaseException | None = None
        self._logprobs_read = 0
        self._trace = None if request.traced is None else TraceReader(request.traced)
        self.withheld: Sequence[Delta] = ()  # of calls that are not checked yet
        self._deltas = self._run()

    def __iter__(self) -> Iterator[Delta]:
        return self

    def __next__(self) -> Delta:
        for delta in self._deltas:
            return delta
        if self._error is not None:  # read again after an error
            raise self._error
        raise StopIteration

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def reply(self) -> Reply[T]:
        """The complete reply; waits for it. Raises CancelledError after `close()`."""
        for _ in self:
            pass
        if self._reply is None:
            raise CancelledError("the stream was closed before the reply was complete")
        return self._reply

    @property
    def tokens_read(self) -> int:
        """Number of tokens, of the current attempt, whose text has been read so far."""
        return self._attempt.generation.tokens_read

    def pop_logprobs(self) -> Sequence[TokenLogprob]:
        """Return the logprobs of tokens read since the last call; those of checked calls only once they are valid."""
        new = self._attempt.generation.logprobs[self._logprobs_read : self._n_final]
        self._logprobs_read += len(new)
        return new

    def pop_trace(self) -> Sequence[TracedToken]:
        """Return how the tokens read since the last call came about; those of checked calls only once they are valid.

        Empty unless the request asked for a trace.
        """
        return () if self._trace is None else self._trace.pop(self._attempt.generation, self._n_final)

    @property
    def _n_final(self) -> int:
        """Number of tokens that were read, and that no further attempt will replace."""
        generation = self._attempt.generation
        if self._reply is not None:
            return self._reply.usage["completion_tokens"]
        return 0 if self._request.is_checked else generation.tokens_read

    def close(self) -> None:
        """Stop generating; does nothing when the reply is complete."""
        self._deltas.close()
        if self._reply is None:
            self._attempt.generation.cancel()

    def cancel(self) -> None:
        """Stop generating, from any thread: the reader of the stream gets CancelledError."""
        self._cancelled = True
        self._attempt.generation.cancel()

    def _run(self) -> Generator[Delta, None, None]:
        try:
            yield {"role": "assistant"}
            yield from self._attempts()
        except Exception as error:
            self._error = error
            raise
        finally:
            if self._reply is None:
                self._attempt.generation.cancel()

    def _attempts(self) -> Generator[Delta, None, None]:
        """Yield the answer's deltas, resampling from the first invalid call while there is one."""
        n_sent = 0  # characters of text already passed on; a later attempt repeats them
        stats: list[GenerationStats] = []
        while True:
            length, pending = 0, list[Delta]()
            self.withheld = pending
            guide = self._attempt.guide
            for delta in self._safe_deltas(guide):
                if "content" in delta:
                    length += len(delta["content"])
                    if length > n_sent:
                        yield {**delta, "content": delta["content"][n_sent - length :]}
                        n_sent = length
                elif "tool_calls" in delta and self._request.is_checked:
                    pending.append(delta)
                else:
                    yield delta
            result, parsed = self._attempt.generation.result(), self._parsed
            assert parsed is not None
            stats.append(result.stats)
            if result.end_reason == "declined":
                self._end_attempt(is_resampled=False)
                self._attempt, self._logprobs_read = self._request.answer_in_text(self._attempt), 0
                if self._cancelled:
                    self._attempt.generation.cancel()
                continue
            if guide is not None and result.end_reason == "unsure":
                parsed = _without_unsure_call(parsed, guide.n_safe)
            if self._is_valid(parsed, stats):
                n_calls = len(parsed.message.get("tool_calls", ()))
                yield from (delta for delta in pending if delta["tool_calls"][0]["index"] < n_calls)
                self._finish(result, parsed, stats)
                return

    def _safe_deltas(self, guide: AnswerGuide | None) -> Iterator[Delta]:
        """Yield the deltas of an attempt; those of a call that the model is not sure of only once it is, if ever."""
        waiting = deque[Delta]()
        for delta in self._parsed_deltas(self._request.reader(is_text=self._attempt.declined is not None)):
            if guide is None or "tool_calls" not in delta:
                yield delta
                continue
            waiting.append(delta)
            while waiting and waiting[0]["tool_calls"][0]["index"] < guide.n_safe:
                yield waiting.popleft()
        while waiting and guide is not None and waiting[0]["tool_calls"][0]["index"] < guide.n_safe:
            yield waiting.popleft()

    def _parsed_deltas(self, reader: AnswerReader) -> Iterator[Delta]:
        for text in self._attempt.generation:
            yield from reader.feed(text)
        self._parsed = reader.finish(self._attempt.generation.result().finish_reason)
        self._stopped_by = reader.stopped_by
        yield from self._parsed.deltas

    def _is_valid(self, parsed: ParsedReply, stats: Sequence[GenerationStats]) -> bool:
        """Check the calls; if one is invalid, start the next attempt. Raises InvalidCallError after the last."""
        if not self._request.is_checked:
            return True
        calls = [Call.parse(call) for call in parsed.message.get("tool_calls") or ()]
        problem = self._request.first_problem(calls)
        if problem is None:
            return True
        number, finding = problem
        if len(stats) > MAX_RESAMPLES:
            raise InvalidCallError(calls[number].name, finding.path, finding.reason, len(stats))
        self._end_attempt(is_resampled=True)
        self._attempt = self._request.resample(self._attempt, number, len(stats))
        if self._cancelled:
            self._attempt.generation.cancel()
        return False

    def _end_attempt(self, *, is_resampled: bool) -> None:
        """Store the trace of an attempt that another one follows."""
        if self._trace is not None:
            self._trace.end_attempt(self._attempt.generation, is_resampled=is_resampled)

    def _finish(self, result: GenerationResult, parsed: ParsedReply, attempts: Sequence[GenerationStats]) -> None:
        has_thoughts = "reasoning_content" in parsed.message
        reasoning_tokens = self._request.reasoning_tokens(result) if has_thoughts else 0
        stats = functools.reduce(operator.add, attempts)
        stopped_by = self._stopped_by or result.stopped_by
        is_stopped_text = parsed.outcome == "length" and stopped_by in stop_strings(self._request.options)
        outcome: Outcome = "answer" if is_stopped_text else parsed.outcome
        self._reply = Reply(
            message=parsed.message,
            outcome=outcome,
            finish_reason=_finish_reason(outcome, result),
            missing=parsed.missing,
            usage=usage_of(stats, reasoning_tokens),
            stats=stats,
            logprobs=result.logprobs,
            stopped_by=stopped_by,
            end_reason=result.end_reason,
            confidence=self._attempt.confidence,
            trace=None
            if self._trace is None
            else self._trace.finish(self._attempt.generation, self._attempt.confidence, stats),
            answer_type=self._request.answer_type,
            omitted=self._request.omitted,
            selection=self._request.selection,
        )
        if self._on_reply is not None:
            self._on_reply(self._reply)


def _finish_reason(outcome: Outcome, result: GenerationResult) -> FinishReason:
    """Return OpenAI's finish_reason of an outcome; an answer that was cut off has had a call begun, perhaps."""
    if result.finish_reason == "length" or outcome == "length":
        return "length"
    return "tool_calls" if outcome == "call" else "stop"


def _without_unsure_call(parsed: ParsedReply, n_safe: int) -> ParsedReply:
    """Return the message with its first `n_safe` calls; without any, the outcome is `unsure`."""
    message = parsed.message.copy()
    calls = message.pop("tool_calls", [])[:n_safe]
    if calls:
        message["tool_calls"] = calls
        return replace(parsed, message=message)
    message["content"] = message.get("content") or ""
    return replace(parsed, message=message, outcome="unsure")


def usage_of(stats: GenerationStats, reasoning_tokens: int = 0) -> Usage:
    """Return a request's token counts."""
    return {
        "prompt_tokens": stats.prompt_tokens,
        "completion_tokens": stats.completion_tokens,
        "total_tokens": stats.prompt_tokens + stats.completion_tokens,
        "prompt_tokens_details": {"cached_tokens": stats.cached_tokens},
        "completion_tokens_details": {
            "reasoning_tokens": reasoning_tokens,
            # Resampled attempts count together, but an answer has no more forced tokens than tokens.
            "forced_tokens": min(stats.forced_tokens, stats.completion_tokens),
        },
    }
