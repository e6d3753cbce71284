"""Find, load and download models with their progress on the terminal."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.text import Text

import edgefc
from edgefc.cli.console import confirm, err, has_terminal
from edgefc.cli.options import LoadOptions
from edgefc.errors import ModelNotFoundError
from edgefc.terminal import single_line

if TYPE_CHECKING:
    from rich.progress import Progress

    from edgefc.models.pull import Reporter
    from edgefc.models.registry import ResolvedModel

REPORT_INTERVAL = 5.0  # seconds between progress lines where there is no terminal for a bar


def find_model(name: str) -> ResolvedModel:
    """Resolve a model's name; offers to download one that is not on this machine. Raises ModelNotFoundError."""
    from edgefc.models import registry

    try:
        return registry.resolve(name)
    except ModelNotFoundError:
        if not offer_pull(name):
            raise
        return registry.resolve(name)


def load_model(found: ResolvedModel, options: LoadOptions) -> edgefc.Model:
    """Load a model, with progress on a terminal."""
    with load_progress(found.name) as progress:
        return edgefc.load(found, progress=progress, **options.keywords())


@contextmanager
def load_progress(name: str) -> Iterator[Callable[[float], bool] | None]:
    """Show on a terminal which model is being loaded; yields the callback for `edgefc.load`, or None."""
    if not has_terminal(err):
        yield None
        return
    with err.status(Text(f"loading {name} …")) as status:

        def update(share: float) -> bool:
            status.update(Text(f"loading {name} … {share:.0%}"))
            return True

        yield update


def offer_pull(name: str) -> bool:
    """Ask whether to download a missing model, and do it; False if the user declines or there is nobody to ask."""
    from edgefc.models import hub, registry
    from edgefc.models.pull import pull_model

    named = registry.find_card(name)
    card = named.card if named else None
    can_ask = sys.stdin.isatty() and has_terminal(err)
    if not can_ask or (card is None and "/" not in name) or hub.is_offline():
        return False
    err.print(f"{card.title if card else name} is not on this machine.")
    if note := registry.licence_note(card) if card else "":
        err.print(note, style="yellow")
    if not confirm("Download it now?"):
        return False
    with transfer_progress() as reporter:
        pull_model(name, reporter=reporter)
    return True


@contextmanager
def transfer_progress() -> Iterator[Reporter]:
    """Show the progress of transfers: a bar with rate and time left on a terminal, else a line now and then."""
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
        TransferSpeedColumn,
    )

    if not has_terminal(err):
        yield _TransferLines()
        return
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Progress(*columns, TimeRemainingColumn(), console=err) as progress:
        yield _TransferBar(progress)


class _TransferBar:
    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._task = progress.add_task("…", total=None)

    def begin(self, name: str, size: int | None) -> None:
        self._progress.remove_task(self._task)
        self._task = self._progress.add_task(single_line(name), total=size)

    def advance(self, count: int) -> None:
        self._progress.advance(self._task, count)

    def note(self, text: str) -> None:
        self._progress.console.print(single_line(text))


class _TransferLines:
    def __init__(self) -> None:
        self._name, self._size, self._done = "", 0, 0
        self._last_report = time.monotonic()

    def begin(self, name: str, size: int | None) -> None:
        self._name, self._size, self._done = name, size or 0, 0
        self._last_report = time.monotonic()
        self.note(f"{name}  {self._size / 1e6:,.1f} MB" if size else name)

    def advance(self, count: int) -> None:
        self._done += count
        now = time.monotonic()
        if now - self._last_report >= REPORT_INTERVAL:
            self._last_report = now
            share = f" ({self._done / self._size:.0%})" if self._size else ""
            self.note(f"{self._name}  {self._done / 1e6:,.1f} MB{share}")

    def note(self, text: str) -> None:
        err.print(single_line(text))
