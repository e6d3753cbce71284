"""What a model costs on this machine: measured once, kept in the cache folder, used whenever the model is loaded.

Threads and costs change how fast the engine is, never what it says. Only the processor is calibrated: with layers on a
GPU none of this is used.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import hashlib
import json
import math
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from edgefc import files, gguf, hardware, paths
from edgefc.engine import llama, selftest
from edgefc.engine.context import Context, Rows
from edgefc.engine.costs import MEASURED, STEP, Costs
from edgefc.engine.timing import ROUNDS, Others, fewest, in_turns, medians, unsteadiness, without_noise
from edgefc.errors import EdgefcError, StoreError
from edgefc.gguf import memory

FORMAT = 2
MOST_KEPT = 64  # models; those measured longest ago go first
THREADS = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64)  # and all physical cores
PROMPT = 128  # rows of a batch of prefill, far into what goes through tiles
BEFORE = 2 * PROMPT  # tokens in the KV cache while batches are measured
DEEP, DEEP_ROWS = 1024, 16  # tokens in it, and rows of a batch, where it is measured what attention adds
HOPELESS = 1.5  # times as slow as the quickest, and a number of threads is not tried again
UNSTEADY = 1.3
LEFT = 0.85  # of the cores that are measured, what other programs must leave


@dataclass(frozen=True, slots=True)
class Calibration:
    """Threads for decoding and for prefill, and the milliseconds of a batch by its rows."""

    n_threads: int
    n_threads_batch: int
    costs: Costs


def load(path: Path) -> Calibration | None:
    """What was measured of this model file on this machine; None: nothing, or nothing that can be read."""
    with contextlib.suppress(OSError, ValueError, TypeError, LookupError, AttributeError, RecursionError):
        return _from_data(_read()[_key(path)])
    return None


def save(path: Path, calibration: Calibration) -> None:
    """Keep what was measured. Raises StoreError."""
    kept: dict[str, Any] = {}
    with contextlib.suppress(OSError, ValueError, TypeError, LookupError, RecursionError):
        kept = _read()
    key = _key(path)
    kept.pop(key, None)
    kept[key] = {
        "model": path.name,
        "measured": dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
        "n_threads": calibration.n_threads,
        "n_threads_batch": calibration.n_threads_batch,
        "costs": {str(rows): cost for rows, cost in calibration.costs.by_rows.items()},
        "per_token": calibration.costs.per_token,
    }
    data = {"format": FORMAT, "models": dict(list(kept.items())[-MOST_KEPT:])}
    try:
        _file().parent.mkdir(parents=True, exist_ok=True)
        files.write_file(_file(), json.dumps(data, indent=1).encode())
    except OSError as error:
        hint = "Set EDGEFC_CACHE_DIR to a folder that can be written."
        raise StoreError(f"{_file()}: {error.strerror or error}", hint) from None


def measure(path: Path, progress: Callable[[float], None] = lambda _: None) -> Calibration | None:
    """Measure a model file: about half a minute for one of a gigabyte on two cores, a few seconds for a small one.

    None: other programs kept the processor so busy that the figures mean nothing. `progress` is told the share that
    is done. Raises ModelFileError or ModelLoadError.
    """
    header, extra_buffers = gguf.read_model(path), selftest.extra_buffers()
    n_ctx = DEEP + PROMPT
    memory.check_fits(memory.predict(header, n_ctx=n_ctx, n_seq_max=1, n_batch=PROMPT), path)
    model = llama.Model(path, n_gpu_layers=0, use_extra_bufts=extra_buffers)
    try:
        threads = hardware.default_threads()
        context = Context(model, n_ctx=n_ctx, n_batch=PROMPT, n_seq_max=1, n_threads=threads, n_threads_batch=threads)
        try:
            return _Bench(context).calibration(progress)
        finally:
            context.close()
    finally:
        model.close()


class _Bench:
    """Measures one context."""

    def __init__(self, context: Context) -> None:
        self._context = context
        # Any tokens will do. Where the KV cache cannot be cut, batches are measured without anything before them.
        self._tokens = [5 + i * 7919 % (context.n_vocab - 10) for i in range(PROMPT)]
        self._before = BEFORE if context.cuts else 0

    def calibration(self, progress: Callable[[float], None]) -> Calibration | None:
        candidates, others = thread_counts(), Others()
        self._batch(1, 0)  # reads the weights from the disk
        progress(0.1)
        prefill = in_turns(
            candidates, self._prefill, lambda share: progress(0.1 + 0.3 * share), rounds=3, hopeless=HOPELESS
        )
        self._fill(0, self._before)
        decode = in_turns(candidates, self._decode, lambda share: progress(0.4 + 0.1 * share), hopeless=HOPELESS)
        n_threads = fewest(medians(decode))
        self._context.set_threads(n_threads, n_threads)
        padded = {1: 2} if self._context.cuts else {}  # one row is computed as two
        sizes = [rows for rows in MEASURED if rows not in padded]
        batches = in_turns(sizes, self._rows, lambda share: progress(0.5 + 0.4 * share))
        per_token = self._attention(medians(batches)[DEEP_ROWS]) if self._before else 0.0
        progress(1.0)
        disturbed = others.cores_left() < LEFT * max(candidates)
        if disturbed or max(map(unsteadiness, (prefill, decode, batches))) > UNSTEADY:
            return None
        by_rows = medians(batches)
        by_rows |= {rows: by_rows[same] for rows, same in padded.items()}
        read = {rows: per_token * padded.get(rows, rows) * self._before for rows in by_rows}
        bare = {rows: max(cost - read[rows], cost / 2) for rows, cost in by_rows.items()}
        return Calibration(n_threads, fewest(medians(prefill)), Costs(without_noise(bare), per_token, STEP))

    def _attention(self, shallow: float) -> float:
        """Milliseconds that a row takes longer for each token before it."""
        self._fill(self._before, DEEP)
        deep = statistics.median(self._batch(DEEP_ROWS, DEEP) for _ in range(ROUNDS))
        return max(deep - shallow, 0.0) / (DEEP_ROWS * (DEEP - self._before))

    def _fill(self, begin: int, end: int) -> None:
        for position in range(begin, end, PROMPT):
            self._compute(position, PROMPT)

    def _prefill(self, threads: int) -> float:
        self._set_threads(threads, 0)
        return self._batch(PROMPT, 0)

    def _decode(self, threads: int) -> float:
        self._set_threads(threads, self._before)
        return statistics.median(self._batch(1, self._before) for _ in range(3))

    def _rows(self, rows: int) -> float:
        return self._batch(rows, self._before)

    def _set_threads(self, threads: int, position: int) -> None:
        # For batches of all sizes: what has more than one row llama.cpp takes for prefill, and one is padded to two.
        self._context.set_threads(threads, threads)
        self._batch(1, position)  # starts them

    def _batch(self, rows: int, position: int) -> float:
        """Milliseconds of a batch; what it leaves in the KV cache is dropped."""
        spent = self._compute(position, rows)
        self._context.forget(0, position)
        return spent

    def _compute(self, position: int, rows: int) -> float:
        part = Rows(0, position, self._tokens[:rows], wanted=1)
        began = time.perf_counter()
        status = self._context.decode([part])
        spent = time.perf_counter() - began
        if status:
            raise EdgefcError(f"llama.cpp could not compute a batch of {rows} rows (status {status})")
        return 1000 * spent


def thread_counts() -> list[int]:
    """Numbers of threads worth trying here."""
    most = hardware.usable_cores()
    physical = min(psutil.cpu_count(logical=False) or most, most)
    few = most // 8  # never the best, and slow to measure
    return sorted({n for n in THREADS if few <= n <= physical} | {physical, hardware.default_threads()})


# -- the file ---------------------------------------------------------------------------------------------------


def _file() -> Path:
    return paths.cache_dir() / "calibration.json"


def _read() -> dict[str, Any]:
    data = json.loads(_file().read_text(encoding="utf-8"))
    if data["format"] != FORMAT or not isinstance(data["models"], dict):
        raise ValueError("of another format")
    models: dict[str, Any] = data["models"]
    return models


def _key(path: Path) -> str:
    """What a measurement holds for: the model's file, the build of llama.cpp, and the processor."""
    build = (llama.VERSION, llama.system_info())
    parts = (path.name, path.stat().st_size, *build, hardware.processor(), hardware.usable_cores())
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:24]


def _from_data(data: dict[str, Any]) -> Calibration:
    """Raises ValueError, TypeError, KeyError or AttributeError for what this version did not write."""
    threads = [data["n_threads"], data["n_threads_batch"]]
    costs = {int(rows): float(cost) for rows, cost in data["costs"].items()}
    per_token = float(data["per_token"])
    if not all(type(n) is int and 1 <= n <= 1024 for n in threads) or costs.keys() != set(MEASURED):
        raise ValueError("not what is written here")
    if not all(math.isfinite(cost) and cost > 0 for cost in costs.values()) or not 0 <= per_token < math.inf:
        raise ValueError("not times")
    return Calibration(threads[0], threads[1], Costs(costs, per_token, STEP))
