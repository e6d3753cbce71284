"""Stores files of this machine: the user's own, and those of other programs; as links, unless copies are asked for."""

from __future__ import annotations

import os
import shutil
from dataclasses import replace
from pathlib import Path

from edgefc import files, gguf
from edgefc.errors import RequestError, StoreError
from edgefc.models import aliases, other_programs, registry, store
from edgefc.models.manifest import TOKENIZER, TOKENIZER_CONFIG, Role, StoredFile, StoredModel
from edgefc.models.other_programs import FoundModel
from edgefc.models.quantization import UNNAMED, quantization_in_header, quantization_of
from edgefc.models.reporter import Reporter
from edgefc.paths import check_name, inside


def check_own_name(name: str) -> None:
    """Raise RequestError for a name that a model cannot have, or that means another one."""
    is_plain = aliases.ALIAS.fullmatch(name) is not None and check_name(name) == name
    if not is_plain:
        raise RequestError("name", f"invalid name {name!r}", "Use letters, digits, dots, dashes and underscores.")
    card = registry.cards().get(name)  # a file may be the model of a card that is not here yet
    if name in aliases.load() or (card is not None and card.path is not None):
        raise RequestError("name", f"{name} is the name of another model", "Choose another one.")


def file_of_ollama(name: str) -> FoundModel | None:
    """Find a file that Ollama has under this very name."""
    found = other_programs.find(name) if ":" in name and "://" not in name else None
    return found if found is not None and found.program == "Ollama" else None


def import_found(found: FoundModel, reporter: Reporter, *, own_name: str, copy: bool) -> StoredModel:
    """Store a file of another program, which may have a name without an ending."""
    card = registry.card_of(found, registry.cards())
    name = own_name or (card.id if card else found.name.replace("/", "--").replace(":", "-"))
    reporter.note(f"{found.name} is on this machine already, in the folder of {found.program}")
    return import_file(found.path, reporter, own_name=name, copy=copy, sha256=found.sha256, card=card)


def import_file(
    path: Path,
    reporter: Reporter,
    *,
    own_name: str = "",
    copy: bool = False,
    sha256: str = "",
    card: registry.ModelCard | None = None,
) -> StoredModel:
    """Store a file of this machine, and its tokenizer's beside it. Raises StoreError if it lacks a known hash."""
    parts = gguf.split_files(path)
    roles: list[tuple[Path, Role]] = [(part, "model") for part in parts]
    beside = (path.with_name(name) for name in (TOKENIZER, TOKENIZER_CONFIG))
    roles += [(found, "tokenizer") for found in beside if found.is_file()]
    with store.work_folder() as folder:
        stored_files = []
        for source, role in roles:
            has_ending = role != "model" or source.name.lower().endswith(".gguf")
            target = inside(folder, source.name if has_ending else f"{own_name}.gguf")
            reporter.begin(target.name, source.stat().st_size)
            with store.translate_os_errors(folder):
                _copy(source, target) if copy else _link(source.resolve(), target)
                actual = files.hash_file(target, reporter.advance)
            if sha256 not in {"", actual} and role == "model":
                raise StoreError(f"{source} is damaged: its sha256 is {actual}", "Fetch it again with its program.")
            stored_files.append(StoredFile(target.name, role, target.stat().st_size, actual))
        if not copy:
            reporter.note(f"linked to {path}, not copied; --copy makes a copy")
        return store_folder(folder, stored_files, repo="local/files", name=own_name, card=card)


def _link(source: Path, target: Path) -> None:
    """Link to a file: hard if it is on the same disk, else symbolic; copy it where neither is possible."""
    for link in (os.link, os.symlink):
        try:
            link(source, target)
            return
        except (OSError, NotImplementedError):
            continue
    _copy(source, target)


def _copy(source: Path, target: Path) -> None:
    shutil.copyfile(source, target)


def link_or_copy(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except OSError:
        _copy(source, target)


def store_folder(
    work: Path,
    stored_files: list[StoredFile],
    *,
    repo: str,
    revision: str = "",
    name: str = "",
    card: registry.ModelCard | None = None,
) -> StoredModel:
    """Move a complete work folder to its final name and write its manifest."""
    model_file = stored_files[0]
    metadata = gguf.read_metadata(inside(work, model_file.name))
    quantization = quantization_of(model_file.name)
    if quantization == UNNAMED:
        quantization = quantization_in_header(metadata.get("general.file_type"))
    licence = metadata.get("general.license")
    model = StoredModel(
        folder=store.model_folder(repo, quantization, model_file.sha256),
        id=name or model_file.name[: -len(".gguf")],
        repo="",
        revision=revision,
        quantization=quantization,
        family=card.family if card else "",
        licence=card.licence if card else _plain_line(licence),
        created=store.now(),
        files=tuple(stored_files),
    )
    stored = store.move_into_store(work, model)
    return stored if stored.id == model.id or not name else store.write_manifest(replace(stored, id=name))


def _plain_line(value: object) -> str:
    """Return text of a file's header as one short line; "" for anything else."""
    return "".join(filter(str.isprintable, value[:200])) if isinstance(value, str) else ""
