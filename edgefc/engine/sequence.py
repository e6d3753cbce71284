"""One request while it runs, and the handle its caller holds."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Literal

from edgefc.engine.constraint import Constraint
from edgefc.engine.output import TextOutput
from edgefc.engine.sampler import Sampler
from edgefc.errors import CancelledError


@dataclass(slots=True)
class GenerationStats:
    """What one request cost.

    prompt_tokens, cached_tokens   prompt length, and how much of it was in the KV cache already
    completion_tokens   generated: sampled_tokens chosen by the model, forced_tokens given by the grammar
    model_steps         llama_decode calls this request took part in, prefill included
    constraint_us       microseconds spent in the grammar's execution, all tokens together
    constraint_compile_us   microseconds to start the grammar
    masks               how often a mask over the whole vocabulary was needed
    queue_s, prefill_s, decode_s   seconds waiting, until the first token, and from there to the end
    seed                what makes this sampling repeatable
    resamples           how often an answer was sampled again because a check after decoding refused a call; the
                        other figures are of all attempts together
    """

    prompt_tokens: int = 0
    cached_tokens: int = 0
    completion_tokens: int = 0
    sampled_tokens: int = 0
    forced_tokens: int = 0
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


@dataclass(frozen=True, slots=True)
class GenerationResult:
    """A finished generation: `finish_reason` is "length" when it was cut off by max_tokens or the context."""

    text: str
    token_ids: list[int]
    finish_reason: Literal["stop", "length"]
    stats: GenerationStats


class Generation:
    """A request's handle: iterate for text as it comes, or wait for `result()`. Any thread may use it."""

    def __init__(self, wake: Callable[[Generation], None]) -> None:
        self._wake = wake
        self._pieces: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self._done = threading.Event()
        self._result: GenerationResult | None = None
        self._error: BaseException | None = None
        self.cancelled = False

    def __iter__(self) -> Iterator[str]:
        """Pieces of text, each valid by itself. Raises what ended the generation, if something did."""
        while (piece := self._pieces.get()) is not None:
            yield piece
        self._pieces.put(None)  # so that iterating again ends as well
        self._raise()

    def result(self, timeout: float | None = None) -> GenerationResult:
        """The whole result; waits for it. Raises CancelledError, EngineClosedError, ConstraintError or TimeoutError."""
        if not self._done.wait(timeout):
            raise TimeoutError("the generation has not ended yet")
        self._raise()
        assert self._result is not None
        return self._result

    def cancel(self) -> None:
        """Stop as soon as possible; does nothing when the generation has ended."""
        if not self._done.is_set():
            self.cancelled = True
            self._wake(self)

    def _raise(self) -> None:
        if self._error is not None:
            raise self._error

    # -- the engine's side ----------------------------------------------------------------------------------

    def emit(self, text: str) -> None:
        if text:
            self._pieces.put(text)

    def succeed(self, result: GenerationResult) -> None:
        self._result = result
        self._pieces.put(None)
        self._done.set()

    def fail(self, error: BaseException) -> None:
        self._error = error
        self._pieces.put(None)
        self._done.set()


@dataclass(slots=True)
class Sequence:
    """A request in the engine.

    pending   tokens that belong to the text already and are not in the KV cache yet: the prompt at first, then
              the last sampled token and what the grammar forced after it
    position  how many of its tokens are in the KV cache
    """

    handle: Generation
    prompt: list[int]
    limit: int
    sampler: Sampler
    constraint: Constraint | None
    output: TextOutput
    ends: frozenset[int]
    spoken: frozenset[int] = frozenset()  # control tokens of which the text is part of the answer's
    answer: list[int] = field(default_factory=list)  # what was said already
    slot: int = -1
    position: int = 0
    pending: list[int] = field(default_factory=list)
    generated: list[int] = field(default_factory=list)
    text: list[str] = field(default_factory=list)
    stats: GenerationStats = field(default_factory=GenerationStats)
    submitted: float = field(default_factory=time.perf_counter)
    admitted: float = 0.0
    first_token: float = 0.0

    def say(self, data: bytes) -> None:
        text = self.output.feed(data)
        self.text.append(text)
        self.handle.emit(text)

    def finish(self, reason: Literal["stop", "length"]) -> None:
        rest = self.output.flush()
        self.text.append(rest)
        self.handle.emit(rest)
        now, stats = time.perf_counter(), self.stats
        stats.prompt_tokens, stats.completion_tokens = len(self.prompt), len(self.generated)
        stats.queue_s = self.admitted - self.submitted
        stats.prefill_s = (self.first_token or now) - self.admitted
        stats.decode_s = now - (self.first_token or now)
        stats.seed = self.sampler.seed
        if self.constraint is not None:
            stats.constraint_us = self.constraint.microseconds
            stats.constraint_compile_us = self.constraint.compile_microseconds
            stats.masks = self.constraint.masks
        self.handle.succeed(GenerationResult("".join(self.text), self.generated, reason, stats))

    def cancel(self) -> None:
        self.handle.fail(CancelledError("the request was cancelled"))
