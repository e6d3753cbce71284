"""A stock `llama_cpp.Llama` as an engine: its weights and KV cache, with edgefc's constraint and sampler."""

from __future__ import annotations

import functools
import weakref
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from llama_cpp import llama_cpp as api
from numpy.typing import NDArray
from typing_extensions import Unpack

from edgefc.engine.adapters import UsualAdapters
from edgefc.engine.constraint import ConstraintFactory, guidance_tokenizer
from edgefc.engine.costs import PLAIN, Costs
from edgefc.engine.generation import Generation, GenerationResult
from edgefc.engine.handles import Handle
from edgefc.engine.llama import Vocabulary
from edgefc.engine.prefix_store import common_prefix
from edgefc.engine.sequence import RequestOptions, Sequence, new_sequence
from edgefc.engine.setup import Setup
from edgefc.engine.tokenizer import Tokenizer
from edgefc.errors import EdgefcError, EngineClosedError, RequestError


class StockEngine:
    """Generates with the caller's `Llama`, one request at a time. Like a `Llama`, it is not thread-safe.

    Holds only a weak reference to the `Llama`, and frees nothing.
    """

    def __init__(self, llama: Any) -> None:
        """Raises EngineClosedError, or ModelFileError for a tokenizer.json of another model."""
        self._llama = weakref.ref(llama)
        if not llama.model:
            raise _closed_error()
        self.n_ctx: int = llama.n_ctx()
        self.setup, self.adapters = _setup_of(llama), UsualAdapters()
        pointer = api.llama_model_get_vocab(llama.model)
        handle = Handle(pointer, lambda _: None)  # the Llama frees the vocabulary, and closes the handle right before
        llama._model._exit_stack.callback(handle.close)  # noqa: SLF001 - there is no other way to learn of it in time
        vocabulary = Vocabulary(handle, pointer)
        self.tokenizer = Tokenizer(vocabulary, Path(llama.model_path).with_name("tokenizer.json"))
        self._constraints = ConstraintFactory(functools.cache(lambda: guidance_tokenizer(vocabulary)), handle)

    def submit(self, prompt: list[int], **options: Unpack[RequestOptions]) -> Generation:
        """Create a generation, as `Engine.submit` does; nothing is computed until somebody reads it."""
        llama = self._llama()
        if llama is None or not llama.model:
            raise _closed_error()
        if options.get("adapters"):
            raise RequestError("lora", "is unsupported with a stock Llama", "Create it with `lora_path`.")
        handle = StockGeneration(llama)
        handle.sequence = new_sequence(
            handle,
            prompt,
            options,
            tokenizer=self.tokenizer,
            n_ctx=self.n_ctx,
            constraints=self._constraints,
        )
        return handle

    @property
    def cached_bytes(self) -> Mapping[str, int]:
        """Memory of the started grammars; no prompts are saved beside the Llama's own KV cache."""
        return {"grammars": self._constraints.cached_bytes}

    def save_prefixes(self) -> list[Path]:
        """Do nothing: no prefixes are saved."""
        return []

    def close(self) -> None:
        """Do nothing: the `Llama` belongs to the caller."""


class StockGeneration(Generation):
    """A generation that computes tokens as they are read."""

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
                raise _closed_error()  # its vocabulary was freed with it
            if self.cancelled:
                sequence.cancel()
            elif not sequence.admitted_at:
                sequence.start()
            else:
                sequence.sample(self._logits([*sequence.prompt, *sequence.generated]))
            if sequence.ended:
                sequence.deliver()
        except EdgefcError as error:
            self.fail(error)

    def _logits(self, tokens: list[int]) -> NDArray[np.float32]:
        """Compute the logits after these tokens, shape (n_vocab,), reusing those that are in the KV cache.

        The KV cache is compared every time: somebody else may have used the `Llama` since.
        """
        llama, stats = self._llama, self.sequence.stats
        # The last token is always computed: its logits are needed.
        length = min(common_prefix(llama.input_ids[: llama.n_tokens].tolist(), tokens), len(tokens) - 1)
        if length < llama.n_tokens and not api.llama_memory_seq_rm(api.llama_get_memory(llama.ctx), -1, length, -1):
            llama.reset()  # the memory of recurrent models cannot be truncated
            length = 0
        if not stats.model_steps:
            stats.cached_tokens = length
        llama.n_tokens = length
        try:
            llama.eval(tokens[length:])
        except RuntimeError as error:
            raise EdgefcError(f"llama.cpp could not compute the batch: {error}") from error
        stats.model_steps += -(-(len(tokens) - length) // llama.n_batch)
        pointer = api.llama_get_logits_ith(llama.ctx, -1)
        if not pointer:
            raise EdgefcError("this Llama has no logits", "Create it without embedding=True.")
        view: NDArray[np.float32] = np.ctypeslib.as_array(pointer, (self.sequence.tokenizer.n_vocab,))
        return view


def _setup_of(llama: Any) -> Setup:
    """Setup of a `Llama`, as its owner chose it; the costs of its batches are estimates."""
    n_gpu_layers = int(llama.model_params.n_gpu_layers)
    return Setup(
        n_ctx=llama.n_ctx(),
        n_batch=llama.n_batch,
        n_seq_max=1,
        n_gpu_layers=n_gpu_layers,
        on_cpu=not n_gpu_layers or not api.llama_supports_gpu_offload(),
        extra_buffers=bool(llama.model_params.use_extra_bufts),
        n_threads=llama.n_threads,
        n_threads_batch=llama.n_threads_batch,
        costs=Costs(PLAIN),
        calibrated=False,
    )


def _closed_error() -> EngineClosedError:
    return EngineClosedError("the Llama was closed", "Create it again.")
