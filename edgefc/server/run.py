"""The server's process: at the first signal it lets running requests finish, at the second it cancels them."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import socket
import sys
from collections.abc import Callable, Coroutine, Iterator
from types import FrameType
from typing import Any, Protocol

import uvicorn
from fastapi import FastAPI

from edgefc.errors import RequestError
from edgefc.model import Model
from edgefc.server.app import create_app
from edgefc.server.connections import BACKLOG, ConnectionTable, affordable_limit, handle_accept_errors
from edgefc.server.http_protocol import protocol_with
from edgefc.server.jobs import Jobs
from edgefc.server.malloc_trim import trim_periodically
from edgefc.server.model_pool import ModelPool
from edgefc.server.settings import Settings
from edgefc.terminal import interrupts

KEEP_ALIVE_S, MAX_HEAD_BYTES = 15, 32 << 10
GRACE_S = 5  # after the drain, for cancelled requests to send their error
FORCED_GRACE_S = 1  # the same after the second signal
# After each step of the model, the engine waits for Python's lock; by default the thread of a request may keep it 5 ms.
LOCK_INTERVAL_S = 0.0005
INTERRUPTED = 130  # exit code of a process that Ctrl-C ended
SIGNALS = (signal.SIGINT, signal.SIGTERM)
OnStop = Callable[[int, bool], None]  # called with the number of running requests; True: they are cancelled


class Stoppable(Protocol):
    """Computes answers: rejects new requests while `stopping`, and cancels the running ones in `stop()`."""

    stopping: bool

    def stop(self) -> None: ...


class _Server(uvicorn.Server):
    """uvicorn's server, which reports its start and end, and shuts down gracefully.

    uvicorn itself raises the signal again at the end, which kills the process before it has cleaned up.
    """

    def __init__(
        self, config: uvicorn.Config, backend: Stoppable, drain: float, on_start: Callable[[], None], on_stop: OnStop
    ) -> None:
        super().__init__(config)
        self._backend, self._drain, self._on_start, self._on_stop = backend, drain, on_start, on_stop
        self._n_signals = 0
        self.is_interrupted = False  # by a second Ctrl-C

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            self._on_start()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        self._loop = asyncio.get_running_loop()
        previous = {number: signal.signal(number, self.handle_exit) for number in SIGNALS}
        try:
            yield
        finally:
            for number, handler in previous.items():
                signal.signal(number, self._handle_late if self._n_signals else handler)

    def _handle_late(self, _sig: int, _frame: FrameType | None) -> None:
        """Let the program that has been told to stop clean up, unless it is told for the third time."""
        self._n_signals += 1
        if self._n_signals > 2:
            os._exit(INTERRUPTED)

    def handle_exit(self, sig: int, _frame: FrameType | None) -> None:
        self._n_signals += 1
        if self._n_signals == 1:
            self.should_exit = self._backend.stopping = True
            # Requests that run longer end with an error that says so.
            self._loop.call_soon_threadsafe(self._loop.call_later, self._drain, self._backend.stop)
            self._loop.call_soon_threadsafe(self._report, False)
        elif self._n_signals == 2:
            self.is_interrupted = sig == signal.SIGINT
            # Whatever is cut off now is no error of the application.
            logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL + 1)
            self._loop.call_soon_threadsafe(self._report, True)
            self._loop.call_soon_threadsafe(self._backend.stop)
            self._loop.call_soon_threadsafe(self._loop.call_later, FORCED_GRACE_S, self._force_exit)
        else:
            os._exit(INTERRUPTED)

    def _report(self, is_forced: bool) -> None:
        self._on_stop(len(self.server_state.tasks), is_forced)

    def _force_exit(self) -> None:
        self.force_exit = True


def _ignore_stop(_running: int, _is_forced: bool) -> None:
    pass


def serve(
    models: ModelPool | Model,
    settings: Settings,
    on_start: Callable[[str], None] = lambda _: None,
    on_stop: OnStop = _ignore_stop,
) -> None:
    """Serve until SIGTERM or SIGINT; `on_start` receives the URL once the server accepts requests.

    The program should end then: of further signals, the second ends it at once.

    Raises RequestError if the address is not available, and KeyboardInterrupt after a second SIGINT.
    """
    app = create_app(models, settings)
    jobs: Jobs = app.state.service.jobs
    pool: ModelPool = app.state.service.models
    with listening_socket(settings) as (listener, url):
        try:
            task = pool.unload_idle()
            with interrupts.python_handler():
                interrupted = asyncio.run(run_app(app, jobs, settings, listener, lambda: on_start(url), on_stop, task))
        finally:
            jobs.stop()
    if interrupted:
        raise KeyboardInterrupt


async def run_app(
    app: FastAPI,
    backend: Stoppable,
    settings: Settings,
    listener: socket.socket,
    on_start: Callable[[], None],
    on_stop: OnStop = _ignore_stop,
    *background: Coroutine[Any, Any, None],
) -> bool:
    """Run the application on a listening socket until a signal, and `background` beside it.

    Returns True after a second SIGINT.
    """
    sys.setswitchinterval(LOCK_INTERVAL_S)
    table = ConnectionTable(affordable_limit())
    handle_accept_errors(asyncio.get_running_loop(), table)
    logging.getLogger("uvicorn.error").setLevel(logging.ERROR)  # a line for each malformed request otherwise
    config = uvicorn.Config(
        app,
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        ws="none",
        lifespan="on",
        timeout_keep_alive=KEEP_ALIVE_S,
        timeout_graceful_shutdown=round(settings.drain) + GRACE_S,
        backlog=BACKLOG,
        h11_max_incomplete_event_size=MAX_HEAD_BYTES,
        http=protocol_with(table),
    )
    tasks = [asyncio.ensure_future(task) for task in (trim_periodically(), *background)]
    server = _Server(config, backend, settings.drain, on_start, on_stop)
    try:
        await server.serve(sockets=[listener])
    finally:
        for task in tasks:
            task.cancel()
    return server.is_interrupted


@contextlib.contextmanager
def listening_socket(settings: Settings) -> Iterator[tuple[socket.socket, str]]:
    """Listen at the address in the settings; yields the socket and its URL. Raises RequestError if it is in use."""
    with _listen(settings) as listener:
        host, port = listener.getsockname()[:2]
        yield listener, f"http://{f'[{host}]' if ':' in host else host}:{port}"


def _listen(settings: Settings) -> socket.socket:
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    # asyncio turns Nagle's algorithm off only if the socket names its protocol. With it, a response's body waits 40 ms
    # for the client's delayed acknowledgement of the headers.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((settings.host, settings.port))
    except OSError as error:
        listener.close()
        reason = f"cannot listen on {settings.host}:{settings.port}: {error.strerror or error}"
        hint = "Another server may be running there. Choose another --port."
        raise RequestError(("port",), reason, hint) from None
    listener.listen(BACKLOG)
    listener.set_inheritable(False)
    return listener
