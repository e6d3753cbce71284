"""Progress of commands that answer many questions: a bar on a terminal, elsewhere a line now and then."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator

from edgefc.cli.console import err

REPORT_INTERVAL = 10.0  # seconds between lines where there is no terminal for a bar
# Called with how many are done, of how many, and a note such as "60% right".
Count = Callable[[int, int, str], None]


@contextlib.contextmanager
def counting(name: str, kept_in: Callable[[], str]) -> Iterator[Count]:
    """Yield what is called as answers come; after Ctrl-C, say where they are kept and how to go on."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(),
        TextColumn("{task.fields[note]}"), TimeRemainingColumn(),
    )  # fmt: skip
    started = last_line = time.monotonic()
    first: int | None = None  # how many were done before
    with Progress(*columns, console=err, disable=not err.is_terminal) as bar:
        task = bar.add_task(name, total=None, note="")

        def count(done: int, total: int, note: str = "") -> None:
            nonlocal first, last_line
            first = done - 1 if first is None else first
            bar.update(task, total=total, completed=done, note=note)
            now = time.monotonic()
            if not err.is_terminal and now - last_line >= REPORT_INTERVAL:
                last_line = now
                left = (now - started) / max(1, done - first) * (total - done)
                words = [f"{name}: {done} of {total}", *([note] if note else []), f"about {left:.0f} s left"]
                err.print(", ".join(words), markup=False)

        try:
            yield count
        except KeyboardInterrupt:
            bar.stop()
            err.print(f"stopped; {kept_in()}. To continue, run the same command with --resume.", markup=False)
            raise
