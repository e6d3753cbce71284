"""One request while it is computed: its prompt, its answer so far, and the tokens to compute next."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from typing_extensions import TypedDict

from edgefc import limits
from edgefc.engine.adapters import BASE, AdapterSet
from edgefc.engine.choice import CallPath, Choice
from edgefc.engine.constraint import Constraint, ConstraintFactory
from edgefc.engine.detokenizer import Detokenizer
from edgefc.engine.generation import Generation, GenerationResult, GenerationStats
from edgefc.engine.guide import CUT, EndReason, Guide, SafeGuide
from edgefc.engine.loop_guard import LoopGuard
from edgefc.engine.prefill import Segment, Split, kv_key, split_at_prefix, whole_tiles
from edgefc.engine.prompt_lookup import AcceptanceRate, PromptLookup
from edgefc.engine.sampler import Sampler, SamplingOptions, TokenLogprob, token_logprob
from edgefc.engine.tokenizer import Tokenizer
from edgefc.engine.trace import TokenLog
from edgefc.errors import CancelledError, ContextOverflowError, RequestError
from edgefc.grammar import CompiledGrammar

GREEDY = SamplingOptions()
MAX_SPELLED = 512  # bytes of forced text that a draft may spell
SPELLED_CHANCE = 0.9  # share of right tokens among drafts that spell text the grammar forces


class RequestOptions(TypedDict, total=False):
    """Options of a request, besides its prompt.

    max_tokens    most tokens to generate; None: as many as fit in the context
    sampling      how tokens are chosen; greedy by default
    grammar       grammar that the answer must match
    stop          texts that end the answer and are not part of it; the text of a special token stands for the token
    answer_start  tokens that the answer begins with; they count as generated
    answer_spans  earlier answers of the model within the prompt, (begin, end) in tokens
    prefix        number of the first prompt tokens (system message and tools) that later requests will share
    logprobs      keep the logprobs of tokens, and of this many of the likeliest ones
    guide         follows the answer, and may end it
    call_grammar  grammar of answers that are calls alone, for a guide that asks how likely one is
    loop_guard    end an answer that repeats the same few tokens again and again
    trace         note how each token came about
    adapters      scales of LoRA adapters by their names; None: those the model was loaded with
    """

    max_tokens: int | None
    sampling: SamplingOptions
    grammar: CompiledGrammar | None
    stop: tuple[str, ...]
    answer_start: tuple[int, ...]
    answer_spans: tuple[tuple[int, int], ...]
    prefix: int
    logprobs: int | None
    guide: Guide | None
    call_grammar: CompiledGrammar | None
    loop_guard: bool
    trace: bool
    adapters: Mapping[str, float] | None


@dataclass(slots=True)
class Sequence:
    """A request in the engine.

    max_tokens      most tokens to generate, and the reason for which the answer ends there
    end_tokens      tokens that end the answer; stop_texts has the text of those the request named in `stop`
    segments        the prompt by the kernel that computes it, see edgefc.engine.prefill
    prefix          number of the first prompt tokens that other requests share
    adapters        the LoRA adapters it is computed with
    keys            the prompt's `kv_key`s, to compare it with what is in the KV cache
    visible_control control tokens whose text is part of the answer
    answer_start    tokens the answer begins with
    n_top_logprobs  number of other tokens to keep logprobs of; None: keep none at all
    trace           notes how each token came about; None: nobody asked
    pending         tokens that belong to the text but are not in the KV cache yet: at first the prompt, later the last
                    sampled token and those the grammar forced after it
    draft           tokens that may follow the pending ones; the first `n_spelled` spell text that the grammar forces
    position        number of its tokens in the KV cache
    ended           whether the answer is complete, or cut off
    """

    handle: Generation
    tokenizer: Tokenizer
    prompt: list[int]
    max_tokens: int
    max_tokens_reason: EndReason
    sampler: Sampler
    constraint: Constraint | None
    detokenizer: Detokenizer
    end_tokens: frozenset[int]
    stop_texts: Mapping[int, str]
    segments: list[Segment]
    prefix: int
    adapters: AdapterSet
    keys: list[int]
    visible_control: frozenset[int]
    answer_start: list[int]
    n_top_logprobs: int | None
    guide: SafeGuide | None
    call_path: CallPath | None
    loop_guard: LoopGuard | None
    trace: TokenLog | None = None
    logprobs: list[TokenLogprob] = field(default_factory=list)
    slot: int = -1
    position: int = 0
    ended: bool = False
    pending: list[int] = field(default_factory=list)
    draft: list[int] = field(default_factory=list)
    n_spelled: int = 0
    generated: list[int] = field(default_factory=list)
    stats: GenerationStats = field(default_factory=GenerationStats)
    admitted_at: float = 0.0
    _acceptance: AcceptanceRate = field(default_factory=AcceptanceRate)
    _lookup: PromptLookup | None = None
    _n_indexed: int = 0  # generated tokens that the lookup contains
    _pieces: list[str] = field(default_factory=list)
    _result: GenerationResult | None = None
    _submitted_at: float = field(default_factory=time.perf_counter)
    _first_token_at: float = 0.0

    def start(self) -> None:
        """Append the start of the answer, and what the grammar forces at once, to the prompt for prefill."""
        self.admitted_at = time.perf_counter()
        if self.constraint is not None:
            for token in self.answer_start:
                self.constraint.consume(token)
        self._append(self.answer_start)
        self._append_forced()

    def sample(self, logits: NDArray[np.float32]) -> None:
        """Sample the next token and append it, with what the grammar forces after it.

        Raises ConstraintError, or EdgefcError for a bug of the guide.
        """
        choice = Choice(
            self.sampler.adjust(logits),
            self.constraint,
            self.end_tokens,
            is_greedy=self.sampler.options.temperature == 0,
            call_mask=self._call_mask,
        )
        token = self._choose(choice)
        if not self._first_token_at:
            self._first_token_at = time.perf_counter()
        self.stats.sampled_tokens += 1
        if self.trace is not None:
            self.trace.record(choice, token, is_end=token in self.end_tokens, step=self.stats.model_steps)
        if token is None or token in self.end_tokens:
            self._finish("stop", None if token is None else self.stop_texts.get(token))
            return
        if self.guide is not None:
            self.guide.record(choice, token)
        if self.constraint is not None:
            self.constraint.consume(token)
        if self.n_top_logprobs is not None:
            self.logprobs.append(token_logprob(logits, token, self.n_top_logprobs))
        self._append([token])
        if not self.ended and self.loop_guard is not None and self.loop_guard.is_loop(self.generated):
            self._finish("loop")
        self._append_forced()

    def _choose(self, choice: Choice) -> int | None:
        """Choose the next token; None: the model prefers the end to another call."""
        if self.guide is not None:
            self.guide.prepare(choice)
        if self.guide is None or not self.guide.may_end:
            return self.sampler.sample(choice)
        return self.sampler.sample_or_end(choice, self.guide.end_bias, self._is_variant)

    def _call_mask(self) -> NDArray[np.bool_] | None:
        return None if self.call_path is None else self.call_path.mask(self.generated)

    def _is_variant(self, token: int) -> bool:
        """Return True if a token spells what the grammar forces next in another way, at least at its beginning."""
        forced = b"" if self.constraint is None else self.constraint.forced_bytes()
        text = self.tokenizer.piece(token, show_control=token in self.visible_control)
        visible = text.lstrip()
        return visible[:1] == forced.lstrip()[:1] if visible else text != b"" and forced[:1].isspace()

    def cancel(self) -> None:
        self.handle.fail(CancelledError("the request was cancelled"))

    def deliver(self) -> None:
        """Hand the result to the caller, when the sequence has ended and its stats are final."""
        assert self._result is not None
        self.handle.succeed(self._result)

    def end(self, reason: EndReason) -> None:
        """End the answer where it is."""
        if not self.ended:
            self._finish(reason)

    @property
    def segment(self) -> Segment:
        """The segment of the next token to compute. The prompt's last segment continues in the answer."""
        for segment in self.segments[:-1]:
            if self.position < segment.end:
                return segment
        return Segment(self.position + len(self.pending), tiled=False)

    def propose_draft(self, limit: int) -> None:
        """Draft up to `limit` tokens after the pending ones: text that the grammar forces, then a prompt lookup."""
        self.draft, self.n_spelled = [], 0
        limit = min(limit, self.max_tokens - len(self.generated) - 1)
        if limit < 1 or self.ended:
            return
        spelled: list[int] = []
        if self.constraint is not None and (text := self.constraint.forced_bytes()):
            spelled = self.tokenizer.spell(text[:MAX_SPELLED])[:limit]
        if self._lookup is None:
            # Arguments are rarely copied from schemas, but often from what follows them.
            self._lookup = PromptLookup(self.tokenizer.piece, self.prompt[self.prefix :])
        self._lookup.extend(self.generated[self._n_indexed :])
        self._n_indexed = len(self.generated)
        copied = self._lookup.propose(min(limit - len(spelled), self._acceptance.draft_length), spelled)
        draft = [*spelled, *copied]
        if self.constraint is not None and draft:
            draft = draft[: self.constraint.count_allowed(draft)]
        self.draft, self.n_spelled = draft, min(len(spelled), len(draft))

    def record_draft(self, drafted: int, accepted: int) -> None:
        """Record that `drafted` tokens of the draft were computed and the first `accepted` of them were right."""
        self.stats.drafted_tokens += drafted
        self.stats.accepted_tokens += accepted
        if accepted >= self.n_spelled:
            self._acceptance.update(drafted - self.n_spelled, accepted - self.n_spelled)

    @property
    def draft_chances(self) -> list[float]:
        """For each drafted token, the probability that it is right if those before it are."""
        n_copied = len(self.draft) - self.n_spelled
        return [SPELLED_CHANCE] * self.n_spelled + [self._acceptance.value] * n_copied

    def key_at(self, position: int, token: int) -> int:
        """The `kv_key` of the token at a position."""
        return self.keys[position] if position < len(self.keys) else kv_key(token, tiled=False)

    def _append_forced(self) -> None:
        """Append the tokens that the grammar forces next, without the model; end where nothing can follow."""
        if self.constraint is None or self.ended:
            return
        # Where the answer may end, even the only way to continue has to be weighed against the end.
        is_free = self.guide is not None and (self.guide.may_end or self.guide.is_measuring)
        # One more than there is room for: it may be the token that ends the answer.
        forced = [] if is_free else self.constraint.consume_forced(self.max_tokens - len(self.generated) + 1)
        text_tokens = [token for token in forced if token not in self.end_tokens]
        if text_tokens:
            self.stats.forced_tokens += len(text_tokens)
            self._append(text_tokens)
        has_end_token = len(text_tokens) < len(forced)
        if not self.ended and (has_end_token or self.constraint.is_finished):
            self._finish("stop")

    def _append(self, tokens: list[int]) -> None:
        """Append tokens to the answer, which ends at a stop string or at max_tokens."""
        for number, token in enumerate(tokens):
            self.generated.append(token)
            self.pending.append(token)
            if self.trace is not None:
                self.trace.append(token, self.stats.model_steps)
            if self.n_top_logprobs is not None and len(self.logprobs) < len(self.generated):
                top = ((token, 0.0),) if self.n_top_logprobs else ()
                self.logprobs.append(TokenLogprob(token, 0.0, top))
            self.sampler.accept(token)
            piece = self.tokenizer.piece(token, show_control=token in self.visible_control)
            reason = self._emit(self.detokenizer.feed(piece))
            if self.detokenizer.stop_string is not None:
                self._finish("stop", self.detokenizer.stop_string)
                return
            if reason is not None:
                self._finish(reason)
                return
            if len(self.generated) >= self.max_tokens:
                is_last = number == len(tokens) - 1
                is_complete = is_last and self.constraint is not None and self.constraint.is_finished
                self._finish("stop" if is_complete else self.max_tokens_reason)
                return

    def _emit(self, text: str) -> EndReason | None:
        """Hand text to the guide and the reader; return the guide's reason to end."""
        self._pieces.append(text)
        # The guide comes first: the reader may want to know its findings about this text.
        reason = self.guide.feed(text) if self.guide is not None and text else None
        self.handle.emit(text, len(self.generated))
        return reason

    def _finish(self, reason: EndReason, stopped_by: str | None = None) -> None:
        self.ended = True
        self._emit(self.detokenizer.flush())
        self._complete_stats()
        self._result = GenerationResult(
            "".join(self._pieces),
            self.generated,
            "length" if reason in CUT else "stop",
            self.stats,
            self.logprobs,
            stopped_by,
            reason,
        )

    def _complete_stats(self) -> None:
        now, stats = time.perf_counter(), self.stats
        stats.prompt_tokens, stats.completion_tokens = len(self.prompt), len(self.generated)
        stats.queue_s = self.admitted_at - self._submitted_at
        stats.prefill_s = (self._first_token_at or now) - self.admitted_at
        stats.decode_s = now - (self._first_token_at or now)
        stats.seed = self.sampler.seed
        if self.constraint is not None:
            stats.constraint_us = self.constraint.microseconds
            stats.constraint_compile_us = self.constraint.compile_microseconds
            stats.masks = self.constraint.masks


