"""A replica: the model, and the server's ASGI application, in a process that Ray Serve keeps alive."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import Any

from ray import serve
from starlette.types import Message, Scope

from edgefc.ray.cluster import enter_folder
from edgefc.server.app import create_app
from edgefc.server.malloc_trim import trim_periodically
from edgefc.server.model_pool import ModelPool
from edgefc.server.settings import Settings

REPLICA_HEADER = "x-edgefc-replica"


@dataclass(frozen=True, slots=True)
class Call:
    """A request on its way to a replica. The process that listens has checked the client."""

    method: str
    path: str
    raw_path: bytes
    query: bytes
    headers: dict[str, str]
    body: bytes

    def scope(self) -> Scope:
        """Build the ASGI scope."""
        headers = {"host": "127.0.0.1", "content-length": str(len(self.body)), **self.headers}
        return {
            "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": self.method,
            "scheme": "http", "path": self.path, "raw_path": self.raw_path, "query_string": self.query,
            "root_path": "", "headers": [(name.encode(), value.encode("latin-1")) for name, value in headers.items()],
            "client": None, "server": None,
        }  # fmt: skip


@dataclass(frozen=True, slots=True)
class Head:
    """The beginning of an answer."""

    status: int
    headers: dict[str, str]


@dataclass(frozen=True, slots=True)
class Facts:
    """A loaded model, for the line that the server prints."""

    name: str
    family: str
    n_ctx: int


class Replica:
    """Loads a model and answers calls. Ray Serve replaces it when its process ends or its engine stops."""

    def __init__(self, model: str, options: dict[str, Any], settings: Settings, folder: str) -> None:
        """Load `model` with `options` of `edgefc.load`, whose relative paths begin in `folder`."""
        enter_folder(folder)
        logging.getLogger("edgefc.server").setLevel(logging.INFO)
        self._id = serve.get_replica_context().replica_id.unique_id
        self._pool = ModelPool([model], options)
        loaded = self._pool.load_default()
        self._facts = Facts(self._pool.entries[0].name, loaded.family.name, loaded.n_ctx)
        self._app = create_app(self._pool, settings)
        self._trimming: asyncio.Future[None] | None = None

    async def __call__(self, call: Call) -> AsyncGenerator[Head | bytes, None]:
        """Yield the head of the answer, then its body in parts. Closing the generator cancels the computation."""
        if self._trimming is None:  # the first call is the first to run in the event loop
            self._trimming = asyncio.ensure_future(trim_periodically())
        messages: asyncio.Queue[Message | None] = asyncio.Queue()
        disconnect = asyncio.Event()
        body = [call.body]

        async def receive() -> Message:
            if body:
                return {"type": "http.request", "body": body.pop(), "more_body": False}
            await disconnect.wait()
            return {"type": "http.disconnect"}

        async def send(message: Message) -> None:
            messages.put_nowait(message)

        task = asyncio.ensure_future(self._app(call.scope(), receive, send))
        task.add_done_callback(lambda _: messages.put_nowait(None))
        try:
            while (message := await messages.get()) is not None:
                if message["type"] == "http.response.start":
                    headers = {name.decode().lower(): value.decode("latin-1") for name, value in message["headers"]}
                    yield Head(message["status"], {**headers, REPLICA_HEADER: self._id})
                elif part := message.get("body", b"") + _waiting(messages):
                    yield part
        finally:
            disconnect.set()
            await asyncio.gather(task, return_exceptions=True)  # the application has answered its exception

    async def facts(self) -> Facts:
        """Return what is known of the model."""
        return self._facts

    async def problem(self) -> str:
        """Return the reason why this replica cannot answer, or ""."""
        return self._pool.problem

    async def metrics(self) -> tuple[str, bytes]:
        """Return this replica's id, and its metrics in Prometheus' text format."""
        return self._id, self._app.state.service.metrics.render()

    async def check_health(self) -> None:
        """Raise RuntimeError when the engine has stopped: Ray Serve then starts another replica."""
        if problem := self._pool.problem:
            raise RuntimeError(problem)

    def __del__(self) -> None:
        if hasattr(self, "_app"):
            self._app.state.service.close()
            self._pool.close()


def _waiting(messages: asyncio.Queue[Message | None]) -> bytes:
    """Take the parts that are there already: each one that is sent costs a message between processes."""
    parts = []
    while not messages.empty():
        message = messages.get_nowait()
        if message is None:
            messages.put_nowait(None)
            break
        parts.append(message.get("body", b""))
    return b"".join(parts)
