"""Errors as OpenAI's API tells them: `{"error": {"message", "type", "param", "code"}}` and an HTTP status.

Those of /v1/messages are told as Anthropic's API does: `{"type": "error", "error": {"type", "message", "details"}}`.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict

from edgefc.errors import (
    CancelledError,
    ConstraintError,
    ContextOverflowError,
    EdgefcError,
    EngineClosedError,
    FormatError,
    GrammarError,
    InvalidCallError,
    ModelFileError,
    ModelLoadError,
    ModelNotFoundError,
    RequestError,
    SchemaError,
    ToolError,
    format_path,
)

log = logging.getLogger("edgefc.server")
_TYPES = {401: "authentication_error", 403: "permission_error", 404: "not_found_error", 429: "rate_limit_error"}
_ANTHROPIC = re.compile(r"(/v1)?/messages(/|\Z)")  # paths
_ANTHROPIC_TYPES = {**_TYPES, 408: "timeout_error", 500: "api_error", 503: "overloaded_error"}
_UNREAD = {401, 403, 408, 413, 431}  # answered before the body is there
# What a request can be blamed for, and the parameter it is about where the error does not say.
_BLAMED: tuple[tuple[type[EdgefcError], str | None], ...] = (
    (RequestError, None), (SchemaError, "tools"), (ToolError, "tools"), (FormatError, "messages"),
    (GrammarError, "grammar"),
)  # fmt: skip


class ErrorDetail(BaseModel):
    """What is wrong; `param` names the field of the request that it is about."""

    model_config = ConfigDict(extra="allow")

    message: str
    type: str
    param: str | None
    code: str | None


class ErrorBody(BaseModel):
    """The body of every answer that is an error."""

    error: ErrorDetail


class AnthropicErrorDetail(BaseModel):
    """What is wrong; the message names the field of the request that it is about, `details` has the code."""

    model_config = ConfigDict(extra="allow")

    type: str
    message: str


class AnthropicErrorBody(BaseModel):
    """The body of every answer of /v1/messages that is an error."""

    type: Literal["error"]
    error: AnthropicErrorDetail


STATUSES = (400, 401, 403, 404, 405, 408, 413, 422, 429, 431, 500, 503)


class ApiError(Exception):
    """An answer that is an error. `extra` are further fields of the error object."""

    def __init__(
        self, status: int, message: str, *, param: str | None = None, code: str | None = None, **extra: Any
    ) -> None:
        super().__init__(message)
        self.status, self.message, self.param, self.code, self.extra = status, message, param, code, extra

    def at(self, place: str) -> ApiError:
        """The same error, of another place of the request."""
        named = f"{self.param}: "
        message = f"{place}: {self.message.removeprefix(named)}" if self.message.startswith(named) else self.message
        return ApiError(self.status, message, param=place, code=self.code, **self.extra)

    def body(self, path: str) -> dict[str, Any]:
        """What is told to who asked at this path."""
        if _ANTHROPIC.match(path):
            kind = _ANTHROPIC_TYPES.get(self.status, "invalid_request_error")
            told: dict[str, Any] = {"type": kind, "message": self.message}
            if self.code is not None:
                told["details"] = {"error_code": self.code, **self.extra}
            return {"type": "error", "error": told}
        kind = _TYPES.get(self.status, "invalid_request_error" if self.status < 500 else "server_error")
        error = {"message": self.message, "type": kind, "param": self.param, "code": self.code}
        return {"error": error | self.extra}

    def response(self, path: str, headers: Mapping[str, str] | None = None) -> JSONResponse:
        more = {"Retry-After": "1"} if self.status in {429, 503} else {}
        if self.status in _UNREAD:
            more["Connection"] = "close"  # else the rest of the body would be read, however long it is
        return JSONResponse(self.body(path), self.status, {**(headers or {}), **more})


def of(error: BaseException) -> ApiError:
    """The answer for an exception; what nobody expected is logged."""
    if isinstance(error, ApiError):
        return error
    if isinstance(error, ContextOverflowError):
        counts = {"n_prompt_tokens": error.prompt_tokens, "n_ctx": error.n_ctx}
        return ApiError(400, str(error), param=error.param, code=error.code, **counts)
    if isinstance(error, ModelNotFoundError):
        return ApiError(404, str(error), param="model", code=error.code)
    for kind, param in _BLAMED:
        if isinstance(error, kind):
            place = getattr(error, "param", None) or format_path(getattr(error, "path", ())) or param
            return ApiError(400, str(error), param=place, code=error.code)
    if isinstance(error, InvalidCallError | ConstraintError):  # what the model said: nobody's server is broken
        return ApiError(422, str(error), code=error.code)
    if isinstance(error, EngineClosedError | CancelledError):
        return ApiError(503, "the server is stopping, or the request took too long", code=error.code)
    if isinstance(error, ModelFileError | ModelLoadError):
        log.error("%s", error)
        return ApiError(503, str(error), param="model", code=error.code)
    log.error("a request failed", exc_info=error)
    return ApiError(500, "the server made a mistake; its log says more", code="internal_error")


def of_validation(errors: Sequence[Mapping[str, Any]]) -> ApiError:
    """What pydantic says of a body, as one error that names the first place."""
    first = errors[0]
    if first["type"] == "json_invalid":
        return ApiError(400, f"the body is no JSON: {first['ctx']['error']}", code="invalid_json")
    place = format_path(tuple(part for part in first["loc"][1:] if not _is_branch(part)))
    return ApiError(400, f"{place or 'body'}: {first['msg']}", param=place or None, code="invalid_request")


def _is_branch(part: str | int) -> bool:
    """Whether this names one of several types that a field may have, as pydantic calls it."""
    return isinstance(part, str) and (part in {"str", "int", "float", "bool"} or "[" in part or "-" in part)
