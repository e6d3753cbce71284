"""Reading of requests and sending of answers: JSON bodies, whole answers, streams."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import Any, Literal, Protocol, cast

from fastapi import Request
from fastapi.responses import JSONResponse, Response
from fastapi.routing import APIRoute
from pydantic_core import from_json
from starlette.exceptions import HTTPException
from starlette.types import Scope

from edgefc.formats.json_text import has_infinity
from edgefc.server.bodies import MAX_PARSED, parsed_size
from edgefc.server.request_record import SCOPE_KEY, RequestRecord
from edgefc.server.service import RequestContext, Service
from edgefc.server.sse import EventStream, LineStream, cancel_on_disconnect, wait_for_first

# The events of a stream: data only, named by their types, or lines of JSON.
StreamForm = Literal["data", "named", "lines"]


class RequestHandler(Protocol):
    """Answers one request; each API has its own."""

    async def response(self) -> dict[str, Any]:
        """Return the whole response."""

    def events(self) -> AsyncGenerator[dict[str, Any], None]:
        """Yield the response as events."""


class _JsonRequest(Request):
    """Parses JSON strictly: UTF-8, finite numbers, limited nesting, and no more values than fit into memory."""

    async def json(self) -> Any:
        body = await self.body()
        if parsed_size(body) > MAX_PARSED:
            raise HTTPException(413, f"the body has too many values: they take more than {MAX_PARSED >> 20} MiB")
        try:
            value = from_json(body, allow_inf_nan=False, cache_strings="keys")
        except ValueError as error:
            raise json.JSONDecodeError(str(error), "", 0) from None
        if has_infinity(body, value):
            raise json.JSONDecodeError("a number is too large", "", 0)
        return value


class JsonRoute(APIRoute):
    """A route whose body is JSON, and whose requests have a record for the log."""

    def get_route_handler(self) -> Callable[[Request], Any]:
        handler = super().get_route_handler()

        async def handle(request: Request) -> Response:
            request.scope[SCOPE_KEY] = RequestRecord()  # where the log looks for it
            return await handler(_JsonRequest(_as_json(request.scope), request.receive))

        return handle


def _as_json(scope: Scope) -> Scope:
    """Return the scope of a request whose body is JSON, whatever its Content-Type says: curl's default is a form's."""
    if scope["method"] != "POST":
        return scope
    headers = [(name, value) for name, value in scope["headers"] if name != b"content-type"]
    return {**scope, "headers": [*headers, (b"content-type", b"application/json")]}


def service_of(request: Request) -> Service:
    """Return what the server's requests share."""
    return cast(Service, request.app.state.service)


async def respond(
    request: Request,
    body: Any,
    handler: Callable[[Any, RequestContext], RequestHandler],
    *,
    stream: StreamForm = "data",
) -> Response:
    """Answer with JSON, or with a stream of events if the body asks for one."""
    service = service_of(request)
    record: RequestRecord = request.scope[SCOPE_KEY]

    async def response() -> dict[str, Any]:
        async with service.open(body.model, record) as context:
            return await handler(body, context).response()

    async def events() -> AsyncGenerator[dict[str, Any], None]:
        async with service.open(body.model, record) as context, aclosing(handler(body, context).events()) as found:
            async for event in found:
                yield event

    if body.stream:
        started = await cancel_on_disconnect(request, wait_for_first(events()))
        kind = LineStream if stream == "lines" else EventStream
        return kind(started, service.settings.heartbeat, named=stream == "named", headers=record.headers())
    content = await cancel_on_disconnect(request, response())
    return JSONResponse(content, headers=record.headers())
