"""Pulls models from a hub, a URL or a file into the folder of models on this machine.

A repository's list of files at one commit, with their sizes and hashes, decides what is fetched; names in `models.toml`
only hint at which files to choose. A model counts from the moment its manifest is written; a pull may stop at any point
before.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, replace
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
    require_extra,
)
from edgefc.models import hub, store
from edgefc.models.download import RemoteFile
from edgefc.models.manifest import MANIFEST, TOKENIZER, Role, StoredFile, StoredModel
from edgefc.models.source import ModelSource, Repository, choose_files, parse_source, quantization_of
from edgefc.paths import inside

MAX_LICENCE, MAX_TOKENIZER = 1 << 20, 128 << 20  # bytes; the largest tokenizer.json known has 35 MB


class Reporter(Protocol):
    """Receives the progress of a pull."""

    def begin(self, name: str, size: int | None) -> None:
        """Report that a file of `size` bytes is being fetched."""

    def advance(self, count: int) -> None:
        """Report `count` more bytes of the file; negative when some are discarded."""

    def note(self, text: str) -> None:
        """Report something that a user should know."""


class SilentReporter:
    """Ignores all reports."""

    def begin(self, name: str, size: int | None) -> None: ...
    def advance(self, count: int) -> None: ...
    def note(self, text: str) -> None: ...


def pull_model(
    name: str,
    *,
    quantization: str = "",
    revision: str | None = None,
    offline: bool = False,
    max_memory: int | None = None,
    endpoint: str | None = None,
    reporter: Reporter | None = None,
) -> StoredModel:
    """Fetch a model with its tokenizer and licence, unless it is here already.

    name          an id of models.toml, OWNER/NAME, either with :QUANTIZATION, a URL, or a path
    quantization  such as Q4_K_M; if empty, chosen to fit into `max_memory`
    revision      a branch, tag or commit; None stands for the main branch
    max_memory    bytes of memory that the model may take; None stands for the free memory
    endpoint      the hub's address; None stands for HF_ENDPOINT

    Raises DownloadError and its subclasses, ModelNotFoundError, ModelFileError, RequestError or StoreError. A model is
    stored completely or not at all; after a failure, the next call resumes.
    """
    require_extra("hub", "filelock", "httpx2", "huggingface_hub")
    reporter = reporter or SilentReporter()
    source = parse_source(name, endpoint=hub.endpoint_url(endpoint))
    if quantization and source.quantization and quantization.upper() != source.quantization.upper():
        raise RequestError(
            "quantization", f"{name} names another quantization than {quantization}", "Give only one of them."
        )
    source = replace(source, quantization=quantization or source.quantization, revision=revision or source.revision)
    if source.path is not None:
        return _import_file(source.path, reporter)
    stored = store.find(f"{source.repo}:{source.quantization}" if source.quantization else source.repo)
    if offline or hub.is_offline():
        if stored is not None and source.repo:
            return stored
        raise OfflineError(
            f"{name} is not on this machine and cannot be fetched in offline mode",
            "Unset HF_HUB_OFFLINE and EDGEFC_OFFLINE, or copy it from another machine with `edgefc bundle` and "
            "`edgefc unbundle`.",
        )
    if source.url:
        return _pull_url(source.url, reporter)
    return _pull_repository(source, stored, max_memory or hardware.free_memory(), endpoint, reporter)


def _pull_repository(
    source: ModelSource, stored: StoredModel | None, max_memory: int, endpoint: str | None, reporter: Reporter
) -> StoredModel:
    try:
        repo = hub.get_repository(source.repo, source.revision, endpoint=endpoint)
    except DownloadError as error:
        if stored is None or source.revision is not None:
            raise
        reporter.note(f"could not check for a newer version: {error.reason}")
        return stored
    if stored is not None and not source.quantization and not source.file and stored.quantization in repo.models:
        source = replace(source, quantization=stored.quantization)  # keep to the quantization that is here
    quantization, remote_files = choose_files(repo, source, max_memory)
    unhashed = [file.path for file in remote_files if file.sha256 is None and file.git_sha1 is None]
    if unhashed:
        raise DownloadError(
            f"the hub states no hash of {unhashed[0]}, so it cannot be verified", "Choose another repository."
        )
    identity = remote_files[0].sha256 or remote_files[0].git_sha1 or ""
    fetcher = _Fetcher(store.model_folder(source.repo, quantization, identity), endpoint, reporter)
    manifest = fetcher.folder / MANIFEST
    with _lock(fetcher.folder, reporter):
        with contextlib.suppress(StoreError):
            if manifest.is_file():
                return store.read_manifest(manifest)
        return _fetch_all(fetcher, source, repo, quantization, remote_files)


def _fetch_all(
    fetcher: _Fetcher, source: ModelSource, repo: Repository, quantization: str, remote_files: list[RemoteFile]
) -> StoredModel:
    """Fetch all files of a model, write its manifest, and remove older versions of it."""
    store.make_folder(fetcher.folder)
    stored_files = [fetcher.copy_cached(repo, file) or fetcher.fetch(file, "model") for file in remote_files]
    _check_model(fetcher.folder, stored_files)
    stored_files += _fetch_extras(fetcher, source, repo)
    card = source.card
    model = store.write_manifest(
        StoredModel(
            folder=fetcher.folder,
            id=card.id if card else "",
            repo=source.repo,
            revision=repo.revision,
            quantization=quantization,
            family=card.family if card else "",
            licence=card.licence if card else repo.licence,
            created=store.now(),
            files=tuple(stored_files),
        )
    )
    for older in store.stored_models():
        if (older.repo, older.quantization) == (model.repo, model.quantization) and older.folder != model.folder:
            store.remove(older)
    return model


def _fetch_extras(fetcher: _Fetcher, source: ModelSource, repo: Repository) -> list[StoredFile]:
    """Fetch the licence's text, and the tokenizer of the model that was quantized; the model works without them."""
    extras: list[StoredFile] = []
    for path, file in repo.files.items():
        if re.fullmatch(r"(?i)licen[cs]e(\.(md|txt))?", path) and (file.size or MAX_LICENCE) < MAX_LICENCE:
            extras.append(fetcher.fetch(file, "licence"))
            break
    base = source.card.tokenizer_repo if source.card else ""
    if not base and TOKENIZER not in repo.files:
        base = repo.base_model
    try:
        base_repo = hub.get_repository(base, endpoint=fetcher.endpoint) if base and base != repo.id else repo
        tokenizer = base_repo.files.get(TOKENIZER) or repo.files.get(TOKENIZER)
        if tokenizer is not None and (tokenizer.size is None or tokenizer.size > MAX_TOKENIZER):
            fetcher.reporter.note("its tokenizer.json is too large: using the GGUF's own vocabulary")
        elif tokenizer is not None:
            extras.append(fetcher.fetch(tokenizer, "tokenizer"))
        else:
            fetcher.reporter.note("no tokenizer.json is published: using the GGUF's own vocabulary")
    except (GatedModelError, ModelNotFoundError, StoreError) as error:
        fetcher.reporter.note(f"no tokenizer.json: {error.reason}. Using the GGUF's own vocabulary")
    return extras


