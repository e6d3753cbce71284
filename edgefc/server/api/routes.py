"""What can be asked: each endpoint hands a body to what understands it."""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import Annotated, Any, Protocol, cast

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, PlainTextResponse, Response
from fastapi.routing import APIRoute
from pydantic import BaseModel, ConfigDict, Field
from pydantic_core import from_json
from starlette.concurrency import run_in_threadpool

from edgefc.engine import Tokenizer
from edgefc.lint import lint_tools
from edgefc.server import errors
from edgefc.server.api.chat import ChatCall, ChatRequest
from edgefc.server.api.completions import CompletionCall, CompletionRequest
from edgefc.server.api.messages import MessageCall, MessageRequest, TokenCountRequest, token_count
from edgefc.server.api.responses import ResponseCall, ResponseRequest
from edgefc.server.errors import ApiError
from edgefc.server.metrics import MEDIA_TYPE
from edgefc.server.model_pool import Place
from edgefc.server.service import Served, Service
from edgefc.server.sse import EventStream, begun, unless_hung_up

CREATED = int(time.time())


class _JsonRequest(Request):
    """JSON as it should be: UTF-8, numbers that are some, and not nested without end."""

    async def json(self) -> Any:
        try:
            return from_json(await self.body(), allow_inf_nan=False, cache_strings="keys")
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

    model: str | None = None
    content: str
    add_special: bool = False
    parse_special: bool = True
    with_pieces: bool = False


class Tokens(BaseModel):
    """The body of /detokenize."""

    model_config = ConfigDict(strict=True, extra="allow")

    model: str | None = None
    tokens: list[int]


class ToolSet(BaseModel):
    """The body of /v1/tools/lint."""

    model_config = ConfigDict(strict=True, extra="allow")

    tools: Annotated[list[dict[str, Any]], Field(max_length=256)]


router = APIRouter(route_class=_Route, responses={status: {"model": errors.ErrorBody} for status in errors.STATUSES})
STREAMED: dict[int | str, dict[str, Any]] = {200: {"content": {"application/json": {}, "text/event-stream": {}}}}
ANTHROPIC: dict[int | str, dict[str, Any]] = {
    status: {"model": errors.AnthropicErrorBody} for status in errors.STATUSES
}


def _service(request: Request) -> Service:
    return cast(Service, request.app.state.service)


class Call(Protocol):
    """A request's body, understood."""

    async def completion(self) -> dict[str, Any]:
        """The whole answer."""

    def chunks(self) -> AsyncGenerator[dict[str, Any], None]:
        """The answer as it grows."""


@router.post("/chat/completions", summary="Answer a conversation, calling tools", responses=STREAMED)
async def chat_completions(body: ChatRequest, request: Request) -> Response:
    return await _answer(request, body, ChatCall)


@router.post("/completions", summary="Go on with a raw prompt", responses=STREAMED)
async def completions(body: CompletionRequest, request: Request) -> Response:
    return await _answer(request, body, CompletionCall)


@router.post("/responses", summary="Answer, told in items; nothing is kept between requests", responses=STREAMED)
async def responses(body: ResponseRequest, request: Request) -> Response:
    return await _answer(request, body, ResponseCall, named=True)


@router.post("/messages", summary="Answer as Anthropic's API does", responses={**STREAMED, **ANTHROPIC})
async def messages(body: MessageRequest, request: Request) -> Response:
    return await _answer(request, body, MessageCall, named=True)


@router.post("/messages/count_tokens", summary="How many tokens a message's prompt has", responses=ANTHROPIC)
async def count_tokens(body: TokenCountRequest, request: Request) -> dict[str, int]:
    async with _service(request).using(body.model) as served:
        return await run_in_threadpool(token_count, body, served)


async def _answer(
    request: Request, body: Any, understood: Callable[[Any, Served], Call], *, named: bool = False
) -> Response:
    service = _service(request)

    async def whole() -> dict[str, Any]:
        async with service.using(body.model) as served:
            return await understood(body, served).completion()

    async def chunks() -> AsyncGenerator[dict[str, Any], None]:
        async with service.using(body.model) as served, aclosing(understood(body, served).chunks()) as following:
            async for chunk in following:
                yield chunk

    if body.stream:
        return EventStream(await unless_hung_up(request, begun(chunks())), service.settings.heartbeat, named=named)
    return JSONResponse(await unless_hung_up(request, whole()))


@router.get("/models", summary="The models that are served")
async def models(request: Request) -> dict[str, Any]:
    return {"object": "list", "data": [_card(place) for place in _service(request).models.places]}


@router.get("/models/{name:path}", summary="One model")
async def model(name: str, request: Request) -> dict[str, Any]:
    places = {place.name: place for place in _service(request).models.places}
    if name not in places:
        served = ", ".join(places)
        raise ApiError(
            404, f"the model {name!r} is not served; these are: {served}", param="model", code="model_not_found"
        )
    return _card(places[name])


def _card(place: Place) -> dict[str, Any]:
    about: dict[str, Any] = {"loaded": place.model is not None}
    if place.model is not None:
        about |= {"family": place.model.family.name, "n_ctx": place.model.n_ctx}
    return {"id": place.name, "object": "model", "created": CREATED, "owned_by": "edgefc", "meta": about}


@router.post("/tokenize", summary="A text's token ids")
async def tokenize(body: Content, request: Request) -> Response:
    async with _service(request).using(body.model) as served:
        # Written there too: it may be megabytes, and others are answered meanwhile.
        return await run_in_threadpool(lambda: JSONResponse(_tokens(body, served.engine.tokenizer)))


def _tokens(body: Content, tokenizer: Tokenizer) -> dict[str, Any]:
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
async def detokenize(body: Tokens, request: Request) -> dict[str, Any]:
    async with _service(request).using(body.model) as served:
        tokenizer = served.engine.tokenizer
        if bad := [token for token in body.tokens if not 0 <= token < tokenizer.n_vocab]:
            raise ApiError(400, f"tokens: {bad[0]} is not in the vocabulary of {tokenizer.n_vocab}", param="tokens")
        return {"content": await run_in_threadpool(tokenizer.decode, body.tokens)}


@router.post("/apply-template", summary="The prompt of a conversation")
async def apply_template(body: ChatRequest, request: Request) -> dict[str, Any]:
    async with _service(request).using(body.model) as served:
        prompt = await run_in_threadpool(ChatCall(body, served).prompt)
        return {"prompt": prompt.text}


@router.post("/chat/completions/input_tokens", summary="How many tokens a conversation's prompt has")
async def input_tokens(body: ChatRequest, request: Request) -> dict[str, Any]:
    async with _service(request).using(body.model) as served:
        count = await run_in_threadpool(ChatCall(body, served).count_prompt)
        return {"object": "response.input_tokens", "input_tokens": count}


@router.post("/tools/lint", summary="What is wrong with tools, what no grammar enforces, and what they cost")
def lint(body: ToolSet) -> dict[str, Any]:
    reports = lint_tools(body.tools)
    refused = any(report.is_refused for report in reports)
    return {"ok": not refused, "tools": [dataclasses.asdict(report) for report in reports]}


@router.get("/health", summary="Whether requests are taken")
async def health(request: Request) -> JSONResponse:
    if _service(request).jobs.stopping:
        raise ApiError(503, "the server is stopping", code="stopping")
    return JSONResponse({"status": "ok"})


@router.get(
    "/metrics",
    summary="Counters for Prometheus",
    response_class=PlainTextResponse,
)
async def metrics(request: Request) -> Response:
    return Response(_service(request).metrics.text(), media_type=MEDIA_TYPE)
