"""`edgefc recommend`: what suits this machine."""

from __future__ import annotations

import dataclasses

from edgefc.cli.models import table
from edgefc.cli.options import out, print_json
from edgefc.engine import devices
from edgefc.models import recommend as advice


def recommend(*, context: int | None, limit: int, as_json: bool) -> None:
    """A table of what fits, the best first."""
    here = devices.machine()
    found = advice.suggestions(here, context)[: limit or None]
    if as_json:
        print_json({"machine": dataclasses.asdict(here), "models": [dataclasses.asdict(item) for item in found]})
        return
    gpu = f", {here.gpu} with {here.gpu_memory / 1e9:.1f} GB free" if here.gpu else ", no GPU for llama.cpp"
    out.print(f"{here.cores} cores, {here.memory / 1e9:.1f} GB of memory free{gpu}\n", markup=False)
    if not found:
        out.print("Nothing of the catalogue fits: close other programs. The demo model runs anywhere.")
        return
    rows: list[tuple[str, ...]] = [("id", "quantization", "context", "memory", "tok/s", "here", "BFCL", "licence")]
    for item in found:
        rate = "" if item.decode is None else f"{'' if item.is_measured else '~'}{item.decode:.1f}"
        rows.append(
            (
                item.id,
                item.quantization,
                str(item.context),
                f"{'' if item.is_here else '<'}{item.memory / 1e9:.1f} GB",
                rate,
                "yes" if item.is_here else "no",
                item.bfcl,
                item.licence,
            )
        )
    table(rows)
    out.print(
        "\n< is an upper estimate, ~ is worked out from another model's speed. `edgefc bench MODEL` measures.\n"
        "BFCL scores of different dates are of different tests: do not compare them.",
        markup=False,
    )
