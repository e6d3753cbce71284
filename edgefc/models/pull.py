"""Models from a hub, a URL or a file → the folder of models on this machine.

What is published is a commit of a repository: its list of files, with sizes and hashes, says what to fetch; names in
`models.toml` are only hints of which. A model is there once its manifest is; everything before can be broken off.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import os
import re
import shutil
import uuid
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Protocol
from urllib.parse import unquote, urlsplit

from edgefc import files, gguf, hardware, paths
from edgefc.errors import (
    DownloadError,
    GatedModelError,
    ModelFileError,
    ModelNotFoundError,
    OfflineError,
    RequestError,
    StoreError,
)
from edgefc.models import hub, store
from edgefc.models.download import RemoteFile
from edgefc.models.source import Repository, Wanted, choose, parse, quantization_of
from edgefc.models.store import StoredFile, StoredModel


class Watcher(Protocol):
    """Is told how a pull goes on."""

    def begin(self, name: str, size: int | None) -> None:
        """A file of so many bytes is being fetched."""

    def advance(self, count: int) -> None:
        """So many more of its bytes are there; negative: some are given up."""

    def note(self, text: str) -> None:
        """Something a user should know."""


class Silent:
    """A watcher that says nothing."""

    def begin(self, name: str, size: int | None) -> None: ...
    def advance(self, count: int) -> None: ...
    def note(self, text: str) -> None: ...


def pull(
    name: str,
    *,
    quantization: str = "",
    revision: str | None = None,
    offline: bool = False,
    room: int | None = None,
    endpoint: str | None = None,
    watcher: Watcher | None = None,
) -> StoredModel:
    """Fetch a model with its tokenizer and licence, unless it is here already.

    name          an id of models.toml, OWNER/NAME, either with :QUANTIZATION, a URL, or a path
    quantization  such as Q4_K_M; empty: what suits this machine's memory
    revision      a branch, tag or commit; None: the main branch
    room          bytes of memory that the model may take; None: what is free

    Raises DownloadError and its kinds, ModelNotFoundError, ModelFileError or StoreError. Whatever happens, a model is
    whole or not there, and what came of it is kept for the next attempt.
    """
    watcher = watcher or Silent()
    wanted = parse(name, endpoint=hub.endpoint_of(endpoint))
    if quantization and wanted.quantization and quantization.upper() != wanted.quantization.upper():
        raise RequestError("quantization", f"{name} names another one than {quantization}")
    wanted = _with(wanted, quantization or wanted.quantization, revision)
    if wanted.path is not None:
        return _import(wanted.path, watcher)
    here = store.find(f"{wanted.repo}:{wanted.quantization}" if wanted.quantization else wanted.repo)
    if offline or hub.is_offline():
        if here is not None and wanted.repo:
            return here
        raise OfflineError(
            f"{name} is not on this machine, and offline mode forbids to fetch it",
            "Unset HF_HUB_OFFLINE and EDGEFC_OFFLINE, or bring it over with `edgefc bundle` and `edgefc unbundle`.",
        )
    if wanted.url:
        return _pull_url(wanted.url, watcher)
    return _pull_repository(wanted, here, room or hardware.free_memory(), endpoint, watcher)


def _with(wanted: Wanted, quantization: str, revision: str | None) -> Wanted:
    return replace(wanted, quantization=quantization, revision=revision or wanted.revision)


def _pull_repository(
    wanted: Wanted, here: StoredModel | None, room: int, endpoint: str | None, watcher: Watcher
) -> StoredModel:
    try:
        repo = hub.repository(wanted.repo, wanted.revision, endpoint=endpoint)
    except DownloadError as error:
        if here is None or wanted.revision is not None:
            raise
        watcher.note(f"whether there is a newer version is not known: {error.reason}")
        return here
    if here is not None and not wanted.quantization and not wanted.file and here.quantization in repo.models:
        wanted = _with(wanted, here.quantization, wanted.revision)  # what is here stays the choice
    chosen, files = choose(repo, wanted, room)
    unhashed = [file.path for file in files if file.sha256 is None and file.git_sha1 is None]
    if unhashed:
        raise DownloadError(f"the hub states no hash of {unhashed[0]}", "It cannot be verified, and is not fetched.")
    identity = files[0].sha256 or files[0].git_sha1 or ""
    folder = store.folder_for(wanted.repo, chosen, identity)
    manifest = folder / store.MANIFEST
    with _locked(folder, watcher):
        with contextlib.suppress(StoreError):
            if manifest.is_file():
                return store.read_manifest(manifest)
        with store.os_errors(folder):
            folder.mkdir(parents=True, exist_ok=True)
        stored = [
            _from_cache(repo, file, folder, watcher) or _fetch(file, folder, "model", endpoint, watcher)
            for file in files
        ]
        _check(folder, stored)
        stored += _extras(wanted, repo, folder, endpoint, watcher)
        card = wanted.card
        made = store.commit(
            StoredModel(
                folder=folder,
                id=card.id if card else "",
                repo=wanted.repo,
                revision=repo.revision,
                quantization=chosen,
                family=card.family if card else "",
                licence=card.licence if card else repo.licence,
                created=_now(),
                files=tuple(stored),
            )
        )
        for older in store.stored_models():
            if (older.repo, older.quantization) == (made.repo, made.quantization) and older.folder != made.folder:
                store.remove(older)
    return made


def _extras(wanted: Wanted, repo: Repository, folder: Path, endpoint: str | None, watcher: Watcher) -> list[StoredFile]:
    """The tokenizer of the model that was quantized, and the licence's text. Without them it works as well."""
    found: list[StoredFile] = []
    for path, file in repo.files.items():
        if re.fullmatch(r"(?i)licen[cs]e(\.(md|txt))?", path) and (file.size or 0) < 1 << 20:
            found.append(_fetch(file, folder, "licence", endpoint, watcher))
            break
    source = (wanted.card.tokenizer_repo if wanted.card else "") or ""
    if not source and "tokenizer.json" not in repo.files:
        source = repo.base_model
    try:
        other = hub.repository(source, endpoint=endpoint) if source and source != repo.id else repo
        tokenizer = other.files.get("tokenizer.json") or repo.files.get("tokenizer.json")
        if tokenizer is not None:
            found.append(_fetch(tokenizer, folder, "tokenizer", endpoint, watcher))
        else:
            watcher.note("no tokenizer.json is published: the GGUF's own vocabulary serves")
    except (GatedModelError, ModelNotFoundError, StoreError) as error:
        watcher.note(f"no tokenizer.json: {error.reason}. The GGUF's own vocabulary serves")
    return found