@dataclass(frozen=True, slots=True)
class _Fetcher:
    """Fetches files into one folder and reports the progress."""

    folder: Path
    endpoint: str | None
    reporter: Reporter

    def fetch(self, file: RemoteFile, role: Role, *, with_token: bool = True) -> StoredFile:
        name = store.local_name(file.path)
        target = inside(self.folder, name)
        self.reporter.begin(name, file.size)
        if target.is_file():  # from a pull that stopped after this file
            sha256 = files.hash_file(target, self.reporter.advance)
            if file.sha256 == sha256:
                return StoredFile(name, role, target.stat().st_size, sha256)
            self.reporter.advance(-target.stat().st_size)
        sha256 = hub.download(
            file, target, endpoint=self.endpoint, with_token=with_token, progress=self.reporter.advance
        )
        return StoredFile(name, role, target.stat().st_size, sha256)

    def copy_cached(self, repo: Repository, file: RemoteFile) -> StoredFile | None:
        """Link or copy a model file from huggingface_hub's cache, if it is there and its hash is right."""
        source = hub.cached_file(repo, file)
        name = store.local_name(file.path)
        target = inside(self.folder, name)
        if source is None or file.sha256 is None or target.exists():
            return None
        self.reporter.begin(f"{name}, from huggingface_hub's cache", file.size)
        part = self.folder / f".{name}.{uuid.uuid4().hex[:8]}.new"
        try:
            _link_or_copy(source, part)
            if files.hash_file(part, self.reporter.advance) != file.sha256:
                return None
            with part.open("rb") as copy:
                os.fsync(copy.fileno())
            part.replace(target)
            return StoredFile(name, "model", target.stat().st_size, file.sha256)
        except OSError:
            return None  # the download that follows reports what is wrong with the disk
        finally:
            part.unlink(missing_ok=True)


