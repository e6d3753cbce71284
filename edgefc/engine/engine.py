"""The engine's loop: one thread owns the context and serves all requests, one batch at a time.

But for rounding, an answer does not depend on what else is computed; docs/decisions.md has the measurements.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import logging
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Self

from typing_extensions import Unpack

from edgefc import gguf
from edgefc.engine import llama
from edgefc.engine.adapters import Adapters, Turns
from edgefc.engine.batch import ROW_GROUP, BatchShape, RowDemand, choose_shape, padded_rows
from edgefc.engine.cache_sizes import cache_bytes, open_store
from edgefc.engine.chunk import Chunk
from edgefc.engine.config import EngineOptions, choose_setup, with_costs
from edgefc.engine.constraint import Constraint, ConstraintFactory, VocabularyLoader
from edgefc.engine.context import ABORTED, DECODED, Context, Rows
from edgefc.engine.costs import SMALL_MODEL
from edgefc.engine.generation import Generation
from edgefc.engine.handles import LOADS, exit_at_interrupt
from edgefc.engine.prefill import chunk_size, min_rows
from edgefc.engine.prefix_store import PrefixStore, common_prefix
from edgefc.engine.row_costs import row_costs
from edgefc.engine.sequence import RequestOptions, Sequence, new_sequence
from edgefc.engine.setup import Setup
from edgefc.engine.slots import Slots
from edgefc.engine.timing import BackgroundLoad
from edgefc.engine.tokenizer import Tokenizer
from edgefc.errors import EdgefcError, EngineClosedError
from edgefc.gguf import memory
from edgefc.gguf.adapter import read_adapters
from edgefc.grammar import CompiledGrammar

log = logging.getLogger("edgefc.engine")
MAX_DECODE_ROWS = 16  # a prompt with no more tokens left is computed in the batch of those that decode
MAX_DRAFT = 15  # tokens drafted at once
_ENGINES: set[Engine] = set()  # those that are not closed


class Engine:
    """A loaded model that generates. Thread-safe; `close()` frees everything."""

    def __init__(
        self,
        setup: Setup,
        model: llama.Model,
        context: Context,
        tokenizer: Tokenizer,
        vocabulary: VocabularyLoader,
        store: PrefixStore,
        grammar_bytes: int,
        adapters: Adapters,
    ) -> None:
        """Use `Engine.load`."""
        self.setup, self.tokenizer, self.n_ctx = setup, tokenizer, setup.n_ctx
        self._model, self._context, self._vocabulary, self._prefixes = model, context, vocabulary, store
        self._constraints = ConstraintFactory(vocabulary.guidance_tokenizer, tokenizer.vocabulary.handle, grammar_bytes)
        # Indexed by the number of rows.
        self._costs = [setup.costs.of(max(rows, 1)) for rows in range(max(context.n_batch, ROW_GROUP) + 1)]
        self._max_rows = min(memory.SAFE_ROWS, context.n_batch) if setup.on_cpu else context.n_batch
        self._slots = Slots(context, store, setup)
        self._adapters, self._turns = adapters, Turns()
        self.adapters = adapters.describe()
        self._waiting: deque[Sequence] = deque()
        self._changed = threading.Condition()
        self._is_closed = self._has_stopped = False
        self._end_reason = "the model was closed"
        self._in_batch: list[Sequence] = []
        self._thread = threading.Thread(target=self._run, name="edgefc-engine", daemon=True)
        self._thread.start()
        # Closed at exit: llama.cpp must not compute while the interpreter is torn down.
        _ENGINES.add(self)

    @classmethod
    def load(
        cls,
        path: Path | str,
        options: EngineOptions | None = None,
        progress: Callable[[float], bool] | None = None,
        *,
        header: gguf.Header | None = None,
    ) -> Engine:
        """Load a GGUF file; `header` is its header, if the caller has read it with `gguf.read_model` already.

        Raises ModelNotFoundError, ModelFileError or ModelLoadError.
        """
        path, options, load = Path(path), options or EngineOptions(), BackgroundLoad()
        header = header or gguf.read_model(path)
        adapter_files = read_adapters(options.adapters, header)
        setup = choose_setup(path, header, options, adapter_files)
        with contextlib.ExitStack() as resources:
            vocabulary = resources.enter_context(contextlib.closing(VocabularyLoader(path)))
            model = llama.Model(
                path, n_gpu_layers=setup.n_gpu_layers, use_extra_bufts=setup.extra_buffers, progress=progress
            )
            resources.callback(model.close)
            adapters = resources.enter_context(contextlib.closing(Adapters(model, adapter_files)))
            context = Context(
                model,
                n_ctx=setup.n_ctx,
                n_batch=setup.n_batch,
                n_seq_max=setup.n_seq_max,
                n_threads=setup.n_threads,
                n_threads_batch=setup.n_threads_batch,
                tiles=setup.on_cpu,
                rollback=setup.rollback,
            )
            resources.callback(context.close)
            if setup.on_cpu and not setup.calibrated and context.rollback and header.tensor_bytes >= SMALL_MODEL:
                convert = vocabulary.guidance_tokenizer  # takes a core: not while costs are measured
                setup = with_costs(setup, row_costs(path, context, setup.n_threads, setup.costs, load, convert))
            tokenizer = Tokenizer(vocabulary.vocabulary(), path.with_name("tokenizer.json"))
            prompt_bytes, grammar_bytes = cache_bytes(header)
            store = open_store(header, setup, options, context, prompt_bytes)
            engine = cls(setup, model, context, tokenizer, vocabulary, store, grammar_bytes, adapters)
            resources.pop_all()  # the engine closes them
        return engine

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def submit(self, prompt: list[int], **options: Unpack[RequestOptions]) -> Generation:
        """Queue a request and return at once; `prompt` are token ids.

        Raises RequestError, ContextOverflowError, GrammarError or EngineClosedError.
        """
        self._check_open()
        sequence = new_sequence(
            Generation(self._cancel),
            prompt,
            options,
            tokenizer=self.tokenizer,
            n_ctx=self.n_ctx,
            constraints=self._constraints,
            split=self._context.split,
            window=self._context.window,
            adapters=self._adapters.choose(options.get("adapters")),
        )
        with self._changed:
            self._check_open()
            self._waiting.append(sequence)
            self._changed.notify_all()
        return sequence.handle

    def _check_open(self) -> None:
        """Raise EngineClosedError if no request is served any more."""
        if self._is_closed or self._has_stopped:
            raise EngineClosedError(self._end_reason, "Load it again.")

    def constraint(self, grammar: CompiledGrammar) -> Constraint:
        """Start a grammar on this model's vocabulary; waits until the vocabulary is converted.

        Raises GrammarError or EngineClosedError.
        """
        return self._constraints.start(grammar)

    @property
    def has_stopped(self) -> bool:
        """True after `close` or an internal error: no request is served any more."""
        return self._has_stopped

    @property
    def cached_bytes(self) -> Mapping[str, int]:
        """Memory of the caches: of prompts' KV caches that are in no slot, and of started grammars."""
        return {"prompts": self._slots.bytes_in_memory, "grammars": self._constraints.cached_bytes}

    def save_prefixes(self) -> list[Path]:
        """Wait until the KV caches of all prefixes in memory are on disk; return the files written or used so far.

        Raises EngineClosedError.
        """
        self._check_open()
        return self._prefixes.flush(everything=True)

    def close(self) -> None:
        """Cancel all requests and free the model, once no thread uses it.

        May be called more than once, by several threads: each returns when the model is freed.
        """
        with self._changed:
            self._is_closed = True
            self._context.abort()
            self._changed.notify_all()
        self._thread.join()
        self._prefixes.close()
        self._context.close()
        self._adapters.close()
        self._model.close()
        self._vocabulary.close()
        _ENGINES.discard(self)

    # -- the engine's thread --------------------------------------------------------------------------------

    def _cancel(self, handle: Generation) -> None:
        """Wake the loop, and abort the running batch if it computes this request's prompt."""
        with self._changed:
            is_prefilling = any(s.handle is handle and s.position < len(s.prompt) for s in self._in_batch)
            if is_prefilling and not self._is_closed:
                self._context.abort()
            self._changed.notify_all()

    def _run(self) -> None:
        try:
            self._serve()
        except BaseException as error:
            self._end_reason = f"the engine stopped after an internal error: {type(error).__name__}: {error}"
            log.exception("the engine stopped")
        finally:  # callers must get an error rather than wait for ever
            with self._changed:
                self._has_stopped = True
            for sequence in [*self._slots.active, *self._waiting]:
                sequence.handle.fail(EngineClosedError(self._end_reason, "Load it again."))

    def _serve(self) -> None:
        while True:
            with self._changed:
                while not self._is_closed and not self._waiting and not self._slots.active:
                    self._prefixes.set_idle(True)
                    self._changed.wait()
                self._prefixes.set_idle(False)
                if self._is_closed:
                    return
                self._drop_cancelled()
                self._admit()
            if active := self._slots.active:
                with self._errors_end(active):
                    self._step(self._turns.next(active))

    def _drop_cancelled(self) -> None:
        for sequence in [s for s in self._waiting if s.handle.cancelled]:
            self._waiting.remove(sequence)
            sequence.cancel()
        for sequence in [s for s in self._slots.active if s.handle.cancelled]:
            self._slots.release(sequence)
            sequence.cancel()

    def _admit(self) -> None:
        """Give slots to waiting requests in the order they came, so that none waits for ever."""
        while self._waiting:
            sequence = self._waiting[0]
            with self._errors_end([sequence]):
                if not self._slots.admit(sequence):
                    return
            self._waiting.popleft()
            if sequence.slot >= 0:
                self._advance(sequence, sequence.start)

    def _step(self, active: list[Sequence]) -> None:
        """Compute pending tokens, and let every request with none left choose its next.

        The requests that are decoding, or about to, are computed first, in one batch. A chunk of the oldest prompt
        follows, a short one while others wait for their tokens.
        """
        active = sorted(active, key=lambda sequence: sequence.admitted_at)
        decoding = [s for s in active if len(s.pending) <= MAX_DECODE_ROWS and not s.segment.tiled]
        decode = self._decode if self._context.can_truncate else self._decode_apart
        if decoding:
            decode(decoding)
        prompt = next((s for s in active if s not in decoding), None)
        if prompt is not None and not self._is_closed:
            self._prefill(prompt, beside_others=bool(decoding))

    def _decode(self, decoding: list[Sequence]) -> None:
        """Compute one batch of pending and drafted tokens for these requests."""
        height, slots = self._choose_shape(decoding)
        chunks: list[Chunk] = []
        room = self._context.n_outputs - len(decoding)  # for drafts
        for sequence in decoding:
            chunks.append(Chunk.of(sequence, min(len(sequence.pending), height), height, room))
            room -= len(chunks[-1].draft)
        self._compute(chunks, max(height, self.setup.min_rows), slots=slots)

    def _decode_apart(self, decoding: list[Sequence]) -> None:
        """Compute pending tokens of these requests: single ones in one batch, more of a request in one of their own.

        llama.cpp splits a batch of different numbers of rows, and may leave one row alone.
        """
        single = [s for s in decoding if len(s.pending) == 1]
        for sequence in [s for s in decoding if len(s.pending) > 1]:
            self._prefill(sequence, beside_others=True)
        if single:
            self._decode(single)

    def _choose_shape(self, decoding: list[Sequence]) -> BatchShape:
        demands = [RowDemand(s.slot, len(s.pending), s.draft_chances) for s in decoding]
        return choose_shape(demands, self._slots.lengths, self._costs, self.setup.costs.per_token, self.setup.min_rows)

    def _prefill(self, sequence: Sequence, *, beside_others: bool) -> None:
        """Compute the next chunk of a prompt."""
        segment, n_batch = sequence.segment, self._context.n_batch
        if not segment.tiled:
            limit = max_padded = self._max_rows
        else:
            limit, max_padded = memory.TILE if beside_others else n_batch, n_batch
        count = chunk_size(segment.end - sequence.position, tiled=segment.tiled, limit=limit, n_batch=n_batch)
        rows = max(min_rows(tiled=segment.tiled), padded_rows(count, max_padded, self._costs))
        # Text that the grammar forces can be this long as well, and have a draft after it.
        self._compute([Chunk.of(sequence, count, rows, self._context.n_outputs - 1)], rows, prefill=True)

    def _compute(self, chunks: list[Chunk], n_rows: int, *, slots: range = range(0), prefill: bool = False) -> None:
        """Compute one batch of at least `n_rows` rows, which spans these `slots`, and let requests choose tokens."""
        sequences = [chunk.sequence for chunk in chunks]
        with self._errors_end(sequences):
            parts: list[Rows] = []
            for sequence, count, draft in chunks:
                n_logits = len(draft) + 1 if count == len(sequence.pending) else 0
                tokens = [*sequence.pending[:count], *draft]
                parts.append(Rows(sequence.slot, sequence.position, tokens, n_logits))
            with self._changed:
                self._in_batch = sequences
            try:
                self._context.use(self._adapters, sequences[0].adapters)
                status = self._context.decode(parts, n_rows, span=slots, prefill=prefill)
            finally:
                with self._changed:
                    self._in_batch = []
            if status != DECODED:
                self._recover(status, sequences)
                return
        # None of them has a slot any more if that failed.
        for number, chunk in enumerate(chunks):
            if chunk.sequence.slot >= 0:
                self._advance(chunk.sequence, functools.partial(self._read_results, number, chunk))

    def _read_results(self, part: int, chunk: Chunk) -> None:
        """Count the tokens of a request that were computed, and choose the next ones if none is left to compute."""
        sequence, count, draft = chunk
        sequence.stats.model_steps += 1
        computed, sequence.pending = sequence.pending[:count], sequence.pending[count:]
        self._slots.advance(sequence, computed)
        if not sequence.pending and not sequence.handle.cancelled:
            self._choose_tokens(sequence, part, draft)

    def _choose_tokens(self, sequence: Sequence, part: int, draft: list[int]) -> None:
        """Choose the next token, and further ones as long as the draft has them and so their logits are computed."""
        row = 0
        while True:
            if sequence.trace is not None:
                sequence.trace.expect(draft[row:])
            sequence.sample(self._context.logits(part, row))
            accepted = common_prefix(sequence.pending, draft[row:])
            self._slots.advance(sequence, sequence.pending[:accepted])
            sequence.pending = sequence.pending[accepted:]
            row += accepted
            if sequence.ended or sequence.pending:
                break
        if draft:
            sequence.record_draft(len(draft), row)
            if not sequence.ended:
                self._slots.truncate(sequence)
        sequence.propose_draft(min(MAX_DRAFT, self._context.rollback))

    def _advance(self, sequence: Sequence, action: Callable[[], None]) -> None:
        """Run an action of one request; release the request's slot if that ends it or fails."""
        with self._errors_end([sequence]):
            action()
            if sequence.ended:
                self._slots.release(sequence)
                sequence.deliver()

    @contextlib.contextmanager
    def _errors_end(self, sequences: Iterable[Sequence]) -> Iterator[None]:
        """Let any exception end these requests, and no others. A panic of llguidance is no Exception."""
        try:
            yield
        except EdgefcError as error:
            for sequence in sequences:
                self._fail(sequence, error)
        except BaseException as error:
            for sequence in sequences:
                sequence.handle.fail(_unexpected(error))
                # Nobody knows how far it came, so nothing of the slot is used again.
                self._slots.clear(sequence)
            log.exception("a request failed")

    def _fail(self, sequence: Sequence, error: EdgefcError) -> None:
        """End one request with an error; the others continue."""
        try:
            self._slots.release(sequence)
        finally:
            sequence.handle.fail(error)

    def _recover(self, status: int, sequences: list[Sequence]) -> None:
        """Undo a batch that was not computed, and end its requests if it cannot be tried again."""
        for sequence in sequences:
            self._slots.rewind(sequence)
        if status == ABORTED:
            return  # because a request was cancelled: the next batch tries again
        log.error("llama_decode failed with status %d", status)
        for sequence in sequences:
            self._fail(sequence, EdgefcError(f"llama.cpp could not compute the batch (status {status})"))


def _unexpected(error: BaseException) -> EdgefcError:
    if isinstance(error, MemoryError):
        return EdgefcError("not enough memory to compute the answer", "End other programs, or use a smaller context.")
    reason = f"the answer could not be computed: {type(error).__name__}: {error}"
    return EdgefcError(reason, "This is a bug of edgefc: report it.")


@atexit.register
def _close_all() -> None:
    with exit_at_interrupt():
        LOADS.close()
        for engine in list(_ENGINES):
            engine.close()
