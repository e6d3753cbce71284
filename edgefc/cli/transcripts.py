"""`edgefc transcripts`: export transcripts as datasets for fine-tuning, or replay them as a regression test."""

from __future__ import annotations

import itertools
import json
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.text import Text
from typer import Argument, Option

from edgefc.cli.console import count_of, err, has_terminal, out, print_json, write
from edgefc.cli.help import HelpfulCommand
from edgefc.cli.loading import find_model, load_model
from edgefc.cli.options import ContextOption, FamilyOption, GpuLayersOption, JsonOption, LoadOptions, LoraFilesOption
from edgefc.errors import ModelNotFoundError, RequestError, TranscriptError
from edgefc.terminal import escape_json, single_line

if TYPE_CHECKING:
    from edgefc.models.registry import ResolvedModel
    from edgefc.transcripts import Dataset, Record, ReplayResult

app = typer.Typer(
    help="Export transcripts as fine-tuning datasets, or replay them and compare.",
    no_args_is_help=True,
)

FilesArgument = Annotated[list[Path], Argument(help="Files written by `--transcripts FILE`.")]
FormatOption = Annotated[str, Option(help="sharegpt (for LLaMA-Factory), xlam or trl.")]
OutputOption = Annotated[Path | None, Option("--output", "-o", help="File to write. Default: print the dataset.")]
OnlyOption = Annotated[
    str | None,
    Option(
        help="Only conversations with a call (called), or whose last answer has this outcome: call, answer, clarify, "
        "no_tool. Default: all."
    ),
]
NoReasoningOption = Annotated[bool, Option("--no-reasoning", help="Leave out the models' reasoning.")]
StrictOption = Annotated[bool, Option("--strict", help="Fail if the format cannot express a record.")]
ReportOption = Annotated[bool, Option("--json", help="Print a report about the records, as JSON.")]
OtherModelOption = Annotated[str | None, Option("--model", "-m", help="Model to ask. Default: the recorded one.")]
TextOption = Annotated[bool, Option("--text", help="Compare the text of answers, too.")]


@app.command(cls=HelpfulCommand, epilog="Example:\n  edgefc transcripts export talks.jsonl --to trl -o trl.jsonl")
def export(
    files: FilesArgument,
    to: FormatOption,
    output: OutputOption = None,
    only: OnlyOption = None,
    no_reasoning: NoReasoningOption = False,
    strict: StrictOption = False,
    as_json: ReportOption = False,
) -> None:
    """Write a dataset as JSON lines. Records that the format cannot express are skipped, with the reason."""
    from edgefc import transcripts

    if as_json and output is None:
        raise RequestError("json", "cannot be printed together with the dataset", "Add --output FILE.")
    dataset = transcripts.export(transcripts.read(files), to, only=only, reasoning=not no_reasoning)
    failed = not dataset.entries or (strict and bool(dataset.skipped))
    if not failed:
        _write_dataset(dataset, output)
    if as_json:
        print_json({"ok": not failed, "format": to, **_report_data(dataset)})
    else:
        _print_report(dataset, output, failed=failed)
    if failed:
        sys.exit(1)


def _write_dataset(dataset: Dataset, path: Path | None) -> None:
    from edgefc.chat.recorder import PRIVATE
    from edgefc.files import write_file

    text = "".join(json.dumps(entry, ensure_ascii=False) + "\n" for entry in dataset.entries)
    if path is None:
        write(escape_json(text))
        return
    try:
        write_file(path, text.encode(), mode=PRIVATE)
    except OSError as error:
        raise TranscriptError(f"{path}: cannot be written: {error.strerror or error}") from None


def _report_data(dataset: Dataset) -> dict[str, Any]:
    return {
        "entries": len(dataset.entries),
        "joined": dataset.merged,
        "unwanted": dataset.filtered_out,
        "skipped": [
            {"file": str(record.path), "line": record.line, "reason": reason} for record, reason in dataset.skipped
        ],
    }


