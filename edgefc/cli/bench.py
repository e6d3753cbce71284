"""`edgefc bench`: how fast a model is here, and with `--calibrate` what its batches cost."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from edgefc.cli.models import table
from edgefc.cli.options import err, find_model, load_model, out, print_json
from edgefc.engine import Engine, calibration
from edgefc.engine.bench import measure
from edgefc.engine.config import Setup
from edgefc.engine.costs import Costs
from edgefc.models import registry, speeds


def bench(model: str, *, calibrate: bool, as_json: bool) -> None:
    """Measure prefill and decode, and keep it for `recommend`; with `calibrate`, first what the engine weighs."""
    find_model(model)
    path = registry.resolve(model).path
    if calibrate:
        _calibrate(path)
    with load_model(model, {"n_parallel": 1}) as loaded:
        assert isinstance(loaded.engine, Engine)
        setup, rates = loaded.engine.setup, measure(loaded.engine)
        size = loaded.path.stat().st_size
        found = speeds.record(loaded.name, size, prefill=rates.prefill, decode=rates.decode)
    if as_json:
        print_json({**dataclasses.asdict(found), "threads": _threads(setup), "costs": _costs(setup)})
        return
    out.print(f"{found.name}: prefill {found.prefill:.1f} tok/s, decode {found.decode:.1f} tok/s", markup=False)
    how = "calibrated" if setup.calibrated else f"not calibrated: `edgefc bench {model} --calibrate` does it"
    out.print(f"threads: {setup.n_threads} for decode, {setup.n_threads_batch} for prefill ({how})", markup=False)
    if calibrate and setup.calibrated:
        _show(setup.costs)


def _calibrate(path: Path) -> None:
    """Measure and keep, with a progress line where someone is looking."""
    if err.is_terminal:
        with err.status("calibrating …") as status:
            found = calibration.measure(path, lambda done: status.update(f"calibrating … {done:.0%}"))
    else:
        found = calibration.measure(path)
    if found is None:
        err.print("nothing was calibrated: other programs keep the processor busy. Close them, then try again.")
    else:
        calibration.save(path, found)


def _show(costs: Costs) -> None:
    """What a batch takes by its rows, and how much more that is than one row."""
    one = costs.by_rows[1]
    rows = [("rows", "ms", "× one row")]
    rows += [(str(n), f"{ms:.2f}", f"{ms / one:.2f}") for n, ms in sorted(costs.by_rows.items())]
    out.print()
    table([tuple(row) for row in rows])
    out.print(f"and {1000 * costs.per_token:.2f} ms for each row and 1,000 tokens before it", markup=False)


def _threads(setup: Setup) -> dict[str, Any]:
    return {"decode": setup.n_threads, "prefill": setup.n_threads_batch, "calibrated": setup.calibrated}


def _costs(setup: Setup) -> dict[str, Any] | None:
    """Milliseconds of a batch by its rows, and what each row adds for each token before it."""
    if not setup.calibrated:
        return None
    return {"rows": {str(rows): ms for rows, ms in setup.costs.by_rows.items()}, "per_token": setup.costs.per_token}
