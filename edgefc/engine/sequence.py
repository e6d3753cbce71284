"""One request while it runs, and the handle its caller holds."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from llguidance import LLTokenizer
from numpy.typing import NDArray
from typing_extensions import TypedDict

from edgefc.engine.constraint import Constraint
from edgefc.engine.detokenizer import TextOutput
from edgefc.engine.generation import Generation, GenerationResult, GenerationStats
from edgefc.engine.prefill import Run, runs
from edgefc.engine.prompt_lookup import Confidence, Lookup
from edgefc.engine.sampler import Sampler, SamplingOptions, TokenLogprob, logprob_of
from edgefc.engine.tokenizer import Tokenizer
from edgefc.errors import CancelledError, ContextOverflowError, RequestError
from edgefc.grammar import CompiledGrammar

GREEDY = SamplingOptions()
SPELLED = 0.9  # of tokens that spell what the grammar says, so many are right
MAX_STOPS, MAX_STOP_LENGTH, MAX_LOGPROBS = 24, 1024, 20


@dataclass(slots=True)
class Sequence:
    """A request in the engine.

    runs      how the prompt is computed, see edgefc.engine.prefill
    prefix    how many of its first tokens other requests share
    keys      its prompt for comparing with the KV cache: tokens, and how they are computed
    stops     texts of the tokens among `ends` that the request named
    pending   tokens that belong to the text already and are not in the KV cache yet: the prompt at first, then
              the last sampled token and what the grammar forced after it
    draft     tokens that may follow the pending ones, the first `certain` ones of which spell what the grammar says
    position  how many of its tokens are in the KV cache
    ended     whether the answer is complete, or cut off
    """

    handle: Generation
    tokenizer: Tokenizer
    prompt: list[int]
    limit: int
    sampler: Sampler
    constraint: Constraint | None
    output: TextOutput
    ends: frozenset[int]
    runs: list[Run]
    prefix: int
    keys: list[int]
    stops: Mapping[int, str] = field(default_factory=dict)
    spoken: frozenset[int] = frozenset()  # control tokens of which the text is part of the answer's
    answer: list[int] = field(default_factory=list)  # what was said already
    alternatives: int | None = None  # logprobs are kept, with so many of other tokens
    logprobs: list[TokenLogprob] = field(default_factory=list)
    slot: int = -1
    position: int = 0
    ended: bool = False
    pending: list[int] = field(default_factory=list)
    draft: list[int] = field(default_factory=list)
    certain: int = 0
    confidence: Confidence = field(default_factory=Confidence)
    _result: GenerationResult | None = None
    _lookup: Lookup | None = None
    _looked: int = 0
    generated: list[int] = field(default_factory=list)
    text: list[str] = field(default_factory=list)
    stats: GenerationStats = field(default_factory=GenerationStats)
    submitted: float = field(default_factory=time.perf_counter)
    admitted: float = 0.0
    first_token: float = 0.0

    def begin(self) -> None:
        """What was said already, and what the grammar forces at the very start, belong to the prefill."""
        self.admitted = time.perf_counter()
        if self.constraint is not None:
            for token in self.answer:
                self.constraint.consume(token)
        self._append(self.answer)
        self._follow()

    def choose(self, logits: NDArray[np.float32]) -> None:
        """Sample the next token and append it, with what the grammar forces after it. Raises ConstraintError."""
        token = self.sampler.sample(logits, self.constraint, self.ends)
        if not self.first_token:
            self.first_token = time.perf_counter()
        self.stats.sampled_tokens += 1
        if token in self.ends:
            self._finish("stop", self.stops.get(token))
            return
        if self.constraint is not None:
            self.constraint.consume(token)
        if self.alternatives is not None:
            self.logprobs.append(logprob_of(logits, token, self.alternatives))
        self._append([token])
        self._follow()

    def cancel(self) -> None:
        self.handle.fail(CancelledError("the request was cancelled"))

    def deliver(self) -> None:
        """Hand out the result, once the sequence has ended and nothing counts towards it any more."""
        assert self._result is not None
        self.handle.succeed(self._result)

    @property
    def run(self) -> Run:
        """The run of tokens of which the next one to be computed is a part; the prompt's last goes on in the answer."""
        for run in self.runs[:-1]:
            if self.position < run.end:
                return run
        return Run(self.position + len(self.pending), tiled=False)

    def guess(self, most: int) -> None:
        """Draft up to so many tokens after the pending ones: what the grammar says of the next, and what was copied."""
        self.draft, self.certain = [], 0
        most = min(most, self.limit - len(self.generated) - 1)
        if most < 1 or self.ended:
            return
        spelled: list[int] = []
        if self.constraint is not None and (text := self.constraint.held_back()):
            spelled = self.tokenizer.tokens_of(text)[:most]
        if self._lookup is None:
            # Schemas hardly say what arguments are; what follows them does.
            self._lookup = Lookup(self.tokenizer.piece, self.prompt[self.prefix :])
        self._lookup.extend(self.generated[self._looked :])
        self._looked = len(self.generated)
        copied = self._lookup.propose(min(most - len(spelled), self.confidence.reach), spelled)
        draft = [*spelled, *copied]
        if self.constraint is not None and draft:
            draft = draft[: self.constraint.accepts(draft)]
        self.draft, self.certain = draft, min(len(spelled), len(draft))

    def learn(self, drafted: int, accepted: int) -> None:
        """So many drafted tokens were computed, and so many of them were right."""
        self.stats.drafted_tokens += drafted
        self.stats.accepted_tokens += accepted
        if accepted >= self.certain:
            self.confidence.learn(drafted - self.certain, accepted - self.certain)

    def hope(self, number: int) -> float:
        """How likely the draft's token of this number is right, if those before it are."""
        if number >= len(self.draft):
            return 0.0
        return SPELLED if number < self.certain else self.confidence.value

    def key(self, position: int, token: int) -> int:
        """What stands for a token in the KV cache."""
        return self.keys[position] if position < len(self.keys) else token << 1

    def _follow(self) -> None:
        """Append what the grammar forces next, without asking the model; end where nothing can follow."""
        if self.constraint is None or self.ended:
            return
        forced = self.constraint.forced()
        over = bool(self.ends.intersection(forced))
        forced = [token for token in forced if token not in self.ends]
        if forced:
            self.stats.forced_tokens += len(forced)
            self._append(forced)
        if not self.ended and (over or self.constraint.is_finished):
            self._finish("stop")

    def _append(self, tokens: list[int]) -> None:
        """Make tokens part of the answer; it ends at a stop string or its limit."""
        for number, token in enumerate(tokens):
            self.generated.append(token)
            self.pending.append(token)
            if self.alternatives is not None and len(self.logprobs) < len(self.generated):
                self.logprobs.append(TokenLogprob(token, 0.0, ((token, 0.0),) if self.alternatives else ()))
            self.sampler.accept(token)
            self._say(self.tokenizer.piece(token, spoken=token in self.spoken))
            if self.output.stopped is not None:
                self._finish("stop", self.output.stopped)
                return
            if len(self.generated) >= self.limit:
                whole = number == len(tokens) - 1 and self.constraint is not None and self.constraint.is_finished
                self._finish("stop" if whole else "length")
                return

    def _say(self, data: bytes) -> None:
        text = self.output.feed(data)
        self.text.append(text)
        self.handle.emit(text, len(self.generated))

    def _finish(self, reason: Literal["stop", "length"], stopped_by: str | None = None) -> None:
        self.ended = True
        rest = self.output.flush()
        self.text.append(rest)
        self.handle.emit(rest, len(self.generated))
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
        self._result = GenerationResult("".join(self.text), self.generated, reason, stats, self.logprobs, stopped_by)


