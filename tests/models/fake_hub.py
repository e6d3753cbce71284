"""A stand-in for the Hugging Face hub on this machine, for tests and benchmarks of downloads.

`HubServer` answers what the `huggingface_hub` client asks about model repositories, and misbehaves on demand.
It listens on three ports of 127.0.0.1, each an origin of its own: the hub, the CDN where the hub sends who asks for
an LFS file, and a third ("other") that only a redirecting `Fault` leads to. Xet is not offered.

    with HubServer() as hub:
        hub.add("owner/name", {"model.gguf": Path("big.gguf"), "config.json": b"{}"}, license="apache-2.0")
        hub.fault("model.gguf", server="cdn", method="GET", cut_after=1000, times=1)
        hf_hub_download("owner/name", "model.gguf", endpoint=hub.url, token=False)
        assert [seen.authorization for seen in hub.seen(server="cdn")] == [None, None]
"""

from __future__ import annotations

import hashlib
import json
import os
import socket
import struct
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cached_property
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal
from urllib.parse import parse_qs, quote, unquote

if TYPE_CHECKING:
    from typing import Self

BLOCK = 1 << 20
LINGER = "hh" if os.name == "nt" else "ii"
FIRST_COMMIT = datetime(2025, 1, 2, 3, 4, 5, tzinfo=UTC)
Data = bytes | Path
Server = Literal["hub", "cdn", "other"]


@dataclass(frozen=True)
class HubFile:
    """A file of a repository, in memory or on disk; what is on disk has to stay as it is.

    lfs             stored with LFS: known by its sha256 and served by the CDN; else known by its git blob id
    claimed_sha256  what the hub says instead of the real sha256 (a lie, or to save hashing a big file)
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
        """The text that git holds in place of an LFS file."""
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
    def mark(self) -> str:
        """What a made-up commit is made of: cheap for a big file."""
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
    gated     False, "auto" or "manual": files only for who sends `token`, the description for everybody
    private   everything only for who sends `token`
    license   goes to the tags and the card; None leaves both without one
    extra     more keys for the description, for example {"gguf": {...}}
    branches  branches and tags with their commits
    history   every commit with its files; each stays servable
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
        self.commit = self.commit or made_up_commit(sorted((name, file.mark) for name, file in self.files.items()))
        self.history[self.commit] = self.files

    def resolve(self, revision: str) -> str | None:
        """The commit that a branch, a tag or a commit's own id names."""
        revision = self.commit if revision == "main" else self.branches.get(revision, revision)
        return revision if revision in self.history else None

    def date(self, commit: str) -> str:
        """When a commit was made: an hour after the one before."""
        made = FIRST_COMMIT + timedelta(hours=list(self.history).index(commit))
        return made.strftime("%Y-%m-%dT%H:%M:%S.000Z")


@dataclass
class Request:
    """A request that arrived, and what became of it.

    path    with the query, still percent-encoded
    server  where it arrived: "hub", "cdn" or "other"
    headers by name in small letters
    status  the status that was answered, 0 if none was
    sent    bytes of the body that were handed to the connection
    at      when it arrived, by `time.monotonic`
    """

    method: str
    path: str
    server: Server
    port: int
    headers: dict[str, str]
    status: int = 0
    sent: int = 0
    at: float = field(default_factory=time.monotonic)

    @property
    def authorization(self) -> str | None:
        return self.headers.get("authorization")

    @property
    def range(self) -> str | None:
        return self.headers.get("range")


