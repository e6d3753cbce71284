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
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import unquote, urlsplit

from edgefc import __version__, gguf, hardware, registry, store
from edgefc.errors import (
    DownloadError,
    EdgefcError,
    GatedModelError,
    ModelFileError,
    ModelNotFoundError,
    OfflineError,
    RequestError,
    StoreError,
)
from edgefc.store import StoredFile, StoredModel
from edgefc.transfer import RemoteFile, fetch

QUANTIZATION = re.compile(
    r"(?i)(?:^|[-._/])(IQ[1-4]_(?:XXS|XS|S|M|NL)|TQ[12]_0|MXFP4|Q[2-8]_(?:K(?:_[SMLX]{1,2})?|[01](?:_\d_\d)?)|BF16|F16|FP16|F32)"
    r"(?=[-._/]|$)"
)
_SPLIT = re.compile(r"-(\d{5})-of-(\d{5})\.gguf$")
_NO_MODEL = re.compile(r"(?i)mmproj|imatrix|/\.|^\.")
UNNAMED = "gguf"  # the quantization of a file whose name states none
# From the best compromise on. Below 2.5 GB, Q8_0 comes first: the smaller a model, the more it loses by rounding.
PREFERENCE = (
    "Q4_K_M", "Q5_K_M", "Q4_K_S", "Q4_K_L", "Q4_0", "IQ4_XS", "IQ4_NL", "Q5_K_S", "Q6_K", "Q8_0", "Q5_0", "Q5_1",
    "Q4_1", "Q3_K_L", "Q3_K_M", "IQ3_M", "F16", "BF16", "FP16", UNNAMED, "Q3_K_S", "Q2_K", "F32",
)  # fmt: skip
SMALL = 2_500_000_000
BESIDE_WEIGHTS = 700 << 20  # bytes for KV cache and buffers when nothing is known of a model but its size
TIMEOUT = 10.0


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


@dataclass(frozen=True, slots=True)
class Repository:
    """What a repository holds at one commit."""

    id: str
    revision: str
    licence: str = ""
    base_model: str = ""
    files: dict[str, RemoteFile] = field(default_factory=dict)

    @property
    def models(self) -> dict[str, list[RemoteFile]]:
        """Quantization → the GGUF's file, or its parts in order. Raises DownloadError when a part is missing."""
        found: dict[str, list[RemoteFile]] = {}
        for path, file in sorted(self.files.items()):
            if path.lower().endswith(".gguf") and not _NO_MODEL.search(path):
                found.setdefault(quantization_of(path), []).append(file)
        return {name: _whole(files) for name, files in found.items()}


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a user asked for: a repository's file or quantization, a URL elsewhere, or a file."""

    repo: str = ""
    revision: str | None = None
    quantization: str = ""
    file: str = ""
    url: str = ""
    path: Path | None = None
    card: registry.ModelCard | None = None


def quantization_of(path: str) -> str:
    """The quantization that a file's name states, in capitals."""
    found = QUANTIZATION.findall(_SPLIT.sub(".gguf", path).removesuffix(".gguf"))
    return str(found[-1]).upper() if found else UNNAMED


def _whole(files: list[RemoteFile]) -> list[RemoteFile]:
    """All parts of one model. Where several files have a quantization, the first is taken."""
    parts = [file for file in files if _SPLIT.search(file.path)]
    if not parts or len(parts) < len(files):
        return [file for file in files if file not in parts][:1]
    first = _SPLIT.search(parts[0].path)
    assert first is not None
    stem, count = parts[0].path[: first.start()], int(first[2])
    have = {file.path: file for file in parts}
    names = [f"{stem}-{number:05d}-of-{count:05d}.gguf" for number in range(1, count + 1)]
    if missing := [name for name in names if name not in have]:
        raise DownloadError(f"the repository lacks {missing[0]}, a part of a model", "Choose another quantization.")
    return [have[name] for name in names]


# -- what is asked for ------------------------------------------------------------------------------------------


