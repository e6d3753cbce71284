"""Requests that wait for the model, in threads of their own, seen from asyncio.

An engine's answers are read by blocking; here each is read in a thread and handed over piece by piece. Whoever stops
listening, be it because the client hung up, time is over or the server stops, cancels the request in the engine.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

from edgefc.server.errors import ApiError

T_co = TypeVar("T_co", covariant=True)
T = TypeVar("T")


class Stream(Protocol[T_co]):
    """An answer while it is generated."""

    def __iter__(self) -> Iterator[T_co]: ...

    def cancel(self) -> None:
        """Stop it; any thread may call this."""


@dataclass(frozen=True, slots=True)
class _End:
    error: BaseException | None = None


@dataclass(eq=False, slots=True)
class _Job:
    """One answer while it is read."""

    stream: Stream[Any] | None = None
    cancelled: bool = False
    pieces: asyncio.Queue[Any] = field(default_factory=asyncio.Queue)

    def cancel(self) -> None:
        self.cancelled = True
        if self.stream is not None:
            self.stream.cancel()


class Jobs:
    """At most `most` answers at a time, those that wait for the model included; more are turned away."""

    def __init__(self, most: int, timeout: float) -> None:
        self.most, self.timeout = most, timeout
        self.running: set[_Job] = set()
        self.stopping = False
        self._pool = ThreadPoolExecutor(most, thread_name_prefix="edgefc-request")

    async def pieces(self, begin: Callable[[], Stream[T]]) -> AsyncGenerator[T, None]:
        """Yields what the stream yields. Raises what it raises, and ApiError when it is turned away or out of time."""
        if self.stopping:
            raise ApiError(503, "the server is stopping", code="stopping")
        if len(self.running) >= self.most:
            raise ApiError(429, f"{self.most} requests are waiting already", code="queue_full")
        loop, job = asyncio.get_running_loop(), _Job()

        def tell(piece: Any) -> None:
            with contextlib.suppress(RuntimeError):  # the loop has ended: nobody listens any more
                loop.call_soon_threadsafe(job.pieces.put_nowait, piece)

        def work() -> None:
            try:
                job.stream = stream = begin()
                if job.cancelled:
                    stream.cancel()
                for piece in stream:
                    tell(piece)
            except BaseException as error:  # noqa: BLE001 - raised again where somebody waits for it
                tell(_End(error))
            else:
                tell(_End())

        self.running.add(job)
        try:
            work_done = loop.run_in_executor(self._pool, work)
            ends = loop.time() + self.timeout
            while True:
                try:
                    piece = await asyncio.wait_for(job.pieces.get(), ends - loop.time())
                except TimeoutError:
                    raise ApiError(408, f"the request took more than {self.timeout:.0f} s", code="timeout") from None
                if isinstance(piece, _End):
                    if piece.error is not None:
                        raise piece.error
                    await work_done
                    return
                yield piece
        finally:
            job.cancel()
            self.running.discard(job)

    def stop(self) -> None:
        """Take no more, and end those that run."""
        self.stopping = True
        for job in list(self.running):
            job.cancel()

    def close(self) -> None:
        self.stop()
        self._pool.shutdown(wait=True)