def new_sequence(
    handle: Generation,
    prompt: list[int],
    options: RequestOptions,
    *,
    tokenizer: Tokenizer,
    n_ctx: int,
    constraints: ConstraintFactory,
    split: Split = split_at_prefix,
    window: int = 0,
    adapters: AdapterSet = BASE,
) -> Sequence:
    """Check a request and create its sequence; `split` and `window` are of the context that computes it.

    Raises RequestError, ContextOverflowError or GrammarError.
    """
    _check_request(prompt, options, tokenizer.n_vocab, n_ctx)
    max_tokens, grammar, guide = options.get("max_tokens"), options.get("grammar"), options.get("guide")
    room = n_ctx - len(prompt)
    prefix = whole_tiles(min(options.get("prefix", 0), len(prompt) - 1), window)
    segments = split(len(prompt), prefix, options.get("answer_spans", ()))
    begins = [0, *(segment.end for segment in segments[:-1])]
    call_grammar = options.get("call_grammar")
    visible_control = frozenset() if grammar is None else grammar.control
    stop = options.get("stop", ())
    stop_tokens = {text: token for text in stop if (token := tokenizer.special_id(text)) is not None}
    sequence = Sequence(
        handle=handle,
        tokenizer=tokenizer,
        prompt=prompt,
        max_tokens=room if max_tokens is None else min(max_tokens, room),
        max_tokens_reason="context" if max_tokens is None or max_tokens > room else "max_tokens",
        sampler=Sampler(options.get("sampling", GREEDY), tokenizer.n_vocab, prompt),
        constraint=None if grammar is None else constraints.start(grammar),
        detokenizer=Detokenizer([text for text in stop if text not in stop_tokens]),
        end_tokens=(tokenizer.eog | frozenset(stop_tokens.values())) - visible_control,
        stop_texts={token: text for text, token in stop_tokens.items()},
        segments=segments,
        prefix=prefix,
        adapters=adapters,
        keys=[
            kv_key(token, tiled=segment.tiled, adapters=0 if position else adapters.key)
            for begin, segment in zip(begins, segments, strict=True)
            for position, token in enumerate(prompt[begin : segment.end], begin)
        ],
        visible_control=visible_control,
        answer_start=list(options.get("answer_start", ())),
        n_top_logprobs=options.get("logprobs"),
        guide=None if guide is None else SafeGuide(guide),
        call_path=None if call_grammar is None else CallPath(constraints, call_grammar),
        loop_guard=LoopGuard() if options.get("loop_guard") else None,
    )
    if options.get("trace"):
        sequence.trace = handle.trace = TokenLog(len(sequence.answer_start))
    handle.logprobs = sequence.logprobs
    return sequence


