"""Server-sent events, and clients that hang up."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Any, TypeVar

from fastapi import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from edgefc.server import errors

T = TypeVar("T")
DONE = b"data: [DONE]\n\n"
ALIVE = b": still computing\n\n"
HEADERS = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}


class HungUpError(Exception):
    """The client is gone; nobody reads what is answered."""


async def unless_hung_up(request: Request, answer: Awaitable[T]) -> T:
    """What is awaited; cancelled, and HungUpError raised, when the client goes first."""
    working = asyncio.ensure_future(answer)
    gone = asyncio.ensure_future(_gone(request.receive))
    try:
        await asyncio.wait({working, gone}, return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            raise HungUpError
        return working.result()
    finally:
        await _end(working, gone)


class Streamed(Response):
    """An answer that is sent bit by bit, and ended when the client goes."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        sending = asyncio.ensure_future(self.send(send, scope["path"]))
        gone = asyncio.ensure_future(_gone(receive))
        try:
            await asyncio.wait({sending, gone}, return_when=asyncio.FIRST_COMPLETED)
            if sending.done():
                sending.result()
        finally:
            await _end(sending, gone)
            await self.end()

    async def send(self, send: Send, path: str) -> None:
        """Send all of it, to who asked at this path."""
        raise NotImplementedError

    async def end(self) -> None:
        """Let go of where it comes from."""
        raise NotImplementedError


class EventStream(Streamed):
    """Events as they come, and a comment now and then while none does.

    The first event is waited for before anything is sent: what is wrong with a request is an HTTP error, not an event.
    """

    media_type = "text/event-stream"

    def __init__(self, events: AsyncGenerator[dict[str, Any], None], heartbeat: float, *, named: bool = False) -> None:
        """`named`: events say their type, and the last is the end; else "[DONE]" is."""
        super().__init__(headers=HEADERS)
        del self.headers["content-length"]
        self._events, self._heartbeat, self._named = events, heartbeat, named

    async def end(self) -> None:
        await self._events.aclose()

    async def send(self, send: Send, path: str) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
        following = asyncio.ensure_future(anext(self._events))
        try:
            while True:
                done, _ = await asyncio.wait({following}, timeout=self._heartbeat)
                if not done:
                    await send({"type": "http.response.body", "body": ALIVE, "more_body": True})
                    continue
                try:
                    data = event(following.result(), named=self._named)
                except StopAsyncIteration:
                    data = b"" if self._named else DONE
                    break
                except Exception as error:  # noqa: BLE001 - told to the client, which has its 200 already
                    data = failure(errors.of(error), path, named=self._named)
                    break
                await send({"type": "http.response.body", "body": data, "more_body": True})
                following = asyncio.ensure_future(anext(self._events))
            await send({"type": "http.response.body", "body": data, "more_body": False})
        finally:
            await _end(following)


def failure(error: errors.ApiError, path: str, *, named: bool) -> bytes:
    """An error as the last event of a stream that was asked for at this path."""
    body = error.body(path)
    if named and "type" not in body:
        body = {"type": "error", **body["error"]}
    return event(body, named=named)


def event(data: dict[str, Any], *, named: bool = False) -> bytes:
    head = f"event: {data['type']}\n".encode() if named else b""
    return head + b"data: " + json.dumps(data, ensure_ascii=False, separators=(",", ":")).encode() + b"\n\n"


async def begun(events: AsyncGenerator[T, None]) -> AsyncGenerator[T, None]:
    """The same events, when the first is there; raises what keeps it from coming."""
    first = await anext(events)

    async def all_of_them() -> AsyncGenerator[T, None]:
        async with contextlib.aclosing(events):
            yield first
            async for following in events:
                yield following

    return all_of_them()


async def _gone(receive: Callable[[], Awaitable[Any]]) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _end(*tasks: asyncio.Future[Any]) -> None:
    """Cancel what still runs, and wait for it."""
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
