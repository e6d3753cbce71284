"""Blocking streams of the engine, read from asyncio.

Each stream is read in a thread, and its items are handed to the event loop. A stream is cancelled in the engine when
its reader stops: because the client disconnects, the time is up, or the server shuts down.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import AsyncGenerator, Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

from edgefc.server.errors import ApiError

T_co = TypeVar("T_co", covariant=True)
T = TypeVar("T")
S = TypeVar("S", bound="Stream[Any]")


class Stream(Protocol[T_co]):
    """An answer that is being generated."""

    def __iter__(self) -> Iterator[T_co]: ...

    def cancel(self) -> None:
        """Stop generating. Any thread may call this."""


def start_all(starts: Iterable[Callable[[], S]]) -> list[S]:
    """Start streams that are read together; if one cannot start, cancel those before it."""
    streams: list[S] = []
    try:
        for start in starts:
            streams.append(start())  # noqa: PERF401 - a comprehension would lose the started ones
    except BaseException:
        for stream in streams:
            stream.cancel()
        raise
    return streams


@dataclass(frozen=True, slots=True)
class _End:
    """The last item in a job's queue."""

    error: BaseException | None = None


@dataclass(eq=False, slots=True)
class _Job:
    """One stream that is being read in a thread."""

    stream: Stream[Any] | None = None
    cancelled: bool = False
    queue: asyncio.Queue[Any] = field(default_factory=asyncio.Queue)

    def cancel(self) -> None:
        self.cancelled = True
        if self.stream is not None:
            self.stream.cancel()


class Jobs:
    """Reads at most `max_jobs` streams at a time, including those that wait for the model; rejects further ones."""

    def __init__(self, max_jobs: int, timeout: float) -> None:
        self.max_jobs, self.timeout = max_jobs, timeout
        self.running: set[_Job] = set()
        self.stopping = False
        # Requests are checked and compiled one at a time: each thread more that does delays the event loop by 5 ms.
        self._starting = threading.Lock()
        self._pool = ThreadPoolExecutor(max_jobs, thread_name_prefix="edgefc-request")

    async def read(self, start: Callable[[], Stream[T]]) -> AsyncGenerator[T, None]:
        """Call `start` in a thread and yield the stream's items.

        Raises what the stream raises, and ApiError if the job is rejected or takes too long.
        """
        if self.stopping:
            raise ApiError(503, "the server is shutting down", code="stopping")
        if len(self.running) >= self.max_jobs:
            raise ApiError(
                429, f"the queue is full: {self.max_jobs} requests are running or waiting", code="queue_full"
            )
        loop, job = asyncio.get_running_loop(), _Job()

        def put(item: Any) -> None:
            with contextlib.suppress(RuntimeError):  # the loop is closed, and nobody reads the queue
                loop.call_soon_threadsafe(job.queue.put_nowait, item)

        def begin() -> Stream[T] | None:
            with self._starting:
                return None if job.cancelled else start()

        def work() -> None:
            try:
                if (stream := begin()) is None:
                    return
                job.stream = stream
                if job.cancelled:
                    stream.cancel()
                for item in stream:
                    put(item)
            except BaseException as error:  # noqa: BLE001 - raised again in the reader
                put(_End(error))
            else:
                put(_End())

        self.running.add(job)
        try:
            try:
                work_done = loop.run_in_executor(self._pool, work)
            except RuntimeError:
                raise ApiError(503, "the system has no thread left for the request", code="overloaded") from None
            deadline = loop.time() + self.timeout
            while True:
                try:
                    item = await asyncio.wait_for(job.queue.get(), deadline - loop.time())
                except TimeoutError:
                    raise ApiError(408, f"the request took more than {self.timeout:.0f} s", code="timeout") from None
                if isinstance(item, _End):
                    if item.error is not None:
                        raise item.error
                    await work_done
                    return
                yield item
        finally:
            job.cancel()
            self.running.discard(job)

    def stop(self) -> None:
        """Reject new jobs, and cancel those that run."""
        self.stopping = True
        for job in list(self.running):
            job.cancel()

    def close(self) -> None:
        """Stop, and wait for the threads."""
        self.stop()
        self._pool.shutdown(wait=True)
