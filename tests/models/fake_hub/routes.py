"""The right answer to each request of the huggingface_hub client."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, quote, unquote

from tests.models.fake_hub.answers import Answer, error_answer, file_answer, json_answer
from tests.models.fake_hub.faults import Request
from tests.models.fake_hub.repository import HubFile, Repo, make_commit_id

if TYPE_CHECKING:
    from tests.models.fake_hub.server import HubServer


class Routes:
    """Answers one request from the repositories of a hub."""

    def __init__(self, hub: HubServer, request: Request) -> None:
        self.hub, self.request = hub, request
        path, _, query = request.path.partition("?")
        self.path, self.query = path, parse_qs(query)
        scheme, _, token = (request.authorization or "").partition(" ")
        self.token = token.strip() if scheme.lower() == "bearer" else None

    def answer(self) -> Answer:
        if self.request.method not in {"GET", "HEAD"}:
            return error_answer(405, "Method not allowed")
        parts = [unquote(part) for part in self.path.split("/")[1:]]
        if parts[:2] == ["api", "models"] and len(parts) >= 4:
            return self._api("/".join(parts[2:4]), parts[4:])
        if len(parts) >= 5 and parts[2] == "resolve":
            return self._resolve("/".join(parts[:2]), parts[3], "/".join(parts[4:]))
        if parts[0] == "blobs" and len(parts) >= 5 and self.request.server != "hub":
            return self._blob("/".join(parts[1:3]), parts[3], "/".join(parts[4:]))
        return error_answer(404, "Sorry, we can't find the page you are looking for.")

    def _api(self, repo_id: str, rest: list[str]) -> Answer:
        repo = self._find(repo_id)
        if isinstance(repo, Answer):
            return repo
        if rest == ["auth-check"]:
            return self._refusal(repo_id, repo) or json_answer({})
        kind, revision = (*rest, "main")[:2] if rest else ("revision", "main")
        commit = repo.resolve(revision)
        if kind not in {"revision", "tree"} or (kind == "revision" and len(rest) > 2):
            return error_answer(404, "Not found")
        if commit is None:
            return error_answer(404, f"Invalid rev id: {revision}", "RevisionNotFound")
        if kind == "tree":
            return self._tree(repo, commit, "/".join(rest[2:]).strip("/"))
        return self._info(repo_id, repo, commit)

    def _info(self, repo_id: str, repo: Repo, commit: str) -> Answer:
        files = repo.history[commit]
        blobs = self._flag("blobs")
        licence = {} if repo.license is None else {"license": repo.license}
        info = {
            "_id": hashlib.sha256(repo_id.encode()).hexdigest()[:24],
            "id": repo_id,
            "modelId": repo_id,
            "author": repo_id.partition("/")[0],
            "sha": commit,
            "lastModified": repo.date(commit),
            "createdAt": repo.date(next(iter(repo.history))),
            "private": repo.private,
            "gated": repo.gated,
            "disabled": False,
            "downloads": 0,
            "likes": 0,
            "tags": ["gguf", *(f"license:{name}" for name in licence.values()), "region:us"],
            "cardData": licence,
            "usedStorage": sum(file.size for file in files.values()),
            "siblings": [_sibling(name, file, blobs=blobs) for name, file in sorted(files.items())],
            **repo.extra,
        }
        if "expand" in self.query:
            keys = {"_id", "id", *self.query["expand"]}
            info = {key: value for key, value in info.items() if key in keys}
        return json_answer(info)

    def _tree(self, repo: Repo, commit: str, folder: str) -> Answer:
        files, recursive, expand = repo.history[commit], self._flag("recursive"), self._flag("expand")
        prefix = f"{folder}/" if folder else ""
        entries: dict[str, dict[str, Any]] = {}
        for name, file in sorted(files.items()):
            if not name.startswith(prefix):
                continue
            steps = name[len(prefix) :].split("/")
            for depth in range(1, len(steps) if recursive else min(len(steps), 2)):
                path = prefix + "/".join(steps[:depth])
                oid = make_commit_id([commit, path])
                entries[path] = {"type": "directory", "oid": oid, "size": 0, "path": path}
            if recursive or len(steps) == 1:
                entries[name] = _tree_entry(name, file)
        if folder and not entries:
            return error_answer(404, f"{folder} does not exist on {commit}", "EntryNotFound")
        listing = list(entries.values())
        if expand:
            last_commit = {"id": commit, "title": "A commit", "date": repo.date(commit)}
            listing = [{**entry, "lastCommit": last_commit} for entry in listing]
        start, page = int(self.query.get("cursor", ["0"])[0]), self.hub.tree_page
        link = {}
        if start + page < len(listing):
            flags = f"recursive={str(recursive).lower()}&expand={str(expand).lower()}"
            link = {"Link": f'<{self.hub.url}{self.path}?{flags}&cursor={start + page}>; rel="next"'}
        return json_answer(listing[start : start + page], **link)

    def _resolve(self, repo_id: str, revision: str, name: str) -> Answer:
        repo = self._find(repo_id)
        if isinstance(repo, Answer):
            return repo
        if refusal := self._refusal(repo_id, repo):
            return refusal
        commit = repo.resolve(revision)
        if commit is None:
            return error_answer(404, f"Invalid rev id: {revision}", "RevisionNotFound")
        headers = {"X-Repo-Commit": commit}
        file = repo.history[commit].get(name)
        if file is None:
            return error_answer(404, "Entry not found", "EntryNotFound", **headers)
        if not file.lfs or self.request.server == "other":
            return file_answer(name, file, **headers)
        signature = f"X-Expires=3600&X-Signature={make_commit_id(len(self.hub.requests))}"
        headers |= {
            "X-Linked-Size": str(file.size),
            "X-Linked-ETag": file.etag,
            # The pointer's: a client that mistakes it for the file's hash will notice.
            "ETag": f'"{file.blob_id}"',
            "Accept-Ranges": "bytes",
            "Location": f"{self.hub.cdn_url}/blobs/{quote(repo_id)}/{commit}/{quote(name)}?{signature}",
        }
        return Answer(302, headers, HubFile(b"Found. Redirecting to the CDN"))

    def _blob(self, repo_id: str, commit: str, name: str) -> Answer:
        repo = self.hub.repos.get(repo_id)
        file = repo.history.get(commit, {}).get(name) if repo else None
        return error_answer(404, "No such object") if file is None else file_answer(name, file)

    def _find(self, repo_id: str) -> Repo | Answer:
        repo = self.hub.repos.get(repo_id)
        if repo is not None and (not repo.private or self._has_access(repo)):
            return repo
        if self.token is None and (repo is not None or self.hub.anonymous_401):
            return error_answer(401, "Invalid username or password.", "RepoNotFound")
        return error_answer(404, "Repository not found", "RepoNotFound")

    def _refusal(self, repo_id: str, repo: Repo) -> Answer | None:
        if not repo.gated or self._has_access(repo):
            return None
        if self.token is None and self.hub.anonymous_401:
            advice = "You must have access to it and be authenticated to access it. Please log in."
            return error_answer(401, f"Access to model {repo_id} is restricted. {advice}", "GatedRepo")
        advice = f"Visit {self.hub.url}/{repo_id} to ask for access."
        message = f"Access to model {repo_id} is restricted and you are not in the authorized list. {advice}"
        return error_answer(403, message, "GatedRepo")

    def _has_access(self, repo: Repo) -> bool:
        # The third origin requires no token.
        return self.request.server == "other" or (repo.token is not None and self.token == repo.token)

    def _flag(self, name: str) -> bool:
        return self.query.get(name, [""])[0].lower() in {"true", "1"}


def _sibling(name: str, file: HubFile, *, blobs: bool) -> dict[str, Any]:
    if not blobs:
        return {"rfilename": name}
    sibling: dict[str, Any] = {"rfilename": name, "size": file.size, "blobId": file.blob_id}
    if file.lfs:
        sibling["lfs"] = {"sha256": file.sha256, "size": file.size, "pointerSize": len(file.pointer)}
    return sibling


def _tree_entry(name: str, file: HubFile) -> dict[str, Any]:
    entry: dict[str, Any] = {"type": "file", "oid": file.blob_id, "size": file.size, "path": name}
    if file.lfs:
        entry["lfs"] = {"oid": file.sha256, "size": file.size, "pointerSize": len(file.pointer)}
    return entry
