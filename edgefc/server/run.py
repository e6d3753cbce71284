"""Starts the server and ends it: the first signal lets running answers finish, the second does not."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Protocol as Interface

import uvicorn
from fastapi import FastAPI

from edgefc.errors import RequestError
from edgefc.model import Model
from edgefc.server.app import create_app
from edgefc.server.http_protocol import Protocol
from edgefc.server.jobs import Jobs
from edgefc.server.malloc_trim import give_back
from edgefc.server.model_pool import Models
from edgefc.server.settings import Settings

KEEP_ALIVE, CONNECTIONS, HEADERS = 15, 256, 32 << 10
GRACE = 5  # seconds beyond the drain in which answers that were ended are told so
SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Stoppable(Interface):
    """What answers requests: takes no more when it is `stopping`, and ends those that run when it is told to stop."""

    stopping: bool

    def stop(self) -> None: ...


class _Server(uvicorn.Server):
    """uvicorn's, which tells when it takes requests, and ends as a program should that was asked to.

    uvicorn's own raises the signal once more at its end, of which a process dies before it has cleaned up.
    """

    def __init__(self, config: uvicorn.Config, answering: Stoppable, drain: float, started: Callable[[], None]) -> None:
        super().__init__(config)
        self._answering, self._drain, self._told = answering, drain, started

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            self._told()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        loop = asyncio.get_running_loop()
        before = {number: signal.signal(number, self.handle_exit) for number in SIGNALS}
        self._loop = loop
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        del sig, frame
        if self.should_exit:
            self.force_exit = True
            self._loop.call_soon_threadsafe(self._answering.stop)
        else:
            self.should_exit = self._answering.stopping = True
            # Answers that take longer end with an error that says so.
            self._loop.call_soon_threadsafe(self._loop.call_later, self._drain, self._answering.stop)


def serve(models: Models | Model, settings: Settings, started: Callable[[str], None] = lambda _: None) -> None:
    """Serve until SIGTERM or SIGINT; `started` is told the URL once requests are taken.

    Raises RequestError when the address cannot be had.
    """
    app = create_app(models, settings)
    jobs: Jobs = app.state.service.jobs
    with listening(settings) as (place, url):
        try:
            asyncio.run(answer(app, jobs, settings, place, lambda: started(url)))
        finally:
            jobs.stop()


async def answer(
    app: FastAPI, answering: Stoppable, settings: Settings, place: socket.socket, started: Callable[[], None]
) -> None:
    """Answer what comes in at a socket, until a signal says otherwise."""
    config = uvicorn.Config(
        app,
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        ws="none",
        lifespan="on",
        timeout_keep_alive=KEEP_ALIVE,
        timeout_graceful_shutdown=round(settings.drain) + GRACE,
        limit_concurrency=CONNECTIONS,
        h11_max_incomplete_event_size=HEADERS,
        http=Protocol,
    )
    giving = asyncio.ensure_future(give_back())
    try:
        await _Server(config, answering, settings.drain, started).serve(sockets=[place])
    finally:
        giving.cancel()


@contextlib.contextmanager
def listening(settings: Settings) -> Iterator[tuple[socket.socket, str]]:
    """The socket that settings ask for, and its URL. Raises RequestError when it cannot be had."""
    with _listen(settings) as place:
        host, port = place.getsockname()[:2]
        yield place, f"http://{f'[{host}]' if ':' in host else host}:{port}"


def _listen(settings: Settings) -> socket.socket:
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((settings.host, settings.port))
    except OSError as error:
        listening.close()
        hint = "Is another server running there? Take another --port."
        raise RequestError("port", f"{settings.host}:{settings.port}: {error.strerror or error}", hint) from None
    listening.listen(128)
    listening.set_inheritable(False)
    return listening
