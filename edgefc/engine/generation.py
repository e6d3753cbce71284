"""The handle, the result and the statistics of one generation."""

from __future__ import annotations

import dataclasses
import queue
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from edgefc.engine.guide import EndReason
from edgefc.engine.sampler import TokenLogprob
from edgefc.engine.trace import TokenLog

CacheSource = Literal["", "slot", "copy", "memory", "disk"]


@dataclass(slots=True)
class GenerationStats:
    """Cost of one request.

    prompt_tokens, cached_tokens   length of the prompt, and how many of its tokens were in the KV cache already
    cached_from         where they came from: slot (the same one, from an earlier request), copy (of another slot),
                        memory or disk
    completion_tokens   tokens generated: sampled_tokens chosen by the model, forced_tokens given by the grammar
    model_steps         llama_decode calls that included this request, prefill included
    drafted_tokens, accepted_tokens   tokens computed as drafts, and how many of them were right
    constraint_us       microseconds spent executing the grammar, for all tokens together
    constraint_compile_us   microseconds to start the grammar
    masks               number of masks computed over the whole vocabulary
    queue_s, prefill_s, decode_s   seconds in the queue, until the first token, and from there to the end
    seed                seed that repeats this sampling
    resamples           number of times the answer was sampled again because a check after decoding refused a call; the
                        other figures then cover all attempts
    """

    prompt_tokens: int = 0
    cached_tokens: int = 0
    cached_from: CacheSource = ""
    completion_tokens: int = 0
    sampled_tokens: int = 0
    forced_tokens: int = 0
    drafted_tokens: int = 0
    accepted_tokens: int = 0
    model_steps: int = 0
    constraint_us: float = 0.0
    constraint_compile_us: float = 0.0
    masks: int = 0
    queue_s: float = 0.0
    prefill_s: float = 0.0
    decode_s: float = 0.0
    seed: int = 0
    resamples: int = 0

    @property
    def constraint_us_per_sampled_token(self) -> float:
        return self.constraint_us / self.sampled_tokens if self.sampled_tokens else 0.0

    def __add__(self, later: GenerationStats) -> GenerationStats:
        """Cost of this attempt at an answer together with a later one.

        The prompt, what was cached of it, and the seed are the first attempt's: later ones find the prompt in the KV
        cache and derive their seeds. The answer's length is the last attempt's; all other figures are summed.
        """
        sums = {
            field.name: getattr(self, field.name) + getattr(later, field.name)
            for field in dataclasses.fields(self)
            if field.name not in _NOT_SUMMED
        }
        resamples = self.resamples + 1 + later.resamples
        return dataclasses.replace(self, completion_tokens=later.completion_tokens, resamples=resamples, **sums)


_NOT_SUMMED = {"prompt_tokens", "cached_tokens", "cached_from", "completion_tokens", "seed", "resamples"}


@dataclass(frozen=True, slots=True)
class GenerationResult:
    """A finished generation.

    finish_reason  "length" when max_tokens, the end of the context or the loop guard cut the text off
    stopped_by     the entry of the request's `stop` that ended the text, if one did
    end_reason     the exact reason for its end
    """

    text: str
    token_ids: list[int]
    finish_reason: Literal["stop", "length"]
    stats: GenerationStats
    logprobs: Sequence[TokenLogprob] = ()
    stopped_by: str | None = None
    end_reason: EndReason = "stop"


class Generation:
    """Handle of a request: iterate over it for text as it is generated, or wait for `result()`. Thread-safe."""

    def __init__(self, on_cancel: Callable[[Generation], None]) -> None:
        self._on_cancel = on_cancel
        self._pieces: queue.SimpleQueue[tuple[str, int] | None] = queue.SimpleQueue()
        self._done = threading.Event()
        self._result: GenerationResult | None = None
        self._error: BaseException | None = None
        self.cancelled = False
        self.logprobs: Sequence[TokenLogprob] = ()  # of the tokens so far, if the request asked for logprobs
        self.trace: TokenLog | None = None  # of the tokens so far, if the request asked for it
        self.tokens_read = 0  # number of tokens whose text was read

    def __iter__(self) -> Iterator[str]:
        """Yield pieces of text, each valid UTF-8 by itself. Raises the error that ended the generation, if any."""
        while (piece := self._pieces.get()) is not None:
            yield self._read(piece)
        self._pieces.put(None)  # a second iteration must end as well
        self._raise_error()

    def _read(self, piece: tuple[str, int]) -> str:
        text, self.tokens_read = piece
        return text

    def result(self, timeout: float | None = None) -> GenerationResult:
        """Wait for the whole result. Raises CancelledError, EngineClosedError, ConstraintError or TimeoutError."""
        if not self._done.wait(timeout):
            raise TimeoutError("the generation has not ended yet")
        self._raise_error()
        assert self._result is not None
        return self._result

    def cancel(self) -> None:
        """Stop as soon as possible; does nothing when the generation has ended."""
        if not self._done.is_set():
            self.cancelled = True
            self._on_cancel(self)

    def _raise_error(self) -> None:
        if self._error is not None:
            raise self._error

    # -- the engine's side ----------------------------------------------------------------------------------

    def emit(self, text: str, tokens: int) -> None:
        """Add a piece of text; `tokens` counts all tokens whose text has been emitted by then."""
        if text:
            self._pieces.put((text, tokens))

    def succeed(self, result: GenerationResult) -> None:
        self._result = result
        self._pieces.put(None)
        self._done.set()

    def fail(self, error: BaseException) -> None:
        """End with an error, unless it has ended already."""
        if self._done.is_set():
            return
        self._error = error
        self._pieces.put(None)
        self._done.set()
