"""Executes a grammar on one sequence, with llguidance."""

from __future__ import annotations

import copy
import functools
import threading
import time
from collections.abc import Callable, Collection
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, TypeVar

import numpy as np
from llguidance import LLMatcher, LLParserLimits, LLTokenizer
from llguidance import numpy as guidance_numpy
from numpy.typing import NDArray

from edgefc.cache import TextCache
from edgefc.errors import ConstraintError, EngineClosedError, GrammarError, ModelFileError
from edgefc.grammar import CompiledGrammar
from edgefc.grammar.lark import nesting

if TYPE_CHECKING:
    from edgefc.engine.llama import Model, Vocabulary

P = ParamSpec("P")
T = TypeVar("T")
FORCED_AT_ONCE = 64  # tokens
# Levels of `nesting` that fit the smallest stack of a thread, and those that fit a large one; past its end, the process
# would die.
SAFE_NESTING, MAX_NESTING = 60, 12_000
DEEP_STACK = 512 << 20  # bytes of address space; only what is used becomes memory
_stack_lock = threading.Lock()
# Tokens until a cached grammar is started anew: the states of its lexer take up to 7 KB for each, and stay.
MAX_CONSUMED = 8192
# Patterns that exclude one another need more work than llguidance allows by default, and an error amid an answer is
# worse than a slow mask. The grammar compiler bounds their complexity.
LIMITS = LLParserLimits(initial_lexer_fuel=20_000_000, step_lexer_fuel=20_000_000, step_max_items=1_000_000)


def guidance_tokenizer(vocabulary: Vocabulary, markers: Collection[int] = ()) -> LLTokenizer:
    """Convert a vocabulary for llguidance: about a second for 150,000 tokens, so keep the result.

    Control tokens, and `markers`, are marked, so that no grammar of text allows one. The result reads the vocabulary:
    lease it while you use either.
    """
    # llguidance marks a special token with 0xff, a byte that UTF-8 never contains.
    tokens = list(vocabulary.pieces)
    for token in vocabulary.control.union(markers):
        tokens[token] = b"\xff" + tokens[token]
    try:
        with vocabulary.handle:
            tokenizer: LLTokenizer = LLTokenizer.from_llamacpp(  # type: ignore[attr-defined]
                tokens=tokens,
                vocab_ptr=vocabulary.pointer,
                tokenize_fptr=vocabulary.tokenize_address,
                eos_token=sorted(vocabulary.eog) or [vocabulary.eos],
                slices=LLTokenizer.json_slices(),
            )
    except ValueError as error:
        raise ModelFileError(f"unusable vocabulary: {error}", "Fetch the file again.") from None
    return tokenizer


class VocabularyLoader:
    """Loads a model file's vocabulary, and converts it for llguidance, in a thread while the weights are loaded."""

    def __init__(self, path: Path) -> None:
        """Raises EngineClosedError while the interpreter shuts down."""
        self._model: Model | None = None
        self._vocabulary: Future[Vocabulary] = Future()
        pool = ThreadPoolExecutor(1, thread_name_prefix="edgefc-vocabulary")
        try:
            self._guidance = pool.submit(self._load, path)
        except RuntimeError:  # the interpreter shuts down
            raise EngineClosedError("the program is ending: no model can be loaded any more") from None
        pool.shutdown(wait=False)

    def vocabulary(self) -> Vocabulary:
        """Wait for the vocabulary, which lives until `close`. Raises ModelLoadError."""
        return self._vocabulary.result()

    def guidance_tokenizer(self) -> LLTokenizer:
        """Wait for llguidance's tokenizer. Raises ModelLoadError or ModelFileError."""
        return self._guidance.result()

    def close(self) -> None:
        """Free the vocabulary."""
        self._guidance.exception()  # waits for the thread
        if self._model is not None:
            self._model.close()

    def _load(self, path: Path) -> LLTokenizer:
        from edgefc.engine.llama import Model  # not needed where another machine computes
        from edgefc.engine.vocabulary_cache import VocabularyFile

        try:
            self._model = Model(path, n_gpu_layers=0, vocab_only=True)
            vocabulary = self._model.vocabulary
            file = VocabularyFile(vocabulary, path)
            is_read = file.read()
            _ = vocabulary.facts, vocabulary.special  # compute them now, while nobody waits
        except BaseException as error:
            self._vocabulary.set_exception(error)
            raise
        self._vocabulary.set_result(vocabulary)
        tokenizer = guidance_tokenizer(vocabulary)
        if not is_read:
            file.write()
        return tokenizer


