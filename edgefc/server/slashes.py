"""Middleware that takes a path with a slash at its end as the path without it."""

from __future__ import annotations

from starlette.types import ASGIApp, Receive, Scope, Send

ROOT = "/v1/"  # as it is


class SlashMiddleware:
    """Answers `/v1/models/` as `/v1/models`: a redirection would lose the bodies and the keys of some clients."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and (path := _without_slash(scope["path"])) != scope["path"]:
            scope = {**scope, "path": path}
        await self._app(scope, receive, send)


def _without_slash(path: str) -> str:
    shorter = path.rstrip("/") or "/"
    return ROOT if shorter + "/" == ROOT else shorter
