"""`edgefc batch`: answers a file of requests."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from typer import Argument, Option

from edgefc.cli.choice import default_model
from edgefc.cli.console import err, out, print_json
from edgefc.cli.loading import find_model, load_progress
from edgefc.cli.options import (
    ContextOption,
    EngineOption,
    FamilyOption,
    GpuLayersOption,
    JsonOption,
    LoadOptions,
    LoraFilesOption,
    ModelOption,
    ThreadsOption,
)
from edgefc.errors import RequestError
from edgefc.terminal import single_line

if TYPE_CHECKING:
    from edgefc.server.batch import BatchCounts

REPORT_INTERVAL = 10  # seconds between progress lines where there is no terminal for a bar
LONGEST_TIMEOUT = 86_400

FileArgument = Annotated[
    Path, Argument(help="Requests in the format of OpenAI's Batch API, one JSON object per line.", exists=True)
]
OutOption = Annotated[Path | None, Option("--out", "-o", help="File for the answers. Default: FILE.answers.jsonl.")]
ResumeOption = Annotated[bool, Option("--resume", help="Ask only what the file of answers does not answer yet.")]
ParallelOption = Annotated[int, Option(help="Number of requests to compute concurrently.", min=1, max=64)]
TimeoutOption = Annotated[int, Option(help="Seconds for one request.", min=1, max=LONGEST_TIMEOUT)]


def batch(
    file: FileArgument,
    out_file: OutOption = None,
    model: ModelOption = None,
    resume: ResumeOption = False,
    parallel: ParallelOption = 4,
    timeout: TimeoutOption = 3600,
    family: FamilyOption = None,
    n_ctx: ContextOption = None,
    n_threads: ThreadsOption = None,
    n_gpu_layers: GpuLayersOption = None,
    lora: LoraFilesOption = None,
    engine: EngineOption = None,
    as_json: JsonOption = False,
) -> None:
    """Answer a file of requests, as OpenAI's Batch API does, offline. After Ctrl-C, --resume continues.

    Exits with 1 if a request was refused.
    """
    from edgefc.server import ModelPool, Settings
    from edgefc.server.batch import MAX_LINE, plan_batch, run_batch

    target, name = out_file or file.with_name(f"{file.stem}.answers.jsonl"), model or default_model()
    load = LoadOptions(
        family=family, n_ctx=n_ctx, n_threads=n_threads, n_gpu_layers=n_gpu_layers, n_parallel=parallel, lora=lora,
        engine=engine,
    )  # fmt: skip
    settings = Settings(parallel=parallel, timeout=timeout, max_body=MAX_LINE, max_waiting=parallel)
    started = time.monotonic()
    try:
        plan = plan_batch(file, target, resume=resume)
        if engine is None:
            find_model(name)
        with contextlib.closing(ModelPool([name], load.keywords())) as pool:
            with load_progress(name) as progress:
                pool.load_default(progress)
            with _progress(target) as report:
                counts = run_batch(pool, plan, settings, report)
    except OSError as error:
        raise RequestError((), f"{error.filename or target}: {error.strerror or error}") from None
    seconds = time.monotonic() - started
    if as_json:
        print_json({
            "file": str(target), "total": counts.total, "answered": counts.answered, "earlier": counts.earlier,
            "refused": counts.refused, "seconds": round(seconds, 1),
        })  # fmt: skip
    else:
        _print_result(counts, target, seconds)
    if counts.refused:
        raise typer.Exit(1)


@contextlib.contextmanager
def _progress(target: Path) -> Iterator[Callable[[BatchCounts], None]]:
    """Show a bar on a terminal, else print a line now and then; yields what is called with each answer."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    last_report = time.monotonic()
    with Progress(*columns, console=err, disable=not err.is_terminal) as bar:
        task = bar.add_task(target.name, total=None)

        def report(counts: BatchCounts) -> None:
            nonlocal last_report
            completed = counts.earlier + counts.answered
            bar.update(task, total=counts.total, completed=completed)
            if not err.is_terminal and time.monotonic() - last_report >= REPORT_INTERVAL:
                last_report = time.monotonic()
                err.print(f"{completed} of {counts.total} answered", markup=False)

        try:
            yield report
        except KeyboardInterrupt:
            bar.stop()
            status = f"stopped; the answers so far are in {target}. To continue, run the same command with --resume."
            err.print(status, markup=False)
            raise


def _print_result(counts: BatchCounts, target: Path, seconds: float) -> None:
    before = f", {counts.earlier:,} were there already" if counts.earlier else ""
    out.print(f"{target}: {counts.answered:,} answered in {seconds:.0f} s{before}", markup=False)
    if counts.refused:
        err.print(
            f"{counts.refused:,} refused; the first: {single_line(counts.first_refusal, limit=300)}", markup=False
        )