def _with_lease(method: Callable[Concatenate[Constraint, P], T]) -> Callable[Concatenate[Constraint, P], T]:
    """Lease the vocabulary during a method: llguidance may tokenize with it at any time."""

    @functools.wraps(method)
    def leased(self: Constraint, /, *arguments: P.args, **options: P.kwargs) -> T:
        with self._vocabulary:
            return method(self, *arguments, **options)

    return leased


def _new_matcher(tokenizer: LLTokenizer, lark: str) -> LLMatcher:
    """Start a grammar, where its rules are nested deeply with a stack that is large enough. Raises GrammarError."""
    levels = nesting(lark)
    if levels > MAX_NESTING:
        reason = f"the grammar's rules are nested {levels:,} levels deep; at most {MAX_NESTING:,} are supported"
        raise GrammarError(reason, "Simplify the schema.")
    if levels <= SAFE_NESTING:
        return LLMatcher(tokenizer, lark, log_level=0, limits=LIMITS)
    with ThreadPoolExecutor(1, "edgefc-grammar") as pool:
        with _stack_lock:
            before = threading.stack_size(DEEP_STACK)
            try:
                found = pool.submit(LLMatcher, tokenizer, lark, log_level=0, limits=LIMITS)
            except RuntimeError:
                reason = f"no memory for the stack that a grammar nested {levels:,} levels deep needs"
                raise GrammarError(reason, "Simplify the schema.") from None
            finally:
                threading.stack_size(before)
        return found.result()


@dataclass(slots=True)
class _Shared:
    """State that a constraint shares with its copies, as they share that of llguidance's lexer."""

    n_consumed: int = 0
    is_broken: bool = False


class Constraint:
    """State of a grammar after the tokens of one sequence.

    Counts its costs: `masks` and `checks` computed, `microseconds` altogether, `compile_microseconds` at the start.
    """

    def __init__(
        self, tokenizer: LLTokenizer, grammar: CompiledGrammar, vocabulary: AbstractContextManager[Any] | None = None
    ) -> None:
        """Raises GrammarError. `vocabulary` leases the tokenizer's vocabulary, if a model owns it."""
        start = time.perf_counter()
        self._vocabulary = vocabulary or nullcontext()
        with self._vocabulary:
            self._matcher = _new_matcher(tokenizer, grammar.lark)
        if self._matcher.is_error():
            raise GrammarError(f"llguidance refuses the grammar: {self._matcher.get_error()}")
        self._bits = guidance_numpy.allocate_token_bitmask(1, tokenizer.vocab_size)
        self._shared = _Shared()
        self.masks = self.checks = 0
        self.compile_microseconds = (time.perf_counter() - start) * 1e6
        self.microseconds = 0.0

    @property
    def n_consumed(self) -> int:
        """The number of tokens that this constraint and all of its copies have consumed."""
        return self._shared.n_consumed

    @property
    def is_broken(self) -> bool:
        """True after a panic in llguidance, in this constraint or a copy: it leaves all of them unusable."""
        return self._shared.is_broken

    @_with_lease
    def fork(self) -> Constraint:
        """Return an independent constraint in the same state, with costs of its own. Takes 10 µs."""
        start = time.perf_counter()
        other = copy.copy(self)
        other._matcher = self._matcher.deep_copy()  # noqa: SLF001 - of the same class
        other._bits = self._bits.copy()  # noqa: SLF001
        other.masks = other.checks = 0
        other.microseconds = 0.0
        other.compile_microseconds = (time.perf_counter() - start) * 1e6
        return other

    @_with_lease
    def allows(self, token: int) -> bool:
        """Check whether this token may come next; does not consume it."""
        start = time.perf_counter()
        self.checks += 1
        allowed: bool = self._matcher.validate_tokens([token]) == 1
        self._add_time(start)
        return allowed

    @_with_lease
    def mask(self) -> NDArray[np.bool_]:
        """Compute which tokens may come next, shape (n_vocab,). Raises ConstraintError if none may."""
        start = time.perf_counter()
        self.masks += 1
        guidance_numpy.fill_next_token_bitmask(self._matcher, self._bits, 0)
        self._raise_error()
        allowed = np.unpackbits(self._bits.view(np.uint8)[0], bitorder="little").view(np.bool_)
        self._add_time(start)
        if not allowed.any():
            raise ConstraintError("the grammar allows no token here")
        return allowed

    @_with_lease
    def consume(self, token: int) -> None:
        """Advance by one token. Raises ConstraintError if the grammar forbids it."""
        start = time.perf_counter()
        self._shared.n_consumed += 1
        self._matcher.consume_token(token)
        self._raise_error()
        self._add_time(start)

    @_with_lease
    def try_consume(self, tokens: list[int]) -> bool:
        """Advance by all of these tokens; False if the grammar forbids one, after which the state is of no use."""
        start = time.perf_counter()
        self._shared.n_consumed += len(tokens)
        count = int(self._matcher.try_consume_tokens(tokens))
        self._add_time(start)
        return count == len(tokens) and not self._matcher.is_error()

    def consume_forced(self, limit: int = 1 << 20) -> list[int]:
        """Consume and return up to `limit` of the tokens that must come next; empty when there is a choice.

        Other threads run between short runs of them: consuming one takes longer the more bytes are forced after it.
        """
        start = time.perf_counter()
        forced: list[int] = []
        while len(forced) < limit and (tokens := self._certain_tokens()):
            for position in range(0, min(len(tokens), limit - len(forced)), FORCED_AT_ONCE):
                forced += self._consume_certain(tokens[position : position + FORCED_AT_ONCE])
        self._add_time(start)
        return forced

    @_with_lease
    def _certain_tokens(self) -> list[int]:
        return self._matcher.compute_ff_tokens() or self._only_token()

    @_with_lease
    def _consume_certain(self, tokens: list[int]) -> list[int]:
        self._shared.n_consumed += len(tokens)
        self._matcher.consume_tokens(tokens)
        self._raise_error()
        return tokens

    @_with_lease
    def forced_bytes(self) -> bytes:
        """Bytes that must come next but do not yet determine a token: a longer token may begin with them."""
        return bytes(self._matcher.compute_ff_bytes())

    @_with_lease
    def count_allowed(self, tokens: list[int]) -> int:
        """Count how many of these tokens may come next, one after the other; consumes none."""
        start = time.perf_counter()
        count = int(self._matcher.validate_tokens(tokens))
        self._add_time(start)
        return count

    def _only_token(self) -> list[int]:
        """The single token that can come next, if there is just one.

        llguidance does not report the last token of forced text as forced, because a longer token may continue beyond
        the text. At the end of a grammar none can.
        """
        if not self._matcher.compute_ff_bytes() or self._matcher.is_accepting():
            return []
        guidance_numpy.fill_next_token_bitmask(self._matcher, self._bits, 0)
        words = self._bits.view(np.uint32)[0]
        nonzero = np.flatnonzero(words)
        if len(nonzero) != 1 or (word := int(words[nonzero[0]])).bit_count() != 1:
            return []
        return [32 * int(nonzero[0]) + word.bit_length() - 1]

    @property
    @_with_lease
    def is_accepting(self) -> bool:
        """True when the text so far is complete."""
        return bool(self._matcher.is_accepting())

    @property
    @_with_lease
    def is_finished(self) -> bool:
        """True when nothing can follow any more."""
        return bool(self._matcher.is_stopped())

    def _raise_error(self) -> None:
        if self._matcher.is_error():
            reason = self._matcher.get_error().splitlines()[0]
            self._shared.is_broken |= reason.startswith("panic")
            raise ConstraintError(reason)

    def _add_time(self, start: float) -> None:
        self.microseconds += (time.perf_counter() - start) * 1e6


