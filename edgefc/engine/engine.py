"""The loop: one thread owns the context and serves all requests, a batch at a time.

What a request says does not depend on what else is computed; docs/decisions.md has the measurements.
"""

from __future__ import annotations

import atexit
import functools
import logging
import threading
import weakref
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from typing_extensions import Self, Unpack

from edgefc import gguf, hardware, memory
from edgefc.engine import calibration, llama, selftest
from edgefc.engine.constraint import Guidance
from edgefc.engine.costs import Costs, assumed
from edgefc.engine.prefill import least_rows, piece
from edgefc.engine.prefix import PrefixStore, common, model_identity
from edgefc.engine.sequence import Generation, RequestOptions, Sequence, new_sequence
from edgefc.engine.slots import Slots
from edgefc.engine.tokenizer import Tokenizer
from edgefc.errors import EdgefcError, EngineClosedError, ModelLoadError, RequestError

log = logging.getLogger("edgefc.engine")
SHORT = 16  # what is left of a prompt is computed with the tokens others decode, up to so many rows
FREE = 4  # so many rows may take less time than two, see edgefc.engine.costs
DRAFT = 15  # most tokens that are drafted at once
MEMORY_SHARE, MEMORY_MOST = 8, 1 << 30  # of what is free, this part and at most so much is for prompts' KV caches
DISK = 2 << 30
_ENGINES: weakref.WeakSet[Engine] = weakref.WeakSet()


@dataclass(frozen=True, slots=True)
class EngineOptions:
    """How a model is set up. None: chosen for the model and this machine.

    n_ctx      context of one request, in tokens
    n_seq_max  requests computed at the same time, each with a KV cache of n_ctx tokens
    n_batch    most tokens computed at once
    n_threads, n_threads_batch   for decoding and for prefill
    n_gpu_layers   layers on the GPU
    prefix_memory, prefix_disk   bytes for KV caches of prompts that come again; 0: none
    """

    n_ctx: int | None = None
    n_seq_max: int = 4
    n_batch: int | None = None
    n_threads: int | None = None
    n_threads_batch: int | None = None
    n_gpu_layers: int | None = None
    prefix_memory: int | None = None
    prefix_disk: int | None = None

    def __post_init__(self) -> None:
        limits = {"n_ctx": (32, 1 << 24), "n_seq_max": (1, 64), "n_batch": (32, 8192), "n_threads": (1, 1024),
                  "n_threads_batch": (1, 1024), "n_gpu_layers": (0, 100_000),
                  "prefix_memory": (0, 1 << 50), "prefix_disk": (0, 1 << 50)}  # fmt: skip
        for name, (low, high) in limits.items():
            value = getattr(self, name)
            if value is not None and (
                isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high
            ):
                raise RequestError(name, f"must be an integer from {low} to {high}, not {value!r}")


