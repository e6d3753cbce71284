"""`edgefc bench`: a model's speed on this machine and, with `--calibrate`, the cost of its batches."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from typer import Option

from edgefc.cli.choice import chosen_model
from edgefc.cli.console import err, has_terminal, out, print_json, print_table
from edgefc.cli.loading import find_model, load_model
from edgefc.cli.options import JsonOption, LoadOptions, LoraFilesOption, ModelArgument, ModelOption

if TYPE_CHECKING:
    from edgefc.chat.dialect import Dialect
    from edgefc.engine.costs import Costs
    from edgefc.engine.setup import Setup
    from edgefc.gguf.adapter import Adapter
    from edgefc.model import Model

CalibrateOption = Annotated[
    bool, Option("--calibrate", help="First measure the best settings for this machine, and save them.")
]


def bench(
    model: ModelArgument = None,
    model_option: ModelOption = None,
    calibrate: CalibrateOption = False,
    lora: LoraFilesOption = None,
    as_json: JsonOption = False,
) -> None:
    """Measure a model's prefill and decode speed on this machine."""
    from edgefc import gguf
    from edgefc.chat import dialect
    from edgefc.engine.bench import measure
    from edgefc.gguf.adapter import read_adapters
    from edgefc.model import adapters_of
    from edgefc.models import speeds

    name = chosen_model(model, model_option)
    found = find_model(name)
    found_dialect: dialect.Dialect | None
    if calibrate:
        _calibrate(found.path, read_adapters(adapters_of(found, lora), gguf.read_model(found.path)))
    with load_model(found, LoadOptions(n_parallel=1, lora=lora)) as loaded:
        setup, adapters, rates = loaded.engine.setup, loaded.engine.adapters, measure(loaded.engine)
        found_dialect = _calibrate_dialect(loaded) if calibrate else dialect.stored(found.path, adapters.key)
    size = found.path.stat().st_size
    speed = speeds.record(
        "+".join(filter(None, (found.name, adapters.label))), size, prefill=rates.prefill, decode=rates.decode
    )
    if as_json:
        about_dialect = None if found_dialect is None else dataclasses.asdict(found_dialect)
        facts = {"threads": _threads_data(setup), "costs": _costs_data(setup), "dialect": about_dialect}
        print_json({**dataclasses.asdict(speed), **facts})
        return
    out.print(f"{speed.name}: prefill {speed.prefill:.1f} tok/s, decode {speed.decode:.1f} tok/s")
    note = "calibrated" if setup.calibrated else f"not calibrated; run `edgefc bench {name} --calibrate`"
    out.print(f"threads: {setup.n_threads} for decode, {setup.n_threads_batch} for prefill ({note})")
    if calibrate and setup.calibrated:
        _print_costs(setup.costs)
    if found_dialect is not None:
        out.print(f"dialect: {found_dialect.describe()}")


def _calibrate_dialect(model: Model) -> Dialect | None:
    """Find how the model says calls and save it, with progress on a terminal; None for a family known exactly."""
    from edgefc import formats, gguf
    from edgefc.chat import dialect

    metadata, eos = gguf.read_metadata(model.path), model.engine.tokenizer.eos_text
    family, _ = formats.family_of(metadata, model.path, eos=eos)
    if "dialect" not in family.prompt:
        return None
    other, _ = formats.family_of(metadata, model.path.name, family.prompt["dialect"], eos=eos)
    if has_terminal(err):
        with err.status("asking …") as status:
            found = dialect.calibrate(
                model.engine, family, other, lambda share: status.update(f"asking how it says calls … {share:.0%}")
            )
    else:
        found = dialect.calibrate(model.engine, family, other)
    dialect.keep(model.path, found, model.engine.adapters.key)
    return found


def _calibrate(path: Path, adapters: Sequence[Adapter]) -> None:
    """Calibrate and save the result, with progress on a terminal."""
    from edgefc.engine import calibration

    if has_terminal(err):
        with err.status("calibrating …") as status:
            result = calibration.measure(path, lambda share: status.update(f"calibrating … {share:.0%}"), adapters)
    else:
        result = calibration.measure(path, adapters=adapters)
    if result is None:
        err.print("not calibrated: other programs keep the processor busy; close them, then try again")
    else:
        calibration.save(path, result, adapters)


def _print_costs(costs: Costs) -> None:
    """Print the time of a batch by its number of rows, also relative to one row."""
    one = costs.by_rows[1]
    rows = [("rows", "ms", "× one row")]
    rows += [(str(n), f"{ms:.2f}", f"{ms / one:.2f}") for n, ms in sorted(costs.by_rows.items())]
    out.print()
    print_table([tuple(row) for row in rows])
    out.print(f"plus {1000 * costs.per_token:.2f} ms per row for every 1,000 earlier tokens")


def _threads_data(setup: Setup) -> dict[str, Any]:
    return {"decode": setup.n_threads, "prefill": setup.n_threads_batch, "calibrated": setup.calibrated}


def _costs_data(setup: Setup) -> dict[str, Any] | None:
    """Return milliseconds of a batch by its number of rows, and for each row and earlier token."""
    if not setup.calibrated:
        return None
    return {"rows": {str(rows): ms for rows, ms in setup.costs.by_rows.items()}, "per_token": setup.costs.per_token}
