"""Middleware that rejects forbidden requests before anything else sees them.

A web page can send requests to this machine, and read the answers if it points a host name of its own here (DNS
rebinding). So every request must name an allowed host, and a page's request must come from an allowed origin: the
server's own, which its page has, or one that the settings name.
"""

from __future__ import annotations

import hmac
from collections import Counter
from collections.abc import Iterable
from typing import Any

from starlette.types import ASGIApp, Receive, Scope, Send

from edgefc.server.bodies import DRAIN_FACTOR, BodyBudget, body_too_long, limit_body
from edgefc.server.connections import client_of
from edgefc.server.errors import ApiError
from edgefc.server.settings import LOOPBACK, Settings
from edgefc.server.ui.files import find_file
from edgefc.terminal import single_line

Headers = list[tuple[bytes, bytes]]
# Key of the ASGI scope: True for a request without a key from a web page of another origin. As a header it tells a
# worker what the process in front of it has found.
FOREIGN_PAGE = "x-edgefc-foreign-page"
PUBLIC_PATHS = {"/health", "/v1/health"}
MAX_HEADERS, MAX_HEADER_BYTES = 100, 8 << 10
MAX_SHOWN = 100  # characters of a name in an error
MAX_KEYS = 4  # tried per request
METHODS = b"GET, POST, OPTIONS"


class SecurityMiddleware:
    """Checks host, origin, API key and sizes of each request, and answers CORS preflight requests."""

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self._app = app
        self._hosts = {name.lower() for name in (*LOOPBACK, settings.host, *settings.allowed_hosts)}
        self._origins = {origin.encode() for origin in settings.allowed_origins}
        self._keys = [key.encode() for key in settings.api_keys]
        self._has_page = settings.ui
        self._max_body = settings.max_body
        # So that one client cannot fill the queue. Clients on this machine are not told apart.
        self._max_requests = max(1, (settings.parallel + settings.max_waiting) // 2)
        self._requests: Counter[str] = Counter()
        self._bodies = BodyBudget(settings.max_body)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":
            return
        headers: Headers = scope["headers"]
        origin = _first_value(headers, b"origin")
        scope[FOREIGN_PAGE] = self._is_foreign_page(headers, origin)
        cors_headers: Headers = []
        if origin is not None and origin in self._origins:
            cors_headers = [(b"access-control-allow-origin", origin), (b"vary", b"Origin")]

        async def send_with_cors(message: Any) -> None:
            if message["type"] == "http.response.start":
                message = {**message, "headers": [*message["headers"], *cors_headers]}
            await send(message)

        if error := self._find_violation(scope, headers, origin):
            await error.response(scope["path"])(scope, receive, send_with_cors)
        elif scope["method"] == "OPTIONS" and origin is not None:
            requested = _first_value(headers, b"access-control-request-headers") or b"authorization, content-type"
            allowed = [(b"access-control-allow-methods", METHODS), (b"access-control-allow-headers", requested)]
            # Not 204: some clients and proxies do not accept it as a success.
            await send_with_cors({"type": "http.response.start", "status": 200, "headers": allowed})
            await send_with_cors({"type": "http.response.body", "body": b""})
        elif (client := client_of(scope["client"][0]) if scope["client"] else "") and scope["method"] == "POST":
            await self._answer_client(client, scope, receive, send_with_cors)
        else:
            await self._answer(scope, receive, send_with_cors)

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        with self._bodies.open() as body:
            await self._app(scope, limit_body(receive, self._max_body, body), send)

    async def _answer_client(self, client: str, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a client on another machine, unless too many of its requests are running or waiting."""
        if self._requests[client] >= self._max_requests:
            reason = f"{self._max_requests} requests of this client are running or waiting"
            await ApiError(429, reason, code="client_limit").response(scope["path"])(scope, receive, send)
            return
        self._requests[client] += 1
        try:
            await self._answer(scope, receive, send)
        finally:
            self._requests[client] -= 1
            if not self._requests[client]:
                del self._requests[client]

    def _find_violation(self, scope: Scope, headers: Headers, origin: bytes | None) -> ApiError | None:
        if len(headers) > MAX_HEADERS or any(len(name) + len(value) > MAX_HEADER_BYTES for name, value in headers):
            return ApiError(431, "the headers are too many or too long")
        hosts = [value for name, value in headers if name == b"host"]
        if len(hosts) != 1 or _host_name(hosts[0]) not in self._hosts:
            name = _host_name(hosts[0]) if len(hosts) == 1 else ""
            option = f"--allowed-host {name}" if name else "--allowed-host NAME"
            reason = (
                f"the host name {_quoted(name)} is not allowed\nStart the server with {_printable(option)} to allow it."
            )
            return ApiError(403, reason, code="host_not_allowed")
        if origin is not None and origin not in self._origins and not (self._has_page and _is_own(origin, hosts[0])):
            text = _printable(origin.decode("latin-1"))
            reason = f"the origin {text!r} is not allowed\nStart the server with --allowed-origin {text} to allow it."
            return ApiError(403, reason, code="origin_not_allowed")
        is_preflight = scope["method"] == "OPTIONS" and origin is not None
        is_public = scope["path"] in PUBLIC_PATHS or (self._has_page and find_file(scope) is not None)
        needs_key = bool(self._keys) and not is_public and not is_preflight
        if needs_key and not self._has_valid_key(_api_keys(headers)):
            return ApiError(401, "a valid API key is required", code="invalid_api_key")
        length = _first_value(headers, b"content-length") or b""
        if length.isdigit() and int(length) > DRAIN_FACTOR * self._max_body:
            return ApiError(413, body_too_long(self._max_body), code="body_too_long")
        return None

    def _is_foreign_page(self, headers: Headers, origin: bytes | None) -> bool:
        if _first_value(headers, FOREIGN_PAGE.encode()) is not None:
            return True
        host = _first_value(headers, b"host")
        return not self._keys and origin is not None and not _is_own(origin, host)

    def _has_valid_key(self, keys: Iterable[bytes]) -> bool:
        """Compare all keys, so that the time does not tell which one matched, or where they differ."""
        found = False
        for key in keys:
            for valid_key in self._keys:
                found |= hmac.compare_digest(key, valid_key)
        return found


def _printable(text: str) -> str:
    return single_line(text, limit=MAX_SHOWN)


def _quoted(name: str) -> str:
    return repr(_printable(name)) if name else "of this request"


def _first_value(headers: Headers, name: bytes) -> bytes | None:
    return next((value for key, value in headers if key == name), None)


def _is_own(origin: bytes, host: bytes | None) -> bool:
    """Return True for the origin of a page that this server sent, with TLS if a proxy in front of it adds it."""
    scheme, _, name = origin.partition(b"://")
    return scheme in {b"http", b"https"} and name == host


def _host_name(host: bytes) -> str:
    """Return the name in a Host header without its port, or "" if the header is malformed."""
    text = host.decode("latin-1").strip().lower()
    if text.startswith("["):
        name, bracket, port = text[1:].partition("]")
        if not bracket or port[:1] not in {"", ":"}:
            return ""
        port = port[1:]
    else:
        name, _, port = text.partition(":")
    return name if not port or port.isdecimal() else ""


def _api_keys(headers: Headers) -> list[bytes]:
    keys = []
    for name, value in headers:
        if name == b"authorization" and value[:7].lower() == b"bearer ":
            keys.append(value[7:].strip())
        elif name == b"x-api-key":
            keys.append(value.strip())
    return keys[:MAX_KEYS]
