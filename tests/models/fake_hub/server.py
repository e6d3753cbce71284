"""The fake hub's three origins, its repositories, faults and requests."""

from __future__ import annotations

import socket
import sys
import threading
import traceback
from collections.abc import Mapping
from contextlib import suppress
from http.server import ThreadingHTTPServer
from typing import Any, Self

from tests.models.fake_hub.faults import NO_FAULT, Fault, Request, Server
from tests.models.fake_hub.handler import Handler
from tests.models.fake_hub.repository import Data, HubFile, Repo, as_file


class HubServer:
    """The hub, its CDN and a third origin, from construction to `close`; a context manager.

    repos          by "owner/name"
    requests       every request in the order of arrival
    errors         tracebacks of bugs in this server itself; a test may assert that there are none
    url, cdn_url, other_url  the three origins, without a slash at the end

    anonymous_401  answer 401 instead of 404 for an unknown repository, and instead of 403 for a gated one, when no
                   token is sent, as the real hub does
    tree_page      entries of a tree per answer
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
        self._origins = {name: Origin(self, name) for name in ("hub", "cdn", "other")}
        self.url, self.cdn_url, self.other_url = (origin.url for origin in self._origins.values())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End all origins, stalled answers and open connections included."""
        self.closing.set()
        threads = [threading.Thread(target=origin.stop, daemon=True) for origin in self._origins.values()]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def add(self, repo_id: str, files: Mapping[str, Data | HubFile], **fields: Any) -> Repo:
        """Add a repository; plain data is an LFS file if the name ends in .gguf. `fields` are those of `Repo`."""
        hub_files = {name: as_file(data, lfs=name.endswith(".gguf")) for name, data in files.items()}
        self.repos[repo_id] = Repo(hub_files, **fields)
        return self.repos[repo_id]

    def publish(self, repo_id: str, name: str, data: Data | HubFile | None) -> str:
        """Make a new commit of `main` with a file changed, added or (None) removed; returns its id."""
        with self._lock:
            return self.repos[repo_id].publish(name, data)

    def fault(self, path: str = "", **fields: Any) -> Fault:
        """Add a fault; `fields` are those of `Fault`."""
        fault = Fault(path=path, **fields)
        with self._lock:
            self.faults.append(fault)
        return fault

    def clear_faults(self) -> None:
        with self._lock:
            self.faults.clear()

    def requests_for(self, path: str = "", *, method: str | None = None, server: Server | None = None) -> list[Request]:
        """List the requests whose path contains `path`."""
        pattern = Fault(path=path, method=method, server=server)
        return [request for request in list(self.requests) if pattern.matches(request)]

    def record(self, request: Request) -> Fault:
        """Record a request and return the fault that hits it."""
        with self._lock:
            self.requests.append(request)
            # Every fault counts its requests, also those that another one hits.
            due = [fault for fault in self.faults if fault.matches(request) and fault.is_due()]
            if not due:
                return NO_FAULT
            due[0].hits += 1
            return due[0]


class Origin(ThreadingHTTPServer):
    """One port: the hub, the CDN or the third origin."""

    block_on_close = False
    request_queue_size = 64

    def __init__(self, hub: HubServer, name: Server) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
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
        # A client that goes away is no bug here, nor is an error from a connection that `close` ended.
        harmless = OSError if self.hub.closing.is_set() else ConnectionError
        if not isinstance(sys.exc_info()[1], harmless):
            self.hub.errors.append(traceback.format_exc())
