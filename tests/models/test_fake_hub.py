"""The fake hub, as the real `huggingface_hub` client sees it."""

from __future__ import annotations

import hashlib
import http.client
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import huggingface_hub
import pytest
from huggingface_hub import HfApi, errors, hf_hub_download, hf_hub_url
from huggingface_hub.file_download import get_hf_file_metadata, http_get
from huggingface_hub.hf_api import RepoFile, RepoFolder

from tests.models.fake_hub import HubFile, HubServer, Request

REPO = "owner/name"
MODEL = bytes(range(256)) * 4096
CONFIG = b'{"model_type": "qwen2"}'


@pytest.fixture(autouse=True)
def plain_client(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HF_OIDC_RESOURCE", "HTTP_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    monkeypatch.setenv("HF_HUB_DISABLE_TELEMETRY", "1")
    huggingface_hub.utils.disable_progress_bars()
    yield
    huggingface_hub.close_session()
    huggingface_hub.utils.enable_progress_bars()


@pytest.fixture
def hub() -> Iterator[HubServer]:
    with HubServer() as server:
        server.add(REPO, {"model.gguf": MODEL, "config.json": CONFIG, "sub/deep/a b.txt": b"text"})
        yield server
    assert server.errors == []


def download(hub: HubServer, folder: Path, name: str = "model.gguf", **options: Any) -> bytes:
    options = {"token": False, "etag_timeout": 5, "endpoint": hub.url, "cache_dir": folder, **options}
    return Path(hf_hub_download(REPO, name, **options)).read_bytes()


def cdn_url(hub: HubServer, name: str = "model.gguf") -> str:
    return get_hf_file_metadata(hf_hub_url(REPO, name, endpoint=hub.url), token=False).location


def fetch(url: str, method: str = "GET", **headers: str) -> tuple[int, dict[str, str], bytes]:
    """Make one request with the standard library's client, which retries and hides nothing."""
    origin, _, path = url.removeprefix("http://").partition("/")
    connection = http.client.HTTPConnection(origin, timeout=5)
    try:
        connection.request(method, f"/{path}", headers=headers)
        answer = connection.getresponse()
        return answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read()
    finally:
        connection.close()


def test_the_description_has_sizes_hashes_and_the_licence(hub: HubServer) -> None:
    repo = hub.repos[REPO]
    info = HfApi(endpoint=hub.url, token=False).model_info(REPO, files_metadata=True)
    assert (info.id, info.sha, info.private, info.gated) == (REPO, repo.commit, False, False)
    assert "license:apache-2.0" in (info.tags or [])
    assert info.card_data is not None
    assert info.card_data["license"] == "apache-2.0"
    assert info.last_modified is not None
    files = {file.rfilename: file for file in info.siblings or []}
    assert set(files) == set(repo.files)
    model, config = files["model.gguf"], files["config.json"]
    assert model.lfs is not None
    assert (model.size, model.lfs.size, model.lfs.sha256) == (len(MODEL),) * 2 + (hashlib.sha256(MODEL).hexdigest(),)
    assert model.lfs.pointer_size == len(repo.files["model.gguf"].pointer)
    assert config.lfs is None
    assert (config.size, config.blob_id) == (len(CONFIG), hashlib.sha1(b"blob 23\0" + CONFIG).hexdigest())
    bare = HfApi(endpoint=hub.url, token=False).model_info(REPO, revision=repo.commit)
    assert [(file.size, file.lfs) for file in bare.siblings or []] == [(None, None)] * 3
    narrow = HfApi(endpoint=hub.url, token=False).model_info(REPO, expand=["sha"])
    assert (narrow.sha, narrow.siblings) == (repo.commit, None)


def test_a_tree_comes_whole_by_folder_and_in_pages(hub: HubServer) -> None:
    hub.tree_page = 2
    api = HfApi(endpoint=hub.url, token=False)
    listed = list(api.list_repo_tree(REPO, recursive=True))
    assert [entry.path for entry in listed] == ["config.json", "model.gguf", "sub", "sub/deep", "sub/deep/a b.txt"]
    assert isinstance(listed[1], RepoFile)
    assert listed[1].lfs is not None
    assert listed[1].lfs.sha256 == hashlib.sha256(MODEL).hexdigest()
    assert [type(entry) for entry in api.list_repo_tree(REPO)] == [RepoFile, RepoFile, RepoFolder]
    [deep] = api.list_repo_tree(REPO, "sub/deep", expand=True)
    assert isinstance(deep, RepoFile)
    assert deep.last_commit is not None
    assert deep.last_commit.oid == hub.repos[REPO].commit
    with pytest.raises(errors.RemoteEntryNotFoundError):
        list(api.list_repo_tree(REPO, "absent"))


def test_a_download_gives_the_bytes_and_no_token_to_the_cdn(hub: HubServer, tmp_path: Path) -> None:
    assert download(hub, tmp_path, token="hf_secret") == MODEL
    assert download(hub, tmp_path, "config.json") == CONFIG
    assert download(hub, tmp_path, "sub/deep/a b.txt") == b"text"
    assert {request.authorization for request in hub.requests_for("model.gguf", server="hub")} == {"Bearer hf_secret"}
    [request] = hub.requests_for(server="cdn")
    assert (request.method, request.authorization, request.status, request.sent) == ("GET", None, 200, len(MODEL))
    assert request.headers["host"] == f"127.0.0.1:{request.port}" == hub.cdn_url.removeprefix("http://")
    metadata = get_hf_file_metadata(hf_hub_url(REPO, "model.gguf", endpoint=hub.url), token=False)
    assert (metadata.etag, metadata.size) == (hashlib.sha256(MODEL).hexdigest(), len(MODEL))
    assert (metadata.commit_hash, metadata.xet_file_data) == (hub.repos[REPO].commit, None)


def test_the_client_works_through_the_environment(hub: HubServer, tmp_path: Path) -> None:
    code = "import huggingface_hub as h; print(h.hf_hub_download('owner/name', 'model.gguf'))"
    env = {**os.environ, "HF_ENDPOINT": hub.url, "HF_HOME": str(tmp_path), "HF_HUB_DISABLE_PROGRESS_BARS": "1"}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True, timeout=60)
    assert Path(done.stdout.strip()).read_bytes() == MODEL


