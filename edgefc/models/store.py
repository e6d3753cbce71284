"""The models on this machine: one folder each, whose manifest is written last.

    MODELS/OWNER--NAME/QUANTIZATION-HASH/manifest.json   the commit point: without it the folder does not count
                                         NAME.gguf       and the files with it: tokenizer.json, licence

A file gets its name once it is complete and its hash is right. Nothing here opens a connection.
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

MANIFEST_VERSION = 1
MANIFEST = "manifest.json"
Role = Literal["model", "tokenizer", "licence"]
Progress = Callable[[int], None]  # called with the number of new bytes; negative when some are discarded
REPO_NAME = re.compile(r"[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9][\w.-]{0,95}", re.ASCII)
_DEVICE_NAME = re.compile(r"(?i)(con|prn|aux|nul|com\d|lpt\d)(\..*)?")  # reserved on Windows


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

    id        its name in models.toml; empty when it has none
    repo      the repository it came from, `owner/name`; empty for a file of the user's own
    revision  the commit it came from
    created   time of the download, ISO 8601
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


def model_folder(repo: str, quantization: str, sha256: str) -> Path:
    """Return the folder of a model. Raises StoreError for names that are unsafe as folder names."""
    check_repo(repo)
    return models_dir() / repo.replace("/", "--") / f"{check_file_name(quantization)}-{sha256[:12]}"


def check_repo(repo: str) -> str:
    """Return a valid repository name, which becomes part of a path. Raises StoreError for others."""
    if not REPO_NAME.fullmatch(repo) or ".." in repo or "--" in repo or repo.endswith((".", ".git")):
        raise StoreError(f"invalid repository name {repo!r}", "Repositories are named OWNER/NAME.")
    return repo


def check_file_name(name: str) -> str:
    """Return a plain file name that is safe on every system; names come from strangers. Raises StoreError."""
    is_safe = (
        0 < len(name.encode("utf-8", "replace")) <= 200
        and name.isprintable()
        and not name.startswith(".")
        and not name.endswith((".", " "))
        and not set(name) & set('/\\:*?"<>|')
        and not _DEVICE_NAME.fullmatch(name)
    )
    if not is_safe:
        raise StoreError(f"unsafe file name {name[:80]!r}", "Nothing was written.")
    return name


def local_name(path: str) -> str:
    """Return the checked last part of a path in a repository. Raises StoreError."""
    parts = PurePosixPath(path).parts
    for part in parts:
        check_file_name(part)
    return check_file_name(parts[-1] if parts else "")


# -- reading ----------------------------------------------------------------------------------------------------


def stored_models() -> list[StoredModel]:
    """List all models here, the newest first; folders without a sound manifest are left out."""
    models: list[StoredModel] = []
    for path in sorted(models_dir().glob(f"*/*/{MANIFEST}")):
        with contextlib.suppress(StoreError):
            models.append(read_manifest(path))
    return sorted(models, key=lambda model: model.created, reverse=True)


def find(name: str) -> StoredModel | None:
    """Find the newest model with this id or repository; `:QUANTIZATION` may follow the name."""
    base, _, quantization = name.partition(":")
    if not base:
        return None
    for model in stored_models():
        has_name = base in {model.id, model.repo} or (model.repo and base.lower() == model.repo.lower())
        if has_name and (not quantization or quantization.lower() == model.quantization.lower()):
            return model
    return None


def get(name: str) -> StoredModel:
    """Find a model as `find` does. Raises ModelNotFoundError, naming the models here."""
    model = find(name)
    if model is None:
        names = ", ".join(other.name for other in stored_models()) or "none"
        raise ModelNotFoundError(f"{name} is not on this machine", f"Models here: {names}. `edgefc pull` fetches more.")
    return model


def recorded_hash(path: Path) -> str | None:
    """Return the sha256 of a model's file from its manifest; None for a file without one."""
    with contextlib.suppress(StoreError):
        files = read_manifest(path.with_name(MANIFEST)).files
        return next((file.sha256 for file in files if file.name == path.name), None)
    return None


