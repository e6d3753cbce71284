"""HTTP as uvicorn speaks it, without patience for those who do not come to the point."""

from __future__ import annotations

import asyncio
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

HEAD_S = 10.0  # for a request's head, from its first byte or the connection's beginning
READ_S = 30.0  # in which a client must take something of what waits for it


class Protocol(H11Protocol):
    """Closes connections that do not say what they want in time, or do not listen: they take places of others."""

    _late: asyncio.TimerHandle | None = None
    _deaf: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._late = self.loop.call_later(HEAD_S, self.transport.close)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        answered = self.cycle is None or self.cycle.response_complete
        if self.conn.their_state is not h11.IDLE or not answered:
            self._in_time()
        elif self._late is None:
            self._late = self.loop.call_later(HEAD_S, self.transport.close)

    def pause_writing(self) -> None:
        """The client has not read for so long that no more fits in between."""
        super().pause_writing()
        self._listens()
        self._look_again()

    def resume_writing(self) -> None:
        super().resume_writing()
        self._listens()

    def connection_lost(self, exc: Exception | None) -> Any:
        self._in_time()
        self._listens()
        return super().connection_lost(exc)

    def _look_again(self, waiting: int | None = None) -> None:
        """Cut it off if as much waits for it as did READ_S ago."""
        waits = self.transport.get_write_buffer_size()
        if waits == waiting:
            self.transport.abort()
        else:
            self._deaf = self.loop.call_later(READ_S, self._look_again, waits)

    def _listens(self) -> None:
        if self._deaf is not None:
            self._deaf.cancel()
            self._deaf = None

    def _in_time(self) -> None:
        if self._late is not None:
            self._late.cancel()
            self._late = None
