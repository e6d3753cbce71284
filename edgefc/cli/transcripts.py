"""`edgefc transcripts`: datasets for fine-tuning from what was said, and the same questions again as a test."""

from __future__ import annotations

import itertools
import json
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from edgefc import inspection, transcripts
from edgefc.chat.recorder import PRIVATE
from edgefc.cli.options import err, find_model, load_model, out, print_json
from edgefc.errors import ModelNotFoundError, RequestError, TranscriptError
from edgefc.files import write_file
from edgefc.transcripts import Record


def export(
    files: Sequence[Path],
    to: str,
    target: Path | None,
    *,
    only: str | None,
    reasoning: bool,
    strict: bool,
    as_json: bool,
) -> None:
    """Exit code 1 when nothing could be exported; with `strict` also when something was skipped."""
    if as_json and target is None:
        raise RequestError("json", "the dataset itself is printed, where no file is given", "Add --output FILE.")
    made = transcripts.export(transcripts.read(files), to, only=only, reasoning=reasoning)
    data = "".join(json.dumps(entry, ensure_ascii=False) + "\n" for entry in made.entries)
    failed = not made.entries or (strict and bool(made.skipped))
    if target is None and not failed:
        sys.stdout.write(data)
    elif target is not None and not failed:
        try:
            write_file(target, data.encode(), mode=PRIVATE)
        except OSError as error:
            raise TranscriptError(f"{target}: cannot be written: {error.strerror or error}") from None
    reasons = Counter(reason for _, reason in made.skipped)
    if as_json:
        print_json(
            {
                "ok": not failed,
                "format": to,
                "entries": len(made.entries),
                "joined": made.joined,
                "unwanted": made.unwanted,
                "skipped": [{"file": str(r.path), "line": r.line, "reason": reason} for r, reason in made.skipped],
            }
        )
    else:
        console = err if target is None else out
        where = "" if target is None or failed else f" in {target}"
        console.print(
            f"{len(made.entries)} entries{where}; of the records, {made.joined} are the beginning of another, "
            f"{made.unwanted} were not asked for, {len(made.skipped)} skipped",
            markup=False,
        )
        for reason, count in reasons.most_common():
            first = next(record for record, why in made.skipped if why == reason)
            console.print(f"  {count} skipped: {reason} (first in {first.place})", markup=False)
    if failed:
        sys.exit(1)


def replay(
    files: Sequence[Path],
    *,
    model: str | None,
    load: dict[str, Any],
    text: bool,
    as_json: bool,
) -> None:
    """Exit code 1 when an answer is another one than was recorded, or none at all."""
    records = list(transcripts.read(files))
    if not records:
        raise TranscriptError("there is nothing to replay: no record in any of the files")
    results = []
    for result in _replayed(records, model, load, text=text):
        results.append(result)
        if not as_json:
            _show(result)
    counts = Counter(result.status for result in results)
    failed = counts["equal"] < len(results)
    if as_json:
        answers = [_told(result) for result in results]
        print_json({"ok": not failed, **{s: counts[s] for s in ("equal", "changed", "failed")}, "answers": answers})
    else:
        told = ", ".join(f"{counts[status]} {status}" for status in ("equal", "changed", "failed"))
        out.print(f"{len(results)} answers: {told}")
    if failed:
        sys.exit(1)


def _replayed(
    records: list[Record], model: str | None, load: dict[str, Any], *, text: bool
) -> Iterator[transcripts.Replayed]:
    """All records; without a model's name each on the one that was recorded, in its chat format."""

    def wanted(record: Record) -> tuple[str, str]:
        return (record.model, record.family) if model is None else (model, "")

    for (name, recorded), group in itertools.groupby(sorted(records, key=wanted), wanted):
        family = load["family"] if model is not None else _family(name, recorded, load["family"])
        with load_model(name, {**load, "family": family}) as loaded, _asking(name) as progress:
            for number, result in enumerate(transcripts.replay(loaded, group, text=text), start=1):
                progress(number)
                yield result


@contextmanager
def _asking(name: str) -> Iterator[Callable[[int], None]]:
    """Tells how many answers there are, where someone is looking."""
    if not sys.stderr.isatty():
        yield lambda _: None
        return
    with err.status(f"asking {name} …") as status:
        yield lambda number: status.update(f"asking {name} … {number} answers")


def _family(name: str, recorded: str, named: str | None) -> str | None:
    """The chat format to load a recorded model with; None: what it has by itself."""
    try:
        find_model(name)
    except ModelNotFoundError as error:
        raise ModelNotFoundError(
            error.reason, "Say by --model which one to ask instead, or where its file is."
        ) from None
    if named is not None:
        return named
    return None if inspection.family_of(name)[0].name == recorded else recorded


def _show(result: transcripts.Replayed) -> None:
    if result.status != "equal":
        out.print(f"{result.record.place}: {result.status}", markup=False)
        for line in result.differences:
            out.print(f"  {line}", markup=False)


def _told(result: transcripts.Replayed) -> dict[str, Any]:
    return {
        "file": str(result.record.path),
        "line": result.record.line,
        "status": result.status,
        "differences": list(result.differences),
        "recorded": result.record.reply["message"],
        "now": None if result.reply is None else result.reply.message,
    }
