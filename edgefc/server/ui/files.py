"""The files of the page at `/`, and the requests that ask for them."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from starlette.types import Scope

FOLDER = Path(__file__).with_name("page")
PREFIX = "/ui/"
START = "index.html"
MEDIA_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".json": "application/json",
    ".svg": "image/svg+xml",
}


@dataclass(frozen=True, slots=True)
class PageFile:
    """One file of the page, with a tag that changes with its content."""

    media_type: str
    content: bytes
    tag: bytes


@functools.cache
def page_files() -> Mapping[str, PageFile]:
    """Read the files of the package, by the path at which a browser asks for them."""
    paths = [path for path in sorted(FOLDER.rglob("*")) if path.suffix in MEDIA_TYPES]
    files = {PREFIX + path.relative_to(FOLDER).as_posix(): _read(path) for path in paths}
    return {"/": files.pop(PREFIX + START), **files}


def _read(path: Path) -> PageFile:
    content = path.read_bytes()
    tag = hashlib.sha256(content).hexdigest()[:32]
    return PageFile(MEDIA_TYPES[path.suffix], content, f'"{tag}"'.encode())


def find_file(scope: Scope) -> PageFile | None:
    """Return the file that a request asks for; None if it is meant for the API.

    Programs ask for `/` to see if a server is running, and get a line of text; a browser names HTML in `Accept`.
    """
    if scope["type"] != "http" or scope["method"] not in {"GET", "HEAD"}:
        return None
    if scope["path"] == "/" and not _accepts_html(scope["headers"]):
        return None
    return page_files().get(scope["path"])


def _accepts_html(headers: Iterable[tuple[bytes, bytes]]) -> bool:
    return any(name == b"accept" and b"text/html" in value for name, value in headers)
