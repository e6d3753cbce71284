"""Repositories of the fake hub: files and commits."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import Any

BLOCK = 1 << 20
FIRST_COMMIT = datetime(2025, 1, 2, 3, 4, 5, tzinfo=UTC)
Data = bytes | Path


@dataclass(frozen=True)
class HubFile:
    """A file of a repository, in memory or on disk; a file on disk must not change.

    lfs             stored with LFS: identified by its sha256 and served by the CDN; else identified by its git blob id
    claimed_sha256  stated by the hub instead of the real sha256 (a lie, or to save hashing a big file)
    """

    data: Data
    lfs: bool = False
    claimed_sha256: str | None = None

    @cached_property
    def size(self) -> int:
        return self.data.stat().st_size if isinstance(self.data, Path) else len(self.data)

    @cached_property
    def sha256(self) -> str:
        return self.claimed_sha256 or self._hash(hashlib.sha256())

    @cached_property
    def pointer(self) -> bytes:
        """The text that git stores in place of an LFS file."""
        return f"version https://git-lfs.github.com/spec/v1\noid sha256:{self.sha256}\nsize {self.size}\n".encode()

    @cached_property
    def blob_id(self) -> str:
        """The id of the git blob: of the pointer for an LFS file."""
        if self.lfs:
            return hashlib.sha1(b"blob %d\0" % len(self.pointer) + self.pointer).hexdigest()
        return self._hash(hashlib.sha1(b"blob %d\0" % self.size))

    @property
    def etag(self) -> str:
        return f'"{self.sha256 if self.lfs else self.blob_id}"'

    @property
    def fingerprint(self) -> str:
        """Identifies the content in made-up commit ids; cheap for a big file."""
        return str(self.data) if isinstance(self.data, Path) else hashlib.sha1(self.data).hexdigest()

    def blocks(self, start: int, count: int) -> Iterator[memoryview]:
        """The bytes from `start`, in pieces of at most 1 MiB."""
        if isinstance(self.data, bytes):
            view = memoryview(self.data)[start : start + count]
            yield from (view[at : at + BLOCK] for at in range(0, len(view), BLOCK))
            return
        with self.data.open("rb", buffering=0) as file:
            file.seek(start)
            while count > 0 and (block := file.read(min(BLOCK, count))):
                yield memoryview(block)
                count -= len(block)

    def _hash(self, digest: hashlib._Hash) -> str:
        for block in self.blocks(0, self.size):
            digest.update(block)
        return digest.hexdigest()


@dataclass
class Repo:
    """A model repository. Fields may change at any time; `HubServer.publish` changes `files` and `commit`.

    commit    the commit of `main`, 40 hex digits; made up when empty
    gated     False, "auto" or "manual": files need `token`, the description does not
    private   everything needs `token`
    license   goes to the tags and the card; None leaves both without one
    extra     more keys for the description, for example {"gguf": {...}}
    branches  branches and tags with their commits
    history   every commit with its files; all remain available
    """

    files: dict[str, HubFile]
    commit: str = ""
    gated: bool | str = False
    private: bool = False
    token: str | None = None
    license: str | None = "apache-2.0"
    extra: dict[str, Any] = field(default_factory=dict)
    branches: dict[str, str] = field(default_factory=dict)
    history: dict[str, dict[str, HubFile]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        content = sorted((name, file.fingerprint) for name, file in self.files.items())
        self.commit = self.commit or make_commit_id(content)
        self.history[self.commit] = self.files

    def resolve(self, revision: str) -> str | None:
        """Resolve a branch, a tag or a commit id to a commit; None when unknown."""
        revision = self.commit if revision == "main" else self.branches.get(revision, revision)
        return revision if revision in self.history else None

    def date(self, commit: str) -> str:
        """The time of a commit: an hour after the one before."""
        time = FIRST_COMMIT + timedelta(hours=list(self.history).index(commit))
        return time.strftime("%Y-%m-%dT%H:%M:%S.000Z")

    def publish(self, name: str, data: Data | HubFile | None) -> str:
        """Make a new commit of `main` with a file changed, added or (None) removed; returns its id."""
        previous = self.files.get(name)
        files = {other: file for other, file in self.files.items() if other != name}
        if data is not None:
            files[name] = as_file(data, lfs=previous.lfs if previous else name.endswith(".gguf"))
        fingerprint = files[name].fingerprint if name in files else None
        commit = make_commit_id([self.commit, name, fingerprint, len(self.history)])
        self.history[commit] = files
        self.files, self.commit = files, commit
        return commit


def make_commit_id(content: object) -> str:
    return hashlib.sha1(repr(content).encode()).hexdigest()


def as_file(data: Data | HubFile, *, lfs: bool) -> HubFile:
    return data if isinstance(data, HubFile) else HubFile(data, lfs)
