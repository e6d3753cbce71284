"""The loop: one thread owns the context and serves all requests, a batch at a time.

What a request says does not depend on what else is computed; docs/decisions.md has the measurements.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import logging
import threading
import weakref
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Self

from typing_extensions import Unpack

from edgefc import gguf, hardware, paths
from edgefc.engine import llama
from edgefc.engine.batch import FREE, Due, Shape, shape
from edgefc.engine.config import EngineOptions, Setup, set_up
from edgefc.engine.constraint import Guidance
from edgefc.engine.context import Context, Rows
from edgefc.engine.generation import Generation
from edgefc.engine.prefill import least_rows, piece
from edgefc.engine.prefix_store import PrefixStore, common_prefix, model_identity
from edgefc.engine.sequence import RequestOptions, Sequence, new_sequence
from edgefc.engine.slots import Slots
from edgefc.engine.tokenizer import Tokenizer
from edgefc.errors import EdgefcError, EngineClosedError
from edgefc.gguf import memory

log = logging.getLogger("edgefc.engine")
SHORT = 16  # what is left of a prompt is computed with the tokens others decode, up to so many rows
DRAFT = 15  # most tokens that are drafted at once
MEMORY_SHARE, MEMORY_MOST = 8, 1 << 30  # of what is free, this part and at most so much is for prompts' KV caches
DISK = 2 << 30
_ENGINES: weakref.WeakSet[Engine] = weakref.WeakSet()


class Engine:
    """A loaded model that generates. Thread-safe; `close()` frees everything."""

    def __init__(
        self,
        setup: Setup,
        model: llama.Model,
        context: Context,
        tokenizer: Tokenizer,
        guidance: Guidance,
        store: PrefixStore,
    ) -> None:
        """Use `Engine.load`."""
        self.setup, self.tokenizer, self.n_ctx = setup, tokenizer, setup.n_ctx
        self._model, self._context, self._guidance, self._prefixes = model, context, guidance, store
        self._costs = [setup.costs.of(max(rows, 1)) for rows in range(max(context.n_batch, FREE) + 1)]
        self._rows = min(memory.SAFE_ROWS, context.n_batch) if setup.on_cpu else context.n_batch
        self._slots = Slots(context, store)
        self._waiting: deque[Sequence] = deque()
        self._changed = threading.Condition()
        self._closed = self._stopped = False
        self._in_batch: list[Sequence] = []
        self._thread = threading.Thread(target=self._loop, name="edgefc-engine", daemon=True)
        self._thread.start()
        # Freed before the interpreter goes: llama.cpp must not be computing while it is torn down.
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
        """Load a GGUF; `header` is what `gguf.read_model` says of it, where that is known.

        Raises ModelNotFoundError, ModelFileError or ModelLoadError.
        """
        path, options = Path(path), options or EngineOptions()
        header = header or gguf.read_model(path)
        setup = set_up(path, header, options)
        with contextlib.ExitStack() as opened:
            guidance = opened.enter_context(contextlib.closing(Guidance(path)))
            model = llama.Model(
                path, n_gpu_layers=setup.n_gpu_layers, use_extra_bufts=setup.extra_buffers, progress=progress
            )
            opened.callback(model.close)
            context = Context(
                model,
                n_ctx=setup.n_ctx,
                n_batch=setup.n_batch,
                n_seq_max=setup.n_seq_max,
                n_threads=setup.n_threads,
                n_threads_batch=setup.n_threads_batch,
                tiles=setup.on_cpu,
            )
            opened.callback(context.close)
            tokenizer = Tokenizer(guidance.vocabulary(), path.with_name("tokenizer.json"))
            engine = cls(setup, model, context, tokenizer, guidance, _prefix_store(header, setup, options, context))
            opened.pop_all()
        return engine

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def submit(self, prompt: list[int], **options: Unpack[RequestOptions]) -> Generation:
        """Queue a request and return at once; `prompt` are token ids.

        Raises RequestError, ContextOverflowError, GrammarError or EngineClosedError.
        """
        sequence = new_sequence(
            Generation(self._cancel),
            prompt,
            options,
            tokenizer=self.tokenizer,
            n_ctx=self.n_ctx,
            guidance=self._guidance.result,
            tiles=self._context.tiles,
        )
        with self._changed:
            if self._closed or self._stopped:
                raise EngineClosedError("the model was closed", "Load it again.")
            self._waiting.append(sequence)
            self._changed.notify_all()
        return sequence.handle

    @property
    def prefix_bytes(self) -> int:
        """Memory that KV caches of prompts take which are in no slot."""
        return self._prefixes.bytes_in_memory

    def save_prefixes(self) -> list[Path]:
        """Wait until the KV caches of all prefixes in memory are on disk; the files written or used so far."""
        return self._prefixes.flush(everything=True)

    def close(self) -> None:
        """Cancel all requests and free the model. May be called more than once."""
        with self._changed:
            if self._closed:
                return
            self._closed = True
            self._context.abort()
            self._changed.notify_all()
        self._thread.join()
        self._guidance.close()
        self._prefixes.close()
        self._context.close()
        self._model.close()

    # -- the engine's thread --------------------------------------------------------------------------------

    def _cancel(self, handle: Generation) -> None:
        """Wake the loop; end the batch that is running when it computes this request's prompt."""
        with self._changed:
            if not self._closed and any(s.handle is handle and s.position < len(s.prompt) for s in self._in_batch):
                self._context.abort()
            self._changed.notify_all()

    def _loop(self) -> None:
        reason = "the model was closed while the request was running"
        try:
            self._serve()
        except Exception as error:
            # A fault of ours: callers must hear of it rather than wait for ever.
            log.exception("the engine stopped")
            reason = f"the engine stopped by a fault of its own: {type(error).__name__}: {error}"
        with self._changed:
            self._stopped = True
        for sequence in [*self._slots.active, *self._waiting]:
            sequence.handle.fail(EngineClosedError(reason, "Load the model again."))

    def _serve(self) -> None:
        while True:
            with self._changed:
                while not self._closed and not self._waiting and not self._slots.active:
                    self._prefixes.set_idle(True)
                    self._changed.wait()
                self._prefixes.set_idle(False)
                if self._closed:
                    return
                self._drop_cancelled()
                self._admit()
            if self._slots.active:
                self._step()

    def _drop_cancelled(self) -> None:
        for sequence in [s for s in self._waiting if s.handle.cancelled]:
            self._waiting.remove(sequence)
            sequence.cancel()
        for sequence in [s for s in self._slots.active if s.handle.cancelled]:
            self._slots.release(sequence)
            sequence.cancel()

    def _admit(self) -> None:
        """Take requests in the order they came, so that none waits for ever."""
        while self._waiting:
            sequence = self._waiting[0]
            if not self._slots.admit(sequence):
                return
            self._waiting.popleft()
            self._go_on(sequence, sequence.begin)

    def _step(self) -> None:
        """Compute what is due and let every request whose tokens are all computed choose its next.

        First the requests that are decoding, or about to, in one batch; then a piece of the oldest prompt, a short one
        while others wait for their tokens.
        """
        active = sorted(self._slots.active, key=lambda sequence: sequence.admitted)
        decoding = [s for s in active if len(s.pending) <= SHORT and not s.run.tiled]
        if decoding:
            height, span = self._shape(decoding)
            self._compute([(sequence, min(len(sequence.pending), height)) for sequence in decoding], height, span)
        prefill = next((s for s in active if s not in decoding), None)
        if prefill is not None and not self._closed:
            run = prefill.run
            most = (memory.TILE if decoding else self._context.n_batch) if run.tiled else self._rows
            count = piece(run.end - prefill.position, tiled=run.tiled, most=most, n_batch=self._context.n_batch)
            least = max(
                least_rows(tiled=run.tiled), self._rounded(count, self._context.n_batch if run.tiled else self._rows)
            )
            self._compute([(prefill, count)], least)

    def _rounded(self, count: int, most: int) -> int:
        """Rows that take no longer than `count`: of repacked weights two left over take longer than four."""
        whole = -(-count // FREE) * FREE
        return whole if self._costs[FREE] < self._costs[2] and count % FREE > 1 and whole <= most else count

    def _shape(self, decoding: list[Sequence]) -> Shape:
        due = [Due(s.slot, len(s.pending), [s.hope(number) for number in range(len(s.draft))]) for s in decoding]
        return shape(due, self._slots.lengths, self._costs, self.setup.costs.per_token)

    def _compute(self, taken: list[tuple[Sequence, int]], least: int, span: range | None = None) -> None:
        """Compute so many pending tokens of these requests, at least so many rows of each, drafts among them.

        `span`: the slots of a decoding batch; None for prefill.
        """
        room = self._context.n_outputs - len(taken)
        parts: list[Rows] = []
        drafts: list[list[int]] = []
        for sequence, count in taken:
            whole = count == len(sequence.pending)
            drafts.append(sequence.draft[: max(min(least - count, room), 0)] if whole else [])
            room -= len(drafts[-1])
            tokens = [*sequence.pending[:count], *drafts[-1]]
            parts.append(Rows(sequence.slot, sequence.position, tokens, wanted=whole + len(drafts[-1])))
        with self._changed:
            self._in_batch = [sequence for sequence, _ in taken]
        status = self._context.decode(parts, least, span=span or range(0), prefill=span is None)
        with self._changed:
            self._in_batch = []
        if status:
            self._recover(status, taken)
            return
        for number, (sequence, count) in enumerate(taken):
            sequence.stats.model_steps += 1
            done, sequence.pending = sequence.pending[:count], sequence.pending[count:]
            self._slots.advance(sequence, done)
            if not sequence.pending and not sequence.handle.cancelled:
                self._go_on(sequence, functools.partial(self._choose, sequence, number, drafts[number]))

    def _choose(self, sequence: Sequence, part: int, draft: list[int]) -> None:
        """Choose tokens as far as they were computed: the next one, and as long as it was drafted, those after it."""
        row = 0
        while True:
            sequence.choose(self._context.logits(part, row))
            right = common_prefix(sequence.pending, draft[row:])
            self._slots.advance(sequence, sequence.pending[:right])
            sequence.pending = sequence.pending[right:]
            row += right
            if sequence.ended or sequence.pending:
                break
        if draft:
            sequence.learn(len(draft), row)
            if not sequence.ended:
                self._slots.cut(sequence)
        if self._context.cuts:
            sequence.guess(DRAFT)

    def _go_on(self, sequence: Sequence, step: Callable[[], None]) -> None:
        try:
            step()
        except EdgefcError as error:
            self._fail(sequence, error)
        else:
            if sequence.ended:
                self._slots.release(sequence)
                sequence.deliver()

    def _fail(self, sequence: Sequence, error: EdgefcError) -> None:
        """End one request with an error; the others go on."""
        self._slots.release(sequence)
        sequence.handle.fail(error)

    def _recover(self, status: int, taken: list[tuple[Sequence, int]]) -> None:
        """After a batch that was not computed: undo it, and end the requests if it cannot be tried again."""
        for sequence, _ in taken:
            self._slots.rewind(sequence)
        if status == 2:
            return  # aborted for a cancelled request: the next batch tries again
        log.error("llama_decode failed with status %d", status)
        for sequence, _ in taken:
            self._fail(sequence, EdgefcError(f"llama.cpp could not compute the batch (status {status})"))


def _prefix_store(header: gguf.Header, setup: Setup, options: EngineOptions, context: Context) -> PrefixStore:
    in_memory, on_disk = options.prefix_memory, options.prefix_disk
    if in_memory is None:
        in_memory = min(hardware.free_memory() // MEMORY_SHARE, MEMORY_MOST)
    # With stretched positions keys depend on the context they are made for.
    stretched = setup.n_ctx if any(".rope.scaling" in key for key in header.metadata) else 0
    return PrefixStore(
        model_identity(
            header.files,
            llama.VERSION,
            llama.system_info(),
            context.tiles,
            context.streams,
            setup.n_gpu_layers,
            stretched,
        ),
        paths.cache_dir() / "prefixes",
        memory_bytes=in_memory,
        disk_bytes=DISK if on_disk is None else on_disk,
        cuts=context.cuts,
    )


@atexit.register
def _close_all() -> None:
    for engine in list(_ENGINES):
        engine.close()
