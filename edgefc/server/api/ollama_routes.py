"""The routes of Ollama's API, below /api: clients that know Ollama find the served models and talk to them."""

from __future__ import annotations

import math
import time
from typing import Annotated, Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response
from pydantic import AliasChoices, BaseModel, ConfigDict, Field
from starlette.concurrency import run_in_threadpool

from edgefc._version import __version__
from edgefc.model import Model
from edgefc.server.api.ollama import (
    GenerateHandler,
    GenerateRequest,
    OllamaChatRequest,
    OllamaHandler,
    OllamaRequest,
    RawHandler,
    timestamp,
)
from edgefc.server.api.respond import JsonRoute, respond, service_of
from edgefc.server.errors import STATUSES, OllamaErrorBody
from edgefc.server.model_facts import ModelFacts, facts_of
from edgefc.server.model_pool import ServedModel

JSON_LINES: dict[int | str, dict[str, Any]] = {
    200: {"content": {"application/json": {}, "application/x-ndjson": {}}}
}  # fmt: skip
NEVER = "9999-12-31T23:59:59Z"  # when a model is unloaded that is kept

router = APIRouter(
    prefix="/api", route_class=JsonRoute, responses={status: {"model": OllamaErrorBody} for status in STATUSES}
)


class ShowRequest(BaseModel):
    """The body of /api/show; `name` is the older name of the field."""

    model_config = ConfigDict(strict=True, extra="allow")

    model: Annotated[str, Field(validation_alias=AliasChoices("model", "name"))]


@router.post("/chat", summary="Answer a conversation (Ollama's API)", responses=JSON_LINES)
async def chat(body: OllamaChatRequest, request: Request) -> Response:
    if body.is_for_unloading:
        return _unload(body, request, {"message": {"role": "assistant", "content": ""}})
    return await respond(request, body, OllamaHandler, stream="lines")


@router.post("/generate", summary="Answer a prompt (Ollama's API)", responses=JSON_LINES)
async def generate(body: GenerateRequest, request: Request) -> Response:
    if body.is_for_unloading:
        return _unload(body, request, {"response": ""})
    handler = RawHandler if body.raw and body.prompt else GenerateHandler
    return await respond(request, body, handler, stream="lines")


def _unload(body: OllamaRequest, request: Request, answer: dict[str, Any]) -> Response:
    """Let a model be unloaded as soon as no request uses it."""
    pool = service_of(request).models
    entry = pool.meant_by(body.model)
    if entry.can_unload and entry.model is not None:
        entry.keep_alive = 0
        pool.check_idle(entry)
    done = {"model": entry.name, "created_at": timestamp(time.time()), **answer, "done": True, "done_reason": "unload"}
    return JSONResponse(done)


@router.get("/tags", summary="List the served models (Ollama's API)")
async def tags(request: Request) -> dict[str, Any]:
    return {"models": [await _listed(entry) for entry in service_of(request).models.entries]}


@router.get("/ps", summary="List the loaded models (Ollama's API)")
async def ps(request: Request) -> dict[str, Any]:
    listed = [(entry, await _listed(entry)) for entry in service_of(request).models.entries]
    # A model may have been unloaded while the others' files were read.
    described = [{**fields, **_expiry(entry, model)} for entry, fields in listed if (model := entry.model) is not None]
    return {"models": described}


@router.get("/version", summary="Get the server's version (Ollama's API)")
async def version() -> dict[str, str]:
    return {"version": __version__}


@router.post("/show", summary="Describe a served model (Ollama's API)")
async def show(body: ShowRequest, request: Request) -> dict[str, Any]:
    entry = service_of(request).models.meant_by(body.model)
    facts = await run_in_threadpool(facts_of, entry)
    n_ctx = facts.context if entry.model is None else entry.model.n_ctx
    name = facts.architecture
    info = {"general.architecture": name, f"{name}.context_length": facts.trained}
    if facts.parameters:
        info["general.parameter_count"] = facts.parameters
    return {
        "license": facts.licence, "modelfile": f"FROM {entry.name}\nPARAMETER num_ctx {n_ctx}\n",
        "parameters": f"num_ctx {n_ctx}", "template": "", "details": _details(facts), "model_info": info,
        "capabilities": list(facts.capabilities), "modified_at": timestamp(facts.modified),
    }  # fmt: skip


async def _listed(entry: ServedModel) -> dict[str, Any]:
    facts = await run_in_threadpool(facts_of, entry)
    return {
        "name": entry.name, "model": entry.name, "modified_at": timestamp(facts.modified), "size": facts.size,
        "digest": facts.digest, "details": _details(facts),
    }  # fmt: skip


def _details(facts: ModelFacts) -> dict[str, Any]:
    return {
        "parent_model": "", "format": "gguf", "family": facts.architecture, "families": [facts.architecture],
        "parameter_size": facts.size_label, "quantization_level": facts.quantization,
    }  # fmt: skip


def _expiry(entry: ServedModel, model: Model) -> dict[str, Any]:
    """Return when a loaded model will be unloaded, and what of it is where."""
    is_kept = entry.keep_alive == math.inf
    seconds = 0.0 if is_kept else time.time() - time.monotonic() + entry.last_used + entry.keep_alive
    return {
        "expires_at": NEVER if is_kept else timestamp(seconds),
        "size_vram": 0, "context_length": model.n_ctx,
    }  # fmt: skip
