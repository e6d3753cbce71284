"""POST /mcp: the server's models for MCP clients, over streamable HTTP without sessions."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from contextvars import ContextVar
from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import Response
from mcp.server.streamable_http_manager import StreamableHTTPSessionManager
from pydantic import ValidationError
from starlette.types import Message, Receive, Scope, Send

from edgefc.chat.reply import Reply
from edgefc.errors import ServerError, format_path
from edgefc.mcp.serving import new_server
from edgefc.server.api.chat import ChatHandler, ChatRequest
from edgefc.server.bodies import MAX_PARSED, parsed_size
from edgefc.server.errors import ApiError
from edgefc.server.request_record import SCOPE_KEY, RequestRecord
from edgefc.server.service import Service
from edgefc.server.sse import cancel_on_disconnect

_record: ContextVar[RequestRecord] = ContextVar("edgefc_mcp_record")  # of the HTTP request that is being answered


class McpEndpoint:
    """The endpoint. Its requests pass the same checks, queue and limits as those of the other endpoints."""

    def __init__(self, service: Service) -> None:
        settings = service.settings
        # Without sessions, no client leaves anything behind. The middleware has checked host, origin and key.
        self._manager = StreamableHTTPSessionManager(
            new_server(_Delegate(service)), json_response=True, stateless=True, max_request_body_size=settings.max_body
        )

    def running(self) -> AbstractAsyncContextManager[None]:
        """Return the context in which requests are answered; it can be entered once."""
        return self._manager.run()

    def add_to(self, app: FastAPI) -> None:
        """Add the route."""

        @app.post("/mcp", summary="Answer a message of the Model Context Protocol")
        async def answer(request: Request) -> Response:
            return _McpResponse(self._manager, await request.body())


class _McpResponse(Response):
    """Lets the SDK answer a request whose body has been read."""

    def __init__(self, manager: StreamableHTTPSessionManager, body: bytes) -> None:
        super().__init__()
        self._manager, self._received = manager, body

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if parsed_size(self._received) > MAX_PARSED:
            raise ApiError(413, f"the body has too many values: they take more than {MAX_PARSED >> 20} MiB")
        record = scope[SCOPE_KEY] = RequestRecord()
        token = _record.set(record)
        try:
            work = self._manager.handle_request(scope, self._replay(), send)
            await cancel_on_disconnect(Request(scope, receive), work)
        finally:
            _record.reset(token)

    def _replay(self) -> Receive:
        messages: list[Message] = [{"type": "http.request", "body": self._received, "more_body": False}]

        async def receive() -> Message:
            return messages.pop() if messages else {"type": "http.disconnect"}

        return receive


class _Delegate:
    """The server's models, behind its queue."""

    def __init__(self, service: Service) -> None:
        self._service = service

    @property
    def models(self) -> Sequence[str]:
        return [entry.name for entry in self._service.models.entries]

    async def chat(self, body: dict[str, Any]) -> Reply:
        try:
            # The client's own tools: what cannot be enforced is an error, not a silent omission.
            request = ChatRequest.model_validate({**body, "x_edgefc_on_unsupported": "refuse"})
            async with self._service.open(request.model, _record.get()) as context:
                outputs = ChatHandler(request, context).outputs(deltas=False)
                replies = [output.value async for output in outputs if isinstance(output.value, Reply)]
            return replies[0]
        except ValidationError as error:
            raise _server_error(ApiError.from_validation(error.errors())) from None
        except ApiError as error:
            raise _server_error(error) from None

    async def lint(self, tools: list[dict[str, Any]]) -> dict[str, Any]:
        try:
            return await self._service.linter.lint(tools)
        except ApiError as error:
            raise _server_error(error) from None


def _server_error(error: ApiError) -> ServerError:
    location = format_path(error.path)
    return ServerError(f"{location}: {error.reason}" if location else error.reason)