def _pull_url(url: str, reporter: Reporter) -> StoredModel:
    """Fetch a GGUF from outside the hub; its hash is unknown, so it is stored as it comes."""
    name = store.local_name(unquote(urlsplit(url).path).rpartition("/")[2])
    if not name.lower().endswith(".gguf"):
        raise RequestError("model", f"unsupported file {name!r}", "The URL must name a .gguf file.")
    reporter.note("this server states no hash: the file cannot be verified")
    with store.work_folder() as folder:
        stored_file = _Fetcher(folder, None, reporter).fetch(RemoteFile(name, url), "model", with_token=False)
        _check_model(folder, [stored_file])
        return _store_folder(folder, [stored_file], repo="url/files")


def _import_file(path: Path, reporter: Reporter) -> StoredModel:
    """Store a file of the user's own, with the tokenizer.json beside it: linked if possible, else copied."""
    parts = gguf.split_files(path)
    tokenizer = path.with_name(TOKENIZER)
    roles: list[tuple[Path, Role]] = [(part, "model") for part in parts]
    if tokenizer.is_file():
        roles.append((tokenizer, "tokenizer"))
    with store.work_folder() as folder:
        stored_files = []
        for source, role in roles:
            target = inside(folder, source.name)
            reporter.begin(source.name, source.stat().st_size)
            with store.translate_os_errors(folder):
                _link_or_copy(source, target)
                sha256 = files.hash_file(target, reporter.advance)
            stored_files.append(StoredFile(source.name, role, target.stat().st_size, sha256))
        return _store_folder(folder, stored_files, repo="local/files")


def _link_or_copy(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


def _store_folder(work: Path, stored_files: list[StoredFile], *, repo: str) -> StoredModel:
    """Move a complete work folder to its final name and write its manifest."""
    model_file = stored_files[0]
    name, quantization = model_file.name[: -len(".gguf")], quantization_of(model_file.name)
    model = StoredModel(
        folder=store.model_folder(repo, quantization, model_file.sha256),
        id=name,
        repo="",
        revision="",
        quantization=quantization,
        family="",
        licence="",
        created=store.now(),
        files=tuple(stored_files),
    )
    return store.move_into_store(work, model)


def _check_model(folder: Path, stored_files: list[StoredFile]) -> None:
    """Delete and refuse files that are not a model; a split one is read from its first part on."""
    try:
        gguf.read_model(folder / stored_files[0].name)
    except ModelFileError:
        for file in stored_files:
            inside(folder, file.name).unlink(missing_ok=True)
        raise


@contextlib.contextmanager
def _lock(folder: Path, reporter: Reporter) -> Iterator[None]:
    """Let one process at a time fetch a model; the others wait, and find it there.

    Where locks have no effect, as on some network file systems, all of them fetch: part files are named per process.
    """
    import filelock

    locks = paths.models_dir() / ".locks"
    with store.translate_os_errors(locks):
        locks.mkdir(parents=True, exist_ok=True)
    lock = filelock.FileLock(locks / f"{folder.parent.name}--{folder.name}.lock")
    is_waiting = False
    while True:
        try:
            lock.acquire(timeout=1)
            break
        except filelock.Timeout:  # an OSError as well, hence first
            if not is_waiting:
                reporter.note("another process is fetching this model: waiting for it")
                is_waiting = True
        except OSError as error:
            raise store.store_error(error, locks) from error
    try:
        yield
    finally:
        lock.release()
