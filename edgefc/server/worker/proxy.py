"""Reverse proxy in front of a worker process: it checks requests, forwards them, and answers if the worker crashes."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import asynccontextmanager

import httpx2
from fastapi import FastAPI, Request
from prometheus_client import CollectorRegistry, Gauge, generate_latest
from starlette.responses import JSONResponse, Response

from edgefc.server.access_log import PROXIED
from edgefc.server.errors import ApiError
from edgefc.server.forwarding import (
    METHODS,
    ForwardedStream,
    forwarding_app,
    is_stream,
    request_headers,
    response_headers,
)
from edgefc.server.metrics import MEDIA_TYPE
from edgefc.server.run import OnStop, listening_socket, run_app
from edgefc.server.security import PUBLIC_PATHS
from edgefc.server.settings import Settings
from edgefc.server.sse import cancel_on_disconnect
from edgefc.server.worker.supervisor import WorkerInfo, WorkerSupervisor
from edgefc.terminal import interrupts

METRICS_TIMEOUT_S = 2.0  # until the worker's metrics are left out
RETRY_S = 0.05  # until the supervisor has noticed that the worker ended


def serve_with_worker(
    worker: WorkerSupervisor,
    settings: Settings,
    on_start: Callable[[str, WorkerInfo], None],
    on_stop: OnStop = lambda *_: None,
) -> None:
    """Serve until SIGTERM or SIGINT; `on_start` receives the URL and the worker once the server accepts requests.

    Raises RequestError if the address is not available, ModelLoadError if the model cannot be loaded, and
    KeyboardInterrupt after a second SIGINT.
    """
    with listening_socket(settings) as (listener, url):

        async def run() -> bool:
            try:
                info = await worker.start()
                app = create_proxy(worker, settings)
                return await run_app(app, worker, settings, listener, lambda: on_start(url, info), on_stop)
            finally:
                await worker.close()

        with interrupts.python_handler():
            is_interrupted = asyncio.run(run())
        if is_interrupted:
            raise KeyboardInterrupt


def create_proxy(worker: WorkerSupervisor, settings: Settings) -> FastAPI:
    """Create the application that forwards requests to a started worker."""
    client = httpx2.AsyncClient(timeout=None, trust_env=False, limits=httpx2.Limits(max_keepalive_connections=16))

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        async with client:
            yield

    app = forwarding_app(settings, lifespan)
    _add_status_routes(app, client, worker)

    @app.api_route("/{path:path}", methods=METHODS)
    async def forward(request: Request) -> Response:
        body = await request.body()
        try:
            response = await cancel_on_disconnect(request, _send(client, worker, request, body))
        except httpx2.HTTPError:
            await worker.wait_for_exit()
            raise _crash_error() from None
        request.scope[PROXIED] = True
        headers = response_headers(response.headers.items())
        if is_stream(response.headers):
            return ForwardedStream(_chunks(response, worker), response.status_code, headers, response.aclose)
        return Response(response.content, response.status_code, headers)

    return app


def _add_status_routes(app: FastAPI, client: httpx2.AsyncClient, worker: WorkerSupervisor) -> None:
    """Add /health and /metrics, which answer also while the worker does not."""
    registry = CollectorRegistry()
    restarts = Gauge("edgefc_worker_restarts", "Restarts of the model's process", registry=registry)
    restarts.set_function(lambda: worker.restarts)
    is_up = Gauge("edgefc_worker_up", "1 if the model's process responds, else 0", registry=registry)
    is_up.set_function(lambda: worker.is_ready and not worker.problem)

    async def health() -> Response:
        """Answer from what the heartbeat tells, at once."""
        if worker.stopping:
            raise ApiError(503, "the server is shutting down", code="stopping")
        if not worker.is_ready:
            raise ApiError(503, "the model's process is restarting", code="loading")
        if worker.problem:
            raise ApiError(503, worker.problem, code="not_responding")
        return JSONResponse({"status": "ok"})

    async def metrics(request: Request) -> Response:
        """Answer with the worker's metrics if it responds, and with those of this process."""
        content = b""
        if worker.is_ready and not worker.problem:
            with contextlib.suppress(httpx2.HTTPError, TimeoutError):
                response = await asyncio.wait_for(_send(client, worker, request, b""), METRICS_TIMEOUT_S)
                content = response.content
                request.scope[PROXIED] = True
        return Response(content + generate_latest(registry), media_type=MEDIA_TYPE)

    for path in PUBLIC_PATHS:
        app.add_api_route(path, health, methods=["GET"])
    for path in ("/metrics", "/v1/metrics"):
        app.add_api_route(path, metrics, methods=["GET"])


async def _send(client: httpx2.AsyncClient, worker: WorkerSupervisor, request: Request, body: bytes) -> httpx2.Response:
    """Return the worker's response, complete unless it is a stream. Raises httpx2.HTTPError if the worker crashes."""
    while True:
        worker_request = _worker_request(client, request, await worker.info(), body)
        try:
            response = await client.send(worker_request, stream=True)
            break
        except httpx2.ConnectError:  # the worker ended before it got the request: the next one gets it
            await asyncio.sleep(RETRY_S)
    if not is_stream(response.headers):
        try:
            await response.aread()
        finally:
            await response.aclose()
    return response


def _worker_request(client: httpx2.AsyncClient, request: Request, info: WorkerInfo, body: bytes) -> httpx2.Request:
    scope = request.scope
    target = scope["raw_path"] + (b"?" + scope["query_string"] if scope["query_string"] else b"")
    headers = request_headers(request) | {"authorization": f"Bearer {info.key}"}
    url = httpx2.URL(scheme="http", host="127.0.0.1", port=info.port, raw_path=target)
    return client.build_request(request.method, url, headers=headers, content=body)


def _crash_error() -> ApiError:
    return ApiError(503, "the model's process crashed and is restarting", code="model_crashed")


async def _chunks(response: httpx2.Response, worker: WorkerSupervisor) -> AsyncGenerator[bytes, None]:
    """Yield the parts of the worker's stream. Raises ApiError if the worker crashes."""
    try:
        async for chunk in response.aiter_raw():
            yield chunk
    except httpx2.HTTPError:
        await worker.wait_for_exit()
        raise _crash_error() from None
