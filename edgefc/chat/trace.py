"""The trace of an answer: how each token came about, what the prompt consists of, what the grammar cost.

Nothing of it is computed unless a request asks for it. The parts of the prompt are found when the answer is complete:
the conversation is rendered without its tools, and with another question.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from edgefc.chat.confidence import Confidence
from edgefc.chat.prompt_parts import PROBES, PartFinder
from edgefc.engine.generation import CacheSource
from edgefc.engine.prefix_store import common_prefix
from edgefc.grammar import CompiledGrammar, Finding
from edgefc.types import Message, Messages, ToolChoice, Tools

if TYPE_CHECKING:
    from edgefc.engine import Generation, GenerationStats, Tokenizer
    from edgefc.engine.trace import TokenNote

# sampled    chosen by the model, among the tokens that the grammar allows
# resampled  the same, in an attempt after one whose call was invalid
# forced     the only one that the grammar allowed, for which the model was not evaluated
# kept       taken from the attempt before
TokenOrigin = Literal["sampled", "resampled", "forced", "kept"]
BandName = Literal["system", "tools", "history", "question"]


@dataclass(frozen=True, slots=True)
class OtherToken:
    """A token that was not chosen.

    probability  by the model alone, before the grammar
    is_allowed   False: the grammar removed it
    """

    id: int
    text: str
    probability: float
    is_allowed: bool


@dataclass(frozen=True, slots=True)
class TracedToken:
    """One token of an answer.

    attempt      number of the attempt at the answer that it belongs to, from 0
    is_draft     it was drafted, and so computed in one step with the token before it
    probability  by the model alone, before the grammar; None where the model was not evaluated
    others       the three likeliest other tokens at its place, allowed or not
    step         number of the model step after which it was chosen, in its attempt; 0: before the first
    ms           milliseconds from the start of its attempt
    """

    id: int
    text: str
    origin: TokenOrigin
    is_draft: bool
    probability: float | None
    others: tuple[OtherToken, ...]
    step: int
    ms: float
    attempt: int = 0


@dataclass(frozen=True, slots=True)
class PromptBand:
    """Consecutive tokens of the prompt with one purpose. The question is the last one, with all that follows it.

    begin, end  its tokens in the prompt
    sources     number of its tokens by where they came from: computed, or slot, copy, memory or disk
    """

    name: BandName
    begin: int
    end: int
    sources: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class GrammarTrace:
    """The grammar of an answer.

    characters  length of its text
    start_ms    milliseconds to start it; a grammar that was used before is copied
    ms, masks   milliseconds to execute it, and masks over the whole vocabulary, for all tokens together
    """

    characters: int
    start_ms: float
    ms: float
    masks: int


@dataclass(frozen=True, slots=True)
class Trace:
    """Account of how an answer came about.

    tokens      its tokens: those of the last attempt at it
    end         the end token, if the model chose one
    earlier     the tokens of earlier attempts, whose calls were invalid or declined
    bands       the parts of the prompt, in order
    grammar     None: the answer was free text
    decision    probabilities of calling, of each tool and of arguments; None: the answer could not call
    unenforced  keywords of schemas that the grammar does not enforce: calls are checked for them when they are complete
    n_missing   tokens of long answers that were not noted
    """

    tokens: tuple[TracedToken, ...]
    end: TracedToken | None
    earlier: tuple[tuple[TracedToken, ...], ...]
    bands: tuple[PromptBand, ...]
    grammar: GrammarTrace | None
    decision: Confidence | None
    unenforced: tuple[Finding, ...]
    n_missing: int = 0


@dataclass(frozen=True, slots=True)
class TracedRequest:
    """The facts about a request that its trace needs: its grammar, and the bands of its prompt, without sources."""

    tokenizer: Tokenizer
    grammar: CompiledGrammar | None
    bands: Callable[[], Sequence[PromptBand]]


class TraceReader:
    """Reads the notes of an answer's attempts while they are written."""

    def __init__(self, request: TracedRequest) -> None:
        self._request = request
        self._n_read = 0  # of the open attempt
        self._is_resampled = False
        self._earlier: list[tuple[TracedToken, ...]] = []
        self._first_stats: GenerationStats | None = None

    def pop(self, generation: Generation, n_tokens: int) -> list[TracedToken]:
        """Return those of the first `n_tokens` tokens that were not returned yet."""
        new = self._tokens(generation)[self._n_read : n_tokens]
        self._n_read += len(new)
        return [self._traced(note) for note in new]

    def end_attempt(self, generation: Generation, *, is_resampled: bool) -> None:
        """Store the tokens of an attempt that another one follows."""
        self._earlier.append(tuple(map(self._traced, self._tokens(generation))))
        self._note_stats(generation)
        self._n_read, self._is_resampled = 0, is_resampled

    def finish(self, generation: Generation, decision: Confidence | None, stats: GenerationStats) -> Trace:
        """Return the whole trace of a complete answer; `stats` are those of all attempts."""
        self._note_stats(generation)
        assert self._first_stats is not None
        log, grammar = generation.trace, self._request.grammar
        cached, source = self._first_stats.cached_tokens, self._first_stats.cached_from
        return Trace(
            tokens=tuple(map(self._traced, self._tokens(generation))),
            end=None if log is None or log.end is None else self._traced(log.end),
            earlier=tuple(self._earlier),
            bands=tuple(with_sources(band, cached, source) for band in self._request.bands()),
            grammar=None
            if grammar is None
            else GrammarTrace(
                len(grammar.lark), stats.constraint_compile_us / 1000, stats.constraint_us / 1000, stats.masks
            ),
            decision=decision,
            unenforced=() if grammar is None else grammar.unenforced,
            n_missing=0 if log is None else log.n_missing,
        )

    def _note_stats(self, generation: Generation) -> None:
        if self._first_stats is None:
            self._first_stats = generation.result().stats

    @staticmethod
    def _tokens(generation: Generation) -> Sequence[TokenNote]:
        return () if generation.trace is None else generation.trace.tokens

    def _traced(self, note: TokenNote) -> TracedToken:
        return TracedToken(
            id=note.token,
            text=self._text(note.token),
            origin="resampled" if note.origin == "sampled" and self._is_resampled else note.origin,
            is_draft=note.is_draft,
            probability=note.probability,
            others=tuple(OtherToken(one.token, self._text(one.token), *one[1:]) for one in note.others),
            step=note.step,
            ms=note.seconds * 1000,
            attempt=len(self._earlier),
        )

    def _text(self, token: int) -> str:
        return self._request.tokenizer.vocabulary.piece(token).decode("utf-8", "replace")


