"""`edgefc bench`: how fast a model is here, and with `--calibrate` what its batches cost."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from edgefc import hardware, registry, speed
from edgefc.cli.common import err, find_model, load_model, out, print_json
from edgefc.cli.models import table
from edgefc.engine import calibration
from edgefc.engine.calibration import Calibration


def bench(model: str, *, calibrate: bool, as_json: bool) -> None:
    """Measure prefill and decode, and keep it for `recommend`; with `calibrate`, first what the engine weighs."""
    find_model(model)
    path = registry.resolve(model).path
    if calibrate:
        _calibrate(path)
    with load_model(model, {"n_parallel": 1}) as loaded:
        found = speed.measure(loaded)
    kept = calibration.load(path)
    if as_json:
        print_json({**dataclasses.asdict(found), "threads": _threads(kept), "costs": _costs(kept)})
        return
    out.print(f"{found.name}: prefill {found.prefill:.1f} tok/s, decode {found.decode:.1f} tok/s", markup=False)
    threads = _threads(kept)
    how = "calibrated" if kept else f"not calibrated: `edgefc bench {model} --calibrate` does it"
    out.print(f"threads: {threads['decode']} for decode, {threads['prefill']} for prefill ({how})", markup=False)
    if calibrate and kept is not None:
        _show(kept)


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


def _show(kept: Calibration) -> None:
    """What a batch takes by its rows, and how much more that is than one row."""
    one = kept.costs.by_rows[1]
    rows = [("rows", "ms", "× one row")]
    rows += [(str(n), f"{ms:.2f}", f"{ms / one:.2f}") for n, ms in sorted(kept.costs.by_rows.items())]
    out.print()
    table([tuple(row) for row in rows])


def _threads(kept: Calibration | None) -> dict[str, Any]:
    usual = hardware.default_threads()
    return {
        "decode": kept.n_threads if kept else usual,
        "prefill": kept.n_threads_batch if kept else usual,
        "calibrated": kept is not None,
    }


def _costs(kept: Calibration | None) -> dict[str, float] | None:
    """Milliseconds of a batch, by its rows."""
    return {str(rows): ms for rows, ms in kept.costs.by_rows.items()} if kept else None