def _fetch(
    file: RemoteFile,
    folder: Path,
    role: store.Role,
    endpoint: str | None,
    watcher: Watcher,
    *,
    with_token: bool = True,
) -> StoredFile:
    name = store.base_name(file.path)
    target = folder / name
    watcher.begin(name, file.size)
    if target.is_file():  # of an attempt that went no further
        digest = files.hash_file(target, watcher.advance)
        if file.sha256 == digest:
            return StoredFile(name, role, target.stat().st_size, digest)
        watcher.advance(-target.stat().st_size)
    digest = hub.download(file, target, endpoint=endpoint, with_token=with_token, progress=watcher.advance)
    return StoredFile(name, role, target.stat().st_size, digest)


def _from_cache(repo: Repository, file: RemoteFile, folder: Path, watcher: Watcher) -> StoredFile | None:
    """A model that another program fetched with huggingface_hub, if it is what it should be."""
    source = hub.cached(repo, file)
    name = store.base_name(file.path)
    if source is None or file.sha256 is None or (folder / name).exists():
        return None
    watcher.begin(f"{name}, from huggingface_hub's cache", file.size)
    part = folder / f".{name}.{uuid.uuid4().hex[:8]}.new"
    try:
        _link(source, part)
        if files.hash_file(part, watcher.advance) != file.sha256:
            return None
        with part.open("rb") as written:
            os.fsync(written.fileno())
        part.replace(folder / name)
        return StoredFile(name, "model", (folder / name).stat().st_size, file.sha256)
    except OSError:
        return None  # what is wrong with the disk will be said when it is fetched
    finally:
        part.unlink(missing_ok=True)


