"""uvicorn's HTTP protocol with timeouts for slow and idle clients."""

from __future__ import annotations

import asyncio
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

HEAD_TIMEOUT_S = 10.0  # for a request's head, from the connection's start or the head's first byte
READ_TIMEOUT_S = 30.0  # a client must read some of the pending output within this time


class HttpProtocol(H11Protocol):
    """Closes connections that send no complete request head, or do not read their response: they block others."""

    _head_timer: asyncio.TimerHandle | None = None
    _read_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._head_timer = self.loop.call_later(HEAD_TIMEOUT_S, self.transport.close)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        is_responding = self.cycle is not None and not self.cycle.response_complete
        if self.conn.their_state is not h11.IDLE or is_responding:
            self._cancel_head_timer()
        elif self._head_timer is None:
            self._head_timer = self.loop.call_later(HEAD_TIMEOUT_S, self.transport.close)

    def pause_writing(self) -> None:
        """Watch the client: it has not read for so long that the write buffer is full."""
        super().pause_writing()
        self._cancel_read_timer()
        self._check_reading()

    def resume_writing(self) -> None:
        super().resume_writing()
        self._cancel_read_timer()

    def connection_lost(self, exc: Exception | None) -> Any:
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
