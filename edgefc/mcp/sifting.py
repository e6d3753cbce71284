"""Lists of tools in which some are malformed: these are left out alone.

The SDK reads a page of tools as a whole, so that a server with one tool that has no schema would have none. Such a tool
is replaced by a stand-in, whose reason `listing` tells.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Mapping
from typing import Any, Self

import anyio
import mcp_types
from mcp.shared.message import SessionMessage
from mcp_types import methods
from pydantic import ValidationError

from edgefc.terminal import single_line

VERSIONS = ("2025-11-25", "2026-07-28")  # of the protocol, between which the form of a tool differs
REASON = "edgefc/malformed"  # key of a stand-in's _meta
LONGEST_REASON = 500  # characters


@contextlib.asynccontextmanager
async def sifted(transport: contextlib.AbstractAsyncContextManager[Any]) -> AsyncIterator[Any]:
    """Yield the streams of a transport; lists of tools are sifted."""
    async with transport as (read_stream, write_stream):
        yield _SiftedStream(read_stream), write_stream


def reason_of(tool: mcp_types.Tool) -> str:
    """Return why a tool is malformed, "" for others."""
    reason = (tool.meta or {}).get(REASON, "")
    return reason if isinstance(reason, str) else ""


class _SiftedStream:
    """A stream of a server's messages, as the SDK reads it."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    @property
    def last_context(self) -> Any:
        return getattr(self._stream, "last_context", None)

    async def receive(self) -> SessionMessage | Exception:
        message: SessionMessage | Exception = await self._stream.receive()
        if isinstance(message, SessionMessage) and isinstance(message.message, mcp_types.JSONRPCResponse):
            result = message.message.result
            if isinstance(result.get("tools"), list):
                message.message.result = _with_stand_ins(result)
        return message

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> SessionMessage | Exception:
        try:
            return await self.receive()
        except anyio.EndOfStream:
            raise StopAsyncIteration from None

    def close(self) -> None:
        self._stream.close()

    async def aclose(self) -> None:
        await self._stream.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()


def _with_stand_ins(page: Mapping[str, Any]) -> dict[str, Any]:
    if not _problem(page):
        return dict(page)
    tools = []
    for number, tool in enumerate(page["tools"], 1):
        if problem := _problem({**page, "tools": [tool]}):
            name = tool.get("name") if isinstance(tool, dict) else None
            named = name if isinstance(name, str) else f"tool {number}"
            reason = problem.removeprefix("tools.0.").removeprefix("tools.0: ")
            tools.append({"name": named, "inputSchema": {"type": "object"}, "_meta": {REASON: reason}})
        else:
            tools.append(tool)
    return {**page, "tools": tools}


def _problem(page: Mapping[str, Any]) -> str:
    """Return what is wrong with a page in each version of the protocol; "" if one of them takes it."""
    problem = ""
    for version in VERSIONS:
        try:
            methods.validate_server_result("tools/list", version, page)
        except ValidationError as error:
            problem = problem or describe_invalid(error)
        else:
            return ""
    return problem


def describe_invalid(error: ValidationError) -> str:
    """Return what is wrong with a message, on one line, with its place: "inputSchema: Field required"."""
    first = error.errors(include_input=False, include_context=False)[0]
    return single_line(f"{'.'.join(map(str, first['loc']))}: {first['msg']}", limit=LONGEST_REASON)
