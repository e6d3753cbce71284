"""A stock `llama_cpp.Llama` as an engine: its weights and KV cache, edgefc's constraint and sampler."""

from __future__ import annotations

import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from llama_cpp import llama_cpp as api
from llguidance import LLTokenizer
from numpy.typing import NDArray
from typing_extensions import Unpack

from edgefc.engine.constraint import guidance_tokenizer
from edgefc.engine.generation import Generation, GenerationResult
from edgefc.engine.llama import Vocabulary
from edgefc.engine.prefix_store import common_prefix
from edgefc.engine.sequence import RequestOptions, Sequence, new_sequence
from edgefc.engine.tokenizer import Tokenizer
from edgefc.errors import EdgefcError, EngineClosedError


class StockEngine:
    """Generates with somebody else's `Llama`, one request at a time. Like it, not for several threads at once.

    It holds no reference to the `Llama`, and frees nothing.
    """

    def __init__(self, llama: Any) -> None:
        """Raises EngineClosedError, or ModelFileError for a tokenizer.json that is not the model's."""
        self._llama = weakref.ref(llama)
        if not llama.model:
            raise _closed()
        self.n_ctx: int = llama.n_ctx()
        vocabulary = Vocabulary(api.llama_model_get_vocab(llama.model))
        self.tokenizer = Tokenizer(vocabulary, Path(llama.model_path).with_name("tokenizer.json"))
        self._guidance: LLTokenizer | None = None

    def submit(self, prompt: list[int], **options: Unpack[RequestOptions]) -> Generation:
        """As `Engine.submit`; nothing is computed until somebody reads the result."""
        llama = self._llama()
        if llama is None or not llama.model:
            raise _closed()
        handle = StockGeneration(llama)
        handle.sequence = new_sequence(
            handle, prompt, options, tokenizer=self.tokenizer, n_ctx=self.n_ctx, guidance=self._guidance_tokenizer
        )
        return handle

    def save_prefixes(self) -> list[Path]:
        """None: a `Llama` has its own ways."""
        return []

    def close(self) -> None:
        """Nothing: the `Llama` is its owner's."""

    def _guidance_tokenizer(self) -> LLTokenizer:
        if self._guidance is None:
            self._guidance = guidance_tokenizer(self.tokenizer.vocabulary)
        return self._guidance


class StockGeneration(Generation):
    """A generation that goes on as far as it is read."""

    sequence: Sequence

    def __init__(self, llama: Any) -> None:
        super().__init__(lambda _: None)
        self._llama = llama

    def __iter__(self) -> Iterator[str]:
        while not self._done.is_set():
            while not self._pieces.empty() and (piece := self._pieces.get()) is not None:
                yield self._read(piece)
            self._advance()
        yield from super().__iter__()

    def result(self, timeout: float | None = None) -> GenerationResult:
        while not self._done.is_set():
            self._advance()
        return super().result(timeout)

    def _advance(self) -> None:
        sequence = self.sequence
        try:
            if not self._llama.model:
                raise _closed()  # its vocabulary is gone with it
            if self.cancelled:
                sequence.cancel()
            elif not sequence.admitted:
                sequence.begin()
            else:
                sequence.choose(self._logits([*sequence.prompt, *sequence.generated]))
            if sequence.ended:
                sequence.deliver()
        except EdgefcError as error:
            self.fail(error)

    def _logits(self, tokens: list[int]) -> NDArray[np.float32]:
        """The logits after these tokens. What of them is in the KV cache is not computed again.

        Looked at anew each time: somebody else may have used the `Llama` since.
        """
        llama, stats = self._llama, self.sequence.stats
        # The last token is always computed: its logits are needed.
        kept = min(common_prefix(llama.input_ids[: llama.n_tokens].tolist(), tokens), len(tokens) - 1)
        if kept < llama.n_tokens and not api.llama_memory_seq_rm(api.llama_get_memory(llama.ctx), -1, kept, -1):
            llama.reset()  # a memory that cannot be cut, as recurrent models have
            kept = 0
        if not stats.model_steps:
            stats.cached_tokens = kept
        llama.n_tokens = kept
        try:
            llama.eval(tokens[kept:])
        except RuntimeError as error:
            raise EdgefcError(f"llama.cpp could not compute the batch: {error}") from error
        stats.model_steps += -(-(len(tokens) - kept) // llama.n_batch)
        pointer = api.llama_get_logits_ith(llama.ctx, -1)
        if not pointer:
            raise EdgefcError("this Llama has no logits", "Make it without embedding=True.")
        view: NDArray[np.float32] = np.ctypeslib.as_array(pointer, (self.sequence.tokenizer.n_vocab,))
        return view


def _closed() -> EngineClosedError:
    return EngineClosedError("the Llama was closed", "Make it again.")
