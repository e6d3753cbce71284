"""Middleware that serves the page's files, in front of the API or of a worker."""

from __future__ import annotations

from starlette.types import ASGIApp, Receive, Scope, Send

from edgefc.server.access_log import PART_OF_PAGE
from edgefc.server.settings import Settings
from edgefc.server.ui.files import PageFile, find_file

# No script, style, picture or request from elsewhere, and none inside the HTML. No text becomes HTML: that would need
# a policy of trusted types, and there is none.
CONTENT_POLICY = (
    "default-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; object-src 'none'; "
    "require-trusted-types-for 'script'; trusted-types 'none'"
)
HEADERS = {
    "content-security-policy": CONTENT_POLICY,
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=()",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "cache-control": "no-cache",
    "vary": "Accept",
}
_RAW_HEADERS = [(name.encode(), value.encode()) for name, value in HEADERS.items()]


class PageMiddleware:
    """Answers requests for the page, if the settings have it; all others are the application's."""

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self._app, self._is_on = app, settings.ui

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        file = find_file(scope) if self._is_on else None
        if file is None:
            await self._app(scope, receive, send)
            return
        if scope["path"] != "/":
            scope[PART_OF_PAGE] = True
        await _send(file, scope, send)


async def _send(file: PageFile, scope: Scope, send: Send) -> None:
    is_known = any(name == b"if-none-match" and file.tag in value for name, value in scope["headers"])
    headers = [*_RAW_HEADERS, (b"etag", file.tag)]
    if not is_known:
        headers += [
            (b"content-type", file.media_type.encode()),
            (b"content-length", str(len(file.content)).encode()),
        ]
    body = b"" if is_known or scope["method"] == "HEAD" else file.content
    await send({"type": "http.response.start", "status": 304 if is_known else 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})
