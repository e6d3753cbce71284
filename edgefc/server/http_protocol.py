"""uvicorn's HTTP protocol with limits for slow and idle clients."""

from __future__ import annotations

import asyncio
import functools
import json
import time
from typing import Any, cast

import h11
from starlette.types import Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

from edgefc.server.connections import ConnectionTable, Stage
from edgefc.server.errors import ApiError
from edgefc.server.security import PUBLIC_PATHS

HEAD_TIMEOUT_S = 10.0  # for a request's head, from the connection's start or the head's first byte
READ_TIMEOUT_S = 30.0  # a client must read some of the pending output within this time
_FULL = ApiError(503, "the server has too many connections", code="too_many_connections")


class HttpProtocol(H11Protocol):
    """Closes connections that send no complete request head, or do not read their response: they block others.

    In a full table, it answers health checks only.
    """

    _head_timer: asyncio.TimerHandle | None = None
    _read_timer: asyncio.TimerHandle | None = None

    def __init__(self, table: ConnectionTable, **options: Any) -> None:
        super().__init__(**options)
        self._table, self.since = table, time.monotonic()

    @property
    def stage(self) -> Stage:
        if self.cycle is None or self.cycle.response_complete:
            return Stage.IDLE
        if self.cycle.more_body:
            return Stage.SENDING
        return Stage.WORKING if self._read_timer is None else Stage.NOT_READING

    @property
    def address(self) -> str:
        return self.client[0] if self.client else ""

    def drop(self) -> None:
        """Close the connection at once."""
        self.transport.abort()

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        if not self._table.add(self):
            transport.write(_response(_FULL))
            transport.close()
            return
        if self._table.is_full:
            self.app = _health_only_while_full(self.app, self._table)
        self._head_timer = self.loop.call_later(HEAD_TIMEOUT_S, self.transport.close)

    def data_received(self, data: bytes) -> None:
        previous = self.cycle
        super().data_received(data)
        if self.cycle is not previous:
            self.since = time.monotonic()
        is_responding = self.cycle is not None and not self.cycle.response_complete
        if self.conn.their_state is not h11.IDLE or is_responding:
            self._cancel_head_timer()
        elif self._head_timer is None:
            self._head_timer = self.loop.call_later(HEAD_TIMEOUT_S, self.transport.close)

    def on_response_complete(self) -> None:
        self.since = time.monotonic()
        super().on_response_complete()

    def pause_writing(self) -> None:
        """Watch the client: it has not read for so long that the write buffer is full."""
        super().pause_writing()
        self.since = time.monotonic()
        self._cancel_read_timer()
        self._check_reading()

    def resume_writing(self) -> None:
        super().resume_writing()
        self._cancel_read_timer()

    def connection_lost(self, exc: Exception | None) -> Any:
        self._table.remove(self)
        self._cancel_head_timer()
        self._cancel_read_timer()
        return super().connection_lost(exc)

    def _check_reading(self, previous_size: int | None = None) -> None:
        """Abort if the write buffer is as long as READ_TIMEOUT_S ago, else check again later."""
        size = self.transport.get_write_buffer_size()
        if size == previous_size:
            self.transport.abort()
        else:
            self._read_timer = self.loop.call_later(READ_TIMEOUT_S, self._check_reading, size)

    def _cancel_read_timer(self) -> None:
        if self._read_timer is not None:
            self._read_timer.cancel()
            self._read_timer = None

    def _cancel_head_timer(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None


def protocol_with(table: ConnectionTable) -> type[asyncio.Protocol]:
    """Return the protocol of a server whose connections are in `table`, as uvicorn's configuration takes it."""
    return cast("type[asyncio.Protocol]", functools.partial(HttpProtocol, table))


def _health_only_while_full(app: Any, table: ConnectionTable) -> Any:
    """Wrap an ASGI application: while the table is full, everything but health checks is refused."""

    async def serve(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"] in PUBLIC_PATHS or not table.is_full:
            await app(scope, receive, send)
        else:
            await _FULL.response(scope["path"], {"Connection": "close"})(scope, receive, send)

    return serve


def _response(error: ApiError) -> bytes:
    """Write a whole HTTP response for a request that is not read."""
    body = json.dumps(error.body("/")).encode()
    lines = (f"HTTP/1.1 {error.status} Service Unavailable", "Content-Type: application/json",
             f"Content-Length: {len(body)}", "Retry-After: 1", "Connection: close", "", "")  # fmt: skip
    return "\r\n".join(lines).encode() + body
