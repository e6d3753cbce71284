"""A grammar being executed on one sequence, by llguidance."""

from __future__ import annotations

import time
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import numpy as np
from llguidance import LLMatcher, LLParserLimits, LLTokenizer
from llguidance import numpy as guidance_numpy
from llguidance.gbnf_to_lark import GbnfToLarkError, gbnf_to_lark
from numpy.typing import NDArray

from edgefc.engine.llama import Model, Vocabulary
from edgefc.errors import ConstraintError, GrammarError, ModelFileError
from edgefc.grammar import CompiledGrammar

# Patterns that exclude one another take more work than llguidance does by default; an error amid an answer is worse
# than a slow mask. The compiler bounds how complex they get.
LIMITS = LLParserLimits(initial_lexer_fuel=20_000_000, step_lexer_fuel=20_000_000, step_max_items=1_000_000)


def guidance_tokenizer(vocabulary: Vocabulary) -> LLTokenizer:
    """A vocabulary as llguidance wants it: about a second for 150,000 tokens, so make it once.

    Control tokens are kept apart from text, so that no grammar of text can let one through. The result reads the
    vocabulary, which must live as long.
    """
    # 0xff begins no UTF-8: it is llguidance's mark of a special token.
    tokens = list(vocabulary.pieces)
    for token in vocabulary.control:
        tokens[token] = b"\xff" + tokens[token]
    try:
        made: LLTokenizer = LLTokenizer.from_llamacpp(  # type: ignore[attr-defined]
            tokens=tokens,
            vocab_ptr=vocabulary.handle,
            tokenize_fptr=vocabulary.tokenize_address,
            eos_token=sorted(vocabulary.eog) or [vocabulary.eos],
            slices=LLTokenizer.json_slices(),
        )
    except ValueError as error:
        raise ModelFileError(
            f"no grammar can be executed on this vocabulary: {error}", "Fetch the file again."
        ) from None
    return made


class Guidance:
    """The vocabulary of a model file, for us and for llguidance: made in a thread while the weights are loaded."""

    def __init__(self, path: Path) -> None:
        self._model: Model | None = None
        self._vocabulary: Future[Vocabulary] = Future()
        pool = ThreadPoolExecutor(1, thread_name_prefix="edgefc-vocabulary")
        self._made = pool.submit(self._make, path)
        pool.shutdown(wait=False)

    def vocabulary(self) -> Vocabulary:
        """Waits until it is loaded; it lives until `close`. Raises ModelLoadError."""
        return self._vocabulary.result()

    def result(self) -> LLTokenizer:
        """Waits until it is made. Raises ModelLoadError or ModelFileError."""
        return self._made.result()

    def close(self) -> None:
        """Free the vocabulary."""
        self._made.exception()
        if self._model is not None:
            self._model.close()

    def _make(self, path: Path) -> LLTokenizer:
        try:
            self._model = Model(path, n_gpu_layers=0, vocab_only=True)
            vocabulary = self._model.vocabulary
            _ = vocabulary.pieces, vocabulary.special, vocabulary.eog  # now rather than while others wait
        except BaseException as error:
            self._vocabulary.set_exception(error)
            raise
        self._vocabulary.set_result(vocabulary)
        return guidance_tokenizer(vocabulary)


def gbnf_grammar(text: str) -> CompiledGrammar:
    """A grammar in llama.cpp's notation, as somebody else wrote it. Raises GrammarError."""
    try:
        return CompiledGrammar(gbnf_to_lark(text))
    except (GbnfToLarkError, ValueError, RecursionError, AssertionError, IndexError, KeyError) as error:
        raise GrammarError(f"not a GBNF grammar: {error}", "Its first rule is called root.") from None


class Constraint:
    """What one sequence may say next. Costs are kept: `microseconds`, `masks`, `checks`."""

    def __init__(self, tokenizer: LLTokenizer, grammar: CompiledGrammar) -> None:
        started = time.perf_counter()
        self._matcher = LLMatcher(tokenizer, grammar.lark, log_level=0, limits=LIMITS)
        if self._matcher.is_error():
            raise GrammarError(f"llguidance refuses the grammar: {self._matcher.get_error()}")
        self._bits = guidance_numpy.allocate_token_bitmask(1, tokenizer.vocab_size)
        self.masks = self.checks = 0
        self.compile_microseconds = (time.perf_counter() - started) * 1e6
        self.microseconds = 0.0

    def allows(self, token: int) -> bool:
        """Whether this token may come next; it is not consumed."""
        started = time.perf_counter()
        self.checks += 1
        allowed: bool = self._matcher.validate_tokens([token]) == 1
        self._spent(started)
        return allowed

    def mask(self) -> NDArray[np.bool_]:
        """Which tokens may come next, as one truth value per token. Raises ConstraintError when none may."""
        started = time.perf_counter()
        self.masks += 1
        guidance_numpy.fill_next_token_bitmask(self._matcher, self._bits, 0)
        self._check()
        allowed = np.unpackbits(self._bits.view(np.uint8)[0], bitorder="little").view(np.bool_)
        self._spent(started)
        if not allowed.any():
            raise ConstraintError("the grammar allows no token here")
        return allowed

    def consume(self, token: int) -> None:
        """Go on with this token. Raises ConstraintError when the grammar forbids it."""
        started = time.perf_counter()
        self._matcher.consume_token(token)
        self._check()
        self._spent(started)

    def forced(self) -> list[int]:
        """The tokens that must come next, already consumed; empty when there is a choice."""
        started = time.perf_counter()
        tokens: list[int] = []
        while True:
            some = self._matcher.compute_ff_tokens() or self._only_token()
            if not some:
                break
            self._matcher.consume_tokens(some)
            self._check()
            tokens += some
        self._spent(started)
        return tokens

    def held_back(self) -> bytes:
        """Text that must come next, of which the tokens are not certain: one may go on beyond it."""
        return bytes(self._matcher.compute_ff_bytes())

    def accepts(self, tokens: list[int]) -> int:
        """How many of these tokens may come next, one after the other; none is consumed."""
        started = time.perf_counter()
        count = int(self._matcher.validate_tokens(tokens))
        self._spent(started)
        return count

    def _only_token(self) -> list[int]:
        """The one token that can come next, where text is certain and its last token is not for llguidance.

        It holds that back in case another one goes on beyond; at the end of a grammar none can.
        """
        if not self._matcher.compute_ff_bytes() or self._matcher.is_accepting():
            return []
        guidance_numpy.fill_next_token_bitmask(self._matcher, self._bits, 0)
        words = self._bits.view(np.uint32)[0]
        places = np.flatnonzero(words)
        if len(places) != 1 or (word := int(words[places[0]])) & (word - 1):
            return []
        return [32 * int(places[0]) + word.bit_length() - 1]

    @property
    def is_accepting(self) -> bool:
        """Whether the text so far is complete."""
        return bool(self._matcher.is_accepting())

    @property
    def is_finished(self) -> bool:
        """Whether nothing can follow any more."""
        return bool(self._matcher.is_stopped())

    def _check(self) -> None:
        if self._matcher.is_error():
            raise ConstraintError(self._matcher.get_error().splitlines()[0])

    def _spent(self, started: float) -> None:
        self.microseconds += (time.perf_counter() - started) * 1e6
