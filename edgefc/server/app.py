"""All endpoints together, with and without the `/v1` before them."""

from __future__ import annotations

import dataclasses
import json
import logging
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Annotated, Any, cast

from fastapi import APIRouter, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, PlainTextResponse, Response
from fastapi.routing import APIRoute
from pydantic import BaseModel, ConfigDict, Field
from pydantic_core import from_json
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from edgefc import __version__
from edgefc.errors import EdgefcError
from edgefc.lint import lint_tools
from edgefc.model import Model
from edgefc.server import errors
from edgefc.server.chat import ChatCall, ChatRequest
from edgefc.server.completions import CompletionCall, CompletionRequest
from edgefc.server.errors import ApiError
from edgefc.server.guard import Guard
from edgefc.server.metrics import MEDIA_TYPE
from edgefc.server.responses import ResponseCall, ResponseRequest
from edgefc.server.served import Served
from edgefc.server.settings import Settings
from edgefc.server.streams import EventStream, HungUpError, begun, unless_hung_up

log = logging.getLogger("edgefc.server.access")
CREATED = int(time.time())


class _JsonRequest(Request):
    """JSON as it should be: UTF-8, numbers that are some, and not nested without end."""

    async def json(self) -> Any:
        try:
            return from_json(await self.body(), allow_inf_nan=False)
        except ValueError as error:
            raise json.JSONDecodeError(str(error), "", 0) from None


class _Route(APIRoute):
    def get_route_handler(self) -> Callable[[Request], Any]:
        handler = super().get_route_handler()

        async def answer(request: Request) -> Response:
            return await handler(_JsonRequest(request.scope, request.receive))

        return answer


class Content(BaseModel):
    """The body of /tokenize."""

    model_config = ConfigDict(strict=True, extra="allow")

    content: str
    add_special: bool = False
    parse_special: bool = True
    with_pieces: bool = False


class Tokens(BaseModel):
    """The body of /detokenize."""

    model_config = ConfigDict(strict=True, extra="allow")

    tokens: list[int]


class ToolSet(BaseModel):
    """The body of /v1/tools/lint."""

    model_config = ConfigDict(strict=True, extra="allow")

    tools: Annotated[list[dict[str, Any]], Field(max_length=256)]


router = APIRouter(route_class=_Route, responses={status: {"model": errors.ErrorBody} for status in errors.STATUSES})
STREAMED: dict[int | str, dict[str, Any]] = {200: {"content": {"application/json": {}, "text/event-stream": {}}}}


def _served(request: Request) -> Served:
    return cast(Served, request.app.state.served)


@router.post("/chat/completions", summary="Answer a conversation, calling tools", responses=STREAMED)
async def chat_completions(body: ChatRequest, request: Request) -> Response:
    call = ChatCall(body, _served(request))
    return await _answer(request, call.completion, call.chunks, stream=bool(body.stream))


@router.post("/completions", summary="Go on with a raw prompt", responses=STREAMED)
async def completions(body: CompletionRequest, request: Request) -> Response:
    call = CompletionCall(body, _served(request))
    return await _answer(request, call.completion, call.chunks, stream=bool(body.stream))


@router.post("/responses", summary="Answer, told in items; nothing is kept between requests", responses=STREAMED)
async def responses(body: ResponseRequest, request: Request) -> Response:
    call = ResponseCall(body, _served(request))
    return await _answer(request, call.completion, call.events, stream=bool(body.stream), named=True)


async def _answer(
    request: Request,
    whole: Callable[[], Awaitable[dict[str, Any]]],
    chunks: Callable[[], AsyncGenerator[dict[str, Any], None]],
    *,
    stream: bool,
    named: bool = False,
) -> Response:
    if stream:
        events = await unless_hung_up(request, begun(chunks()))
        return EventStream(events, _served(request).settings.heartbeat, named=named)
    return JSONResponse(await unless_hung_up(request, whole()))


@router.get("/models", summary="The models that are served")
async def models(request: Request) -> dict[str, Any]:
    return {"object": "list", "data": [_card(_served(request).model)]}


@router.get("/models/{name:path}", summary="One model")
async def model(name: str, request: Request) -> dict[str, Any]:
    served = _served(request).model
    if name != served.name:
        raise ApiError(
            404, f"the model {name!r} is not served; {served.name!r} is", param="model", code="model_not_found"
        )
    return _card(served)


def _card(served: Model) -> dict[str, Any]:
    about = {"family": served.family.name, "n_ctx": served.n_ctx}
    return {"id": served.name, "object": "model", "created": CREATED, "owned_by": "edgefc", "meta": about}