@dataclass(kw_only=True)
class Fault:
    """What goes wrong, and for which requests. The effects combine; without any the answer is right.

    Which requests (all that are given have to fit; of several faults that are due, the first added is used):
    path          a part of the path or query; a file's CDN address contains its name too, so a fault in an LFS file's
                  content needs server="cdn" and method="GET" not to be spent on the redirect or a HEAD before
    method        "GET" or "HEAD"
    server        "hub", "cdn" or "other"
    when          a further test of the request
    nth           the first fitting request that is hit, from 1; only that one unless `times` is given
    times         how many requests are hit at most; all when neither is given

    The content:
    body          served instead of the right content; ranges count within it
    edit          takes the parsed JSON of an API answer, gives what is served instead
    flip          the byte at this offset of the file is inverted (negative: from the end)
    truncate      the file ends after so many bytes, and every header agrees
    ignore_range  the whole body with status 200 for a request with a Range

    The answer:
    status        400 and above: an error with this status; else the status of the right answer is replaced
    retry_after   the Retry-After header
    headers       headers to add or replace; None removes one
    redirect      "loop" (to itself, for ever), "other" (same path at the third origin), else the Location as it is
    html          a web page with status 200, as a captive portal answers

    The connection:
    cut_after     closed after so many bytes of the body; -1: without any answer
    reset         a cut is a reset (RST, what is in flight may be lost) instead of an early end (FIN)
    stall         wait so many seconds
    stall_at      after so many bytes of the body (a cut comes after it); -1: before the answer
    length_off    added to the Content-Length that is declared
    framing       "length"; "close": no Content-Length, the end is where the connection ends; "chunked"
    rate          bytes per second

    then          called when a request is hit, before it is answered, for example to publish another commit
    hits          how many requests were hit so far
    """

    path: str = ""
    method: str | None = None
    server: Server | None = None
    when: Callable[[Request], bool] | None = None
    nth: int | None = None
    times: int | None = None

    body: Data | None = None
    edit: Callable[[Any], Any] | None = None
    flip: int | None = None
    truncate: int | None = None
    ignore_range: bool = False

    status: int | None = None
    retry_after: int | str | None = None
    headers: Mapping[str, str | None] = field(default_factory=dict)
    redirect: str | None = None
    html: bool = False

    cut_after: int | None = None
    reset: bool = False
    stall: float = 0.0
    stall_at: int = -1
    length_off: int = 0
    framing: Literal["length", "close", "chunked"] = "length"
    rate: float | None = None

    then: Callable[[], object] | None = None
    hits: int = field(default=0, init=False)
    _fitting: int = field(default=0, init=False, repr=False)

    def fits(self, request: Request) -> bool:
        return (
            self.path in request.path
            and self.method in {None, request.method}
            and self.server in {None, request.server}
            and (self.when is None or self.when(request))
        )

    def is_due(self) -> bool:
        """Counts a fitting request and says whether it is one to hit."""
        self._fitting += 1
        limit = 1 if self.nth is not None and self.times is None else self.times
        return self._fitting >= (self.nth or 1) and (limit is None or self.hits < limit)


HONEST = Fault()


