"""A recording TCP proxy between a client and the server."""

from __future__ import annotations

import json
import socket
import socketserver
import threading
from collections.abc import Iterator
from typing import Any, Self

import h11


class _Connection(socketserver.BaseRequestHandler):
    server: Tap

    def handle(self) -> None:
        sent = bytearray()
        self.server.connections.append(sent)
        with socket.create_connection(self.server.upstream) as upstream:
            backward = threading.Thread(target=_pump, args=(upstream, self.request))
            backward.start()
            _pump(self.request, upstream, sent)
            backward.join()


def _pump(source: socket.socket, target: socket.socket, record: bytearray | None = None) -> None:
    """Copy bytes, and record them, until either side closes."""
    try:
        while data := source.recv(1 << 16):
            if record is not None:
                record += data
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)
    except OSError:
        pass


class Tap(socketserver.ThreadingTCPServer):
    """Forwards to the server at `upstream` inside a `with` block, and records what clients send."""

    daemon_threads = True

    def __init__(self, upstream: tuple[str, int]) -> None:
        super().__init__(("127.0.0.1", 0), _Connection)
        self.upstream = upstream
        self.connections: list[bytearray] = []

    def __enter__(self) -> Self:
        threading.Thread(target=self.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.shutdown()
        self.server_close()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/v1"

    def requests(self) -> list[tuple[str, Any]]:
        """Return the path and JSON body of each request."""
        return [request for sent in self.connections if sent for request in _parse_requests(bytes(sent))]


def _parse_requests(sent: bytes) -> Iterator[tuple[str, Any]]:
    """Yield the requests of one connection in order."""
    parser = h11.Connection(h11.SERVER)
    parser.receive_data(sent)
    path, body = "", b""
    while (event := parser.next_event()) is not h11.NEED_DATA:
        if isinstance(event, h11.Request):
            path, body = event.target.decode(), b""
        elif isinstance(event, h11.Data):
            body += event.data
        else:
            yield path, json.loads(body or b"null")
            parser.send(h11.Response(status_code=200, headers=[("content-length", "0")]))
            parser.send(h11.EndOfMessage())
            if parser.our_state is not h11.DONE:  # the client asked for the connection to be closed
                return
            parser.start_next_cycle()