def _check_request(prompt: list[int], options: RequestOptions, n_vocab: int, n_ctx: int) -> None:
    """Raises RequestError or ContextOverflowError."""
    answer_start = options.get("answer_start", ())
    if not prompt:
        raise RequestError("messages", "the prompt is empty")
    if outside := [token for token in (*prompt, *answer_start) if not 0 <= token < n_vocab]:
        raise RequestError("prompt", f"token {outside[0]} is not in the vocabulary of {n_vocab}")
    if n_ctx - len(prompt) < 1 + len(answer_start):
        raise ContextOverflowError(len(prompt), n_ctx)
    max_tokens = options.get("max_tokens")
    if max_tokens is not None and (isinstance(max_tokens, bool) or not isinstance(max_tokens, int) or max_tokens < 1):
        raise RequestError("max_tokens", f"must be a positive integer, not {max_tokens!r}")
    stop, n_top_logprobs, prefix = options.get("stop", ()), options.get("logprobs"), options.get("prefix", 0)
    if len(stop) > limits.MAX_STOPS or any(not 0 < len(text) <= limits.MAX_STOP_LENGTH for text in stop):
        raise RequestError(
            "stop", f"must be at most {limits.MAX_STOPS} strings of 1 to {limits.MAX_STOP_LENGTH} characters"
        )
    if n_top_logprobs is not None and not 0 <= n_top_logprobs <= limits.MAX_TOP_LOGPROBS:
        raise RequestError("logprobs", f"must be from 0 to {limits.MAX_TOP_LOGPROBS}, not {n_top_logprobs}")
    if not 0 <= prefix <= len(prompt):
        raise RequestError("prefix", f"must be within the prompt of {len(prompt)} tokens, not {prefix}")
