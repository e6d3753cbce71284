"""The models on this machine: one folder each, and a manifest that is written last.

    MODELS/OWNER--NAME/QUANTIZATION-HASH/manifest.json   the commit point: without it the folder is nothing
                                         NAME.gguf       and what belongs to it: tokenizer.json, licence

A file appears under its name once it is whole and its hash is right. Nothing here opens a connection.
"""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import json
import re
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Literal

from edgefc.errors import ModelNotFoundError, StoreError
from edgefc.files import hash_file, sync_folder, write_file
from edgefc.paths import models_dir

FORMAT = 1
MANIFEST = "manifest.json"
Role = Literal["model", "tokenizer", "licence"]
REPO = re.compile(r"[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9][\w.-]{0,95}", re.ASCII)
_RESERVED = re.compile(r"(?i)(con|prn|aux|nul|com\d|lpt\d)(\..*)?")  # names of devices on Windows


@dataclass(frozen=True, slots=True)
class StoredFile:
    """A file of a model: its name, size in bytes, and sha256 in hex."""

    name: str
    role: Role
    size: int
    sha256: str


@dataclass(frozen=True, slots=True)
class StoredModel:
    """A model on this machine.

    id            its name in models.toml; empty when it has none
    repo          where it came from, `owner/name`; empty for a file of the user's own
    revision      the commit it is from
    """

    folder: Path
    id: str
    repo: str
    revision: str
    quantization: str
    family: str
    licence: str
    created: str
    files: tuple[StoredFile, ...]

    @property
    def path(self) -> Path:
        """The GGUF; of a split one, the first part."""
        return self.folder / next(file.name for file in self.files if file.role == "model")

    @property
    def name(self) -> str:
        return f"{self.id or self.repo or self.path.stem}:{self.quantization}"

    @property
    def size(self) -> int:
        return sum(file.size for file in self.files)


def folder_for(repo: str, quantization: str, sha256: str) -> Path:
    """The folder of a model. Raises StoreError for a name that is no repository's."""
    check_repo(repo)
    return models_dir() / repo.replace("/", "--") / f"{check_name(quantization)}-{sha256[:12]}"


def check_repo(repo: str) -> str:
    """The repository's id, if it is one: it becomes a folder's name. Raises StoreError."""
    if not REPO.fullmatch(repo) or ".." in repo or "--" in repo or repo.endswith((".", ".git")):
        raise StoreError(f"{repo!r} is no repository", "Repositories are called OWNER/NAME.")
    return repo


def check_name(name: str) -> str:
    """The plain name of a file, if it can be one on any system. Raises StoreError: names come from strangers."""
    odd = not name or len(name.encode("utf-8", "replace")) > 200 or name.startswith(".") or name.endswith((".", " "))
    if odd or not name.isprintable() or set(name) & set('/\\:*?"<>|') or _RESERVED.fullmatch(name):
        raise StoreError(f"{name[:80]!r} cannot be a file's name here", "Nothing was written.")
    return name


def base_name(path: str) -> str:
    """The checked last part of a file's path in a repository. Raises StoreError."""
    parts = PurePosixPath(path).parts
    for part in parts:
        check_name(part)
    return check_name(parts[-1] if parts else "")


# -- what there is ----------------------------------------------------------------------------------------------


def stored_models() -> list[StoredModel]:
    """All models here, the newest first. A folder without a sound manifest is none."""
    found: list[StoredModel] = []
    for path in sorted(models_dir().glob(f"*/*/{MANIFEST}")):
        with contextlib.suppress(StoreError):
            found.append(read_manifest(path))
    return sorted(found, key=lambda model: model.created, reverse=True)


def find(name: str) -> StoredModel | None:
    """The newest model of this id or repository, perhaps followed by `:QUANTIZATION`."""
    plain, _, quantization = name.partition(":")
    if not plain:
        return None
    for model in stored_models():
        named = plain in {model.id, model.repo} or (model.repo and plain.lower() == model.repo.lower())
        if named and (not quantization or quantization.lower() == model.quantization.lower()):
            return model
    return None


def get(name: str) -> StoredModel:
    """As `find`. Raises ModelNotFoundError with what there is."""
    found = find(name)
    if found is None:
        there = ", ".join(model.name for model in stored_models()) or "none"
        raise ModelNotFoundError(f"{name} is not on this machine", f"Here are: {there}. `edgefc pull` fetches more.")
    return found


def known_hash(path: Path) -> str | None:
    """The sha256 of a model's file as its manifest has it; None for a file that has none."""
    with contextlib.suppress(StoreError):
        return next((f.sha256 for f in read_manifest(path.with_name(MANIFEST)).files if f.name == path.name), None)
    return None


