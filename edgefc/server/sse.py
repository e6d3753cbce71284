"""Streams of events, as server-sent events or as lines of JSON, and clients that disconnect."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncGenerator, Awaitable, Mapping
from typing import Any, TypeVar

from fastapi import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from edgefc.server.errors import ApiError

T = TypeVar("T")
DONE = b"data: [DONE]\n\n"
HEARTBEAT = b": still computing\n\n"
JSON_LINES = "application/x-ndjson"
HEADERS = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}


class ClientDisconnectedError(Exception):
    """The client disconnected before its response was ready."""


async def cancel_on_disconnect(request: Request, work: Awaitable[T]) -> T:
    """Await `work`. Cancel it and raise ClientDisconnectedError if the client disconnects first."""
    task = asyncio.ensure_future(work)
    disconnect = asyncio.ensure_future(_wait_for_disconnect(request.receive))
    try:
        await asyncio.wait({task, disconnect}, return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise ClientDisconnectedError
        return task.result()
    finally:
        await _cancel(task, disconnect)


class StreamedResponse(Response):
    """Base of responses that are sent in parts, and stop when the client disconnects."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        sending = asyncio.ensure_future(self.stream(send, scope["path"]))
        disconnect = asyncio.ensure_future(_wait_for_disconnect(receive))
        try:
            await asyncio.wait({sending, disconnect}, return_when=asyncio.FIRST_COMPLETED)
            if sending.done():
                sending.result()
        finally:
            await _cancel(sending, disconnect)
            await self.aclose()

    async def stream(self, send: Send, path: str) -> None:
        """Send the whole response to the request for `path`."""
        raise NotImplementedError

    async def aclose(self) -> None:
        """Release the source of the response."""
        raise NotImplementedError


class EventStream(StreamedResponse):
    """Sends events as they come, and a comment after `heartbeat` seconds without one.

    An exception becomes the last event: the status 200 has been sent already.
    """

    media_type = "text/event-stream"

    def __init__(
        self,
        events: AsyncGenerator[dict[str, Any], None],
        heartbeat: float,
        *,
        named: bool = False,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        """Send `events`, named by their `type` if `named`; unnamed ones are followed by "[DONE]"."""
        super().__init__(headers={**HEADERS, **(headers or {})})
        del self.headers["content-length"]
        self._events, self._heartbeat, self._named = events, heartbeat, named

    async def aclose(self) -> None:
        await self._events.aclose()

    async def stream(self, send: Send, path: str) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
        next_event = asyncio.ensure_future(anext(self._events))
        try:
            while True:
                done, _ = await asyncio.wait({next_event}, timeout=self._heartbeat)
                if not done:
                    if beat := self._beat():
                        await send({"type": "http.response.body", "body": beat, "more_body": True})
                    continue
                try:
                    data = self._event(next_event.result())
                except StopAsyncIteration:
                    data = self._end()
                    break
                except Exception as error:  # noqa: BLE001 - reported to the client as an event
                    data = self._error(ApiError.from_exception(error), path)
                    break
                await send({"type": "http.response.body", "body": data, "more_body": True})
                next_event = asyncio.ensure_future(anext(self._events))
            await send({"type": "http.response.body", "body": data, "more_body": False})
        finally:
            await _cancel(next_event)

    def _event(self, event: dict[str, Any]) -> bytes:
        return format_event(event, named=self._named)

    def _error(self, error: ApiError, path: str) -> bytes:
        return format_error(error, path, named=self._named)

    def _beat(self) -> bytes:
        return HEARTBEAT

    def _end(self) -> bytes:
        return b"" if self._named else DONE


class LineStream(EventStream):
    """Sends events as lines of JSON, as Ollama does. A silent one sends nothing: such lines have no comments."""

    media_type = JSON_LINES

    def _event(self, event: dict[str, Any]) -> bytes:
        return format_line(event)

    def _error(self, error: ApiError, path: str) -> bytes:
        return format_line(error.body(path))

    def _beat(self) -> bytes:
        return b""

    def _end(self) -> bytes:
        return b""


def format_line(event: dict[str, Any]) -> bytes:
    """Encode one event as a line of JSON."""
    return json.dumps(event, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"


def format_event(event: dict[str, Any], *, named: bool = False) -> bytes:
    """Encode one event; `named` puts its `type` into an `event:` line."""
    name = f"event: {event['type']}\n".encode() if named else b""
    return name + b"data: " + json.dumps(event, ensure_ascii=False, separators=(",", ":")).encode() + b"\n\n"


def format_error(error: ApiError, path: str, *, named: bool) -> bytes:
    """Encode an error as the last event of the stream that answers a request for `path`."""
    body = error.body(path)
    if named and "type" not in body:
        body = {"type": "error", **body["error"]}
    return format_event(body, named=named)


async def wait_for_first(events: AsyncGenerator[T, None]) -> AsyncGenerator[T, None]:
    """Wait for the first event and return a generator of all of them.

    A request that fails before its first event gets an HTTP error instead of a stream.
    """
    first = await anext(events)

    async def all_events() -> AsyncGenerator[T, None]:
        async with contextlib.aclosing(events):
            yield first
            async for event in events:
                yield event

    return all_events()


async def _wait_for_disconnect(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _cancel(*tasks: asyncio.Future[Any]) -> None:
    """Cancel tasks that still run, and wait for their end."""
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