class HubServer:
    """The hub, its CDN and a third origin, from construction to `close`; a context manager.

    repos          by "owner/name"
    requests       every request in the order of arrival
    errors         tracebacks of faults of this server itself; a test may assert that there are none
    url, cdn_url, other_url  the three origins, without a slash at the end

    anonymous_401  answer 401 instead of 404 for an unknown repository, and instead of 403 for a gated one, when no
                   token is sent, as the real hub does
    tree_page      how many entries of a tree go into one answer
    """

    def __init__(
        self, repos: Mapping[str, Repo] | None = None, *, anonymous_401: bool = False, tree_page: int = 1000
    ) -> None:
        self.repos = dict(repos or {})
        self.anonymous_401 = anonymous_401
        self.tree_page = tree_page
        self.requests: list[Request] = []
        self.faults: list[Fault] = []
        self.errors: list[str] = []
        self.closing = threading.Event()
        self._lock = threading.RLock()
        self._origins = {name: _Origin(self, name) for name in ("hub", "cdn", "other")}
        self.url, self.cdn_url, self.other_url = (origin.url for origin in self._origins.values())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Ends stalled answers and open connections too."""
        self.closing.set()
        stopping = [threading.Thread(target=origin.stop, daemon=True) for origin in self._origins.values()]
        for thread in stopping:
            thread.start()
        for thread in stopping:
            thread.join()

    def add(self, repo_id: str, files: Mapping[str, Data | HubFile], **fields: Any) -> Repo:
        """Adds a repository; plain data is an LFS file if the name ends in .gguf. `fields` are those of `Repo`."""
        made = {name: _as_file(data, lfs=name.endswith(".gguf")) for name, data in files.items()}
        self.repos[repo_id] = Repo(made, **fields)
        return self.repos[repo_id]

    def publish(self, repo_id: str, name: str, data: Data | HubFile | None) -> str:
        """Makes a new commit of `main` with a file changed, added or (None) removed, and gives its id."""
        with self._lock:
            repo = self.repos[repo_id]
            before = repo.files.get(name)
            files = {other: file for other, file in repo.files.items() if other != name}
            if data is not None:
                files[name] = _as_file(data, lfs=before.lfs if before else name.endswith(".gguf"))
            commit = made_up_commit([repo.commit, name, files[name].mark if name in files else None, len(repo.history)])
            repo.history[commit] = files
            repo.files, repo.commit = files, commit
            return commit

    def fault(self, path: str = "", **what: Any) -> Fault:
        """Adds a fault; `what` are the fields of `Fault`."""
        made = Fault(path=path, **what)
        with self._lock:
            self.faults.append(made)
        return made

    def clear_faults(self) -> None:
        with self._lock:
            self.faults.clear()

    def seen(self, path: str = "", *, method: str | None = None, server: Server | None = None) -> list[Request]:
        """The requests whose path contains `path`."""
        wanted = Fault(path=path, method=method, server=server)
        return [request for request in list(self.requests) if wanted.fits(request)]

    def _arrived(self, request: Request) -> Fault:
        """Records a request and gives the fault it is hit by."""
        with self._lock:
            self.requests.append(request)
            # Every fault counts its requests, also those that another one hits.
            due = [fault for fault in self.faults if fault.fits(request) and fault.is_due()]
            if not due:
                return HONEST
            due[0].hits += 1
            return due[0]


def made_up_commit(of: object) -> str:
    return hashlib.sha1(repr(of).encode()).hexdigest()


def _as_file(data: Data | HubFile, *, lfs: bool) -> HubFile:
    return data if isinstance(data, HubFile) else HubFile(data, lfs)


class _Origin(ThreadingHTTPServer):
    """One port: the hub, the CDN or the third origin."""

    block_on_close = False
    request_queue_size = 64

    def __init__(self, hub: HubServer, name: Server) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.hub, self.name = hub, name
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.connections: set[socket.socket] = set()
        threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True, name=f"{name} server").start()

    def server_bind(self) -> None:
        # HTTPServer's own asks the resolver for this machine's name, which can take seconds.
        self.socket.bind(self.server_address)
        self.server_address = self.socket.getsockname()
        self.server_name, self.server_port = self.socket.getsockname()

    def stop(self) -> None:
        self.shutdown()
        self.server_close()
        for connection in list(self.connections):
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def handle_error(self, request: Any, client_address: Any) -> None:
        # A client that goes away is no error, nor is what `close` cuts off.
        gone = OSError if self.hub.closing.is_set() else ConnectionError
        if not isinstance(sys.exc_info()[1], gone):
            self.hub.errors.append(traceback.format_exc())


@dataclass
class _Answer:
    status: int
    headers: dict[str, str]
    body: HubFile
    limit: int | None = None

    @property
    def size(self) -> int:
        return self.body.size if self.limit is None else min(self.limit, self.body.size)


def _json(value: object, **headers: str) -> _Answer:
    return _Answer(200, {"Content-Type": "application/json; charset=utf-8", **headers}, HubFile(_dump(value)))


def _dump(value: object) -> bytes:
    return json.dumps(value).encode()


def _error(status: int, message: str, code: str = "", **headers: str) -> _Answer:
    # A message may quote what was asked for, which need not be fit for a header.
    answer = _json({"error": message}, **{"X-Error-Message": quote(message, safe=" /:,.'()-"), **headers})
    answer.status = status
    if code:
        answer.headers["X-Error-Code"] = code
    return answer


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # the head and the body are written apart
    server: _Origin
    sent_by_kernel: ClassVar[bool] = hasattr(os, "sendfile")

    def setup(self) -> None:
        super().setup()
        self.server.connections.add(self.connection)

    def finish(self) -> None:
        self.server.connections.discard(self.connection)
        super().finish()

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        self.respond()

    def do_HEAD(self) -> None:
        self.respond()

    def do_POST(self) -> None:
        self.close_connection = True  # the request's body is not read
        self.respond()

    def respond(self) -> None:
        hub, headers = self.server.hub, {name.lower(): value for name, value in self.headers.items()}
        request = Request(self.command, self.path, self.server.name, self.server.server_port, headers)
        fault = hub._arrived(request)
        if fault.then is not None:
            fault.then()
        if fault.stall_at < 0:
            self.pause(fault.stall)
        if fault.cut_after is not None and fault.cut_after < 0:
            self.cut(reset=fault.reset)
            return
        answer = _spoilt(_Routes(hub, request).answer(), request, fault, hub)
        start, end = 0, answer.size
        if answer.status == 200 and "Accept-Ranges" in answer.headers and not fault.ignore_range:
            start, end = self.choose_range(answer, request)
        for name, value in fault.headers.items():
            answer.headers = {known: said for known, said in answer.headers.items() if known.lower() != name.lower()}
            if value is not None:
                answer.headers[name] = value
        self.send_head(answer, request, fault, end - start)
        if request.method != "HEAD":
            self.send_body(answer, request, fault, start, end)
        if fault.cut_after is not None:
            self.cut(reset=fault.reset)
        elif fault.length_off or fault.framing == "close":
            self.close_connection = True

    def choose_range(self, answer: _Answer, request: Request) -> tuple[int, int]:
        """The part of the body to send; makes the answer a 206 or 416 where it has to be one."""
        size = answer.size
        if request.headers.get("if-range") not in {None, answer.headers.get("ETag")}:
            return 0, size
        part = _range(request.range, size)
        if part is None:
            return 0, size
        start, end = part
        if start >= end:
            answer.status = 416
            answer.headers["Content-Range"] = f"bytes */{size}"
            return 0, 0
        answer.status = 206
        answer.headers["Content-Range"] = f"bytes {start}-{end - 1}/{size}"
        return start, end

    def send_head(self, answer: _Answer, request: Request, fault: Fault, length: int) -> None:
        framing = {
            "length": ("Content-Length", str(length + fault.length_off)),
            "close": ("Connection", "close"),
            "chunked": ("Transfer-Encoding", "chunked"),
        }
        request.status = answer.status
        self.send_response(answer.status)
        name, value = framing[fault.framing]
        if name.lower() not in {own.lower() for own in fault.headers}:
            self.send_header(name, value)
        for name, value in answer.headers.items():
            self.send_header(name, value)
        self.end_headers()

    def send_body(self, answer: _Answer, request: Request, fault: Fault, start: int, end: int) -> None:
        """Sends bytes `start` to `end` with the fault's pauses, changes and early end."""
        chunked, began = fault.framing == "chunked", time.monotonic()
        flip = None if fault.flip is None else fault.flip % max(answer.size, 1)
        count = end - start if fault.cut_after is None else min(end - start, fault.cut_after)
        while request.sent < count:
            if fault.stall and request.sent == fault.stall_at:
                self.pause(fault.stall)
            before = request.sent
            piece = count - request.sent
            if request.sent < fault.stall_at:
                piece = min(piece, fault.stall_at - request.sent)
            if chunked or fault.rate:
                piece = min(piece, max(1, int((fault.rate or 50 * BLOCK) / 50)))
            if chunked:
                self.wfile.write(b"%x\r\n" % piece)
            self.send_piece(answer.body, request, start + before, piece, flip)
            if request.sent == before:
                raise EOFError("a file is shorter than it was")
            if chunked:
                self.wfile.write(b"\r\n")
            if fault.rate:
                self.pause(max(0.0, began + request.sent / fault.rate - time.monotonic()))
        if fault.stall and fault.stall_at == count:
            self.pause(fault.stall)
        if chunked and count == end - start:
            self.wfile.write(b"0\r\n\r\n")

    def send_piece(self, body: HubFile, request: Request, at: int, count: int, flip: int | None) -> None:
        flipped = flip is not None and at <= flip < at + count
        if isinstance(body.data, Path) and self.sent_by_kernel and not flipped:
            with body.data.open("rb", buffering=0) as file:
                file.seek(at)  # not done by sendfile when it fails before the first byte
                try:
                    self.connection.sendfile(file, at, count)
                finally:
                    request.sent += file.tell() - at
            return
        for block in body.blocks(at, count):
            changed = bytearray(block) if flipped else block
            if flip is not None and at <= flip < at + len(block):
                changed[flip - at] ^= 0xFF
            self.connection.sendall(changed)
            request.sent += len(block)
            at += len(block)

    def pause(self, seconds: float) -> None:
        if self.server.hub.closing.wait(seconds):
            raise ConnectionAbortedError("the server is closing")

    def cut(self, *, reset: bool) -> None:
        self.close_connection = True
        if reset:
            # Without a wait, bytes that the client has not read yet are likely lost with the connection.
            self.pause(0.05)
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack(LINGER, 1, 0))
            # Taken from the server, which would end it properly first.
            socket.close(self.connection.detach())