def _print_report(dataset: Dataset, path: Path | None, *, failed: bool) -> None:
    """Print the counts, on stderr if the dataset is on stdout."""
    console = err if path is None else out
    entries = count_of(len(dataset.entries), "entry", "entries")
    written = f"nothing written: {entries}" if failed else f"{entries} written{f' to {path}' if path else ''}"
    console.print(
        f"{written} ({dataset.merged} merged into longer ones, {dataset.filtered_out} filtered out, "
        f"{len(dataset.skipped)} skipped)",
    )
    for reason, number in Counter(reason for _, reason in dataset.skipped).most_common():
        first = next(record for record, skipped_for in dataset.skipped if skipped_for == reason)
        console.print(f"  {number} skipped: {single_line(f'{reason} (first in {first.location})')}")


@app.command(cls=HelpfulCommand, epilog="Example:\n  edgefc transcripts replay talks.jsonl --model demo")
def replay(
    files: FilesArgument,
    model: OtherModelOption = None,
    family: FamilyOption = None,
    n_ctx: ContextOption = None,
    n_gpu_layers: GpuLayersOption = None,
    lora: LoraFilesOption = None,
    text: TextOption = False,
    as_json: JsonOption = False,
) -> None:
    """Ask the recorded questions again, and compare outcomes and calls. Exits with 1 if any answer differs."""
    from edgefc import transcripts

    records = list(transcripts.read(files))
    if not records:
        raise TranscriptError("nothing to replay: the files contain no records")
    load = LoadOptions(family=family, n_ctx=n_ctx, n_gpu_layers=n_gpu_layers, lora=lora)
    results = []
    for result in _replay_records(records, model, load, text=text):
        results.append(result)
        if not as_json:
            _print_differences(result)
    counts = Counter(result.status for result in results)
    failed = counts["equal"] < len(results)
    statuses = {status: counts[status] for status in ("equal", "changed", "failed")}
    if as_json:
        print_json({"ok": not failed, **statuses, "answers": [_answer_data(result) for result in results]})
    else:
        out.print(f"{count_of(len(results), 'answer')}: {', '.join(f'{n} {status}' for status, n in statuses.items())}")
    if failed:
        sys.exit(1)


def _replay_records(
    records: list[Record], model: str | None, load: LoadOptions, *, text: bool
) -> Iterator[ReplayResult]:
    """Replay all records: on `model`, or each on the recorded model with the recorded chat format."""
    from edgefc import transcripts

    def model_and_family(record: Record) -> tuple[str, str]:
        return (record.model, record.family) if model is None else (model, "")

    for (name, recorded), group in itertools.groupby(sorted(records, key=model_and_family), model_and_family):
        if model is None:
            found = _find_recorded_model(name)
            options = replace(load, family=load.family or _recorded_family(found, recorded))
        else:
            found, options = find_model(name), load
        with load_model(found, options) as loaded, _replay_progress(name) as report:
            for number, result in enumerate(transcripts.replay(loaded, group, text=text), start=1):
                report(number)
                yield result


def _find_recorded_model(name: str) -> ResolvedModel:
    try:
        return find_model(name)
    except ModelNotFoundError as error:
        hint = "Use --model to ask another model, or to name its file."
        raise ModelNotFoundError(error.reason, hint) from None


def _recorded_family(found: ResolvedModel, recorded: str) -> str | None:
    """Return the recorded chat format; None if it is the one that the model has anyway."""
    from edgefc import inspection

    return None if inspection.family_of(found)[0].name == recorded else recorded


@contextmanager
def _replay_progress(name: str) -> Iterator[Callable[[int], None]]:
    """Show the number of answers on a terminal; yields the callback that updates it."""
    if not has_terminal(err):
        yield lambda _: None
        return
    with err.status(Text(f"asking {name} …")) as status:
        yield lambda number: status.update(Text(f"asking {name} … {number} answers"))


def _print_differences(result: ReplayResult) -> None:
    if result.status != "equal":
        out.print(single_line(f"{result.record.location}: {result.status}"))
        for line in result.differences:
            out.print(f"  {single_line(line)}")


def _answer_data(result: ReplayResult) -> dict[str, Any]:
    return {
        "file": str(result.record.path),
        "line": result.record.line,
        "status": result.status,
        "differences": list(result.differences),
        "recorded": result.record.reply["message"],
        "now": None if result.reply is None else result.reply.message,
    }