def parse(name: str, *, endpoint: str | None = None) -> Wanted:
    """What a name means: an id of models.toml, OWNER/NAME, either with :QUANTIZATION, a URL, or a path.

    Raises ModelNotFoundError or StoreError for what is none of them.
    """
    if "://" in name:
        return _parse_url(name, endpoint)
    path = Path(name).expanduser()
    if path.suffix.lower() == ".gguf" or path.is_file():
        return Wanted(path=path)
    plain, _, quantization = name.partition(":")
    card = registry.cards().get(plain)
    if card is not None:
        if card.embedded:
            raise ModelNotFoundError(f"{card.title} is part of edgefc: there is nothing to fetch")
        if not card.repo:
            raise ModelNotFoundError(f"no repository with a GGUF of {card.title} is known", card.about)
        return Wanted(repo=card.repo, quantization=quantization, card=card)
    if "/" in plain:
        return Wanted(repo=store.check_repo(plain), quantization=quantization, card=_card_of(plain))
    registry.resolve(plain)  # says what is near
    raise ModelNotFoundError(f"unknown model {name!r}", "Give an id, OWNER/NAME, a URL or a path.")


def _card_of(repo: str) -> registry.ModelCard | None:
    return next((card for card in registry.cards().values() if card.repo.lower() == repo.lower()), None)


def _parse_url(name: str, endpoint: str | None) -> Wanted:
    parts = urlsplit(name)
    if parts.scheme not in {"http", "https"}:
        raise RequestError(
            "model", f"{parts.scheme}:// is not fetched from", "Give an https URL, OWNER/NAME or a path."
        )
    hosts = {"huggingface.co", "hf.co", urlsplit(_endpoint(endpoint)).netloc}
    steps = [unquote(step) for step in parts.path.strip("/").split("/")]
    if parts.netloc in hosts and len(steps) == 2:
        return Wanted(repo=store.check_repo("/".join(steps)))
    if parts.netloc in hosts and len(steps) >= 5 and steps[2] in {"resolve", "blob"}:
        repo = store.check_repo("/".join(steps[:2]))
        return Wanted(repo=repo, revision=steps[3], file="/".join(steps[4:]), card=_card_of(repo))
    store.base_name(unquote(parts.path).rpartition("/")[2])
    return Wanted(url=name)


def is_offline() -> bool:
    """Whether no connection may be made: EDGEFC_OFFLINE, or huggingface_hub's HF_HUB_OFFLINE."""
    names = ("EDGEFC_OFFLINE", "HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE")
    return any(os.environ.get(name, "").upper() in {"1", "ON", "YES", "TRUE"} for name in names)


def choose(repo: Repository, wanted: Wanted, room: int) -> tuple[str, list[RemoteFile]]:
    """The quantization to fetch, and its files; `room` are the bytes of memory that may be used.

    Raises ModelNotFoundError for a quantization that is not there, DownloadError when none fits.
    """
    models = repo.models
    if not models:
        raise ModelNotFoundError(f"{repo.id} holds no GGUF", "Look for a repository whose name ends in GGUF.")
    if wanted.file:
        found = [(name, files) for name, files in models.items() if any(f.path == wanted.file for f in files)]
        if not found and wanted.file in repo.files:
            return quantization_of(wanted.file), [repo.files[wanted.file]]
        if not found:
            raise ModelNotFoundError(f"{repo.id} holds no {wanted.file}", f"It holds {', '.join(models)}.")
        return found[0]
    listed = ", ".join(f"{name} ({_size(files) / 1e9:.2f} GB)" for name, files in models.items())
    if wanted.quantization:
        name = wanted.quantization.upper()
        near = {key.upper(): key for key in models}
        if name not in near:
            raise ModelNotFoundError(f"{repo.id} has no {wanted.quantization}", f"It has {listed}.")
        return near[name], models[near[name]]
    fitting = [name for name, files in models.items() if _size(files) + BESIDE_WEIGHTS <= room]
    if not fitting:
        raise DownloadError(
            f"nothing of {repo.id} fits into the {room / 1e9:.1f} GB of memory that are free: {listed}",
            "Close other programs, or name a quantization to fetch it all the same.",
        )
    best = min(fitting, key=lambda name: (_rank(name, _size(models[name])), _size(models[name])))
    return best, models[best]


