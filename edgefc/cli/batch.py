"""`edgefc batch`: answers a file of requests."""

from __future__ import annotations

import contextlib
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from typer import Argument, Option

from edgefc.cli.choice import default_model
from edgefc.cli.console import err, out, print_json
from edgefc.cli.counting import counting
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
            with counting(target.name, lambda: f"the answers so far are in {target}") as count:
                counts = run_batch(pool, plan, settings, lambda now: count(now.earlier + now.answered, now.total, ""))
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


def _print_result(counts: BatchCounts, target: Path, seconds: float) -> None:
    before = f", {counts.earlier:,} were there already" if counts.earlier else ""
    out.print(f"{target}: {counts.answered:,} answered in {seconds:.0f} s{before}", markup=False)
    if counts.refused:
        err.print(
            f"{counts.refused:,} refused; the first: {single_line(counts.first_refusal, limit=300)}", markup=False
        )
