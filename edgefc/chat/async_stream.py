"""A reply for callers in an asyncio event loop: its deltas as they are generated, or the whole of it."""

from __future__ import annotations

import asyncio
import contextvars
import threading
from collections.abc import Awaitable, Callable
from typing import Any, Generic, Self, TypeVar

from edgefc.chat.reply import ChatStream, Reply, T
from edgefc.chat.request import Request
from edgefc.errors import CancelledError
from edgefc.types import Delta

A = TypeVar("A")


class AsyncChatStream(Generic[T]):
    """Iterates over a reply's deltas with `async for`; `await stream.reply()` returns the whole.

    The request is prepared and read in a thread of its own, so that the event loop goes on. Cancelling the task that
    waits for the stream, `cancel()`, or the end of an `async with` block cancels the request.
    """

    def __init__(self, prepare: Callable[[], Request], submit: Callable[[Request], ChatStream[T]]) -> None:
        """Start in the running event loop: `prepare` checks and compiles the request, `submit` generates its answer."""
        self._reader = _Reader(prepare, submit)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Delta:
        delta = await self._wait_for(self._reader.deltas.get)
        if delta is None:
            self._reader.deltas.put_nowait(None)  # a second iteration must end as well
            self._reader.raise_error()
            raise StopAsyncIteration
        return delta

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.cancel()

    def __del__(self) -> None:
        if hasattr(self, "_reader"):
            self.cancel()

    async def started(self) -> Self:
        """Wait until the request is accepted. Raises what `Model.chat` raises before it generates."""
        await self._wait_for(self._reader.started.wait)
        if self._reader.stream is None:
            self._reader.raise_error()
        return self

    async def reply(self) -> Reply[T]:
        """Wait for the complete reply. Raises what `Model.chat` raises, and CancelledError after `cancel()`."""
        await self._wait_for(self._reader.ended.wait)
        self._reader.raise_error()
        assert self._reader.reply is not None
        return self._reader.reply

    def cancel(self) -> None:
        """Stop generating, from any thread; does nothing when the reply is complete."""
        self._reader.cancel()

    async def _wait_for(self, wait: Callable[[], Awaitable[A]]) -> A:
        try:
            return await wait()
        except asyncio.CancelledError:
            self.cancel()
            raise


class _Reader(Generic[T]):
    """Reads a stream in a thread and passes its deltas to the event loop.

    deltas   None is the end
    started  the request was submitted, or has failed
    ended    `reply` or `error` is there
    """

    def __init__(self, prepare: Callable[[], Request], submit: Callable[[Request], ChatStream[T]]) -> None:
        self._prepare, self._submit = prepare, submit
        self._loop = asyncio.get_running_loop()
        self._lock = threading.Lock()
        self._is_cancelled = False
        self.deltas: asyncio.Queue[Delta | None] = asyncio.Queue()
        self.started, self.ended = asyncio.Event(), asyncio.Event()
        self.stream: ChatStream[T] | None = None
        self.reply: Reply[T] | None = None
        self._error: BaseException | None = None
        read = contextvars.copy_context().run
        threading.Thread(target=read, args=(self._read,), name="edgefc-async-chat", daemon=True).start()

    def cancel(self) -> None:
        with self._lock:
            self._is_cancelled = True
            if self.stream is not None:
                self.stream.cancel()

    def raise_error(self) -> None:
        if self._error is not None:
            raise self._error

    def _read(self) -> None:
        try:
            request = self._prepare()
            with self._lock:
                if self._is_cancelled:
                    raise CancelledError("the request was cancelled before it was submitted")
                self.stream = self._submit(request)
            self._pass_on(self.started.set)
            for delta in self.stream:
                self._pass_on(self.deltas.put_nowait, delta)
            self.reply = self.stream.reply
        except BaseException as error:  # noqa: BLE001 - raised again where the stream is read
            self._error = error
        finally:
            for notify in (self.started.set, self.ended.set):
                self._pass_on(notify)
            self._pass_on(self.deltas.put_nowait, None)

    def _pass_on(self, function: Callable[..., object], *arguments: Any) -> None:
        try:
            self._loop.call_soon_threadsafe(function, *arguments)
        except RuntimeError:  # the loop was closed: nobody reads any more
            self.cancel()
