"""Who may ask: the ASGI layer in front of everything.

A page in a browser can make requests to this machine, and by a name that it points here (DNS rebinding) read what is
answered. So every request must name a host that is known, and a page must be of an origin that was allowed.
"""

from __future__ import annotations

import asyncio
import hmac
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

from starlette.exceptions import HTTPException

from edgefc.server.errors import ApiError
from edgefc.server.settings import LOOPBACK, Settings

Scope = dict[str, Any]
Receive = Callable[[], Awaitable[Any]]
Send = Callable[[Any], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]
PUBLIC = {"/health", "/v1/health"}
MOST_HEADERS, LONGEST_HEADER = 100, 8 << 10
BODY_S = 30.0
DRAINED = 4  # bodies that are up to so many times too long are read to their end: who still sends reads no answer
METHODS = b"GET, POST, OPTIONS"


class Guard:
    """Refuses what is not allowed, before any of it is read; answers browsers' questions beforehand (CORS)."""

    def __init__(self, app: App, settings: Settings) -> None:
        self._app = app
        self._hosts = {name.lower() for name in (*LOOPBACK, settings.host, *settings.allowed_hosts)}
        self._origins = {origin.encode() for origin in settings.allowed_origins}
        self._keys = [key.encode() for key in settings.api_keys]
        self._most = settings.max_body

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":
            return
        headers: list[tuple[bytes, bytes]] = scope["headers"]
        origin = _one(headers, b"origin")
        more: list[tuple[bytes, bytes]] = []
        if origin is not None and origin in self._origins:
            more = [(b"access-control-allow-origin", origin), (b"vary", b"Origin")]

        async def marked(message: Any) -> None:
            if message["type"] == "http.response.start":
                message = {**message, "headers": [*message["headers"], *more]}
            await send(message)

        if problem := self._problem(scope, headers, origin):
            await problem.response(scope["path"])(scope, receive, marked)
        elif scope["method"] == "OPTIONS" and origin is not None:
            wanted = _one(headers, b"access-control-request-headers") or b"authorization, content-type"
            allowed = [(b"access-control-allow-methods", METHODS), (b"access-control-allow-headers", wanted)]
            # Not 204, which not every client and proxy takes for a yes.
            await marked({"type": "http.response.start", "status": 200, "headers": allowed})
            await marked({"type": "http.response.body", "body": b""})
        else:
            await self._app(scope, _bounded(receive, self._most), marked)

    def _problem(self, scope: Scope, headers: list[tuple[bytes, bytes]], origin: bytes | None) -> ApiError | None:
        if len(headers) > MOST_HEADERS or any(len(n) + len(v) > LONGEST_HEADER for n, v in headers):
            return ApiError(431, "too many or too long headers")
        hosts = [value for name, value in headers if name == b"host"]
        if len(hosts) != 1 or _name(hosts[0]) not in self._hosts:
            return ApiError(403, "this host name is not allowed", code="host_not_allowed")
        if origin is not None and origin not in self._origins:
            return ApiError(403, "this origin is not allowed", code="origin_not_allowed")
        preflight = scope["method"] == "OPTIONS" and origin is not None
        if self._keys and scope["path"] not in PUBLIC and not preflight and not self._is_known(_sent_keys(headers)):
            return ApiError(401, "a valid API key is needed", code="invalid_api_key")
        length = _one(headers, b"content-length") or b""
        if length.isdigit() and int(length) > DRAINED * self._most:
            return ApiError(413, _too_long(self._most), code="body_too_long")
        return None

    def _is_known(self, sent: Iterable[bytes]) -> bool:
        """In the same time whether or not, and wherever, a key differs."""
        found = False
        for one in sent:
            for key in self._keys:
                found |= hmac.compare_digest(one, key)
        return found


def _too_long(most: int) -> str:
    return f"the body is longer than the {most:,} bytes that are taken"


def _bounded(receive: Receive, most: int) -> Receive:
    """The same, until the body is there for no longer than BODY_S, and if it has no more than `most` bytes."""
    loop = asyncio.get_running_loop()
    ends, whole, size = loop.time() + BODY_S, False, 0

    async def received() -> Any:
        nonlocal whole, size
        if whole:
            return await receive()
        while True:
            try:
                message = await asyncio.wait_for(receive(), ends - loop.time())
            except TimeoutError:
                raise HTTPException(408, f"the body did not come within {BODY_S:.0f} s") from None
            whole = message["type"] != "http.request" or not message.get("more_body", False)
            size += len(message.get("body", b""))
            if size <= most:
                return message
            if whole or size > DRAINED * most:
                raise HTTPException(413, _too_long(most))

    return received


def _one(headers: list[tuple[bytes, bytes]], name: bytes) -> bytes | None:
    return next((value for key, value in headers if key == name), None)


def _name(host: bytes) -> str:
    """A Host header's name, without its port."""
    text = host.decode("latin-1").strip().lower()
    if text.startswith("["):
        name, closed, port = text[1:].partition("]")
        if not closed or port[:1] not in {"", ":"}:
            return ""
        port = port[1:]
    else:
        name, _, port = text.partition(":")
    return name if not port or port.isdecimal() else ""


def _sent_keys(headers: list[tuple[bytes, bytes]]) -> list[bytes]:
    sent = []
    for name, value in headers:
        if name == b"authorization" and value[:7].lower() == b"bearer ":
            sent.append(value[7:].strip())
        elif name == b"x-api-key":
            sent.append(value.strip())
    return sent[:4]