@router.post("/tokenize", summary="A text's token ids")
def tokenize(body: Content, request: Request) -> dict[str, Any]:
    tokenizer = _served(request).engine.tokenizer
    if body.parse_special:
        ids = tokenizer.encode(body.content, bos="vocabulary" if body.add_special else "never")
    else:
        ids = tokenizer.vocabulary.tokenize(body.content, parse_special=False)
    if not body.with_pieces:
        return {"tokens": ids}
    return {"tokens": [{"id": token, "piece": _piece(tokenizer.vocabulary.piece(token))} for token in ids]}


def _piece(data: bytes) -> str | list[int]:
    try:
        return data.decode()
    except UnicodeDecodeError:
        return list(data)


@router.post("/detokenize", summary="The text of token ids")
def detokenize(body: Tokens, request: Request) -> dict[str, Any]:
    tokenizer = _served(request).engine.tokenizer
    if bad := [token for token in body.tokens if not 0 <= token < tokenizer.n_vocab]:
        raise ApiError(400, f"tokens: {bad[0]} is not in the vocabulary of {tokenizer.n_vocab}", param="tokens")
    return {"content": tokenizer.decode(body.tokens)}


@router.post("/apply-template", summary="The prompt of a conversation")
def apply_template(body: ChatRequest, request: Request) -> dict[str, Any]:
    return {"prompt": str(_prompt(body, _served(request)))}


@router.post("/chat/completions/input_tokens", summary="How many tokens a conversation's prompt has")
def input_tokens(body: ChatRequest, request: Request) -> dict[str, Any]:
    served = _served(request)
    ids = served.engine.tokenizer.encode(_prompt(body, served), bos=served.model.family.bos)
    return {"object": "response.input_tokens", "input_tokens": len(ids)}


def _prompt(body: ChatRequest, served: Served) -> Any:
    return ChatCall(body, served).prompt()


@router.post("/tools/lint", summary="What is wrong with tools, what no grammar enforces, and what they cost")
def lint(body: ToolSet) -> dict[str, Any]:
    reports = lint_tools(body.tools)
    refused = any(report.is_refused for report in reports)
    return {"ok": not refused, "tools": [dataclasses.asdict(report) for report in reports]}


@router.get("/health", summary="Whether requests are taken")
async def health(request: Request) -> JSONResponse:
    if _served(request).jobs.stopping:
        raise ApiError(503, "the server is stopping", code="stopping")
    return JSONResponse({"status": "ok"})


@router.get(
    "/metrics",
    summary="Counters for Prometheus",
    response_class=PlainTextResponse,
)
async def metrics(request: Request) -> Response:
    return Response(_served(request).metrics.text(), media_type=MEDIA_TYPE)


class _Access:
    """A line and a count for each request: what was asked and how it ended, nothing of what was said."""

    def __init__(self, app: ASGIApp, served: Served) -> None:
        self._app, self._served = app, served

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began, status = time.perf_counter(), 499  # as nginx calls it when the client went first

        async def noted(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, noted)
        finally:
            route = scope.get("route")
            path = route.path if isinstance(route, APIRoute) else "other"
            self._served.metrics.answered(path, status)
            spent = 1000 * (time.perf_counter() - began)
            log.info("method=%s path=%s status=%d ms=%.1f", scope["method"], path, status, spent)


async def _told(_: Request, error: Exception) -> Response:
    return errors.of(error).response()


async def _invalid(_: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    return errors.of_validation(error.errors()).response()


async def _http(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return ApiError(error.status_code, str(error.detail)).response(error.headers)


async def _nobody(_: Request, error: Exception) -> Response:
    del error
    return Response(status_code=499)


def create_app(model: Model, settings: Settings | None = None) -> FastAPI:
    """The server as an ASGI application; the model is the caller's to close."""
    settings = settings or Settings()
    served = Served(model, settings)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        served.jobs.close()

    app = FastAPI(
        title="edgefc",
        version=__version__,
        description="OpenAI-compatible chat completions whose tool calls are always valid.",
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        max_body_size=settings.max_body,
        middleware=[Middleware(_Access, served=served), Middleware(Guard, settings=settings)],
    )
    app.state.served = served
    app.include_router(router, prefix="/v1")
    app.include_router(router, include_in_schema=False)
    for kind in (ApiError, EdgefcError):
        app.add_exception_handler(kind, _told)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(HungUpError, _nobody)
    app.add_exception_handler(Exception, _told)
    return app