def test_files_on_disk_are_served_like_those_in_memory(hub: HubServer, tmp_path: Path) -> None:
    big = tmp_path / "big.gguf"
    big.write_bytes(MODEL * 3)
    hub.publish(REPO, "model.gguf", big)
    assert download(hub, tmp_path / "cache") == MODEL * 3
    hub.fault(server="cdn", flip=-1, framing="chunked")
    _, headers, body = fetch(cdn_url(hub), Range="bytes=1000000-")
    assert headers["content-range"] == f"bytes 1000000-{len(MODEL) * 3 - 1}/{len(MODEL) * 3}"
    assert body == (MODEL * 3)[1000000:-1] + bytes([MODEL[-1] ^ 0xFF])


@pytest.mark.parametrize(
    ("requested", "part"),
    [("bytes=0-9", slice(0, 10)), ("bytes=1000-", slice(1000, None)), ("bytes=-7", slice(-7, None))],
)
def test_the_cdn_serves_parts(hub: HubServer, requested: str, part: slice) -> None:
    status, headers, body = fetch(cdn_url(hub), Range=requested)
    start, end, _ = part.indices(len(MODEL))
    assert (status, body) == (206, MODEL[part])
    assert headers["content-range"] == f"bytes {start}-{end - 1}/{len(MODEL)}"
    assert fetch(cdn_url(hub), "HEAD", Range=requested)[1] | {"date": ""} == headers | {"date": ""}


def test_a_range_beyond_the_end_and_one_that_is_ignored(hub: HubServer) -> None:
    url, etag = cdn_url(hub), f'"{hashlib.sha256(MODEL).hexdigest()}"'
    status, headers, _ = fetch(url, Range=f"bytes={len(MODEL)}-")
    assert (status, headers["content-range"]) == (416, f"bytes */{len(MODEL)}")
    assert fetch(url, **{"Range": "bytes=5-", "If-Range": etag})[0] == 206
    assert fetch(url, **{"Range": "bytes=5-", "If-Range": '"other"'})[::2] == (200, MODEL)
    hub.fault(server="cdn", ignore_range=True)
    assert fetch(url, Range="bytes=5-")[::2] == (200, MODEL)


def test_the_client_resumes_at_its_offset(hub: HubServer, tmp_path: Path) -> None:
    for ignored in (False, True):
        hub.requests.clear()
        hub.fault(server="cdn", ignore_range=ignored)
        with (tmp_path / "part").open("w+b") as file:
            file.write(MODEL[:1000])
            http_get(cdn_url(hub), file, resume_size=1000, expected_size=len(MODEL))
            file.seek(0)
            assert file.read() == MODEL
        [request] = hub.requests_for(server="cdn")
        assert (request.range, request.sent) == ("bytes=1000-", len(MODEL) if ignored else len(MODEL) - 1000)
        hub.clear_faults()


