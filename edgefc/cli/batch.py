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
    RayOption,
    ThreadsOption,
)
from edgefc.errors import RequestError
from edgefc.terminal import single_line

if TYPE_CHECKING:
    from edgefc.server import Settings
    from edgefc.server.batch import BatchCounts, BatchPlan

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
    ray: RayOption = None,
    as_json: JsonOption = False,
) -> None:
    """Answer a file of requests, as OpenAI's Batch API does, offline. After Ctrl-C, --resume continues.

    Exits with 1 if a request was refused.
    """
    from edgefc.server import Settings
    from edgefc.server.batch import MAX_LINE, plan_batch

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
        counts = _run(name, plan, load, settings, ray)
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


def _run(name: str, plan: BatchPlan, load: LoadOptions, settings: Settings, ray: str | None) -> BatchCounts:
    """Answer the requests of a plan by a model of this process, or by replicas. Raises EdgefcError or OSError."""
    from edgefc.server import ModelPool
    from edgefc.server.batch import run_batch

    if ray is not None:
        return _run_with_ray(name, plan, load, settings, ray)
    with contextlib.closing(ModelPool([name], load.keywords())) as pool:
        with load_progress(name) as progress:
            pool.load_default(progress)
        with _progress_of(plan) as show:
            return run_batch(pool, plan, settings, show)


def _run_with_ray(name: str, plan: BatchPlan, load: LoadOptions, settings: Settings, ray: str) -> BatchCounts:
    from edgefc.ray.batch import run_batch_with_ray
    from edgefc.ray.scale import Scale

    if load.engine is not None:
        raise RequestError("engine", "cannot be used with --ray", "Another server computes; ask it without --ray.")
    scale = Scale.parse(ray)
    with _progress_of(plan) as show:
        return run_batch_with_ray(name, scale, load.keywords(), plan, settings, show)


@contextlib.contextmanager
def _progress_of(plan: BatchPlan) -> Iterator[Callable[[BatchCounts], None]]:
    with counting(plan.target.name, lambda: f"the answers so far are in {plan.target}") as count:
        yield lambda now: count(now.earlier + now.answered, now.total, "")


def _print_result(counts: BatchCounts, target: Path, seconds: float) -> None:
    before = f", {counts.earlier:,} were there already" if counts.earlier else ""
    out.print(f"{target}: {counts.answered:,} answered in {seconds:.0f} s{before}", markup=False)
    if counts.refused:
        err.print(
            f"{counts.refused:,} refused; the first: {single_line(counts.first_refusal, limit=300)}", markup=False
        )