def _rank(name: str, size: int) -> int:
    if name == "Q8_0" and size < SMALL:
        return -1
    return PREFERENCE.index(name) if name in PREFERENCE else len(PREFERENCE)


def _size(files: list[RemoteFile]) -> int:
    return sum(file.size or 0 for file in files)


# -- the hub ----------------------------------------------------------------------------------------------------


def repository(repo: str, revision: str | None = None, *, endpoint: str | None = None) -> Repository:
    """What a repository holds now. Raises DownloadError and its kinds, or ModelNotFoundError."""
    from huggingface_hub import HfApi, hf_hub_url

    store.check_repo(repo)
    api = HfApi(endpoint=endpoint, library_name="edgefc", library_version=__version__)
    with _explained(repo, _endpoint(endpoint)):
        info = api.model_info(repo, revision=revision, files_metadata=True, timeout=TIMEOUT)
    commit = info.sha or revision or "main"
    card: Any = info.card_data or {}
    base = card.get("base_model") or ""
    files: dict[str, RemoteFile] = {}
    for sibling in info.siblings or ():
        path = sibling.rfilename
        with contextlib.suppress(StoreError):  # a name that no file here may have is not fetched
            store.base_name(path)
            files[path] = RemoteFile(
                path=path,
                url=hf_hub_url(repo, path, revision=commit, endpoint=endpoint),
                size=sibling.size,
                sha256=sibling.lfs.sha256 if sibling.lfs else None,
                git_sha1=None if sibling.lfs else sibling.blob_id,
            )
    return Repository(
        repo, commit, str(card.get("license") or ""), str(base[0] if isinstance(base, list) and base else base), files
    )


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
    wanted = parse(name, endpoint=endpoint)
    if quantization and wanted.quantization and quantization.upper() != wanted.quantization.upper():
        raise RequestError("quantization", f"{name} names another one than {quantization}")
    wanted = _with(wanted, quantization or wanted.quantization, revision)
    if wanted.path is not None:
        return _import(wanted.path, watcher)
    here = store.find(f"{wanted.repo}:{wanted.quantization}" if wanted.quantization else wanted.repo)
    if offline or is_offline():
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
    from dataclasses import replace

    return replace(wanted, quantization=quantization, revision=revision or wanted.revision)


def _pull_repository(
    wanted: Wanted, here: StoredModel | None, room: int, endpoint: str | None, watcher: Watcher
) -> StoredModel:
    repo = repository(wanted.repo, wanted.revision, endpoint=endpoint)
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
        stored = [_fetch(file, folder, "model", endpoint, watcher) for file in files]
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
        other = repository(source, endpoint=endpoint) if source and source != repo.id else repo
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
    token: bool | None = None,
) -> StoredFile:
    from huggingface_hub.utils import build_hf_headers

    name = store.base_name(file.path)
    target = folder / name
    watcher.begin(name, file.size)
    if target.is_file():  # of an attempt that went no further
        digest = store.hash_file(target, watcher.advance)
        if file.sha256 == digest:
            return StoredFile(name, role, target.stat().st_size, digest)
        watcher.advance(-target.stat().st_size)
    headers = build_hf_headers(token=token, library_name="edgefc", library_version=__version__)
    with _explained(file.name, _endpoint(endpoint)):
        digest = fetch(file, target, headers=headers, progress=watcher.advance)
    return StoredFile(name, role, target.stat().st_size, digest)