class Engine:
    """A loaded model that generates. Thread-safe; `close()` frees everything."""

    def __init__(
        self,
        model: llama.Model,
        context: llama.Context,
        tokenizer: Tokenizer,
        n_ctx: int,
        *,
        guidance: Guidance,
        on_cpu: bool,
        costs: Costs,
        prefixes: PrefixStore,
    ) -> None:
        """Use `Engine.load`."""
        self.tokenizer, self.n_ctx = tokenizer, n_ctx
        self._model, self._context, self._prefixes = model, context, prefixes
        self._costs = [costs.of(max(rows, 1)) for rows in range(max(context.n_batch, FREE) + 1)]
        self._rows = min(memory.SAFE_ROWS, context.n_batch) if on_cpu else context.n_batch
        self._tiles = on_cpu and context.cuts and context.n_batch >= memory.TILE
        self._slots = Slots(context, prefixes)
        self._waiting: deque[Sequence] = deque()
        self._changed = threading.Condition()
        self._closed = self._stopped = False
        self._in_batch: list[Sequence] = []
        self._guidance = guidance
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
        verdict = selftest.verdict()
        if verdict == "broken":
            raise ModelLoadError("llama.cpp crashes on this machine", selftest.ADVICE)
        n_gpu_layers = options.n_gpu_layers
        if n_gpu_layers is None:
            n_gpu_layers = 999 if llama.supports_gpu() else 0
        on_cpu = not n_gpu_layers or not llama.supports_gpu()
        n_batch = options.n_batch or memory.BATCH
        n_ctx = options.n_ctx or memory.default_context(header, options.n_seq_max)
        if on_cpu:
            need = memory.predict(header, n_ctx=n_ctx, n_seq_max=options.n_seq_max, n_batch=n_batch)
            memory.check_fits(need, path)
        guidance, model = Guidance(path), None
        try:
            model = llama.Model(
                path, n_gpu_layers=n_gpu_layers, use_extra_bufts=verdict != "without_extra_buffers", progress=progress
            )
            measured = calibration.load(path) if on_cpu else None
            threads = options.n_threads or (measured.n_threads if measured else hardware.default_threads())
            context = llama.Context(
                model,
                n_ctx=n_ctx,
                n_batch=n_batch,
                n_seq_max=options.n_seq_max,
                n_threads=threads,
                n_threads_batch=options.n_threads_batch
                or (measured.n_threads_batch if measured else max(threads, hardware.default_threads())),
            )
            tokenizer = Tokenizer(model.vocabulary, path.with_name("tokenizer.json"))
            # With stretched positions keys depend on the context they are made for.
            stretched = n_ctx if any(".rope.scaling" in key for key in header.metadata) else 0
            prefixes = PrefixStore(
                model_identity(
                    header.files,
                    llama.VERSION,
                    llama.system_info(),
                    context.n_batch >= memory.TILE,
                    context.streams,
                    n_gpu_layers,
                    stretched,
                ),
                hardware.cache_dir() / "prefixes",
                memory_bytes=_given(options.prefix_memory, min(hardware.free_memory() // MEMORY_SHARE, MEMORY_MOST)),
                disk_bytes=_given(options.prefix_disk, DISK),
                cuts=context.cuts,
            )
        except BaseException:
            guidance.close()
            if model is not None:
                model.close()
            raise
        costs = measured.costs if measured else assumed(header.main_type)
        return cls(model, context, tokenizer, n_ctx, guidance=guidance, on_cpu=on_cpu, costs=costs, prefixes=prefixes)

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
            tiles=self._tiles,
        )
        with self._changed:
            if self._closed or self._stopped:
                raise EngineClosedError("the model was closed", "Load it again.")
            self._waiting.append(sequence)
            self._changed.notify_all()
        return sequence.handle

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
            height = self._height(decoding)
            self._compute([(sequence, min(len(sequence.pending), height)) for sequence in decoding], height)
        prefill = next((s for s in active if s not in decoding), None)
        if prefill is not None and not self._closed:
            run = prefill.run
            most = (memory.TILE if decoding else self._context.n_batch) if run.tiled else self._rows
            count = piece(run.end - prefill.position, tiled=run.tiled, most=most, n_batch=self._context.n_batch)
            least = max(
                least_rows(tiled=run.tiled), self._rounded(count, self._context.n_batch if run.tiled else self._rows)
            )
            self._compute([(prefill, count)], least, prefill=True)

    def _rounded(self, count: int, most: int) -> int:
        """Rows that take no longer than `count`: of repacked weights two left over take longer than four."""
        whole = -(-count // FREE) * FREE
        return whole if self._costs[FREE] < self._costs[2] and count % FREE > 1 and whole <= most else count

    def _height(self, decoding: list[Sequence]) -> int:
        """How many rows of each request to compute: the most that are due, or likely to be, for what they cost."""
        slots = [sequence.slot for sequence in decoding]
        width = max(slots) - min(slots) + 1
        most = max(len(sequence.pending) + len(sequence.draft) for sequence in decoding)
        # More rows than that may be cheaper still, where llama.cpp computes several at once.
        heights = range(1, min(max(most, FREE), max(self._context.n_batch // width, 1)) + 1)
        worth = [0.0] * len(heights)
        for sequence in decoding:
            due, tokens, likely = len(sequence.pending), 0.0, 1.0
            for height in heights:
                if height > due:
                    likely *= sequence.hope(height - due - 1)
                tokens += likely
                worth[height - 1] += tokens
        least = 2 if width == 1 else 1
        return max(heights, key=lambda height: worth[height - 1] / self._costs[max(height, least) * width])

    def _compute(self, taken: list[tuple[Sequence, int]], least: int, *, prefill: bool = False) -> None:
        """Compute so many pending tokens of these requests, at least so many rows of each, drafts among them."""
        room = self._context.n_outputs - len(taken)
        parts: list[llama.Rows] = []
        drafts: list[list[int]] = []
        for sequence, count in taken:
            whole = count == len(sequence.pending)
            drafts.append(sequence.draft[: max(min(least - count, room), 0)] if whole else [])
            room -= len(drafts[-1])
            tokens = [*sequence.pending[:count], *drafts[-1]]
            parts.append(llama.Rows(sequence.slot, sequence.position, tokens, wanted=whole + len(drafts[-1])))
        with self._changed:
            self._in_batch = [sequence for sequence, _ in taken]
        status = self._context.decode(parts, least, prefill=prefill)
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
            right = common(sequence.pending, draft[row:])
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


def _given(value: int | None, default: int) -> int:
    return default if value is None else value


@atexit.register
def _close_all() -> None:
    for engine in list(_ENGINES):
        engine.close()