def _range(value: str | None, size: int) -> tuple[int, int] | None:
    """Start and end that a Range header asks for: None for the whole, an empty one if it cannot be had."""
    unit, _, spec = (value or "").partition("=")
    first, dash, last = spec.strip().partition("-")
    if unit.strip().lower() != "bytes" or not dash or not (first + last).isdigit():
        return None
    if not first:
        return max(0, size - int(last)), size
    if last and int(last) < int(first):
        return None
    return int(first), min(size, int(last) + 1) if last else size


def _spoilt(answer: _Answer, request: Request, fault: Fault, hub: HubServer) -> _Answer:
    """The answer with a fault's wrong content, status and headers."""
    if fault.html:
        page = HubFile(b"<!DOCTYPE html><html><body><h1>Sign in to this network</h1></body></html>")
        return _Answer(200, {"Content-Type": "text/html; charset=utf-8"}, page)
    if fault.edit is not None and answer.headers.get("Content-Type", "").startswith("application/json"):
        answer.body = HubFile(_dump(fault.edit(json.loads(b"".join(answer.body.blocks(0, answer.body.size))))))
    if fault.body is not None:
        answer.body = HubFile(fault.body)
    if fault.truncate is not None:
        answer.limit = fault.truncate
    if fault.redirect is not None:
        answer = _redirected(answer, request, fault.redirect, hub)
    if fault.status is not None:
        answer = _error(fault.status, f"Fault {fault.status}") if fault.status >= 400 else answer
        answer.status = fault.status
    if fault.retry_after is not None:
        answer.headers["Retry-After"] = str(fault.retry_after)
    return answer


