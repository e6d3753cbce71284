"""The hub: what its repositories hold, its files, and its errors as edgefc's with what to do.

huggingface_hub does the talking; nothing here decides what to fetch, or keeps it.
"""

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
from edgefc.models.download import Progress, RemoteFile, fetch
from edgefc.models.source import Repository

TIMEOUT = 10.0


def is_offline() -> bool:
    """Whether no connection may be made: EDGEFC_OFFLINE, or huggingface_hub's HF_HUB_OFFLINE."""
    names = ("EDGEFC_OFFLINE", "HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE")
    return any(os.environ.get(name, "").upper() in {"1", "ON", "YES", "TRUE"} for name in names)


def endpoint_of(endpoint: str | None) -> str:
    """The hub's address, without a slash at the end."""
    return (endpoint or os.environ.get("HF_ENDPOINT") or "https://huggingface.co").rstrip("/")


def repository(repo: str, revision: str | None = None, *, endpoint: str | None = None) -> Repository:
    """What a repository holds now. Raises DownloadError and its kinds, or ModelNotFoundError."""
    from huggingface_hub import HfApi, hf_hub_url

    store.check_repo(repo)
    api = HfApi(endpoint=endpoint, library_name="edgefc", library_version=__version__)
    with _explained(repo, endpoint_of(endpoint)):
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


def cached(repo: Repository, file: RemoteFile) -> Path | None:
    """Where huggingface_hub keeps this file, if another program fetched it; it may be damaged."""
    from huggingface_hub import try_to_load_from_cache

    found = try_to_load_from_cache(repo.id, file.path, revision=repo.revision)
    return Path(found).resolve() if isinstance(found, str) else None


def download(file: RemoteFile, target: Path, *, endpoint: str | None, with_token: bool, progress: Progress) -> str:
    """Fetch a file; gives its sha256. Raises DownloadError and its kinds, or StoreError."""
    from huggingface_hub.utils import build_hf_headers

    headers = build_hf_headers(token=None if with_token else False, library_name="edgefc", library_version=__version__)
    with _explained(file.name, endpoint_of(endpoint)):
        return fetch(file, target, headers=headers, progress=progress)


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
