"""The application: all endpoints, with and without the `/v1` before them, what stands before them, and their errors."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware

from edgefc._version import __version__
from edgefc.errors import EdgefcError
from edgefc.model import Model
from edgefc.server import errors
from edgefc.server.access_log import Access
from edgefc.server.api.routes import router
from edgefc.server.errors import ApiError
from edgefc.server.model_pool import Models
from edgefc.server.security import Guard
from edgefc.server.service import Service
from edgefc.server.settings import Settings
from edgefc.server.sse import HungUpError


async def _told(request: Request, error: Exception) -> Response:
    return errors.of(error).response(request.scope["path"])


async def _invalid(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    return errors.of_validation(error.errors()).response(request.scope["path"])


async def _http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return ApiError(error.status_code, str(error.detail)).response(request.scope["path"], error.headers)


async def _nobody(_: Request, error: Exception) -> Response:
    del error
    return Response(status_code=499)


def tell_errors(app: FastAPI) -> None:
    """Have it answer exceptions as the API tells errors that is asked."""
    for kind in (ApiError, EdgefcError, Exception):
        app.add_exception_handler(kind, _told)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(HungUpError, _nobody)


def create_app(models: Models | Model, settings: Settings | None = None) -> FastAPI:
    """The server as an ASGI application; the models are the caller's to close."""
    settings = settings or Settings()
    service = Service(models if isinstance(models, Models) else Models.of(models), settings)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        service.jobs.close()

    app = FastAPI(
        title="edgefc",
        version=__version__,
        description="OpenAI-compatible chat completions, and Anthropic's messages, whose tool calls are always valid.",
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        middleware=[Middleware(Access, answered=service.metrics.answered), Middleware(Guard, settings=settings)],
    )
    app.state.service = service
    app.include_router(router, prefix="/v1")
    app.include_router(router, include_in_schema=False)
    tell_errors(app)
    return app
