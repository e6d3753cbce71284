"""The ASGI application: routes with and without the prefix `/v1`, middleware and exception handlers."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, nullcontext
from typing import TYPE_CHECKING

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware

from edgefc._version import __version__
from edgefc.errors import EdgefcError
from edgefc.model import Model
from edgefc.server.access_log import CLIENT_CLOSED_REQUEST, MAX_PATH, AccessLogMiddleware
from edgefc.server.api.ollama_routes import router as ollama_router
from edgefc.server.api.routes import router
from edgefc.server.errors import ApiError
from edgefc.server.model_pool import ModelPool
from edgefc.server.security import SecurityMiddleware
from edgefc.server.service import Service
from edgefc.server.settings import Settings
from edgefc.server.slashes import SlashMiddleware
from edgefc.server.sse import ClientDisconnectedError
from edgefc.server.ui.middleware import PageMiddleware
from edgefc.terminal import single_line

if TYPE_CHECKING:
    from edgefc.server.api.mcp import McpEndpoint


async def handle_error(request: Request, error: Exception) -> Response:
    return ApiError.from_exception(error).response(request.scope["path"])


async def handle_validation_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    return ApiError.from_validation(error.errors()).response(request.scope["path"])


async def handle_http_exception(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    detail, path = str(error.detail), single_line(request.scope["path"], limit=MAX_PATH)
    if error.status_code == 404 and detail == "Not Found":
        detail = f"there is no {request.method} {path}\nGET /openapi.json lists all paths."
    elif error.status_code == 405:
        allowed = (error.headers or {}).get("allow", (error.headers or {}).get("Allow", "another method"))
        detail = f"{path} has no {request.method}\nUse {allowed}."
    return ApiError(error.status_code, detail).response(request.scope["path"], error.headers)


async def handle_disconnect(_request: Request, _error: Exception) -> Response:
    return Response(status_code=CLIENT_CLOSED_REQUEST)  # for the log: the client is gone


def add_exception_handlers(app: FastAPI) -> None:
    """Answer exceptions in the error format of the requested API."""
    for kind in (ApiError, EdgefcError, Exception):
        app.add_exception_handler(kind, handle_error)
    app.add_exception_handler(RequestValidationError, handle_validation_error)
    app.add_exception_handler(HTTPException, handle_http_exception)
    app.add_exception_handler(ClientDisconnectedError, handle_disconnect)


def create_app(models: ModelPool | Model, settings: Settings | None = None) -> FastAPI:
    """Create the ASGI application. The caller closes the models."""
    settings = settings or Settings()
    service = Service(models if isinstance(models, ModelPool) else ModelPool.of_loaded(models), settings)

    mcp_endpoint = _mcp_endpoint(service) if settings.mcp_endpoint else None

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        async with nullcontext() if mcp_endpoint is None else mcp_endpoint.running():
            yield
        service.close()

    app = FastAPI(
        title="edgefc",
        version=__version__,
        description="OpenAI's, Anthropic's and Ollama's chat APIs, with tool calls that are always valid.",
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        middleware=[
            Middleware(SlashMiddleware),
            Middleware(AccessLogMiddleware, on_response=service.metrics.count_request),
            Middleware(SecurityMiddleware, settings=settings),
            Middleware(PageMiddleware, settings=settings),
        ],
    )
    app.state.service = service
    app.include_router(router, prefix="/v1")
    app.include_router(router, include_in_schema=False)
    app.include_router(ollama_router)
    if mcp_endpoint is not None:
        mcp_endpoint.add_to(app)
    add_exception_handlers(app)
    return app


def _mcp_endpoint(service: Service) -> McpEndpoint:
    """Create the endpoint for MCP clients, whose packages are another extra."""
    from edgefc.server.api.mcp import McpEndpoint

    return McpEndpoint(service)
