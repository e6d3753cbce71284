"""Measures at the first load of a model what its small batches cost, in about a second, and remembers it.

How many rows llama.cpp computes in the time of one depends on the processor: with Q4_K on one Xeon four, on a Zen core
not even two. The engine pads and drafts by it, so a wrong guess makes every token two or three times as slow. A
calibration measures more, and takes the place of this.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from pathlib import Path

from edgefc.engine import calibration
from edgefc.engine.context import DECODED, Context, Rows
from edgefc.engine.costs import STEP_MS, Costs
from edgefc.engine.model_entries import ModelEntries
from edgefc.engine.timing import BackgroundLoad
from edgefc.errors import StoreError

ROWS = (1, 2, 4, 8)
MAX_ROUNDS, ENOUGH_S = 5, 0.8  # a third round starts only while less time was spent
MIN_CORES_LEFT = 0.9  # share of the cores in use that other programs must leave free
MAX_UNSTEADINESS = 1.25  # second shortest to shortest time of a batch
_ENTRIES = ModelEntries("row_costs.json", 1, 64)
log = logging.getLogger(__name__)


def row_costs(
    path: Path,
    context: Context,
    n_threads: int,
    estimate: Costs,
    load: BackgroundLoad,
    wait: Callable[[], object] = lambda: None,
) -> Costs:
    """Return the costs of batches of a model file, as measured in this empty context now or at an earlier load.

    estimate  returned where other programs keep the processor busy; else its cost of attention, relative to a row, is
              kept
    load      since the model began to load
    wait      waits until this program leaves the processor alone; called before a measurement
    """
    by_rows = stored(path, n_threads)
    if by_rows is None:
        wait()
        by_rows = _measure(context) if _is_quiet(load, n_threads) else None
        if by_rows is None or not _is_quiet(load, n_threads):
            return estimate
        entry = {"model": path.name, "costs": {str(rows): cost for rows, cost in by_rows.items()}}
        try:
            _ENTRIES.write(machine_key(path, n_threads), entry)
        except StoreError as error:
            log.debug("%s", error)
    return Costs(by_rows, estimate.per_token * by_rows[1] / estimate.of(1), STEP_MS)


def _is_quiet(load: BackgroundLoad, n_threads: int) -> bool:
    return load.cores_left() >= MIN_CORES_LEFT * n_threads


def _measure(context: Context) -> dict[int, float] | None:
    """Return the milliseconds of batches by their rows, the shortest of a few turns; None if they differ too much."""
    _time(context, max(ROWS))  # reads the weights from the disk
    times: dict[int, list[float]] = {rows: [] for rows in ROWS}
    start = time.perf_counter()
    for number in range(MAX_ROUNDS):
        if number > 1 and time.perf_counter() - start > ENOUGH_S:
            break
        for rows, measured in times.items():
            measured.append(_time(context, rows))
    ordered = {rows: sorted(measured) for rows, measured in times.items()}
    if any(second > MAX_UNSTEADINESS * first for first, second, *_ in ordered.values()):
        return None
    return {rows: round(first, 3) for rows, (first, *_) in ordered.items()}


def _time(context: Context, rows: int) -> float:
    part = Rows(0, 0, [token % context.n_vocab for token in range(5, 5 + rows)], n_logits=1)
    start = time.perf_counter()
    status = context.decode([part], 1)
    milliseconds = 1000 * (time.perf_counter() - start)
    assert status == DECODED
    context.truncate(0)
    return milliseconds


def machine_key(path: Path, n_threads: int) -> str:
    """Key of an entry: all that the costs depend on."""
    return f"{calibration.machine_key(path)} {n_threads}"


def stored(path: Path, n_threads: int) -> dict[int, float] | None:
    """Return the milliseconds of batches by their rows, as an earlier load measured them; None where none did."""
    try:
        costs = {
            int(rows): float(cost) for rows, cost in _ENTRIES.read()[machine_key(path, n_threads)]["costs"].items()
        }
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError):
        return None
    return costs if costs.keys() == set(ROWS) and all(0 < cost < 1e6 for cost in costs.values()) else None
