"""All routes."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Annotated, Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, PlainTextResponse, Response
from pydantic import BaseModel, ConfigDict, Field
from starlette.concurrency import run_in_threadpool

from edgefc._version import __version__
from edgefc.engine import Tokenizer
from edgefc.formats import family_names
from edgefc.server.api.chat import ChatHandler, ChatRequest
from edgefc.server.api.completions import CompletionHandler, CompletionRequest
from edgefc.server.api.messages import MessageHandler, MessageRequest, TokenCountRequest, count_tokens
from edgefc.server.api.respond import JsonRoute, respond, service_of
from edgefc.server.api.responses import ResponseHandler, ResponseRequest
from edgefc.server.api.tool_routes import router as tool_router
from edgefc.server.errors import STATUSES, AnthropicErrorBody, ApiError, ErrorBody
from edgefc.server.metrics import MEDIA_TYPE
from edgefc.server.model_facts import facts_of
from edgefc.server.model_pool import ServedModel
from edgefc.server.security import FOREIGN_PAGE

CREATED = int(time.time())


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


router = APIRouter(route_class=JsonRoute, responses={status: {"model": ErrorBody} for status in STATUSES})
router.include_router(tool_router)
STREAMED: dict[int | str, dict[str, Any]] = {200: {"content": {"application/json": {}, "text/event-stream": {}}}}
ANTHROPIC_ERRORS: dict[int | str, dict[str, Any]] = {status: {"model": AnthropicErrorBody} for status in STATUSES}


@router.post("/chat/completions", summary="Create a chat completion, with or without tools", responses=STREAMED)
async def create_chat_completion(body: ChatRequest, request: Request) -> Response:
    if body.x_edgefc_trace and request.scope[FOREIGN_PAGE]:
        reason = "a web page of another origin gets no trace without a key\nStart the server with --api-key."
        raise ApiError(403, reason, path=("x_edgefc_trace",), code="trace_not_allowed")
    return await respond(request, body, ChatHandler)


@router.post("/completions", summary="Complete a raw prompt", responses=STREAMED)
async def create_completion(body: CompletionRequest, request: Request) -> Response:
    return await respond(request, body, CompletionHandler)


@router.post("/responses", summary="Create a response; the server stores no state", responses=STREAMED)
async def create_response(body: ResponseRequest, request: Request) -> Response:
    return await respond(request, body, ResponseHandler, stream="named")


@router.post("/messages", summary="Create a message (Anthropic's API)", responses={**STREAMED, **ANTHROPIC_ERRORS})
async def create_message(body: MessageRequest, request: Request) -> Response:
    return await respond(request, body, MessageHandler, stream="named")


@router.post(
    "/messages/count_tokens",
    summary="Count the prompt tokens of a message (Anthropic's API)",
    responses=ANTHROPIC_ERRORS,
)
async def count_message_tokens(body: TokenCountRequest, request: Request) -> dict[str, int]:
    async with service_of(request).open(body.model) as context:
        return await run_in_threadpool(count_tokens, body, context)


@router.get("/models", summary="List the served models")
async def list_models(request: Request) -> dict[str, Any]:
    fields = [await _model_field(entry) for entry in service_of(request).models.entries]
    return {"object": "list", "data": [*fields, *(one for field in fields for one in _with_adapters(field))]}


@router.get("/models/{name:path}", summary="Get a served model")
async def get_model(name: str, request: Request) -> dict[str, Any]:
    models = service_of(request).models
    if (entry := models.with_adapter(name)) is not None:
        for field in _with_adapters(await _model_field(entry)):
            if field["id"] == name:
                return field
    return await _model_field(models.named(name))


@router.get("/families", summary="List the chat formats, which `x_edgefc_family` names")
async def list_families() -> dict[str, Any]:
    return {"data": await run_in_threadpool(family_names)}


async def _model_field(entry: ServedModel) -> dict[str, Any]:
    facts = await run_in_threadpool(facts_of, entry)
    meta: dict[str, Any] = {"loaded": entry.model is not None}
    if entry.model is not None:
        meta["n_ctx"] = entry.model.n_ctx
        meta |= {"adapters": names} if (names := list(entry.model.engine.adapters.choices)) else {}
    return {
        "id": entry.name, "object": "model", "created": CREATED, "owned_by": "edgefc",
        "context_length": facts.context if entry.model is None else entry.model.n_ctx,
        "capabilities": list(facts.capabilities), "meta": {**meta, **facts.to_json()},
    }  # fmt: skip


def _with_adapters(field: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the names under which a loaded model answers with one of its LoRA adapters."""
    names = field["meta"].get("adapters", ())
    return [{**field, "id": f"{field['id']}:{name}", "parent": field["id"]} for name in names]


