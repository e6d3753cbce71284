"""A real HTTP server on loopback, which records what it is asked."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from edgefc.openapi import OpenApiTools, connect

Answer = Callable[["Handler"], None]


@dataclass
class Received:
    method: str
    target: str
    headers: dict[str, str]
    body: bytes


@dataclass
class Api:
    """The server: `answers` are functions by path, `received` its requests."""

    port: int = 0
    answers: dict[str, Answer] = field(default_factory=dict)
    received: list[Received] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self.port}"

    def document(self, paths: dict[str, Any], **keys: Any) -> dict[str, Any]:
        return document(paths, **{"servers": [{"url": self.url}], **keys})

    def connect(self, paths: dict[str, Any], **options: Any) -> OpenApiTools:
        """Connect to a document whose only host is this server; `document` holds further keys of it."""
        keys = options.pop("document", {})
        return connect(self.document(paths, **keys), **{"allow_hosts": [self.host], "allow_writes": True, **options})


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    api: Api

    def _handle(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        headers = {name.lower(): value for name, value in self.headers.items()}
        self.api.received.append(Received(self.command, self.path, headers, body))
        self.api.answers.get(self.path.partition("?")[0], reply({"ok": True}))(self)

    do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = _handle  # noqa: N815 - as http.server has them

    def log_message(self, *_: Any) -> None:
        pass


def reply(content: Any, status: int = 200, kind: str = "application/json", **headers: str) -> Answer:
    data = content if isinstance(content, bytes) else json.dumps(content).encode()

    def answer(handler: Handler) -> None:
        handler.send_response(status)
        for name, value in {"Content-Type": kind, "Content-Length": str(len(data)), **headers}.items():
            handler.send_header(name, value)
        handler.end_headers()
        if handler.command != "HEAD":
            handler.wfile.write(data)

    return answer


def document(paths: dict[str, Any], *, version: str = "3.1.0", **keys: Any) -> dict[str, Any]:
    return {"openapi": version, "info": {"title": "Pets", "version": "1"}, "paths": paths, **keys}


def call(tool: Any, **arguments: Any) -> str:
    return str(asyncio.run(tool(**arguments)))


@pytest.fixture
def api() -> Iterator[Api]:
    state = Api()
    handler = type("BoundHandler", (Handler,), {"api": state})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    state.port = server.server_port
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    yield state
    server.shutdown()
    server.server_close()
    thread.join()