def _pull_url(url: str, watcher: Watcher) -> StoredModel:
    """A GGUF from somewhere else: no hash is known, so it is what came."""
    name = store.base_name(unquote(urlsplit(url).path).rpartition("/")[2])
    if not name.lower().endswith(".gguf"):
        raise RequestError("model", f"{name} is no .gguf")
    folder = store.models_dir() / "url--files" / f".{uuid.uuid4().hex}"
    watcher.note("this server states no hash: what comes cannot be verified")
    with store.os_errors(folder):
        folder.mkdir(parents=True)
    try:
        stored = _fetch(RemoteFile(name, url), folder, "model", None, watcher, token=False)
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
    folder = store.models_dir() / "local--files" / f".{uuid.uuid4().hex}"
    with store.os_errors(folder):
        folder.mkdir(parents=True)
    try:
        stored = []
        for source, role in roles:
            store.check_name(source.name)
            watcher.begin(source.name, source.stat().st_size)
            with store.os_errors(folder):
                _link(source, folder / source.name)
                digest = store.hash_file(folder / source.name, watcher.advance)
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
    name = files[0].name.removesuffix(".gguf")
    folder = store.folder_for(repo, quantization_of(files[0].name), files[0].sha256)
    with store.os_errors(folder):
        if (folder / store.MANIFEST).is_file():
            return store.read_manifest(folder / store.MANIFEST)
        if folder.exists():
            shutil.rmtree(folder)
        folder.parent.mkdir(parents=True, exist_ok=True)
        work.replace(folder)
    return store.commit(StoredModel(folder, name, "", "", quantization_of(files[0].name), "", "", _now(), tuple(files)))


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

    locks = store.models_dir() / ".locks"
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


@contextlib.contextmanager
def _explained(what: str, endpoint: str) -> Iterator[None]:
    """huggingface_hub's errors as edgefc's, with what to do."""
    import httpx2
    from huggingface_hub import errors

    host = urlsplit(endpoint).netloc
    try:
        yield
    except EdgefcError:
        raise
    except errors.GatedRepoError as error:
        raise GatedModelError(
            f"{what} is gated: its licence has to be accepted on the hub",
            f"Accept it at {endpoint}/{what}, then set HF_TOKEN to a token of yours ({endpoint}/settings/tokens).",
        ) from error
    except errors.RepositoryNotFoundError as error:
        raise ModelNotFoundError(
            f"{host} has no repository {what}, or it is private", "Check the name; for a private one set HF_TOKEN."
        ) from error
    except errors.RevisionNotFoundError as error:
        raise ModelNotFoundError(f"{what} has no such revision", "Give a branch, a tag or a commit.") from error
    except errors.OfflineModeIsEnabled as error:
        raise OfflineError(f"{what} is not here, and HF_HUB_OFFLINE forbids connections", "Unset it.") from error
    except errors.HfHubHTTPError as error:
        raise _of_status(what, host, error) from error
    except (httpx2.HTTPError, httpx2.InvalidURL, ConnectionError, TimeoutError) as error:
        raise DownloadError(
            f"no answer from {host} for {what}: {str(error) or type(error).__name__}",
            "Check the network and proxy settings (HTTPS_PROXY, HF_ENDPOINT). Models that are here work offline.",
        ) from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DownloadError(
            f"{host} gave no sensible answer for {what}",
            "Perhaps this network wants you to log in: open a page in a browser first.",
        ) from error


def _of_status(what: str, host: str, error: Any) -> EdgefcError:
    status = error.response.status_code if error.response is not None else 0
    if status in {401, 403}:
        return GatedModelError(f"{host} refuses {what} ({status})", "Set HF_TOKEN to a token that may read it.")
    if status == 429:
        return DownloadError(
            f"{host} asks to wait ({status})", "Try again in a few minutes; with HF_TOKEN more is allowed."
        )
    return DownloadError(f"{host} answered {status} for {what}", "Try again later; what came is kept.")


def _endpoint(endpoint: str | None) -> str:
    return (endpoint or os.environ.get("HF_ENDPOINT") or "https://huggingface.co").rstrip("/")


def _now() -> str:
    return dt.datetime.now(dt.timezone.utc).isoformat(timespec="microseconds")
