"""Messages over streamable HTTP, with a limit of their size."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from typing import Any

import httpx2
from mcp.client.streamable_http import streamable_http_client

from edgefc.errors import ToolError
from edgefc.mcp.config import ServerConfig
from edgefc.mcp.stdio import MAX_MESSAGE

CONNECT_S = 10.0


@contextlib.asynccontextmanager
async def open_http(config: ServerConfig) -> AsyncIterator[Any]:
    """Yield the streams of a transport of the SDK. Redirects to other hosts are not followed."""
    assert config.url is not None
    async with (
        httpx2.AsyncClient(
            headers=dict(config.headers),
            timeout=httpx2.Timeout(CONNECT_S, read=config.timeout),
            event_hooks={"response": [_limit_body]},
        ) as client,
        streamable_http_client(config.url, http_client=client, max_sse_event_size=MAX_MESSAGE) as streams,
    ):
        yield streams


async def _limit_body(response: httpx2.Response) -> None:
    """Bound the body of an answer; an event stream has a limit for each event."""
    if not response.headers.get("content-type", "").startswith("text/event-stream"):
        response.stream = _Limited(response.stream)


class _Limited(httpx2.AsyncByteStream):
    def __init__(self, stream: Any) -> None:
        self._stream = stream

    async def __aiter__(self) -> AsyncIterator[bytes]:
        size = 0
        async for chunk in self._stream:
            size += len(chunk)
            if size > MAX_MESSAGE:
                raise ToolError(f"sent a message of more than {MAX_MESSAGE >> 20} MiB")
            yield chunk

    async def aclose(self) -> None:
        await self._stream.aclose()