@pytest.mark.parametrize("framing", ["length", "chunked"])
def test_the_client_goes_on_after_a_cut(
    hub: HubServer, tmp_path: Path, framing: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The client stores whole chunks only, of 10 MiB by default: a cut costs it the last one.
    monkeypatch.setattr(huggingface_hub.constants, "DOWNLOAD_CHUNK_SIZE", 1 << 16)
    fault = hub.fault("model.gguf", server="cdn", cut_after=300_000, times=1, framing=framing)
    assert download(hub, tmp_path) == MODEL
    assert fault.hits == 1
    first, second = hub.requests_for(server="cdn")
    assert (first.sent, first.range) == (300_000, None)
    assert (second.range, second.sent) == (f"bytes={4 << 16}-", len(MODEL) - (4 << 16))


def test_missing_things_raise_the_clients_own_errors(hub: HubServer, tmp_path: Path) -> None:
    api = HfApi(endpoint=hub.url, token=False)
    with pytest.raises(errors.RepositoryNotFoundError, match="404"):
        api.model_info("owner/absent")
    with pytest.raises(errors.RevisionNotFoundError):
        api.model_info(REPO, revision="absent")
    with pytest.raises(errors.RevisionNotFoundError):
        download(hub, tmp_path, revision="0" * 40)
    with pytest.raises(errors.RemoteEntryNotFoundError):
        download(hub, tmp_path, "absent.gguf")
    hub.anonymous_401 = True
    with pytest.raises(errors.RepositoryNotFoundError, match="401"):
        api.model_info("owner/absent")


def test_private_and_gated_repositories_ask_for_the_token(hub: HubServer, tmp_path: Path) -> None:
    repo, api = hub.repos[REPO], HfApi(endpoint=hub.url, token=False)
    repo.token, repo.private = "hf_right", True
    with pytest.raises(errors.RepositoryNotFoundError, match="401"):
        api.model_info(REPO)
    with pytest.raises(errors.RepositoryNotFoundError, match="404"):
        api.model_info(REPO, token="hf_wrong")
    assert api.model_info(REPO, token="hf_right").private
    repo.private, repo.gated = False, "manual"
    assert api.model_info(REPO).gated == "manual"
    with pytest.raises(errors.GatedRepoError, match="not in the authorized list"):
        download(hub, tmp_path)
    with pytest.raises(errors.GatedRepoError):
        api.auth_check(REPO)
    hub.anonymous_401 = True
    with pytest.raises(errors.GatedRepoError, match="Please log in"):
        download(hub, tmp_path)
    assert download(hub, tmp_path, token="hf_right") == MODEL


def test_a_publication_leaves_the_old_commit_servable(hub: HubServer, tmp_path: Path) -> None:
    old = hub.repos[REPO].commit
    # Between the client's HEAD and GET: it downloads the version that the HEAD described.
    hub.fault("model.gguf", server="cdn", then=lambda: hub.publish(REPO, "model.gguf", b"new"), times=1)
    assert download(hub, tmp_path) == MODEL
    new = hub.repos[REPO].commit
    assert new != old
    assert download(hub, tmp_path) == b"new"
    assert download(hub, tmp_path / "other", revision=old) == MODEL
    hub.publish(REPO, "model.gguf", None)
    with pytest.raises(errors.RemoteEntryNotFoundError):
        download(hub, tmp_path / "third")
    assert sorted(hub.repos[REPO].history[new]) == sorted(["config.json", "model.gguf", "sub/deep/a b.txt"])


def test_a_claimed_hash_is_not_that_of_the_bytes(hub: HubServer, tmp_path: Path) -> None:
    hub.publish(REPO, "model.gguf", HubFile(b"something else", lfs=True, claimed_sha256="a" * 64))
    assert download(hub, tmp_path) == b"something else"
    assert cdn_url(hub)
    assert get_hf_file_metadata(hf_hub_url(REPO, "model.gguf", endpoint=hub.url), token=False).etag == "a" * 64


def test_faults_hit_the_requests_they_name(hub: HubServer) -> None:
    url = cdn_url(hub)

    def fetch_statuses(count: int = 4) -> list[int]:
        statuses = [fetch(url)[0] for _ in range(count)]
        hub.clear_faults()
        return statuses

    hub.fault("model.gguf", server="cdn", status=503, nth=2)
    assert fetch_statuses() == [200, 503, 200, 200]
    hub.fault("model.gguf", status=500, times=2)
    hub.fault("model.gguf", status=429, nth=2, times=2)
    assert fetch_statuses() == [500, 500, 429, 429]
    hub.fault("config.json", status=500)
    hub.fault(method="HEAD", status=500)
    hub.fault(server="hub", status=500)
    hub.fault(when=lambda request: request.range is not None, status=500)
    assert fetch_statuses(1) == [200]
    last = hub.requests[-1]
    assert isinstance(last, Request)
    assert (last.method, last.server, last.status) == ("GET", "cdn", 200)


def test_wrong_content(hub: HubServer) -> None:
    url = cdn_url(hub)

    def served(**fields: Any) -> tuple[int, dict[str, str], bytes]:
        hub.clear_faults()
        hub.fault(server="cdn", **fields)
        return fetch(url)

    _, headers, body = served(flip=70_000)
    assert [at for at, pair in enumerate(zip(body, MODEL, strict=True)) if pair[0] != pair[1]] == [70_000]
    assert headers["content-length"] == str(len(MODEL))
    _, headers, body = served(truncate=999)
    assert (headers["content-length"], body) == ("999", MODEL[:999])
    assert served(body=b"short")[2] == b"short"
    assert served(length_off=-100)[2] == MODEL[:-100]
    _, headers, body = served(framing="close")
    assert ("content-length" in headers, body) == (False, MODEL)
    _, headers, body = served(framing="chunked")
    assert ("content-length" in headers, headers["transfer-encoding"], body) == (False, "chunked", MODEL)
    with pytest.raises(http.client.IncompleteRead):
        served(length_off=100)
    with pytest.raises(http.client.IncompleteRead) as cut:
        served(cut_after=1234)
    assert cut.value.partial == MODEL[:1234]
    with pytest.raises(http.client.RemoteDisconnected):
        served(cut_after=-1)
    with pytest.raises(ConnectionResetError):
        served(cut_after=10, reset=True)


def test_wrong_answers(hub: HubServer, tmp_path: Path) -> None:
    api = HfApi(endpoint=hub.url, token=False)
    hub.fault("/api/", html=True, times=1)
    with pytest.raises(ValueError, match="Expecting value"):
        api.model_info(REPO)
    hub.fault("/api/", edit=lambda info: info | {"sha": "nonsense"}, times=1)
    assert api.model_info(REPO).sha == "nonsense"
    hub.fault("/api/", status=429, retry_after=7, times=1)
    with pytest.raises(errors.HfHubHTTPError, match="429") as refused:
        api.model_info(REPO)
    assert refused.value.response.headers["Retry-After"] == "7"
    hub.fault("/resolve/", headers={"x-repo-commit": None, "Content-Length": "17"})
    _, headers, _ = fetch(hf_hub_url(REPO, "config.json", endpoint=hub.url), "HEAD")
    assert ("x-repo-commit" in headers, headers["content-length"]) == (False, "17")
    hub.clear_faults()
    hub.fault("/resolve/", method="HEAD", html=True)
    with pytest.raises(errors.LocalEntryNotFoundError, match="X-Repo-Commit"):
        download(hub, tmp_path)


def test_redirects(hub: HubServer, tmp_path: Path) -> None:
    loop = hub.fault("/resolve/", redirect="loop")
    with pytest.raises(httpx2.TooManyRedirects):
        download(hub, tmp_path)
    assert loop.hits == 20
    hub.clear_faults()
    hub.fault("/resolve/", redirect="file:///etc/passwd")
    with pytest.raises(httpx2.UnsupportedProtocol):
        download(hub, tmp_path)
    hub.clear_faults()
    hub.fault("/resolve/", server="hub", redirect="other", status=307)
    assert download(hub, tmp_path, token="hf_secret") == MODEL
    assert download(hub, tmp_path, "config.json", token="hf_secret") == CONFIG
    assert [request.authorization for request in hub.requests_for(server="other")] == [None, None]
    assert {request.status for request in hub.requests_for(server="hub")} == {302, 307}


def test_slow_answers_and_a_quick_end() -> None:
    with HubServer() as hub:
        hub.add(REPO, {"model.gguf": MODEL})
        url = cdn_url(hub)
        slow: list[dict[str, Any]] = [{"stall": 0.2}, {"stall": 0.2, "stall_at": 500}, {"rate": 5e6}]
        for fields in slow:
            hub.clear_faults()
            hub.fault(server="cdn", **fields)
            began = time.monotonic()
            assert fetch(url)[2] == MODEL
            assert time.monotonic() - began >= 0.2
        hub.clear_faults()
        hub.fault(server="cdn", stall=3600, stall_at=500)
        with httpx2.stream("GET", url, timeout=5) as answer:
            pieces = answer.iter_raw()
            assert next(pieces) == MODEL[:500]
            began = time.monotonic()
            hub.close()
            assert time.monotonic() - began < 1
            with pytest.raises(httpx2.TransportError):
                list(pieces)
    assert hub.errors == []
