"""An id, a line and a count for each request: what was asked and how it ended, nothing of what was said."""

from __future__ import annotations

import logging
import re
import secrets
import time
from collections.abc import Callable

from fastapi.routing import APIRoute
from starlette.types import ASGIApp, Message, Receive, Scope, Send

log = logging.getLogger("edgefc.server.access_log")
ID = re.compile(rb"[0-9a-f]{16}")
HEADERS = (b"x-request-id", b"request-id")  # OpenAI's and Anthropic's
HANDED_OVER = "edgefc.handed_over"  # in the scope of requests that another process has a line for


class Access:
    """The layer in front of everything; `answered` is told each request's path and status."""

    def __init__(self, app: ASGIApp, answered: Callable[[str, int], None] = lambda *_: None) -> None:
        self._app, self._answered = app, answered

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began, status = time.perf_counter(), 499  # as nginx calls it when the client went first
        sent = next((value for name, value in scope["headers"] if name == b"x-request-id"), b"")
        number = sent if ID.fullmatch(sent) else secrets.token_hex(8).encode()
        scope["edgefc.id"] = number

        async def noted(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message = {**message, "headers": [*message["headers"], *((name, number) for name in HEADERS)]}
            await send(message)

        try:
            await self._app(scope, receive, noted)
        finally:
            if HANDED_OVER not in scope:
                route = scope.get("route")
                path = route.path if isinstance(route, APIRoute) else "other"
                self._answered(path, status)
                spent, method = 1000 * (time.perf_counter() - began), scope["method"]
                log.info("id=%s method=%s path=%s status=%d ms=%.1f", number.decode(), method, path, status, spent)