@router.post("/tokenize", summary="Convert text to token ids")
async def tokenize(body: TokenizeRequest, request: Request) -> Response:
    async with service_of(request).open(body.model) as context:
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
    async with service_of(request).open(body.model) as context:
        tokenizer = context.model.engine.tokenizer
        if invalid := [token for token in body.tokens if not 0 <= token < tokenizer.n_vocab]:
            raise ApiError(400, f"unknown token {invalid[0]}; the vocabulary has {tokenizer.n_vocab}", path=("tokens",))
        return {"content": await run_in_threadpool(tokenizer.decode, body.tokens)}


@router.post("/apply-template", summary="Render the prompt of a conversation")
async def apply_template(body: ChatRequest, request: Request) -> dict[str, Any]:
    async with service_of(request).open(body.model) as context:
        prompt = await run_in_threadpool(ChatHandler(body, context).prompt)
        if not body.x_edgefc_trace:
            return {"prompt": prompt.text}
        tokens = await run_in_threadpool(_prompt_tokens, prompt.ids, context.model.engine.tokenizer)
        return {"prompt": prompt.text, "tokens": tokens}


def _prompt_tokens(ids: Sequence[int], tokenizer: Tokenizer) -> list[dict[str, Any]]:
    """Return the tokens of a prompt, as a trace's bands count them."""
    vocabulary = tokenizer.vocabulary
    return [
        {"id": token, "piece": _piece_field(vocabulary.piece(token)), "control": token in vocabulary.special}
        for token in ids
    ]


@router.post("/chat/completions/input_tokens", summary="Count the prompt tokens of a conversation")
async def count_input_tokens(body: ChatRequest, request: Request) -> dict[str, Any]:
    async with service_of(request).open(body.model) as context:
        prompt = await run_in_threadpool(ChatHandler(body, context).prompt)
        return {"object": "response.input_tokens", "input_tokens": len(prompt.ids)}


# Ollama's program looks for a server with HEAD.
@router.api_route("/", methods=["GET", "HEAD"], include_in_schema=False)
async def index(request: Request) -> PlainTextResponse:
    """Tell a person who opens the server's address in a browser what this is."""
    names = ", ".join(entry.name for entry in service_of(request).models.entries)
    return PlainTextResponse(
        f"edgefc {__version__} is running.\n\nModels: {names}\n"
        "OpenAI's API: /v1/chat/completions, /v1/responses, /v1/models\nAnthropic's API: /v1/messages\n"
        "Ollama's API: /api/chat, /api/generate, /api/tags\n"
        "All paths: /openapi.json\n"
    )


@router.get("/health", summary="Check whether the server accepts requests")
async def health(request: Request) -> JSONResponse:
    if service_of(request).jobs.stopping:
        raise ApiError(503, "the server is shutting down", code="stopping")
    if problem := service_of(request).models.problem:
        raise ApiError(503, problem, code="engine_stopped")
    return JSONResponse({"status": "ok"})


@router.get("/metrics", summary="Get counters in Prometheus' format", response_class=PlainTextResponse)
async def metrics(request: Request) -> Response:
    return Response(service_of(request).metrics.render(), media_type=MEDIA_TYPE)