class ConstraintFactory:
    """Starts grammars on one vocabulary. Thread-safe.

    Compiling a grammar and its first mask take up to 200 ms with many tools, continuing from a copy of both 30 µs, so
    those of recent requests stay in memory.
    """

    def __init__(
        self, tokenizer: Callable[[], LLTokenizer], vocabulary: AbstractContextManager[Any], max_bytes: int = 64 << 20
    ) -> None:
        """Create constraints with a tokenizer, whose vocabulary they lease, and cache up to `max_bytes` of them."""
        self._tokenizer, self._vocabulary = tokenizer, vocabulary
        self._started: TextCache[tuple[str, Constraint]] = TextCache(_memory, bound=max_bytes)

    @property
    def cached_bytes(self) -> int:
        """Estimate of the memory of the cached grammars."""
        return self._started.total

    def start(self, grammar: CompiledGrammar) -> Constraint:
        """Return a new constraint; waits until the vocabulary is converted. Raises GrammarError."""
        begin = time.perf_counter()

        def build() -> tuple[str, Constraint]:
            constraint = Constraint(self._tokenizer(), grammar, self._vocabulary)
            constraint.mask()
            return grammar.lark, constraint

        started = self._started.get(grammar.lark, build)[1]
        if started.is_broken:
            self._started.forget(grammar.lark)
            started = self._started.get(grammar.lark, build)[1]
        if started.n_consumed > MAX_CONSUMED:
            self._started.forget(grammar.lark)
        constraint = started.fork()
        constraint.compile_microseconds = (time.perf_counter() - begin) * 1e6
        return constraint


def _memory(started: tuple[str, Constraint]) -> int:
    """Estimate the bytes of a started grammar: measured with tools of all sizes, and strings of counted characters."""
    text, constraint = started
    return (150 << 10) + 55 * len(text) + (7 << 10) * constraint.n_consumed