def _redirected(answer: _Answer, request: Request, to: str, hub: HubServer) -> _Answer:
    # What the hub says about a file stays, or the client would stop at the missing metadata and not go there.
    headers = {} if answer.status >= 400 else answer.headers
    if answer.status == 200 and "ETag" in headers:
        headers = {**headers, "X-Linked-Size": str(answer.size), "X-Linked-ETag": headers["ETag"]}
    headers = {name: value for name, value in headers.items() if name not in {"Accept-Ranges", "Content-Type"}}
    path, _, query = request.path.partition("?")
    if to == "loop":
        # Another address each time, so that no client finds the loop by comparing addresses.
        to = f"{path}?hop={int(parse_qs(query).get('hop', ['0'])[0]) + 1}"
    elif to == "other":
        to = hub.other_url + request.path
    return _Answer(302, {**headers, "Location": to}, HubFile(b"Found"))


class _Routes:
    """The right answer to a request."""

    def __init__(self, hub: HubServer, request: Request) -> None:
        self.hub, self.request = hub, request
        path, _, query = request.path.partition("?")
        self.path, self.query = path, parse_qs(query)
        kind, _, given = (request.authorization or "").partition(" ")
        self.token = given.strip() if kind.lower() == "bearer" else None

    def answer(self) -> _Answer:
        if self.request.method not in {"GET", "HEAD"}:
            return _error(405, "Method not allowed")
        parts = [unquote(part) for part in self.path.split("/")[1:]]
        if parts[:2] == ["api", "models"] and len(parts) >= 4:
            return self.api("/".join(parts[2:4]), parts[4:])
        if len(parts) >= 5 and parts[2] == "resolve":
            return self.resolve("/".join(parts[:2]), parts[3], "/".join(parts[4:]))
        if parts[0] == "blobs" and len(parts) >= 5 and self.request.server != "hub":
            return self.blob("/".join(parts[1:3]), parts[3], "/".join(parts[4:]))
        return _error(404, "Sorry, we can't find the page you are looking for.")

    def api(self, repo_id: str, rest: list[str]) -> _Answer:
        repo = self.found(repo_id)
        if isinstance(repo, _Answer):
            return repo
        if rest == ["auth-check"]:
            return self.refused(repo_id, repo) or _json({})
        kind, revision = (*rest, "main")[:2] if rest else ("revision", "main")
        commit = repo.resolve(revision)
        if kind not in {"revision", "tree"} or (kind == "revision" and len(rest) > 2):
            return _error(404, "Not found")
        if commit is None:
            return _error(404, f"Invalid rev id: {revision}", "RevisionNotFound")
        if kind == "tree":
            return self.tree(repo, commit, "/".join(rest[2:]).strip("/"))
        return self.info(repo_id, repo, commit)

    def info(self, repo_id: str, repo: Repo, commit: str) -> _Answer:
        files = repo.history[commit]
        blobs = self.flag("blobs")
        licensed = {} if repo.license is None else {"license": repo.license}
        said = {
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
            "tags": ["gguf", *(f"license:{name}" for name in licensed.values()), "region:us"],
            "cardData": licensed,
            "usedStorage": sum(file.size for file in files.values()),
            "siblings": [_sibling(name, file, blobs=blobs) for name, file in sorted(files.items())],
            **repo.extra,
        }
        if "expand" in self.query:
            wanted = {"_id", "id", *self.query["expand"]}
            said = {key: value for key, value in said.items() if key in wanted}
        return _json(said)

    def tree(self, repo: Repo, commit: str, folder: str) -> _Answer:
        files, recursive, expand = repo.history[commit], self.flag("recursive"), self.flag("expand")
        prefix = f"{folder}/" if folder else ""
        entries: dict[str, dict[str, Any]] = {}
        for name, file in sorted(files.items()):
            if not name.startswith(prefix):
                continue
            steps = name[len(prefix) :].split("/")
            for depth in range(1, len(steps) if recursive else min(len(steps), 2)):
                path = prefix + "/".join(steps[:depth])
                oid = made_up_commit([commit, path])
                entries[path] = {"type": "directory", "oid": oid, "size": 0, "path": path}
            if recursive or len(steps) == 1:
                entries[name] = _entry(name, file)
        if folder and not entries:
            return _error(404, f"{folder} does not exist on {commit}", "EntryNotFound")
        listed = list(entries.values())
        if expand:
            last = {"id": commit, "title": "A commit", "date": repo.date(commit)}
            listed = [{**entry, "lastCommit": last} for entry in listed]
        at = int(self.query.get("cursor", ["0"])[0])
        more = {}
        if at + self.hub.tree_page < len(listed):
            flags = f"recursive={str(recursive).lower()}&expand={str(expand).lower()}"
            following = f"{self.hub.url}{self.path}?{flags}&cursor={at + self.hub.tree_page}"
            more = {"Link": f'<{following}>; rel="next"'}
        return _json(listed[at : at + self.hub.tree_page], **more)

    def resolve(self, repo_id: str, revision: str, name: str) -> _Answer:
        repo = self.found(repo_id)
        if isinstance(repo, _Answer):
            return repo
        if refused := self.refused(repo_id, repo):
            return refused
        commit = repo.resolve(revision)
        if commit is None:
            return _error(404, f"Invalid rev id: {revision}", "RevisionNotFound")
        about = {"X-Repo-Commit": commit}
        file = repo.history[commit].get(name)
        if file is None:
            return _error(404, "Entry not found", "EntryNotFound", **about)
        if not file.lfs or self.request.server == "other":
            return _content(name, file, **about)
        signed = f"X-Expires=3600&X-Signature={made_up_commit(len(self.hub.requests))}"
        about |= {
            "X-Linked-Size": str(file.size),
            "X-Linked-ETag": file.etag,
            # Of the pointer: whoever takes it for the file's own finds out.
            "ETag": f'"{file.blob_id}"',
            "Accept-Ranges": "bytes",
            "Location": f"{self.hub.cdn_url}/blobs/{quote(repo_id)}/{commit}/{quote(name)}?{signed}",
        }
        return _Answer(302, about, HubFile(b"Found. Redirecting to the CDN"))

    def blob(self, repo_id: str, commit: str, name: str) -> _Answer:
        repo = self.hub.repos.get(repo_id)
        file = repo.history.get(commit, {}).get(name) if repo else None
        return _error(404, "No such object") if file is None else _content(name, file)

    def found(self, repo_id: str) -> Repo | _Answer:
        repo = self.hub.repos.get(repo_id)
        if repo is not None and (not repo.private or self.has_access(repo)):
            return repo
        if self.token is None and (repo is not None or self.hub.anonymous_401):
            return _error(401, "Invalid username or password.", "RepoNotFound")
        return _error(404, "Repository not found", "RepoNotFound")

    def refused(self, repo_id: str, repo: Repo) -> _Answer | None:
        if not repo.gated or self.has_access(repo):
            return None
        if self.token is None and self.hub.anonymous_401:
            advice = "You must have access to it and be authenticated to access it. Please log in."
            return _error(401, f"Access to model {repo_id} is restricted. {advice}", "GatedRepo")
        advice = f"Visit {self.hub.url}/{repo_id} to ask for access."
        message = f"Access to model {repo_id} is restricted and you are not in the authorized list. {advice}"
        return _error(403, message, "GatedRepo")

    def has_access(self, repo: Repo) -> bool:
        # The third origin asks nobody for a token.
        return self.request.server == "other" or (repo.token is not None and self.token == repo.token)

    def flag(self, name: str) -> bool:
        return self.query.get(name, [""])[0].lower() in {"true", "1"}


def _content(name: str, file: HubFile, **headers: str) -> _Answer:
    shown = quote(name.rpartition("/")[2])
    about = {
        "Content-Type": "application/octet-stream",
        "Content-Disposition": f"inline; filename*=UTF-8''{shown}; filename=\"{shown}\";",
        "Accept-Ranges": "bytes",
        "ETag": file.etag,
    }
    return _Answer(200, {**about, **headers}, file)


def _sibling(name: str, file: HubFile, *, blobs: bool) -> dict[str, Any]:
    if not blobs:
        return {"rfilename": name}
    said: dict[str, Any] = {"rfilename": name, "size": file.size, "blobId": file.blob_id}
    if file.lfs:
        said["lfs"] = {"sha256": file.sha256, "size": file.size, "pointerSize": len(file.pointer)}
    return said


def _entry(name: str, file: HubFile) -> dict[str, Any]:
    said: dict[str, Any] = {"type": "file", "oid": file.blob_id, "size": file.size, "path": name}
    if file.lfs:
        said["lfs"] = {"oid": file.sha256, "size": file.size, "pointerSize": len(file.pointer)}
    return said