def _pull_url(url: str, watcher: Watcher) -> StoredModel:
    """A GGUF from somewhere else: no hash is known, so it is what came."""
    name = store.base_name(unquote(urlsplit(url).path).rpartition("/")[2])
    if not name.lower().endswith(".gguf"):
        raise RequestError("model", f"{name} is no .gguf")
    folder = paths.models_dir() / "url--files" / f".{uuid.uuid4().hex}"
    watcher.note("this server states no hash: what comes cannot be verified")
    with store.os_errors(folder):
        folder.mkdir(parents=True)
    try:
        stored = _fetch(RemoteFile(name, url), folder, "model", None, watcher, with_token=False)
        _check(folder, [stored])
        return _adopted(folder, stored, repo="url/files")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _import(path: Path, watcher: Watcher) -> StoredModel:
    """A file of the user's own, with the tokenizer.json beside it: linked where that is possible, else copied."""
    parts = gguf.split_files(path)
    tokenizer = path.with_name("tokenizer.json")
    roles: list[tuple[Path, store.Role]] = [(part, "model") for part in parts]
    if tokenizer.is_file():
        roles.append((tokenizer, "tokenizer"))
    folder = paths.models_dir() / "local--files" / f".{uuid.uuid4().hex}"
    with store.os_errors(folder):
        folder.mkdir(parents=True)
    try:
        stored = []
        for source, role in roles:
            store.check_name(source.name)
            watcher.begin(source.name, source.stat().st_size)
            with store.os_errors(folder):
                _link(source, folder / source.name)
                digest = files.hash_file(folder / source.name, watcher.advance)
            stored.append(StoredFile(source.name, role, source.stat().st_size, digest))
        return _adopted(folder, *stored, repo="local/files")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _link(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


def _adopted(work: Path, *files: StoredFile, repo: str) -> StoredModel:
    """A finished folder under its proper name."""
    name, quantization = files[0].name.removesuffix(".gguf"), quantization_of(files[0].name)
    folder = store.folder_for(repo, quantization, files[0].sha256)
    return store.settle(work, folder) or store.commit(
        StoredModel(folder, name, "", "", quantization, "", "", _now(), tuple(files))
    )


def _check(folder: Path, files: list[StoredFile]) -> None:
    """Refuse what is no model before it is one here; a split one is read from its first part on."""
    try:
        gguf.read_model(folder / files[0].name)
    except ModelFileError:
        for file in files:
            (folder / file.name).unlink(missing_ok=True)
        raise


@contextlib.contextmanager
def _locked(folder: Path, watcher: Watcher) -> Iterator[None]:
    """One process at a time fetches a model; the others wait, and find it there.

    Where locks do nothing, as on some network file systems, all fetch: parts have names of their own.
    """
    import filelock

    locks = paths.models_dir() / ".locks"
    with store.os_errors(locks):
        locks.mkdir(parents=True, exist_ok=True)
    lock = filelock.FileLock(locks / f"{folder.parent.name}--{folder.name}.lock")
    told = False
    while True:
        try:
            with store.os_errors(locks):
                lock.acquire(timeout=1)
            break
        except filelock.Timeout:
            if not told:
                watcher.note("another process is fetching it: waiting")
                told = True
    try:
        yield
    finally:
        lock.release()


def _now() -> str:
    return dt.datetime.now(dt.UTC).isoformat(timespec="microseconds")
