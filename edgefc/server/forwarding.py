"""Requests that another process answers: what is passed on in both directions, and streams that break off."""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Mapping

from fastapi import FastAPI, Request
from starlette.middleware import Middleware
from starlette.types import Lifespan, Send

from edgefc.server.access_log import REQUEST_ID, AccessLogMiddleware
from edgefc.server.app import add_exception_handlers
from edgefc.server.errors import ApiError
from edgefc.server.security import FOREIGN_PAGE, SecurityMiddleware
from edgefc.server.settings import Settings
from edgefc.server.sse import JSON_LINES, StreamedResponse, format_error, format_line
from edgefc.server.ui.middleware import PageMiddleware

METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]
# Headers that are forwarded; all others are handled in the process that listens.
REQUEST_HEADERS = {"accept", "content-type"}
RESPONSE_HEADERS = {"content-type", "retry-after", "cache-control", "x-accel-buffering", "allow", "x-edgefc-warning"}
MCP = "mcp-"  # headers of the Model Context Protocol begin so
STREAMS = ("text/event-stream", JSON_LINES)
LAST_EVENT = re.compile(rb"data: \[DONE\]|event: (message_stop|error|response\.(completed|incomplete|failed))\n")
LAST_LINE = re.compile(rb'\{"error":|.*"done":true[,}]')


def forwarding_app(settings: Settings, lifespan: Lifespan[FastAPI] | None = None) -> FastAPI:
    """Create an application without routes that checks clients: those of another process are behind it."""
    app = FastAPI(
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        lifespan=lifespan,
        middleware=[
            Middleware(AccessLogMiddleware),
            Middleware(SecurityMiddleware, settings=settings),
            Middleware(PageMiddleware, settings=settings),
        ],
    )
    add_exception_handlers(app)
    return app


def request_headers(request: Request) -> dict[str, str]:
    """Return the headers that a request keeps, with its id, and what is known of the page that it came from."""
    headers = {
        name: value for name, value in request.headers.items() if name in REQUEST_HEADERS or name.startswith(MCP)
    }
    if request.scope[FOREIGN_PAGE]:
        headers[FOREIGN_PAGE] = "1"
    return headers | {"x-request-id": request.scope[REQUEST_ID].decode()}


def response_headers(headers: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Return the headers that an answer keeps; their names are in lower case."""
    return {name: value for name, value in headers if name in RESPONSE_HEADERS}


def is_stream(headers: Mapping[str, str]) -> bool:
    """Return True for an answer that is sent in parts."""
    return headers.get("content-type", "").startswith(STREAMS)


class ForwardedStream(StreamedResponse):
    """Forwards whole events of another process's stream; adds an error event if it breaks off before its last.

    `chunks` raises ApiError where the stream breaks off. `close` ends the stream, also one that was never read.
    """

    def __init__(
        self,
        chunks: AsyncGenerator[bytes, None],
        status: int,
        headers: Mapping[str, str],
        close: Callable[[], Awaitable[None]],
    ) -> None:
        super().__init__(status_code=status, headers=headers)
        del self.headers["content-length"]
        self._chunks, self._close = chunks, close
        self._is_lines = headers["content-type"].startswith(JSON_LINES)

    async def stream(self, send: Send, path: str) -> None:
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        rest, last_event, named = b"", b"", False
        end = b"\n" if self._is_lines else b"\n\n"
        try:
            async for chunk in self._chunks:
                events, separator, rest = (rest + chunk).rpartition(end)
                if separator:
                    last_event = events.rpartition(end)[2]
                    named = named or last_event.startswith(b"event:")
                    await send({"type": "http.response.body", "body": events + separator, "more_body": True})
        except ApiError as error:
            is_complete = (LAST_LINE if self._is_lines else LAST_EVENT).match(last_event)
            rest = b"" if is_complete else self._format(error, path, named=named)
        await send({"type": "http.response.body", "body": rest, "more_body": False})

    def _format(self, error: ApiError, path: str, *, named: bool) -> bytes:
        return format_line(error.body(path)) if self._is_lines else format_error(error, path, named=named)

    async def aclose(self) -> None:
        await self._chunks.aclose()
        await self._close()