class RequestOptions(TypedDict, total=False):
    """What a request may say besides its prompt.

    max_tokens  most tokens to generate; None: as many as the context has room for
    sampling    how tokens are chosen; greedy unless given
    grammar     what the answer is held to
    stop        texts that end the answer and are no part of it; the text of a special token stands for the token
    answer      tokens that the answer begins with; they count as generated
    prefix      how many of the first prompt tokens other requests will share (system message and tools): worth keeping
    answers     where in the prompt earlier answers of the model are, (begin, end) in tokens
    logprobs    keep how likely each token was, and so many of the likeliest instead
    """

    max_tokens: int | None
    sampling: SamplingOptions
    grammar: CompiledGrammar | None
    stop: tuple[str, ...]
    answer: tuple[int, ...]
    prefix: int
    answers: tuple[tuple[int, int], ...]
    logprobs: int | None


def new_sequence(
    handle: Generation,
    prompt: list[int],
    options: RequestOptions,
    *,
    tokenizer: Tokenizer,
    n_ctx: int,
    guidance: Callable[[], LLTokenizer],
    tiles: bool = False,
) -> Sequence:
    """A request, checked; `tiles` says whether long runs of its prompt are computed otherwise than single tokens.

    Raises RequestError, ContextOverflowError or GrammarError.
    """
    max_tokens, sampling = options.get("max_tokens"), options.get("sampling", GREEDY)
    grammar, stop, answer = options.get("grammar"), options.get("stop", ()), options.get("answer", ())
    if not prompt:
        raise RequestError("messages", "the prompt is empty")
    if bad := [token for token in (*prompt, *answer) if not 0 <= token < tokenizer.n_vocab]:
        raise RequestError("prompt", f"token {bad[0]} is not in the vocabulary of {tokenizer.n_vocab}")
    room = n_ctx - len(prompt)
    if room < 1 + len(answer):
        raise ContextOverflowError(len(prompt), n_ctx)
    if max_tokens is not None and (isinstance(max_tokens, bool) or not isinstance(max_tokens, int) or max_tokens < 1):
        raise RequestError("max_tokens", f"must be a positive integer, not {max_tokens!r}")
    if len(stop) > MAX_STOPS or any(not 0 < len(text) <= MAX_STOP_LENGTH for text in stop):
        raise RequestError("stop", f"at most {MAX_STOPS} strings of 1 to {MAX_STOP_LENGTH} characters")
    alternatives = options.get("logprobs")
    if alternatives is not None and not 0 <= alternatives <= MAX_LOGPROBS:
        raise RequestError("logprobs", f"from 0 to {MAX_LOGPROBS} of other tokens, not {alternatives}")
    prefix, answers = options.get("prefix", 0), options.get("answers", ())
    if not 0 <= prefix <= len(prompt):
        raise RequestError("prefix", f"must be within the prompt of {len(prompt)} tokens, not {prefix}")
    prefix = min(prefix, len(prompt) - 1)
    parts = runs(len(prompt), prefix, answers)
    if not tiles:
        parts = [Run(end, tiled=False) for end in (prefix, len(prompt)) if end]
    begins = [0, *(run.end for run in parts)]
    spoken = frozenset() if grammar is None else grammar.control
    ids = {text: token for text in stop if (token := tokenizer.special_id(text)) is not None}
    sequence = Sequence(
        handle=handle,
        tokenizer=tokenizer,
        prompt=prompt,
        limit=room if max_tokens is None else min(max_tokens, room),
        sampler=Sampler(sampling, tokenizer.n_vocab, prompt),
        constraint=None if grammar is None else Constraint(guidance(), grammar),
        output=TextOutput([text for text in stop if text not in ids]),
        ends=(tokenizer.eog | frozenset(ids.values())) - spoken,
        stops={token: text for text, token in ids.items()},
        runs=parts,
        prefix=prefix,
        keys=[
            token << 1 | run.tiled
            for run, begin in zip(parts, begins, strict=False)
            for token in prompt[begin : run.end]
        ],
        spoken=spoken,
        answer=list(answer),
        alternatives=alternatives,
    )
    handle.logprobs = sequence.logprobs
    return sequence
