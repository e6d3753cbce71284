"""Measures what batches of a model cost on this machine, once; the result is kept in the cache folder.

Threads and costs change the speed of the engine, and its answers at most by rounding. Only the processor is calibrated:
with layers on a GPU none of this is used.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import math
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from edgefc import gguf, hardware
from edgefc.engine import llama, selftest
from edgefc.engine.adapters import Adapters
from edgefc.engine.context import Context, Rows
from edgefc.engine.costs import MEASURED_ROWS, STEP_MS, Costs
from edgefc.engine.identity import model_identity
from edgefc.engine.model_entries import ModelEntries
from edgefc.engine.timing import (
    MIN_ROUNDS,
    BackgroundLoad,
    fewest_threads,
    level_noise,
    measure_in_turns,
    medians,
    unsteadiness,
)
from edgefc.errors import EdgefcError
from edgefc.gguf import memory
from edgefc.gguf.adapter import Adapter

FILE_VERSION = 3
MAX_ENTRIES = 64  # models; the one measured longest ago is dropped first
THREADS = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64)  # and the number of physical cores
PREFILL_ROWS = 128  # rows of a prefill batch, well above the size from which tiles are used
DEPTH = 2 * PREFILL_ROWS  # tokens in the KV cache while batches are measured
LARGE_DEPTH, LARGE_DEPTH_ROWS = 1024, 16  # tokens in it, and rows of a batch, where attention's share is measured
DROP_ABOVE = 1.5  # a number of threads this many times slower than the best is not tried again
MAX_UNSTEADINESS = 1.3
MIN_CORES_LEFT = 0.85  # share of the measured cores that other programs must leave free
_ENTRIES = ModelEntries("calibration.json", FILE_VERSION, MAX_ENTRIES)


class CalibrationError(ValueError):
    """An entry of the calibration file is damaged."""


@dataclass(frozen=True, slots=True)
class Calibration:
    """Threads for decoding and for prefill, and the milliseconds of a batch by its rows."""

    n_threads: int
    n_threads_batch: int
    costs: Costs


def load(path: Path, adapters: Sequence[Adapter] = ()) -> Calibration | None:
    """Load the calibration of this model file on this machine; None if there is none that can be read.

    With adapters that were not measured, the model's own is the nearest.
    """
    try:
        entries = _ENTRIES.read()
        entry = entries.get(machine_key(path, adapters)) or entries.get(machine_key(path))
        return None if entry is None else _parse_entry(entry)
    except (ValueError, OSError):
        return None


def save(path: Path, calibration: Calibration, adapters: Sequence[Adapter] = ()) -> None:
    """Write a calibration to the cache folder. Raises StoreError."""
    entry = {
        "model": path.name,
        "measured": dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
        "n_threads": calibration.n_threads,
        "n_threads_batch": calibration.n_threads_batch,
        "costs": {str(rows): cost for rows, cost in calibration.costs.by_rows.items()},
        "per_token": calibration.costs.per_token,
    }
    _ENTRIES.write(machine_key(path, adapters), entry)


def measure(
    path: Path, progress: Callable[[float], None] = lambda _: None, adapters: Sequence[Adapter] = ()
) -> Calibration | None:
    """Measure a model file: half a minute for a gigabyte on two cores, a few seconds for a small model.

    adapters  LoRA adapters, computed with their usual scales

    None if other programs kept the processor so busy that the figures mean nothing. `progress` receives the share that
    is done. Raises ModelFileError or ModelLoadError.
    """
    header, extra_buffers = gguf.read_model(path), selftest.extra_buffers()
    n_ctx = LARGE_DEPTH + PREFILL_ROWS
    extra = sum(adapter.memory for adapter in adapters)
    need = memory.predict(header, n_ctx=n_ctx, n_seq_max=1, n_batch=PREFILL_ROWS, adapters=extra)
    memory.check_fits(need, path)
    model = llama.Model(path, n_gpu_layers=0, use_extra_bufts=extra_buffers)
    try:
        loaded = Adapters(model, adapters)
        threads = hardware.default_threads()
        context = Context(
            model, n_ctx=n_ctx, n_batch=PREFILL_ROWS, n_seq_max=1, n_threads=threads, n_threads_batch=threads
        )
        try:
            context.use(loaded, loaded.usual)
            return _Benchmark(context).run(progress)
        finally:
            context.close()
    finally:
        model.close()


class _Benchmark:
    """Measures batches in one context."""

    def __init__(self, context: Context) -> None:
        self._context = context
        # Any tokens will do. Where the memory cannot be truncated, batches are measured without tokens before them.
        self._tokens = [5 + i * 7919 % (context.n_vocab - 10) for i in range(PREFILL_ROWS)]
        self._depth = DEPTH if context.can_truncate else 0

    def run(self, progress: Callable[[float], None]) -> Calibration | None:
        candidates, load = thread_counts(), BackgroundLoad()
        self._time_batch(1, 0)  # reads the weights from the disk
        progress(0.1)
        prefill = measure_in_turns(
            candidates,
            self._time_prefill,
            lambda share: progress(0.1 + 0.3 * share),
            rounds=3,
            drop_above=DROP_ABOVE,
        )
        self._fill(0, self._depth)
        decode = measure_in_turns(
            candidates, self._time_decode, lambda share: progress(0.4 + 0.1 * share), drop_above=DROP_ABOVE
        )
        n_threads = fewest_threads(medians(decode))
        self._context.set_threads(n_threads, n_threads)
        batches = measure_in_turns(MEASURED_ROWS, self._time_rows, lambda share: progress(0.5 + 0.4 * share))
        per_token = self._attention_cost(medians(batches)[LARGE_DEPTH_ROWS]) if self._depth else 0.0
        progress(1.0)
        is_disturbed = load.cores_left() < MIN_CORES_LEFT * max(candidates)
        if is_disturbed or max(map(unsteadiness, (prefill, decode, batches))) > MAX_UNSTEADINESS:
            return None
        by_rows = medians(batches)
        attention = {rows: per_token * rows * self._depth for rows in by_rows}
        without_attention = {rows: max(cost - attention[rows], cost / 2) for rows, cost in by_rows.items()}
        costs = Costs(level_noise(without_attention), per_token, STEP_MS)
        return Calibration(n_threads, fewest_threads(medians(prefill)), costs)

    def _attention_cost(self, shallow: float) -> float:
        """Milliseconds that each token before a row adds to it; `shallow` is the time of the same batch at DEPTH."""
        self._fill(self._depth, LARGE_DEPTH)
        deep = statistics.median(self._time_batch(LARGE_DEPTH_ROWS, LARGE_DEPTH) for _ in range(MIN_ROUNDS))
        return max(deep - shallow, 0.0) / (LARGE_DEPTH_ROWS * (LARGE_DEPTH - self._depth))

    def _fill(self, begin: int, end: int) -> None:
        for position in range(begin, end, PREFILL_ROWS):
            self._compute(position, PREFILL_ROWS)

    def _time_prefill(self, threads: int) -> float:
        self._set_threads(threads, 0)
        return self._time_batch(PREFILL_ROWS, 0)

    def _time_decode(self, threads: int) -> float:
        self._set_threads(threads, self._depth)
        return statistics.median(self._time_batch(1, self._depth) for _ in range(3))

    def _time_rows(self, rows: int) -> float:
        return self._time_batch(rows, self._depth)

    def _set_threads(self, threads: int, position: int) -> None:
        # llama.cpp takes batches of more than one row for prefill: set both.
        self._context.set_threads(threads, threads)
        self._time_batch(1, position)  # starts the threads

    def _time_batch(self, rows: int, position: int) -> float:
        """Milliseconds of a batch; its tokens are then dropped from the KV cache."""
        milliseconds = self._compute(position, rows)
        self._context.truncate(0, position)
        return milliseconds

    def _compute(self, position: int, rows: int) -> float:
        part = Rows(0, position, self._tokens[:rows], n_logits=1)
        start = time.perf_counter()
        status = self._context.decode([part], 1)
        seconds = time.perf_counter() - start
        if status:
            raise EdgefcError(f"llama.cpp could not compute a batch of {rows} rows (status {status})")
        return 1000 * seconds


def thread_counts() -> list[int]:
    """Numbers of threads worth trying on this machine."""
    cores = hardware.usable_cores()
    physical = min(psutil.cpu_count(logical=False) or cores, cores)
    lowest = cores // 8  # fewer threads are never the best, and slow to measure
    return sorted({n for n in THREADS if lowest <= n <= physical} | {physical, hardware.default_threads()})


# -- the file ---------------------------------------------------------------------------------------------------


def machine_key(path: Path, adapters: Sequence[Adapter] = ()) -> str:
    """Hash of all that a calibration depends on: the files, the build of llama.cpp, and the processor."""
    build = (llama.VERSION, llama.system_info())
    parts: tuple[object, ...] = (path.name, path.stat().st_size, *build, hardware.processor(), hardware.usable_cores())
    if used := [(model_identity((adapter.path,)), adapter.scale) for adapter in adapters if adapter.scale]:
        parts += (used,)
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:24]


def _parse_entry(entry: Any) -> Calibration:
    """Raises CalibrationError for an entry that this version would not have written."""
    try:
        n_threads, n_threads_batch = entry["n_threads"], entry["n_threads_batch"]
        by_rows = {int(rows): float(cost) for rows, cost in entry["costs"].items()}
        per_token = float(entry["per_token"])
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        raise CalibrationError(f"an entry is incomplete: {error}") from error
    if not all(type(count) is int and 1 <= count <= 1024 for count in (n_threads, n_threads_batch)):
        raise CalibrationError("invalid number of threads")
    if by_rows.keys() != set(MEASURED_ROWS) or not all(0 < cost < math.inf for cost in by_rows.values()):
        raise CalibrationError("invalid costs")
    if not 0 <= per_token < math.inf:
        raise CalibrationError("invalid cost of attention")
    return Calibration(n_threads, n_threads_batch, Costs(by_rows, per_token, STEP_MS))
