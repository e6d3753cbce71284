"""The ASGI application in front of the replicas: it checks requests and forwards each to the replica of its key."""

from __future__ import annotations

from fastapi import FastAPI, Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import JSONResponse, Response

from edgefc.ray.metrics import merge
from edgefc.ray.replica import REPLICA_HEADER, Call
from edgefc.ray.replicas import Answer, Replicas
from edgefc.ray.routing import routing_key
from edgefc.server.bodies import SMALL_BODY
from edgefc.server.forwarding import (
    METHODS,
    ForwardedStream,
    forwarding_app,
    is_stream,
    request_headers,
    response_headers,
)
from edgefc.server.metrics import MEDIA_TYPE
from edgefc.server.security import PUBLIC_PATHS
from edgefc.server.settings import Settings
from edgefc.server.sse import cancel_on_disconnect


def create_front(replicas: Replicas, settings: Settings) -> FastAPI:
    """Create the application; it answers `/health` and `/metrics` for all replicas together."""
    app = forwarding_app(settings)

    async def health() -> Response:
        await replicas.check()
        return JSONResponse({"status": "ok"})

    async def metrics() -> Response:
        return Response(merge(await replicas.metrics()), media_type=MEDIA_TYPE)

    for path in PUBLIC_PATHS:
        app.add_api_route(path, health, methods=["GET"])
    for path in ("/metrics", "/v1/metrics"):
        app.add_api_route(path, metrics, methods=["GET"])

    @app.api_route("/{path:path}", methods=METHODS)
    async def forward(request: Request) -> Response:
        call = await _call(request)
        return await cancel_on_disconnect(request, _answer(replicas, call))

    return app


async def _call(request: Request) -> Call:
    scope = request.scope
    raw_path = scope.get("raw_path") or scope["path"].encode()
    headers = request_headers(request)
    return Call(request.method, scope["path"], raw_path, scope["query_string"], headers, await request.body())


async def _answer(replicas: Replicas, call: Call) -> Response:
    """Return the response to a call, complete unless it is a stream. Raises ApiError."""
    is_short = len(call.body) <= SMALL_BODY
    key = routing_key(call.body) if is_short else await run_in_threadpool(routing_key, call.body)
    answer = await replicas.send(call, key)
    head = answer.head
    headers = {**response_headers(head.headers.items()), REPLICA_HEADER: head.headers[REPLICA_HEADER]}
    if is_stream(head.headers):
        return ForwardedStream(answer.parts, head.status, headers, answer.parts.aclose)
    return Response(await _whole(answer), head.status, headers)


async def _whole(answer: Answer) -> bytes:
    try:
        return b"".join([part async for part in answer.parts])
    finally:
        await answer.parts.aclose()