def read_manifest(path: Path) -> StoredModel:
    """A manifest, checked. Raises StoreError when it, or a file's size, is not right."""
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        files = tuple(StoredFile(**file) for file in data.pop("files"))
        if data.pop("format") != FORMAT or not any(file.role == "model" for file in files):
            raise ValueError("it is of another format")
        model = StoredModel(folder=path.parent, files=files, **data)
        for file in files:
            if (path.parent / check_name(file.name)).stat().st_size != file.size:
                raise ValueError(f"{file.name} has another size than {file.size:,} bytes")
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise StoreError(f"{path}: {error}", "Fetch the model again with `edgefc pull`.") from None
    return model


def verify(model: StoredModel, progress: Callable[[int], None] = lambda _: None) -> list[str]:
    """Read all files of a model again. What is wrong with them: a line each; nothing when all is as it was."""
    wrong: list[str] = []
    for file in model.files:
        try:
            found = hash_file(model.folder / file.name, progress)
        except OSError as error:
            wrong.append(f"{file.name}: {error.strerror}")
            continue
        if found != file.sha256:
            wrong.append(f"{file.name}: its sha256 is {found}, and was {file.sha256} when it was fetched")
    return wrong


# -- changing it ------------------------------------------------------------------------------------------------


def commit(model: StoredModel) -> StoredModel:
    """Make a model whose files are in its folder one that is there. Raises StoreError."""
    data = {field.name: getattr(model, field.name) for field in dataclasses.fields(model) if field.name != "folder"}
    data["files"] = [dataclasses.asdict(file) for file in model.files]
    with os_errors(model.folder):
        sync_folder(model.folder)
        write_file(model.folder / MANIFEST, json.dumps({"format": FORMAT, **data}, indent=1).encode())
        sync_folder(model.folder.parent)
    return read_manifest(model.folder / MANIFEST)


def settle(work: Path, folder: Path) -> StoredModel | None:
    """Move a finished folder to its place, unless a sound model is there already: then that one. Raises StoreError."""
    with os_errors(folder):
        if (folder / MANIFEST).is_file():
            with contextlib.suppress(StoreError):
                return read_manifest(folder / MANIFEST)
        if folder.exists():
            shutil.rmtree(folder)
        folder.parent.mkdir(parents=True, exist_ok=True)
        work.replace(folder)
        sync_folder(folder.parent)
    return None


def remove(model: StoredModel) -> None:
    """Delete a model; the manifest goes first, so that it is never half there. Raises StoreError."""
    with os_errors(model.folder):
        (model.folder / MANIFEST).unlink(missing_ok=True)
        sync_folder(model.folder)
        shutil.rmtree(model.folder)
        with contextlib.suppress(OSError):  # others of the repository may be there
            model.folder.parent.rmdir()


@contextlib.contextmanager
def os_errors(place: Path) -> Iterator[None]:
    """Errors of the file system as StoreError that say what to do."""
    try:
        yield
    except OSError as error:
        raise store_error(error, place) from error


def store_error(error: OSError, place: Path) -> StoreError:
    free = ""
    with contextlib.suppress(OSError):
        there = next(folder for folder in (place, *place.parents) if folder.exists())
        free = f" ({shutil.disk_usage(there).free / 1e9:.1f} GB free)"
    hints: dict[str | None, str] = {
        "ENOSPC": f"The disk is full{free}: make room and run the command again, it goes on where it was.",
        "EDQUOT": "Your quota is used up: make room and run the command again, it goes on where it was.",
        "EACCES": "You may not write there: set EDGEFC_MODELS_DIR to a folder of yours.",
        "EPERM": "You may not write there: set EDGEFC_MODELS_DIR to a folder of yours.",
        "EROFS": "It is read-only: set EDGEFC_MODELS_DIR to another folder.",
        "ENAMETOOLONG": "Set EDGEFC_MODELS_DIR to a folder with a shorter path.",
        "EMFILE": "This process has too many files open.",
        "EIO": "The disk reports an error: check it, then run the command again.",
    }
    hint = hints.get(errno.errorcode.get(error.errno or 0), "Run the command again.")
    return StoreError(f"{place}: {error.strerror or error}", hint)


def manifest_data(model: StoredModel) -> dict[str, Any]:
    """What scripts are told of a model."""
    return {
        "name": model.name,
        "path": str(model.path),
        "bytes": model.size,
        **{name: getattr(model, name) for name in ("id", "repo", "revision", "quantization", "family", "licence")},
        "files": [dataclasses.asdict(file) for file in model.files],
    }
