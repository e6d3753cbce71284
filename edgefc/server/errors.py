"""Error responses in the format of the requested API.

OpenAI's is `{"error": {"message", "type", "param", "code"}}`. Paths below /v1/messages get Anthropic's:
`{"type": "error", "error": {"type", "message", "details"}}`. Paths below /api get Ollama's: `{"error": message}`.
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
    FieldPath,
    FormatError,
    GrammarError,
    InvalidCallError,
    LocatedError,
    ModelFileError,
    ModelLoadError,
    ModelNotFoundError,
    RemoteEngineBusyError,
    RemoteEngineError,
    SchemaError,
    ToolError,
    format_path,
)

log = logging.getLogger("edgefc.server")
STATUSES = (400, 401, 403, 404, 405, 408, 413, 422, 429, 431, 500, 502, 503)
_TYPES = {401: "authentication_error", 403: "permission_error", 404: "not_found_error", 429: "rate_limit_error"}
_ANTHROPIC_PATH = re.compile(r"(/v1)?/messages(/|\Z)")
_OLLAMA_PATH = re.compile(r"/api/")
_ANTHROPIC_TYPES = {**_TYPES, 408: "timeout_error", 500: "api_error", 502: "api_error", 503: "overloaded_error"}
_BODY_NOT_READ = {401, 403, 408, 413, 431}  # sent before the body has arrived
# Errors that a request causes, and the field to name where the error has no path.
_CLIENT_ERRORS: tuple[tuple[type[EdgefcError], FieldPath], ...] = (
    (SchemaError, ("tools",)),
    (LocatedError, ()),
    (ToolError, ("tools",)),
    (FormatError, ("messages",)),
    (GrammarError, ("grammar",)),
)


PREFIX = "x_edgefc_"
# edgefc's own options, which are fields of a request only with the prefix.
OWN_OPTIONS = frozenset({
    "allow_repeated_calls", "loop_guard", "min_confidence", "call_bias", "on_unsupported", "open_objects", "family",
    "tool_budget",
})  # fmt: skip


class ErrorDetail(BaseModel):
    """The error; `param` is the field of the request that caused it."""

    model_config = ConfigDict(extra="allow")

    message: str
    type: str
    param: str | None
    code: str | None


class ErrorBody(BaseModel):
    """The body of an error response."""

    error: ErrorDetail


class AnthropicErrorDetail(BaseModel):
    """The error; the message starts with the field that caused it, and `details` has the code."""

    model_config = ConfigDict(extra="allow")

    type: str
    message: str


class AnthropicErrorBody(BaseModel):
    """The body of an error response of /v1/messages."""

    type: Literal["error"]
    error: AnthropicErrorDetail


class OllamaErrorBody(BaseModel):
    """The body of an error response of /api."""

    error: str


class ApiError(Exception):
    """An error response.

    status  HTTP status
    reason  the message without the field's name
    path    the field of the request that caused it; () for none
    extra   further fields of the error object
    """

    def __init__(
        self, status: int, reason: str, *, path: FieldPath = (), code: str | None = None, **extra: Any
    ) -> None:
        super().__init__(reason)
        self.status, self.reason, self.path, self.code, self.extra = status, reason, path, code, extra

    @classmethod
    def from_exception(cls, error: BaseException) -> ApiError:
        """Map an exception to its response; unexpected ones are logged, and become 500."""
        if isinstance(error, ApiError):
            return error
        if isinstance(error, MemoryError):
            log.error("no memory for a request")
            return cls(503, "the server has not enough memory for the request", code="out_of_memory")
        if not isinstance(error, EdgefcError):
            log.error("request failed", exc_info=error)
            return cls(500, "internal server error; see the server's log", code="internal_error")
        reason = "\n".join(text for text in (error.reason, error.hint) if text)
        if isinstance(error, ContextOverflowError):
            counts = {"n_prompt_tokens": error.prompt_tokens, "n_ctx": error.n_ctx}
            return cls(400, reason, path=error.path, code=error.code, **counts)
        if isinstance(error, ModelNotFoundError):
            return cls(404, reason, path=("model",), code=error.code)
        for kind, default_path in _CLIENT_ERRORS:
            if isinstance(error, kind):
                path = _in_request(error.path) if isinstance(error, LocatedError) else ()
                return cls(400, reason, path=path or default_path, code=error.code)
        if isinstance(error, InvalidCallError | ConstraintError):  # the model's output is at fault, not the server
            return cls(422, reason, code=error.code)
        if isinstance(error, EngineClosedError | CancelledError):
            return cls(503, "the server is shutting down, or the request took too long", code=error.code)
        if isinstance(error, RemoteEngineError):
            log.error("%s", error)
            status = 503 if isinstance(error, RemoteEngineBusyError) else 502
            return cls(status, "the engine behind this server failed; see its log", code=error.code)
        if isinstance(error, ModelFileError | ModelLoadError):
            log.error("%s", error)
            return cls(503, reason, path=("model",), code=error.code)
        log.error("request failed", exc_info=error)
        return cls(500, "internal server error; see the server's log", code="internal_error")

    @classmethod
    def from_validation(cls, errors: Sequence[Mapping[str, Any]]) -> ApiError:
        """Map pydantic's errors of a request body to one response, which names the first."""
        first = errors[0]
        if first["type"] == "json_invalid":
            return cls(400, f"invalid JSON: {first['ctx']['error']}", code="invalid_json")
        path = tuple(part for part in first["loc"][1:] if not _is_union_member(part))
        return cls(400, first["msg"] if path else f"body: {first['msg']}", path=path, code="invalid_request")

    @property
    def param(self) -> str | None:
        """`path` as text, in OpenAI's spelling."""
        return format_path(self.path) or None

    @property
    def message(self) -> str:
        return f"{self.param}: {self.reason}" if self.path else self.reason

    def at(self, *path: str | int) -> ApiError:
        """Return the same error for another field."""
        return ApiError(self.status, self.reason, path=path, code=self.code, **self.extra)

    def body(self, url_path: str) -> dict[str, Any]:
        """Build the body in the format of the API at this URL path."""
        if _ANTHROPIC_PATH.match(url_path):
            kind = _ANTHROPIC_TYPES.get(self.status, "invalid_request_error")
            detail: dict[str, Any] = {"type": kind, "message": self.message}
            if self.code is not None:
                detail["details"] = {"error_code": self.code, **self.extra}
            return {"type": "error", "error": detail}
        if _OLLAMA_PATH.match(url_path):
            return {"error": self.message}
        kind = _TYPES.get(self.status, "invalid_request_error" if self.status < 500 else "server_error")
        error = {"message": self.message, "type": kind, "param": self.param, "code": self.code}
        return {"error": error | self.extra}

    def response(self, url_path: str, headers: Mapping[str, str] | None = None) -> JSONResponse:
        error_headers = {"Retry-After": "1"} if self.status in {429, 503} else {}
        if self.status in _BODY_NOT_READ:
            error_headers["Connection"] = "close"  # else uvicorn would read the rest of the body, however long
        return JSONResponse(self.body(url_path), self.status, {**(headers or {}), **error_headers})


def _in_request(path: FieldPath) -> FieldPath:
    """Return the place of an error with the field's name as requests have it."""
    return (f"{PREFIX}{path[0]}", *path[1:]) if path and path[0] in OWN_OPTIONS else path


def _is_union_member(part: str | int) -> bool:
    """True for parts of pydantic's locations that name one type of a union, such as "str" or "list[int]"."""
    return isinstance(part, str) and (part in {"str", "int", "float", "bool"} or "[" in part or "-" in part)
