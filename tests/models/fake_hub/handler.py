"""One connection of the fake hub: writes the right answer, changed by the fault that is due."""

from __future__ import annotations

import json
import os
import socket
import struct
import time
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar
from urllib.parse import parse_qs

from tests.models.fake_hub.answers import Answer, error_answer
from tests.models.fake_hub.faults import Fault, Request
from tests.models.fake_hub.repository import BLOCK, HubFile
from tests.models.fake_hub.routes import Routes

if TYPE_CHECKING:
    from tests.models.fake_hub.server import HubServer, Origin

LINGER = "hh" if os.name == "nt" else "ii"


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # head and body are written separately
    server: Origin
    has_sendfile: ClassVar[bool] = hasattr(os, "sendfile")

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
        fault = hub.record(request)
        if fault.then is not None:
            fault.then()
        if fault.stall_at < 0:
            self.pause(fault.stall)
        if fault.cut_after is not None and fault.cut_after < 0:
            self.cut(reset=fault.reset)
            return
        answer = _with_fault(Routes(hub, request).answer(), request, fault, hub)
        start, end = 0, answer.size
        if answer.status == 200 and "Accept-Ranges" in answer.headers and not fault.ignore_range:
            start, end = self.choose_range(answer, request)
        for name, value in fault.headers.items():
            answer.headers = {other: old for other, old in answer.headers.items() if other.lower() != name.lower()}
            if value is not None:
                answer.headers[name] = value
        self.send_head(answer, request, fault, end - start)
        if request.method != "HEAD":
            self.send_body(answer, request, fault, start, end)
        if fault.cut_after is not None:
            self.cut(reset=fault.reset)
        elif fault.length_off or fault.framing == "close":
            self.close_connection = True

    def choose_range(self, answer: Answer, request: Request) -> tuple[int, int]:
        """Choose the part of the body to send; turns the answer into a 206 or 416 where necessary."""
        size = answer.size
        if request.headers.get("if-range") not in {None, answer.headers.get("ETag")}:
            return 0, size
        part = _parse_range(request.range, size)
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

    def send_head(self, answer: Answer, request: Request, fault: Fault, length: int) -> None:
        framing = {
            "length": ("Content-Length", str(length + fault.length_off)),
            "close": ("Connection", "close"),
            "chunked": ("Transfer-Encoding", "chunked"),
        }
        request.status = answer.status
        self.send_response(answer.status)
        name, value = framing[fault.framing]
        if name.lower() not in {header.lower() for header in fault.headers}:
            self.send_header(name, value)
        for name, value in answer.headers.items():
            self.send_header(name, value)
        self.end_headers()

    def send_body(self, answer: Answer, request: Request, fault: Fault, start: int, end: int) -> None:
        """Send bytes `start` to `end` with the fault's pauses, changes and early end."""
        is_chunked, began = fault.framing == "chunked", time.monotonic()
        flip = None if fault.flip is None else fault.flip % max(answer.size, 1)
        count = end - start if fault.cut_after is None else min(end - start, fault.cut_after)
        while request.sent < count:
            if fault.stall and request.sent == fault.stall_at:
                self.pause(fault.stall)
            before = request.sent
            piece = count - request.sent
            if request.sent < fault.stall_at:
                piece = min(piece, fault.stall_at - request.sent)
            if is_chunked or fault.rate:
                piece = min(piece, max(1, int((fault.rate or 50 * BLOCK) / 50)))
            if is_chunked:
                self.wfile.write(b"%x\r\n" % piece)
            self.send_piece(answer.body, request, start + before, piece, flip)
            if request.sent == before:
                raise EOFError("a file is shorter than it was")
            if is_chunked:
                self.wfile.write(b"\r\n")
            if fault.rate:
                self.pause(max(0.0, began + request.sent / fault.rate - time.monotonic()))
        if fault.stall and fault.stall_at == count:
            self.pause(fault.stall)
        if is_chunked and count == end - start:
            self.wfile.write(b"0\r\n\r\n")

    def send_piece(self, body: HubFile, request: Request, at: int, count: int, flip: int | None) -> None:
        is_flipped = flip is not None and at <= flip < at + count
        if isinstance(body.data, Path) and self.has_sendfile and not is_flipped:
            with body.data.open("rb", buffering=0) as file:
                file.seek(at)  # sendfile does not when it fails before the first byte
                try:
                    self.connection.sendfile(file, at, count)
                finally:
                    request.sent += file.tell() - at
            return
        for block in body.blocks(at, count):
            changed = bytearray(block) if is_flipped else block
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
            # Detached from the server, which would shut it down properly first.
            socket.close(self.connection.detach())


def _parse_range(value: str | None, size: int) -> tuple[int, int] | None:
    """Parse a Range header to start and end: None for the whole file, an empty one if it is unsatisfiable."""
    unit, _, spec = (value or "").partition("=")
    first, dash, last = spec.strip().partition("-")
    if unit.strip().lower() != "bytes" or not dash or not (first + last).isdigit():
        return None
    if not first:
        return max(0, size - int(last)), size
    if last and int(last) < int(first):
        return None
    return int(first), min(size, int(last) + 1) if last else size


def _with_fault(answer: Answer, request: Request, fault: Fault, hub: HubServer) -> Answer:
    """Change an answer's content, status and headers as the fault demands."""
    if fault.html:
        page = HubFile(b"<!DOCTYPE html><html><body><h1>Sign in to this network</h1></body></html>")
        return Answer(200, {"Content-Type": "text/html; charset=utf-8"}, page)
    if fault.edit is not None and answer.headers.get("Content-Type", "").startswith("application/json"):
        parsed = json.loads(b"".join(answer.body.blocks(0, answer.body.size)))
        answer.body = HubFile(json.dumps(fault.edit(parsed)).encode())
    if fault.body is not None:
        answer.body = HubFile(fault.body)
    if fault.truncate is not None:
        answer.limit = fault.truncate
    if fault.redirect is not None:
        answer = _redirect(answer, request, fault.redirect, hub)
    if fault.status is not None:
        answer = error_answer(fault.status, f"Fault {fault.status}") if fault.status >= 400 else answer
        answer.status = fault.status
    if fault.retry_after is not None:
        answer.headers["Retry-After"] = str(fault.retry_after)
    return answer


def _redirect(answer: Answer, request: Request, target: str, hub: HubServer) -> Answer:
    # The hub's headers about the file stay: a client that lacks the metadata would not follow the redirect.
    headers = {} if answer.status >= 400 else answer.headers
    if answer.status == 200 and "ETag" in headers:
        headers = {**headers, "X-Linked-Size": str(answer.size), "X-Linked-ETag": headers["ETag"]}
    headers = {name: value for name, value in headers.items() if name not in {"Accept-Ranges", "Content-Type"}}
    path, _, query = request.path.partition("?")
    if target == "loop":
        # Another address each time, so that no client finds the loop by comparing addresses.
        target = f"{path}?hop={int(parse_qs(query).get('hop', ['0'])[0]) + 1}"
    elif target == "other":
        target = hub.other_url + request.path
    return Answer(302, {**headers, "Location": target}, HubFile(b"Found"))
