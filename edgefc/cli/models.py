"""`edgefc pull`, `list`, `rm`, `verify`, `bundle`, `unbundle`: the models on this machine."""

from __future__ import annotations

import contextlib
import dataclasses
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

from edgefc.cli.options import confirmed, err, out, print_json
from edgefc.engine import devices
from edgefc.errors import StoreError
from edgefc.models import bundle as bundles
from edgefc.models import hub, registry, store
from edgefc.models import pull as fetching
from edgefc.models.store import StoredModel

LINES_EVERY = 5.0  # seconds between lines where nobody watches a bar


def pull(name: str, *, quantization: str, revision: str | None, offline: bool, yes: bool, as_json: bool) -> None:
    """Fetch a model and say where it is."""
    _accept_licence(name, yes=yes)
    with _watching() as watcher:
        try:
            room = None if offline else devices.machine().room
            model = fetching.pull(
                name, quantization=quantization, revision=revision, offline=offline, room=room, watcher=watcher
            )
        except KeyboardInterrupt:
            err.print("\ninterrupted: what came is kept, the same command goes on from there")
            raise
    if as_json:
        print_json(store.manifest_data(model))
    else:
        out.print(f"{model.name}  {model.size / 1e9:.2f} GB\n{model.path}", markup=False)


def _accept_licence(name: str, *, yes: bool) -> None:
    """Licences that forbid commercial use are told before the first byte."""
    card = registry.cards().get(name.partition(":")[0])
    note = registry.licence_note(card) if card else ""
    if not note:
        return
    err.print(note, style="yellow", markup=False)
    if (
        not yes
        and sys.stdin.isatty()
        and err.input("Fetch it? [y/N] ", markup=False).strip().lower() not in {"y", "yes"}
    ):
        sys.exit(1)


def list_models(*, everything: bool, as_json: bool) -> None:
    """The models here; with `everything` also those that could be fetched by name."""
    here = store.stored_models()
    cards = list(registry.cards().values())
    if as_json:
        listed: list[dict[str, Any]] = [store.manifest_data(model) for model in here]
        known = [{**dataclasses.asdict(card), "path": str(card.path) if card.path else None} for card in cards]
        print_json({"models": listed, "catalogue": known} if everything else listed)
        return
    rows: list[tuple[str, ...]] = [("name", "size", "family", "licence")]
    rows += [("demo", "0.01 GB", "demo", "Apache-2.0")]
    rows += [(m.name, f"{m.size / 1e9:.2f} GB", m.family or "by its file", m.licence or "unknown") for m in here]
    table(rows)
    if not everything:
        out.print("\n`edgefc list --all` shows what `edgefc pull` can fetch by name.")
        return
    out.print()
    ids = {model.id for model in here}
    rows = [("id", "size", "family", "context", "licence", "here")]
    rows += [
        (c.id, c.size, c.family, str(c.context), c.licence, "yes" if c.path or c.id in ids else "no") for c in cards
    ]
    table(rows)
    out.print("\nAny other GGUF: OWNER/NAME[:QUANTIZATION] of a repository, a URL, or a path.")


def remove(name: str, *, yes: bool) -> None:
    """Delete a model."""
    model = store.get(name)
    if not yes and sys.stdin.isatty() and not confirmed(f"Delete {model.name}, {model.size / 1e9:.2f} GB?"):
        sys.exit(1)
    store.remove(model)
    out.print(f"deleted {model.name}", markup=False)


def verify(names: list[str], *, as_json: bool) -> None:
    """Read all files again; exit code 1 when one is not what was fetched."""
    models = [store.get(name) for name in names] if names else store.stored_models()
    wrong: dict[str, list[str]] = {}
    with _watching() as watcher:
        for model in models:
            watcher.begin(model.name, model.size)
            wrong[model.name] = store.verify(model, watcher.advance)
    if as_json:
        print_json(wrong)
    for name, problems in wrong.items():
        if not as_json:
            out.print(f"{name}: {'; '.join(problems) or 'right'}", markup=False)
    if not models and not as_json:
        out.print("there are no models to verify; the demo model is part of the package")
    if any(wrong.values()):
        err.print("fetch what is damaged again: `edgefc rm NAME`, then `edgefc pull NAME`")
        sys.exit(1)


def bundle(name: str, target: Path | None) -> None:
    """Write a model into one archive."""
    model = store.get(name)
    plain = model.name.replace("/", "--").replace(":", "-")
    target = target or Path(f"{plain}.edgefc.tar")
    if target.exists():
        raise StoreError(f"{target} exists already", "Name another file.")
    with _watching() as watcher:
        watcher.begin(target.name, model.size)
        bundles.bundle(model, target, watcher.advance)
    out.print(str(target), markup=False)


def unbundle(archive: Path, *, as_json: bool) -> None:
    """Make the model of an archive one of this machine's."""
    with _watching() as watcher:
        watcher.begin(archive.name, archive.stat().st_size if archive.is_file() else None)
        model = bundles.unbundle(archive, watcher.advance)
    if as_json:
        print_json(store.manifest_data(model))
    else:
        out.print(f"{model.name}\n{model.path}", markup=False)


def offer_pull(name: str) -> StoredModel | None:
    """Ask whether a model that is not here should be fetched; None where nobody can be asked, or will not."""
    card = registry.cards().get(name.partition(":")[0])
    if not (sys.stdin.isatty() and sys.stderr.isatty()) or (card is None and "/" not in name) or hub.is_offline():
        return None
    err.print(f"{card.title if card else name} is not on this machine.", markup=False)
    if note := registry.licence_note(card) if card else "":
        err.print(note, style="yellow", markup=False)
    if not confirmed("Fetch it now?"):
        return None
    with _watching() as watcher:
        return fetching.pull(name, watcher=watcher)


def table(rows: list[tuple[str, ...]]) -> None:
    """Print rows in columns, the first as their heads."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        out.print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip(), markup=False)


@contextlib.contextmanager
def _watching() -> Iterator[fetching.Watcher]:
    """A bar with rate and time left on a terminal, a line now and then elsewhere."""
    if not err.is_terminal:
        yield _Lines()
        return
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Progress(*columns, TimeRemainingColumn(), console=err) as progress:
        yield _Bar(progress)


class _Bar:
    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._task = progress.add_task("…", total=None)

    def begin(self, name: str, size: int | None) -> None:
        self._progress.remove_task(self._task)
        self._task = self._progress.add_task(name, total=size)

    def advance(self, count: int) -> None:
        self._progress.advance(self._task, count)

    def note(self, text: str) -> None:
        self._progress.console.print(text, markup=False)


class _Lines:
    def __init__(self) -> None:
        self._name, self._size, self._done, self._told = "", 0, 0, time.monotonic()

    def begin(self, name: str, size: int | None) -> None:
        self._name, self._size, self._done, self._told = name, size or 0, 0, time.monotonic()
        self.note(f"{name}  {self._size / 1e6:,.1f} MB" if size else name)

    def advance(self, count: int) -> None:
        self._done += count
        now = time.monotonic()
        if now - self._told >= LINES_EVERY:
            self._told = now
            share = f" ({self._done / self._size:.0%})" if self._size else ""
            self.note(f"{self._name}  {self._done / 1e6:,.1f} MB{share}")

    def note(self, text: str) -> None:
        err.print(text, markup=False)
