"""`edgefc eval`: how well models call tools."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from edgefc import paths
from edgefc.cli.models import table
from edgefc.cli.options import err, find_model, given, load_model, out, print_json
from edgefc.errors import RequestError, SuiteError
from edgefc.evaluation import report
from edgefc.evaluation.cases import Case
from edgefc.evaluation.plot import svg
from edgefc.evaluation.results import Run
from edgefc.evaluation.run import evaluate as ask_all
from edgefc.evaluation.run import open_run, setting_of
from edgefc.evaluation.suites import load_cases

EVERY = 10  # seconds between lines where no terminal shows a bar
LONGEST = 300  # characters of an output that are shown


def evaluate(
    models: Sequence[str],
    *,
    suite: str | None,
    data: Path | None,
    category: str | None,
    grammar: str,
    limit: int | None,
    family: str | None,
    max_tokens: int,
    out: Path | None,
    resume: bool,
    plot: Path | None,
    failures: int,
    markdown: bool,
    as_json: bool,
    load: dict[str, Any],
) -> None:
    """Run what is to be run, one model and family after the other, and show all runs side by side."""
    kept = [Run.read(Path(name)) for name in models if name.endswith(".jsonl")]
    names = [name for name in models if not name.endswith(".jsonl")]
    held = _grammars(grammar)
    if plot is not None and plot.suffix != ".svg":
        raise RequestError("plot", f"{plot} is no .svg")
    runs: list[Run] = []
    if names:
        suite = suite or ("bfcl" if data else "demo")
        cases = load_cases(suite, data, categories=category.split(",") if category else (), limit=limit)
        for name in names:
            find_model(name)
        folder = out or paths.cache_dir() / "evaluations"
        for name in names:
            for chat_format in family.split(",") if family else [None]:
                # Every case has other tools: of their prompts' KV caches, none is worth keeping on disk.
                settings = given({**load, "family": chat_format, "prefix_disk": 0})
                with load_model(name, settings) as model:
                    for on in held:
                        run = open_run(
                            folder, setting_of(model, suite, grammar=on, max_tokens=max_tokens), resume=resume
                        )
                        _watch(model, cases, run, load["n_parallel"])
                        runs.append(run)
    runs += kept
    if plot is not None:
        try:
            plot.write_text(svg(runs), encoding="utf-8")
        except OSError as error:
            raise SuiteError(f"{plot}: {error.strerror}") from None
    if as_json:
        print_json({"runs": [report.as_data(run) for run in runs]})
    else:
        _show(runs, failures, markdown=markdown)


def _grammars(text: str) -> list[bool]:
    words = [word.strip() for word in text.split(",")]
    if unknown := [word for word in words if word not in {"on", "off"}]:
        raise RequestError("grammar", f"{unknown[0]!r} is neither on nor off", "Say on, off, or on,off.")
    return [word == "on" for word in dict.fromkeys(words)]


def _watch(model: Any, cases: Sequence[Case], run: Run, parallel: int) -> None:
    """Ask the cases that are left, with a bar on a terminal and a line now and then elsewhere."""
    begun = told = time.monotonic()
    columns = (
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[right]}"),
        TimeRemainingColumn(),
    )  # fmt: skip
    with Progress(*columns, console=err, disable=not err.is_terminal) as progress:
        task = progress.add_task(run.setting.name, total=len(cases), right="")
        try:
            for done, _ in enumerate(ask_all(model, cases, run, parallel=parallel), 1):
                rate = report.rates(run.results.values())[report.ALL]
                progress.update(task, completed=rate.cases, right=f"{rate.share:.0%} right")
                now = time.monotonic()
                if not err.is_terminal and now - told >= EVERY:
                    told = now
                    left = (now - begun) / done * (len(cases) - rate.cases)
                    err.print(
                        f"{run.setting.name}: {rate.cases} of {len(cases)}, {rate.share:.0%} right, "
                        f"about {left:.0f} s left",
                        markup=False,
                    )
        except KeyboardInterrupt:
            progress.stop()
            err.print(
                f"stopped after {len(run.results)} of {len(cases)} cases, which are in {run.path}; "
                "the same command with --resume goes on",
                markup=False,
            )
            raise


def _show(runs: Sequence[Run], failures: int, *, markdown: bool) -> None:
    rows = report.comparison(runs)
    if markdown:
        out.print(report.markdown(rows), markup=False)
        return
    table(rows)
    for label, run in zip(report.labels(runs), runs, strict=True):
        wrong = [result for result in run.results.values() if not result.right]
        counted = ", ".join(f"{kind} {number}" for kind, number in report.kinds(run))
        out.print(f"\n{label}: {len(wrong)} wrong{f' ({counted})' if wrong else ''}", markup=False)
        for result in wrong[:failures]:
            out.print(f"  {result.id}: {result.reason}", markup=False)
            out.print(f"    asked   {_short(result.question)}", markup=False)
            out.print(f"    output  {_short(result.output)}", markup=False)
        out.print(f"  all of them, with the exact prompts: {run.path}", markup=False)


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= LONGEST else f"{line[:LONGEST]}… ({len(line):,} characters)"
