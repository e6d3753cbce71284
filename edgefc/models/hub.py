"""Lists and downloads files of hub repositories through huggingface_hub, and translates its errors."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from edgefc._version import __version__
from edgefc.errors import (
    DownloadError,
    EdgefcError,
    GatedModelError,
    ModelNotFoundError,
    OfflineError,
    StoreError,
)
from edgefc.models import store
from edgefc.models.download import RemoteFile, download_file
from edgefc.models.manifest import MAX_SIZE, check_digest, check_repo, check_sha256
from edgefc.models.source import Repository
from edgefc.models.store import Progress

TIMEOUT = 10.0  # seconds


def is_offline() -> bool:
    """Return True if EDGEFC_OFFLINE, or huggingface_hub's HF_HUB_OFFLINE, forbids connections."""
    names = ("EDGEFC_OFFLINE", "HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE")
    return any(os.environ.get(name, "").upper() in {"1", "ON", "YES", "TRUE"} for name in names)


def endpoint_url(endpoint: str | None) -> str:
    """Return the hub's address, without a slash at the end; None stands for the configured one."""
    return (endpoint or os.environ.get("HF_ENDPOINT") or "https://huggingface.co").rstrip("/")


def get_repository(repo: str, revision: str | None = None, *, endpoint: str | None = None) -> Repository:
    """List the files of a repository. Raises DownloadError and its subclasses, or ModelNotFoundError."""
    from huggingface_hub import HfApi, hf_hub_url

    check_repo(repo)
    api = HfApi(endpoint=endpoint, library_name="edgefc", library_version=__version__)
    with _translate_errors(repo, endpoint_url(endpoint)):
        info = api.model_info(repo, revision=revision, files_metadata=True, timeout=TIMEOUT)
    commit = _check_commit(info.sha) or revision or "main"
    card: Any = info.card_data or {}
    base = card.get("base_model") or ""
    files: dict[str, RemoteFile] = {}
    for sibling in info.siblings or ():
        path = sibling.rfilename
        with contextlib.suppress(StoreError):  # files with unsafe names, hashes or sizes are left out
            store.local_name(path)
            files[path] = RemoteFile(
                path=path,
                url=hf_hub_url(repo, path, revision=commit, endpoint=endpoint),
                size=_check_size(sibling.size),
                sha256=check_sha256(sibling.lfs.sha256) if sibling.lfs else None,
                git_sha1=None if sibling.lfs or sibling.blob_id is None else check_digest(sibling.blob_id),
            )
    return Repository(
        id=repo,
        revision=commit,
        licence=_plain_line(card.get("license")),
        base_model=_plain_line(base[0] if isinstance(base, list) and base else base),
        files=files,
    )


def _check_commit(sha: Any) -> str:
    """Return the commit of a hub's answer, which becomes part of paths and URLs. Raises DownloadError."""
    try:
        return check_digest(sha) if sha else ""
    except (StoreError, TypeError):
        raise DownloadError(f"the hub names an invalid commit {str(sha)[:80]!r}", "Check HF_ENDPOINT.") from None


def _check_size(size: Any) -> int | None:
    """Return the size of a file in a hub's answer. Raises StoreError for what cannot be one."""
    if size is not None and (type(size) is not int or not 0 <= size <= MAX_SIZE):
        raise StoreError(f"invalid size {size!r}")
    return size


def _plain_line(value: Any) -> str:
    """Return text of a hub's answer as one short line; anything but text is dropped."""
    return "".join(char for char in value[:200] if char.isprintable()) if isinstance(value, str) else ""


def cached_file(repo: Repository, file: RemoteFile) -> Path | None:
    """Find a file in huggingface_hub's cache, if another program downloaded it; it may be damaged."""
    from huggingface_hub import try_to_load_from_cache

    path = try_to_load_from_cache(repo.id, file.path, revision=repo.revision)
    return Path(path).resolve() if isinstance(path, str) else None


def download(file: RemoteFile, target: Path, *, endpoint: str | None, with_token: bool, progress: Progress) -> str:
    """Download a file and return its sha256. Raises DownloadError and its subclasses, or StoreError."""
    from huggingface_hub.utils import build_hf_headers

    headers = build_hf_headers(token=None if with_token else False, library_name="edgefc", library_version=__version__)
    with _translate_errors(file.name, endpoint_url(endpoint)):
        return download_file(file, target, headers=headers, progress=progress)


@contextlib.contextmanager
def _translate_errors(name: str, endpoint: str) -> Iterator[None]:
    """Raise huggingface_hub's errors as edgefc's with a hint; `name` is the repository or file requested."""
    import httpx2
    from huggingface_hub import errors

    host = urlsplit(endpoint).netloc
    try:
        yield
    except EdgefcError:
        raise
    except errors.GatedRepoError as error:
        raise GatedModelError(
            f"{name} is gated: its licence has to be accepted on the hub",
            f"Accept it at {endpoint}/{name}, then set HF_TOKEN to a token of yours ({endpoint}/settings/tokens).",
        ) from error
    except errors.RepositoryNotFoundError as error:
        raise ModelNotFoundError(
            f"{host} has no repository {name}, or it is private", "Check the name; for a private one set HF_TOKEN."
        ) from error
    except errors.RevisionNotFoundError as error:
        raise ModelNotFoundError(f"{name} has no such revision", "Give a branch, a tag or a commit.") from error
    except errors.OfflineModeIsEnabled as error:
        raise OfflineError(
            f"{name} is not here, and HF_HUB_OFFLINE forbids connections", "Unset HF_HUB_OFFLINE."
        ) from error
    except errors.HfHubHTTPError as error:
        raise _status_error(name, host, error) from error
    except (httpx2.HTTPError, httpx2.InvalidURL, ConnectionError, TimeoutError) as error:
        raise DownloadError(
            f"no answer from {host} for {name}: {str(error) or type(error).__name__}",
            "Check the network and proxy settings (HTTPS_PROXY, HF_ENDPOINT). Models that are here work offline.",
        ) from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DownloadError(
            f"unexpected answer from {host} for {name}",
            "This network may require you to log in: open any page in a browser first.",
        ) from error


def _status_error(name: str, host: str, error: Any) -> EdgefcError:
    status = error.response.status_code if error.response is not None else 0
    if status in {401, 403}:
        return GatedModelError(
            f"{host} denies access to {name} (HTTP {status})", "Set HF_TOKEN to a token that may read it."
        )
    if status == 429:
        return DownloadError(
            f"{host} limits the rate of requests (HTTP {status})",
            "Try again in a few minutes; with HF_TOKEN the limit is higher.",
        )
    return DownloadError(
        f"{host} answered HTTP {status} for {name}", "Try again later: the download resumes where it stopped."
    )
