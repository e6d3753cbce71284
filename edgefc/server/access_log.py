"""Middleware that gives each request an id, a log line and a count. Contents of requests are never logged."""

from __future__ import annotations

import logging
import re
import secrets
import time
from collections.abc import Callable

from fastapi.routing import APIRoute
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from edgefc.server.request_record import SCOPE_KEY, RequestRecord
from edgefc.terminal import single_line

log = logging.getLogger("edgefc.server.access_log")
ID_HEADERS = (b"x-request-id", b"request-id")  # OpenAI's and Anthropic's
# Keys of the ASGI scope.
REQUEST_ID = "edgefc.request_id"
PROXIED = "edgefc.proxied"  # the request is logged by the worker process
PART_OF_PAGE = "edgefc.part_of_page"  # it follows from one that is logged
CLIENT_CLOSED_REQUEST = 499  # nginx's status for a client that disconnects before the response
MAX_PATH = 200  # characters
_ID = re.compile(rb"[0-9a-f]{16}")


class AccessLogMiddleware:
    """Logs each request when it ends; `on_response` receives its path and status."""

    def __init__(self, app: ASGIApp, on_response: Callable[[str, int], None] = lambda *_: None) -> None:
        self._app, self._on_response = app, on_response

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        start, status = time.perf_counter(), CLIENT_CLOSED_REQUEST
        request_id = next((value for name, value in scope["headers"] if name == b"x-request-id"), b"")
        if not _ID.fullmatch(request_id):
            request_id = secrets.token_hex(8).encode()
        scope[REQUEST_ID] = request_id

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = [*message["headers"], *((name, request_id) for name in ID_HEADERS)]
                message = {**message, "headers": headers}
            await send(message)

        try:
            await self._app(scope, receive, send_with_id)
        finally:
            if PROXIED not in scope and PART_OF_PAGE not in scope:
                route = scope.get("route")
                path = route.path if isinstance(route, APIRoute) else "other"
                self._on_response(path, status)
                log.info("%s", _line(scope, status, 1000 * (time.perf_counter() - start), request_id.decode()))


def _line(scope: Scope, status: int, duration_ms: float, request_id: str) -> str:
    """Return the log line of a request: time of day, method, path, status, model, tokens, milliseconds, id."""
    parts = [time.strftime("%H:%M:%S"), scope["method"], single_line(scope["path"], limit=MAX_PATH), str(status)]
    record = scope.get(SCOPE_KEY)
    if isinstance(record, RequestRecord) and record.model:
        parts.append(single_line(record.model, limit=MAX_PATH))
        if record.prompt_tokens:
            parts.append(f"{record.prompt_tokens}+{record.completion_tokens} tokens")
    return " ".join([*parts, f"{duration_ms:.1f} ms", f"id={request_id}"])
