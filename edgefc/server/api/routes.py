"""All routes."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import Annotated, Any, Protocol, cast

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, PlainTextResponse, Response
from fastapi.routing import APIRoute
from pydantic import AliasChoices, BaseModel, ConfigDict, Field
from pydantic_core import from_json
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.types import Scope

from edgefc._version import __version__
from edgefc.engine import Tokenizer
from edgefc.formats.json_text import has_infinity
from edgefc.server.api.chat import ChatHandler, ChatRequest
from edgefc.server.api.completions import CompletionHandler, CompletionRequest
from edgefc.server.api.fields import ToolList
from edgefc.server.api.messages import MessageHandler, MessageRequest, TokenCountRequest, count_tokens
from edgefc.server.api.responses import ResponseHandler, ResponseRequest
from edgefc.server.bodies import MAX_PARSED, parsed_size
from edgefc.server.errors import STATUSES, AnthropicErrorBody, ApiError, ErrorBody
from edgefc.server.metrics import MEDIA_TYPE
from edgefc.server.model_pool import ServedModel
from edgefc.server.request_record import SCOPE_KEY, RequestRecord
from edgefc.server.service import RequestContext, Service
from edgefc.server.sse import EventStream, cancel_on_disconnect, wait_for_first
from edgefc.types import OnUnsupported

CREATED = int(time.time())


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


class _JsonRoute(APIRoute):
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


class TokenizeRequest(BaseModel):
    """The body of /tokenize."""

    model_config = ConfigDict(strict=True, extra="allow")

    model: str | None = None
    content: str
    add_special: bool = False
    parse_special: bool = True
    with_pieces: bool = False


class DetokenizeRequest(BaseModel):
    """The body of /detokenize."""

    model_config = ConfigDict(strict=True, extra="allow")

    model: str | None = None
    tokens: Annotated[list[int], Field(fail_fast=True)]


class LintRequest(BaseModel):
    """The body of /tools/lint; `on_unsupported` as in ChatOptions, also under the name it has in other requests."""

    model_config = ConfigDict(strict=True, extra="allow")

    tools: ToolList
    on_unsupported: Annotated[
        OnUnsupported | None, Field(validation_alias=AliasChoices("on_unsupported", "x_edgefc_on_unsupported"))
    ] = None


router = APIRouter(route_class=_JsonRoute, responses={status: {"model": ErrorBody} for status in STATUSES})
STREAMED: dict[int | str, dict[str, Any]] = {200: {"content": {"application/json": {}, "text/event-stream": {}}}}
ANTHROPIC_ERRORS: dict[int | str, dict[str, Any]] = {status: {"model": AnthropicErrorBody} for status in STATUSES}


def _service(request: Request) -> Service:
    return cast(Service, request.app.state.service)


@router.post("/chat/completions", summary="Create a chat completion, with or without tools", responses=STREAMED)
async def create_chat_completion(body: ChatRequest, request: Request) -> Response:
    return await _respond(request, body, ChatHandler)


@router.post("/completions", summary="Complete a raw prompt", responses=STREAMED)
async def create_completion(body: CompletionRequest, request: Request) -> Response:
    return await _respond(request, body, CompletionHandler)


@router.post("/responses", summary="Create a response; the server stores no state", responses=STREAMED)
async def create_response(body: ResponseRequest, request: Request) -> Response:
    return await _respond(request, body, ResponseHandler, named=True)


@router.post("/messages", summary="Create a message (Anthropic's API)", responses={**STREAMED, **ANTHROPIC_ERRORS})
async def create_message(body: MessageRequest, request: Request) -> Response:
    return await _respond(request, body, MessageHandler, named=True)


@router.post(
    "/messages/count_tokens",
    summary="Count the prompt tokens of a message (Anthropic's API)",
    responses=ANTHROPIC_ERRORS,
)
async def count_message_tokens(body: TokenCountRequest, request: Request) -> dict[str, int]:
    async with _service(request).open(body.model) as context:
        return await run_in_threadpool(count_tokens, body, context)


async def _respond(
    request: Request, body: Any, handler: Callable[[Any, RequestContext], RequestHandler], *, named: bool = False
) -> Response:
    """Answer with JSON, or with a stream of events, `named` by their types or not."""
    service = _service(request)
    record: RequestRecord = request.scope[SCOPE_KEY]

    async def response() -> dict[str, Any]:
        async with service.open(body.model, record) as context:
            return await handler(body, context).response()

    async def events() -> AsyncGenerator[dict[str, Any], None]:
        async with service.open(body.model, record) as context, aclosing(handler(body, context).events()) as stream:
            async for event in stream:
                yield event

    if body.stream:
        started = await cancel_on_disconnect(request, wait_for_first(events()))
        return EventStream(started, service.settings.heartbeat, named=named, headers=record.headers())
    content = await cancel_on_disconnect(request, response())
    return JSONResponse(content, headers=record.headers())


@router.get("/models", summary="List the served models")
async def list_models(request: Request) -> dict[str, Any]:
    return {"object": "list", "data": [_model_field(entry) for entry in _service(request).models.entries]}


@router.get("/models/{name:path}", summary="Get a served model")
async def get_model(name: str, request: Request) -> dict[str, Any]:
    return _model_field(_service(request).models.named(name))


def _model_field(entry: ServedModel) -> dict[str, Any]:
    meta: dict[str, Any] = {"loaded": entry.model is not None}
    if entry.model is not None:
        meta |= {"family": entry.model.family.name, "n_ctx": entry.model.n_ctx}
    return {"id": entry.name, "object": "model", "created": CREATED, "owned_by": "edgefc", "meta": meta}


@router.post("/tokenize", summary="Convert text to token ids")
async def tokenize(body: TokenizeRequest, request: Request) -> Response:
    async with _service(request).open(body.model) as context:
        # The response is encoded in the thread too: it may have megabytes, which would block other requests.
        return await run_in_threadpool(lambda: JSONResponse(_tokenize(body, context.model.engine.tokenizer)))


def _tokenize(body: TokenizeRequest, tokenizer: Tokenizer) -> dict[str, Any]:
    if body.parse_special:
        ids = tokenizer.encode(body.content, bos="vocabulary" if body.add_special else "never")
    else:
        ids = tokenizer.encode_text(body.content)
    if not body.with_pieces:
        return {"tokens": ids}
    return {"tokens": [{"id": token, "piece": _piece_field(tokenizer.vocabulary.piece(token))} for token in ids]}


def _piece_field(piece: bytes) -> str | list[int]:
    """Return a token's text, or its bytes if they are not valid UTF-8."""
    try:
        return piece.decode()
    except UnicodeDecodeError:
        return list(piece)