def read_manifest(path: Path) -> StoredModel:
    """Read and check a manifest. Raises StoreError when it is malformed, or a file's size is wrong."""
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        files = tuple(StoredFile(**file) for file in data.pop("files"))
        if data.pop("format") != MANIFEST_VERSION or not any(file.role == "model" for file in files):
            raise ValueError("unsupported manifest version, or no model file")
        model = StoredModel(folder=path.parent, files=files, **data)
        for file in files:
            if (path.parent / check_file_name(file.name)).stat().st_size != file.size:
                raise ValueError(f"{file.name} has another size than {file.size:,} bytes")
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise StoreError(f"{path}: {error}", "Fetch the model again with `edgefc pull`.") from None
    return model


def verify(model: StoredModel, progress: Progress = lambda _: None) -> list[str]:
    """Hash all files of a model again. Returns one line for each damaged file."""
    problems: list[str] = []
    for file in model.files:
        try:
            sha256 = hash_file(model.folder / file.name, progress)
        except OSError as error:
            problems.append(f"{file.name}: {error.strerror}")
            continue
        if sha256 != file.sha256:
            problems.append(f"{file.name}: its sha256 is {sha256}, but was {file.sha256} when it was fetched")
    return problems


def to_json(model: StoredModel) -> dict[str, Any]:
    """Return a model as the CLI prints it with `--json`."""
    return {
        "name": model.name,
        "path": str(model.path),
        "bytes": model.size,
        **{name: getattr(model, name) for name in ("id", "repo", "revision", "quantization", "family", "licence")},
        "files": [dataclasses.asdict(file) for file in model.files],
    }


# -- writing ----------------------------------------------------------------------------------------------------


def write_manifest(model: StoredModel) -> StoredModel:
    """Commit a model whose files are in its folder: from now on it counts. Raises StoreError."""
    data = {field.name: getattr(model, field.name) for field in dataclasses.fields(model) if field.name != "folder"}
    data["files"] = [dataclasses.asdict(file) for file in model.files]
    with translate_os_errors(model.folder):
        sync_folder(model.folder)
        write_file(model.folder / MANIFEST, json.dumps({"format": MANIFEST_VERSION, **data}, indent=1).encode())
        sync_folder(model.folder.parent)
    return read_manifest(model.folder / MANIFEST)


def move_into_store(work: Path, folder: Path) -> StoredModel | None:
    """Move a finished work folder to `folder`, and return None.

    Where a sound model is there already, returns that and moves nothing. Raises StoreError.
    """
    with translate_os_errors(folder):
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
    """Delete a model, its manifest first so that it is never half there. Raises StoreError."""
    with translate_os_errors(model.folder):
        (model.folder / MANIFEST).unlink(missing_ok=True)
        sync_folder(model.folder)
        shutil.rmtree(model.folder)
        with contextlib.suppress(OSError):  # not empty: other quantizations are stored there
            model.folder.parent.rmdir()


@contextlib.contextmanager
def translate_os_errors(path: Path) -> Iterator[None]:
    """Raise errors of the file system as StoreError with a hint."""
    try:
        yield
    except OSError as error:
        raise store_error(error, path) from error


def store_error(error: OSError, path: Path) -> StoreError:
    """Describe an error of the file system at `path`, with a hint."""
    free = ""
    with contextlib.suppress(OSError):
        existing = next(folder for folder in (path, *path.parents) if folder.exists())
        free = f" ({shutil.disk_usage(existing).free / 1e9:.1f} GB free)"
    hints: dict[str | None, str] = {
        "ENOSPC": f"The disk is full{free}: free some space, then run the same command again to resume.",
        "EDQUOT": "Your disk quota is used up: free some space, then run the same command again to resume.",
        "EACCES": "You have no permission to write there: set EDGEFC_MODELS_DIR to a folder of your own.",
        "EPERM": "You have no permission to write there: set EDGEFC_MODELS_DIR to a folder of your own.",
        "EROFS": "The file system is read-only: set EDGEFC_MODELS_DIR to another folder.",
        "ENAMETOOLONG": "Set EDGEFC_MODELS_DIR to a folder with a shorter path.",
        "EMFILE": "This process has too many open files: close some, or raise `ulimit -n`.",
        "EIO": "The disk reports an error: check it, then run the command again.",
    }
    hint = hints.get(errno.errorcode.get(error.errno or 0), "Run the command again.")
    return StoreError(f"{path}: {error.strerror or error}", hint)