def with_sources(band: PromptBand, cached: int, source: CacheSource) -> PromptBand:
    """Return a band with the sources of its tokens, of a prompt whose first `cached` tokens came from `source`."""
    found = max(0, min(cached, band.end) - band.begin)
    counts = {source or "slot": found, "computed": band.end - band.begin - found}
    return replace(band, sources={name: count for name, count in counts.items() if count})


def prompt_bands(
    parts: PartFinder,
    ids: Sequence[int],
    messages: Messages,
    tools: Tools | None,
    choice: ToolChoice | None,
    *,
    thinking: bool | None,
) -> list[PromptBand]:
    """Find the bands of a prompt, given as token ids, which was rendered from these messages and tools.

    A template that orders its parts in another way costs exactness: a band may have a few tokens of its neighbours.
    """
    prompt = list(ids)
    head = common_prefix(parts.head(messages, tools, choice, thinking=thinking).tolist(), prompt)
    question = max(head, _question_begin(parts, prompt, messages, tools, choice, thinking=thinking))
    begin, end = 0, 0
    if tools:
        bare = parts.head(messages, None, None, thinking=thinking).tolist()
        begin, end = _difference(prompt[:head], bare)
        if begin == end:  # they stand behind the first messages
            begin, end = _difference(prompt, parts.ids(messages, None, None, thinking=thinking))
            head, question = min(head, begin), max(question, end)
    edges: list[tuple[BandName, int, int]] = [
        ("system", 0, min(begin, head)),
        ("history", min(begin, head), begin),
        ("tools", begin, end),
        ("system", end, max(end, head)),
        ("history", max(end, head), question),
        ("question", question, len(prompt)),
    ]
    return [PromptBand(name, first, last, {}) for name, first, last in edges if first < last]


def _difference(ids: Sequence[int], without: Sequence[int]) -> tuple[int, int]:
    """Return the place of what `ids` have and `without` lacks."""
    begin = common_prefix(list(ids), list(without))
    rest, other = list(ids[begin:])[::-1], list(without[begin:])[::-1]
    return begin, len(ids) - common_prefix(rest, other)


def _question_begin(
    parts: PartFinder,
    prompt: Sequence[int],
    messages: Messages,
    tools: Tools | None,
    choice: ToolChoice | None,
    *,
    thinking: bool | None,
) -> int:
    """Return the position of the last question: the first token that another one would change."""
    last = max((n for n, message in enumerate(messages) if message["role"] == "user"), default=None)
    if last is None:
        return len(prompt)
    begins = []
    for text in PROBES:
        changed: list[Message] = [*messages]
        changed[last] = {"role": "user", "content": text}
        begins.append(common_prefix(parts.ids(changed, tools, choice, thinking=thinking), list(prompt)))
    return min(begins)