@router.post("/detokenize", summary="Convert token ids to text")
async def detokenize(body: DetokenizeRequest, request: Request) -> dict[str, Any]:
    async with _service(request).open(body.model) as context:
        tokenizer = context.model.engine.tokenizer
        if invalid := [token for token in body.tokens if not 0 <= token < tokenizer.n_vocab]:
            raise ApiError(400, f"unknown token {invalid[0]}; the vocabulary has {tokenizer.n_vocab}", path=("tokens",))
        return {"content": await run_in_threadpool(tokenizer.decode, body.tokens)}


@router.post("/apply-template", summary="Render the prompt of a conversation")
async def apply_template(body: ChatRequest, request: Request) -> dict[str, Any]:
    async with _service(request).open(body.model) as context:
        prompt = await run_in_threadpool(ChatHandler(body, context).prompt)
        return {"prompt": prompt.text}


@router.post("/chat/completions/input_tokens", summary="Count the prompt tokens of a conversation")
async def count_input_tokens(body: ChatRequest, request: Request) -> dict[str, Any]:
    async with _service(request).open(body.model) as context:
        prompt = await run_in_threadpool(ChatHandler(body, context).prompt)
        return {"object": "response.input_tokens", "input_tokens": len(prompt.ids)}


@router.post("/tools/lint", summary="Check tools: mistakes, keywords that no grammar enforces, and costs")
async def lint(body: LintRequest, request: Request) -> dict[str, Any]:
    return await cancel_on_disconnect(
        request, _service(request).linter.lint(body.tools, body.on_unsupported or "refuse")
    )


@router.get("/", include_in_schema=False)
async def index(request: Request) -> PlainTextResponse:
    """Tell a person who opens the server's address in a browser what this is."""
    names = ", ".join(entry.name for entry in _service(request).models.entries)
    return PlainTextResponse(
        f"edgefc {__version__} is running.\n\nModels: {names}\n"
        "OpenAI's API: /v1/chat/completions, /v1/responses, /v1/models\nAnthropic's API: /v1/messages\n"
        "All paths: /openapi.json\n"
    )


@router.get("/health", summary="Check whether the server accepts requests")
async def health(request: Request) -> JSONResponse:
    if _service(request).jobs.stopping:
        raise ApiError(503, "the server is shutting down", code="stopping")
    if problem := _service(request).models.problem:
        raise ApiError(503, problem, code="engine_stopped")
    return JSONResponse({"status": "ok"})


@router.get("/metrics", summary="Get counters in Prometheus' format", response_class=PlainTextResponse)
async def metrics(request: Request) -> Response:
    return Response(_service(request).metrics.render(), media_type=MEDIA_TYPE)
