"""What stands before a model in a process of its own: checks who asks, hands requests over, answers when it is gone."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import httpx2
from fastapi import FastAPI, Request
from prometheus_client import CollectorRegistry, Gauge, generate_latest
from starlette.middleware import Middleware
from starlette.responses import Response
from starlette.types import Send

from edgefc.server.access_log import HANDED_OVER, Access
from edgefc.server.app import tell_errors
from edgefc.server.errors import ApiError
from edgefc.server.metrics import MEDIA_TYPE
from edgefc.server.run import answer, listening
from edgefc.server.security import PUBLIC, Guard
from edgefc.server.settings import Settings
from edgefc.server.sse import Streamed, failure, unless_hung_up
from edgefc.server.worker.supervisor import Address, Worker

METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]
ASKED = {"accept", "content-type"}  # headers that are handed over; the others are settled here
ANSWERED = {"content-type", "retry-after", "cache-control", "x-accel-buffering", "allow"}
EVENTS = "text/event-stream"
LAST = re.compile(rb"data: \[DONE\]|event: (message_stop|error|response\.(completed|incomplete|failed))\n")
AGAIN_S = 0.05  # until it is noticed that a worker has ended


def serve_apart(worker: Worker, settings: Settings, started: Callable[[str, Address], None]) -> None:
    """Serve until SIGTERM or SIGINT; `started` is told the URL and what is served, once requests are taken.

    Raises RequestError when the address cannot be had, and ModelLoadError for a model that cannot be loaded.
    """
    with listening(settings) as (place, url):

        async def run() -> None:
            try:
                address = await worker.start()
                app = create_front(worker, settings)
                await answer(app, worker, settings, place, lambda: started(url, address))
            finally:
                await worker.end()

        asyncio.run(run())


def create_front(worker: Worker, settings: Settings) -> FastAPI:
    """The application that hands requests to a worker which is started."""
    client = httpx2.AsyncClient(timeout=None, trust_env=False, limits=httpx2.Limits())

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        async with client:
            yield

    app = FastAPI(
        openapi_url=None,
        lifespan=lifespan,
        middleware=[Middleware(Access), Middleware(Guard, settings=settings)],
    )
    tell_errors(app)
    registry = CollectorRegistry()
    restarts = Gauge("edgefc_worker_restarts", "Times the model's process was started again", registry=registry)
    restarts.set_function(lambda: worker.restarts)

    @app.api_route("/{path:path}", methods=METHODS)
    async def hand_over(request: Request) -> Response:
        if request.url.path in PUBLIC and not worker.is_ready:
            raise ApiError(503, "the model is being loaded again", code="loading")
        body = await request.body()
        try:
            answered = await unless_hung_up(request, _answered(client, worker, request, body))
        except httpx2.HTTPError:
            raise _gone() from None
        request.scope[HANDED_OVER] = True
        if answered.headers.get("content-type", "").startswith(EVENTS):
            return _Relayed(answered)
        content = answered.content
        if request.url.path.endswith("/metrics") and answered.headers.get("content-type") == MEDIA_TYPE:
            content += generate_latest(registry)
        return Response(content, answered.status_code, _kept(answered))

    return app


def _asked(client: httpx2.AsyncClient, request: Request, address: Address, body: bytes) -> httpx2.Request:
    """The same request, for the worker."""
    scope = request.scope
    target = scope["raw_path"] + (b"?" + scope["query_string"] if scope["query_string"] else b"")
    headers = {name: value for name, value in request.headers.items() if name in ASKED}
    headers |= {"authorization": f"Bearer {address.key}", "x-request-id": scope["edgefc.id"].decode()}
    url = httpx2.URL(scheme="http", host="127.0.0.1", port=address.port, raw_path=target)
    return client.build_request(request.method, url, headers=headers, content=body)


async def _answered(client: httpx2.AsyncClient, worker: Worker, request: Request, body: bytes) -> httpx2.Response:
    """The worker's answer, whole unless it is a stream. Raises httpx2.HTTPError when the worker ends meanwhile."""
    while True:
        asked = _asked(client, request, await worker.address(), body)
        try:
            answered = await client.send(asked, stream=True)
            break
        except httpx2.ConnectError:  # it has ended, without having heard of this request: the next will
            await asyncio.sleep(AGAIN_S)
    if not answered.headers.get("content-type", "").startswith(EVENTS):
        try:
            await answered.aread()
        finally:
            await answered.aclose()
    return answered


def _kept(answered: httpx2.Response) -> dict[str, str]:
    return {name: value for name, value in answered.headers.items() if name in ANSWERED}


def _gone() -> ApiError:
    return ApiError(503, "the model's process has ended; it is started again", code="model_crashed")


class _Relayed(Streamed):
    """A worker's stream. If it breaks off before its last event, an error is that; none is sent in part."""

    def __init__(self, answered: httpx2.Response) -> None:
        super().__init__(status_code=answered.status_code, headers=_kept(answered))
        del self.headers["content-length"]
        self._answered = answered

    async def send(self, send: Send, path: str) -> None:
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        rest, last, named = b"", b"", False
        try:
            async for piece in self._answered.aiter_raw():
                whole, end, rest = (rest + piece).rpartition(b"\n\n")
                if end:
                    last = whole.rpartition(b"\n\n")[2]
                    named = named or last.startswith(b"event:")
                    await send({"type": "http.response.body", "body": whole + end, "more_body": True})
        except httpx2.HTTPError:
            rest = b"" if LAST.match(last) else failure(_gone(), path, named=named)
        await send({"type": "http.response.body", "body": rest, "more_body": False})

    async def end(self) -> None:
        await self._answered.aclose()
