"""`edgefc recommend`: models that suit this machine."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Annotated

from typer import Option

from edgefc.cli.console import count_of, out, print_json, print_table
from edgefc.cli.options import JsonOption

if TYPE_CHECKING:
    from edgefc.models.recommend import Suggestion

LargestContextOption = Annotated[
    int | None, Option("--n-ctx", help="Context size in tokens. Default: the largest that fits.")
]
LimitOption = Annotated[int, Option(help="Number of rows to show; 0 shows all.")]


def recommend(context: LargestContextOption = None, limit: LimitOption = 12, as_json: JsonOption = False) -> None:
    """List models that suit this machine, with the command that fetches each, expected memory and measured speed.

    Models whose licence forbids commercial use come last.
    """
    from edgefc.engine import devices
    from edgefc.models.recommend import suggest_models

    machine = devices.machine()
    fitting = suggest_models(machine, context)
    suggested = fitting[: limit or None]
    if as_json:
        data = {"machine": dataclasses.asdict(machine), "models": [dataclasses.asdict(item) for item in suggested]}
        print_json(data)
        return
    gpu = (
        f"{machine.gpu} with {machine.gpu_memory / 1e9:.1f} GB free" if machine.gpu else "no GPU that llama.cpp can use"
    )
    out.print(f"{count_of(machine.cores, 'core')}, {machine.memory / 1e9:.1f} GB of free memory, {gpu}\n")
    if not suggested:
        out.print("No model of the catalogue fits: close other programs. The demo model runs anywhere.")
        return
    header = ("command", "quantization", "context", "memory", "tok/s", "BFCL", "licence")
    print_table([header, *map(_row, suggested)])
    if hidden := fitting[len(suggested) :]:
        forbidding = sum(item.non_commercial for item in hidden)
        note = f", {forbidding} of them under licences that forbid commercial use" if forbidding else ""
        out.print(f"\n{len(hidden)} more models fit{note}: --limit 0 shows them.")
    out.print(
        "\n< marks an upper estimate, ~ an estimate from another model's speed; `edgefc bench MODEL` measures it.\n"
        "BFCL scores of different dates come from different versions of the test: do not compare them.",
    )


def _row(item: Suggestion) -> tuple[str, ...]:
    speed = "" if item.decode is None else f"{'' if item.is_measured else '~'}{item.decode:.1f}"
    return (
        item.command,
        item.quantization,
        str(item.context),
        f"{'' if item.is_here else '<'}{item.memory / 1e9:.1f} GB",
        speed,
        item.bfcl,
        item.licence,
    )
