"""`edgefc pull`, `list`, `rm`, `verify`, `bundle` and `unbundle`: the models on this machine."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from typer import Argument, Option

from edgefc.cli.console import confirm, err, out, print_json, print_table
from edgefc.cli.loading import transfer_progress
from edgefc.cli.options import JsonOption, StoredNameArgument, YesOption
from edgefc.errors import StoreError
from edgefc.terminal import single_line

if TYPE_CHECKING:
    from edgefc.models.manifest import StoredModel
    from edgefc.models.registry import ModelCard

SourceArgument = Annotated[
    str, Argument(help="Id, OWNER/NAME[:QUANTIZATION], name of Ollama, URL of a .gguf file, or its path.")
]
OwnNameOption = Annotated[str, Option("--name", help="Name of the model on this machine.")]
CopyOption = Annotated[bool, Option("--copy", help="Copy a file of this machine. Default: link to it.")]
QuantizationOption = Annotated[
    str, Option("--quantization", "-q", help="For example Q4_K_M. Default: what suits this machine.")
]
RevisionOption = Annotated[str | None, Option(help="Branch, tag or commit. Default: main.")]
TokenizerFolderOption = Annotated[
    Path | None,
    Option(
        "--tokenizer",
        metavar="FOLDER",
        help="Fetch only the tokenizer and chat template into this folder, for --engine.",
    ),
]
OfflineOption = Annotated[bool, Option("--offline", help="Do not connect; only say where the model is.")]
AllOption = Annotated[bool, Option("--all", "-a", help="Also list models that can be downloaded by name.")]
NamesArgument = Annotated[list[str] | None, Argument(help="Names from `edgefc list`. Default: all.")]
TargetArgument = Annotated[
    Path | None, Argument(help="Archive to write. Default: NAME.edgefc.tar in the current folder.")
]
ArchiveArgument = Annotated[Path, Argument(help="Archive written by `edgefc bundle`.")]


def pull(
    name: SourceArgument,
    quantization: QuantizationOption = "",
    revision: RevisionOption = None,
    offline: OfflineOption = False,
    own_name: OwnNameOption = "",
    copy: CopyOption = False,
    tokenizer: TokenizerFolderOption = None,
    yes: YesOption = False,
    as_json: JsonOption = False,
) -> None:
    """Download a model and its tokenizer, and verify them. An interrupted download resumes.

    Files of this machine, your own and Ollama's, are linked.
    """
    _accept_licence(name, yes=yes)
    if tokenizer is not None:
        _pull_tokenizer(name, tokenizer, as_json=as_json)
        return
    from edgefc.engine import devices
    from edgefc.models.pull import pull_model

    with transfer_progress() as reporter:
        try:
            max_memory = None if offline else devices.machine().room
            model = pull_model(
                name,
                quantization=quantization,
                revision=revision,
                offline=offline,
                max_memory=max_memory,
                own_name=own_name,
                copy=copy,
                reporter=reporter,
            )
        except KeyboardInterrupt:
            err.print("\ninterrupted: run the same command again to resume")
            raise
    _print_location(model, f"{model.name}  {_gigabytes(model.size)}", as_json=as_json)


def _pull_tokenizer(name: str, folder: Path, *, as_json: bool) -> None:
    """Fetch what a model needs here that another server computes."""
    from edgefc.models.tokenizer_folder import pull_tokenizer

    with transfer_progress() as reporter:
        paths = pull_tokenizer(name, folder, reporter=reporter)
    if as_json:
        print_json([str(path) for path in paths])
    else:
        out.print(single_line(str(folder)))


def _accept_licence(name: str, *, yes: bool) -> None:
    """Show a licence that forbids commercial use before the download begins, and ask for confirmation."""
    from edgefc.models import registry

    named = registry.find_card(name)
    note = registry.licence_note(named.card) if named else ""
    if not note:
        return
    err.print(single_line(note), style="yellow")
    if not yes and sys.stdin.isatty() and not confirm("Download it?"):
        sys.exit(1)


def list_models(everything: AllOption = False, as_json: JsonOption = False) -> None:
    """List the models on this machine, those of Ollama, LM Studio and huggingface_hub included."""
    from edgefc.models import aliases, inventory, registry

    cards = registry.cards()
    problems: list[StoreError] = []
    models = inventory.models_here(cards, problems)
    if as_json:
        here = [model.to_json() for model in models]
        catalogue = [_card_to_json(card) for card in cards.values()]
        print_json({"models": here, "catalogue": catalogue} if everything else here)
        return
    rows: list[tuple[str, ...]] = [("name", "size", "family", "licence", "from")]
    rows += [
        (m.name, _gigabytes(m.size), m.family or "by its file", m.licence or "by its file", m.program) for m in models
    ]
    print_table(rows)
    for local in models:
        for lora in local.lora:
            out.print(
                single_line(f"{local.name} is loaded with the adapter {lora.name} at {lora.scale:g}: {lora.path}")
            )
    for problem in problems:
        err.print(single_line(f"left out: {problem.reason}"), style="yellow")
    for name, model in aliases.load().items():
        out.print(single_line(f"alias {name} = {model}"))
    if everything:
        _print_catalogue(list(cards.values()), {model.id for model in models})
    else:
        out.print("\n`edgefc list --all` also lists models that `edgefc pull` can download by name.")


def _card_to_json(card: ModelCard) -> dict[str, Any]:
    return {**dataclasses.asdict(card), "path": str(card.path) if card.path else None}


def _print_catalogue(cards: list[ModelCard], stored_ids: set[str]) -> None:
    rows: list[tuple[str, ...]] = [("id", "size", "family", "context", "licence", "installed")]
    for card in cards:
        installed = "yes" if card.path or card.id in stored_ids else "no"
        context = str(card.context) if card.context else ""
        rows.append((card.id, card.size, card.family or "by its file", context, card.licence, installed))
    out.print()
    print_table(rows)
    out.print("\nAny other GGUF can be named by OWNER/NAME[:QUANTIZATION], by its URL, or by its path.")


def remove(name: StoredNameArgument, yes: YesOption = False) -> None:
    """Delete a model, after a question on the terminal."""
    from edgefc.models import inventory, store

    model = inventory.get_own(name)
    if not yes and not sys.stdin.isatty():
        raise StoreError(f"{model.name} was not deleted: there is no terminal to ask", "Add --yes to delete it.")
    if not yes and not confirm(single_line(f"Delete {model.name}, {_gigabytes(model.size)}?")):
        sys.exit(1)
    store.remove(model)
    out.print(f"deleted {model.name}")


def verify(names: NamesArgument = None, as_json: JsonOption = False) -> None:
    """Compare models with their hashes. Exits with 1 if one is damaged."""
    from edgefc.models import inventory, store

    models = [inventory.get_own(name) for name in names] if names else store.stored_models()
    problems: dict[str, list[str]] = {}
    with transfer_progress() as reporter:
        for model in models:
            reporter.begin(model.name, model.size)
            problems[model.name] = store.verify(model, reporter.advance)
    if as_json:
        print_json(problems)
    elif not models:
        out.print("no models to verify; the demo model is part of the package")
    else:
        for name, found in problems.items():
            out.print(single_line(f"{name}: {'; '.join(found) or 'OK'}"))
    if any(problems.values()):
        err.print("To replace a damaged model, run `edgefc rm NAME`, then `edgefc pull NAME`.")
        sys.exit(1)


def bundle(name: StoredNameArgument, target: TargetArgument = None) -> None:
    """Pack a model, its tokenizer, licence and hashes into one archive, for a machine without a network."""
    from edgefc.models import inventory
    from edgefc.models.bundle import write_bundle

    model = inventory.get_own(name)
    if target is None:
        target = Path(f"{model.name.replace('/', '--').replace(':', '-')}.edgefc.tar")
    if target.exists():
        raise StoreError(f"{target} already exists", "Name another file.")
    with transfer_progress() as reporter:
        reporter.begin(target.name, model.size)
        write_bundle(model, target, reporter.advance)
    out.print(str(target))


def unbundle(archive: ArchiveArgument, as_json: JsonOption = False) -> None:
    """Import a model from an archive."""
    from edgefc.models.bundle import read_bundle

    with transfer_progress() as reporter:
        reporter.begin(archive.name, archive.stat().st_size if archive.is_file() else None)
        model = read_bundle(archive, reporter.advance)
    _print_location(model, model.name, as_json=as_json)


def _print_location(model: StoredModel, title: str, *, as_json: bool) -> None:
    from edgefc.models import store

    if as_json:
        print_json(store.to_json(model))
    else:
        out.print(f"{single_line(title)}\n{model.path}")


def _gigabytes(size: int) -> str:
    return f"{size / 1e9:.2f} GB"
