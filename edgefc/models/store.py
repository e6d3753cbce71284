"""The models on this machine: one folder each, whose manifest is written last.

    MODELS/OWNER--NAME/QUANTIZATION-HASH/manifest.json   the commit point: without it the folder does not count
                                         NAME.gguf       and the files with it: tokenizer.json, licence
                                         .edgefc         the mark of a folder that edgefc made, and may delete

A file gets its name once it is complete and its hash is right. Nothing here opens a connection.
"""

from __future__ import annotations

import contextlib
import dataclasses
import datetime as dt
import errno
import logging
import shutil
import stat
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import Any

from edgefc.errors import ModelNotFoundError, StoreError
from edgefc.files import hash_file, read_small, sync_folder, write_file
from edgefc.models.manifest import (
    MANIFEST,
    MAX_MANIFEST,
    StoredModel,
    check_digest,
    check_quantization,
    check_repo,
    manifest_bytes,
    parse_manifest,
)
from edgefc.paths import check_name, inside, models_dir

log = logging.getLogger(__name__)
MARK = ".edgefc"
Progress = Callable[[int], None]  # called with the number of new bytes; negative when some are discarded


def model_folder(repo: str, quantization: str, digest: str) -> Path:
    """Return the folder of a model; `digest` is the sha256 or git id of its file. Raises StoreError for other texts."""
    owner_and_name = check_repo(repo).replace("/", "--")
    return inside(models_dir(), owner_and_name, f"{check_quantization(quantization)}-{check_digest(digest)[:12]}")


def local_name(path: str) -> str:
    """Return the checked last part of a path in a repository. Raises StoreError."""
    parts = PurePosixPath(path).parts
    for part in parts:
        check_name(part)
    return check_name(parts[-1] if parts else "")


def now() -> str:
    """Return the time as manifests have it: UTC, ISO 8601."""
    return dt.datetime.now(dt.UTC).isoformat(timespec="microseconds")


# -- reading ----------------------------------------------------------------------------------------------------


def stored_models(problems: list[StoreError] | None = None) -> list[StoredModel]:
    """List all models here, the newest first; those without a sound manifest are left out, and put into `problems`."""
    models: list[StoredModel] = []
    for path in sorted(models_dir().glob(f"*/*/{MANIFEST}")):
        try:
            models.append(read_manifest(path))
        except StoreError as error:
            log.info("left out: %s", error.reason)
            if problems is not None:
                problems.append(error)
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
    hint = "Fetch the model again with `edgefc pull`."
    try:
        model = parse_manifest(read_small(path, MAX_MANIFEST), path.parent)
        for file in model.files:
            status = inside(path.parent, file.name).stat()
            if not stat.S_ISREG(status.st_mode) or status.st_size != file.size:
                raise StoreError(f"{file.name} has another size than {file.size:,} bytes")
    except StoreError as error:
        raise StoreError(f"{path}: {error.reason}", hint) from None
    except OSError as error:
        raise StoreError(f"{path}: {error}", hint) from None
    return model


def verify(model: StoredModel, progress: Progress = lambda _: None) -> list[str]:
    """Hash all files of a model again. Returns one line for each damaged file."""
    problems: list[str] = []
    for file in model.files:
        try:
            sha256 = hash_file(inside(model.folder, file.name), progress)
        except OSError as error:
            problems.append(f"{file.name}: {error.strerror or error}")
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


def make_folder(folder: Path) -> None:
    """Make a model's folder with its mark; one that is there is left as it is. Raises StoreError."""
    with translate_os_errors(folder):
        folder.parent.mkdir(parents=True, exist_ok=True)
        try:
            folder.mkdir()
        except FileExistsError:
            if folder.is_dir():
                return
            raise
        (folder / MARK).touch()


@contextlib.contextmanager
def work_folder() -> Iterator[Path]:
    """Make a folder for files that are not complete yet; it is deleted at the end, unless it was moved."""
    folder = models_dir() / f".{uuid.uuid4().hex}"
    make_folder(folder)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def write_manifest(model: StoredModel) -> StoredModel:
    """Commit a model whose files are in its folder: from now on it counts. Raises StoreError."""
    data = manifest_bytes(model)
    parse_manifest(data, model.folder)
    with translate_os_errors(model.folder):
        sync_folder(model.folder)
        write_file(model.folder / MANIFEST, data)
        sync_folder(model.folder.parent)
    return read_manifest(model.folder / MANIFEST)


def move_into_store(work: Path, model: StoredModel) -> StoredModel:
    """Move the files of a model from a work folder to `model.folder`, and commit it.

    Where the same model is there already, returns that and moves nothing. Raises StoreError.
    """
    folder = model.folder
    with contextlib.suppress(StoreError):
        stored = read_manifest(folder / MANIFEST)
        if stored.sha256 == model.sha256:
            return stored
    with translate_os_errors(folder):
        if folder.is_symlink() or folder.exists():
            _discard(folder)
        folder.parent.mkdir(parents=True, exist_ok=True)
        work.replace(folder)
        sync_folder(folder.parent)
    return write_manifest(model)


def remove(model: StoredModel) -> None:
    """Delete a model's files, its manifest first so that it is never half there. Raises StoreError.

    Files that edgefc did not put there stay, and their folder with them.
    """
    with translate_os_errors(model.folder):
        (model.folder / MANIFEST).unlink(missing_ok=True)
        sync_folder(model.folder)
        for file in model.files:
            inside(model.folder, file.name).unlink(missing_ok=True)
            for part in model.folder.iterdir():
                if part.name.startswith(f"{file.name}.") and part.name.endswith(".part"):
                    part.unlink(missing_ok=True)
        if [path.name for path in model.folder.iterdir()] == [MARK]:
            (model.folder / MARK).unlink()
        for folder in (model.folder, model.folder.parent):  # not empty: other files or quantizations are stored there
            with contextlib.suppress(OSError):
                folder.rmdir()


def _discard(folder: Path) -> None:
    """Delete what a broken or interrupted import left. Raises StoreError for a folder without edgefc's mark."""
    if folder.is_symlink() or not (folder / MARK).is_file():
        raise StoreError(f"{folder} is in the way, and edgefc did not make it", "Move it to another place.")
    shutil.rmtree(folder)


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
        "ENOENT": "Check the path.",
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
