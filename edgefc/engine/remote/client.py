"""HTTP to a remote engine: JSON, streams of events, retries before the first event, errors that name the engine."""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from typing import Any

from edgefc.engine.remote.target import CONNECT_S, KEY_VARIABLE, TIMEOUT_VARIABLE, RemoteTarget
from edgefc.errors import EdgefcError, RemoteEngineBusyError, RemoteEngineError, require_extra

require_extra("remote", "httpx2")

import httpx2  # noqa: E402 - after the check, which names the extra

RETRY_S = (0.25, 1.0, 3.0)  # waits before the next try, unless the engine names one
MAX_WAIT_S = 20.0  # that an engine may name
BUSY = {429, 503}
MAX_EVENT = 16 << 20  # bytes of one event, or of one answer in JSON
MAX_EXCERPT = 300  # characters of an engine's own error


class Client:
    """A pool of connections to one engine. To be used in one event loop."""

    def __init__(self, target: RemoteTarget, transport: httpx2.AsyncBaseTransport | None = None) -> None:
        self.target = target
        headers = {} if target.key is None else {"Authorization": f"Bearer {target.key}"}
        self._http = httpx2.AsyncClient(
            base_url=target.url,
            headers=headers,
            timeout=httpx2.Timeout(target.silence_s, connect=min(CONNECT_S, target.silence_s)),
            limits=httpx2.Limits(max_connections=None, max_keepalive_connections=16),
            transport=transport,
        )

    async def close(self) -> None:
        await self._http.aclose()

    def error(self, reason: str, hint: str = "") -> RemoteEngineError:
        return RemoteEngineError(str(self.target), reason, hint)

    async def get(self, path: str) -> dict[str, Any]:
        """Return the object at a path. Raises RemoteEngineError."""
        async with self._response("GET", path, None) as response:
            return self._object(await self._read(response))

    async def events(self, path: str, body: Mapping[str, Any]) -> AsyncGenerator[dict[str, Any], None]:
        """Send a request and yield the events of its answer. Raises RemoteEngineError.

        A stream that ends without `[DONE]` and without an end in its events is the caller's to notice.
        """
        async with (
            self._response("POST", path, body) as response,
            contextlib.aclosing(self._lines(response)) as lines,
        ):
            async for line in lines:
                field, _, data = line.partition(b":")
                data = data.strip()
                if field == b"error":
                    raise self.error(f"failed: {_excerpt(data)}")
                if field != b"data" or not data:
                    continue
                if data == b"[DONE]":
                    return
                event = self._object(data)
                if event.get("error"):
                    raise self.error(f"failed: {_excerpt(json.dumps(event['error']).encode())}")
                yield event

    @contextlib.asynccontextmanager
    async def _response(self, method: str, path: str, body: Mapping[str, Any] | None) -> AsyncIterator[httpx2.Response]:
        """Open an answer; wait and try again while the engine is busy, or cannot be reached."""
        tries = 0
        while True:
            async with contextlib.AsyncExitStack() as stack:
                try:
                    response = await stack.enter_async_context(self._http.stream(method, path, json=body))
                except (httpx2.HTTPError, httpx2.InvalidURL) as error:
                    if tries == len(RETRY_S) or not isinstance(error, httpx2.ConnectError | httpx2.ConnectTimeout):
                        raise self._transport_error(error) from None
                    wait = RETRY_S[tries]
                else:
                    if response.status_code == httpx2.codes.OK:
                        try:
                            yield response
                        except httpx2.HTTPError as error:
                            raise self._transport_error(error) from None
                        return
                    if response.status_code not in BUSY or tries == len(RETRY_S):
                        raise await self._refusal(response)
                    wait = _wait_for(response, RETRY_S[tries])
            tries += 1
            await asyncio.sleep(wait * random.uniform(0.8, 1.2))  # noqa: S311 - spreads the tries of many

    async def _lines(self, response: httpx2.Response) -> AsyncGenerator[bytes, None]:
        rest = b""
        async for data in response.aiter_bytes():
            *lines, rest = (rest + data).split(b"\n")
            if len(rest) > MAX_EVENT:
                raise self.error(f"sent an event of more than {MAX_EVENT >> 20} MiB")
            for line in lines:
                yield line
        if rest:
            yield rest

    async def _read(self, response: httpx2.Response, limit: int = MAX_EVENT) -> bytes:
        data = b""
        async for part in response.aiter_bytes():
            data += part
            if len(data) > limit:
                break
        return data[:limit]

    def _object(self, data: bytes) -> dict[str, Any]:
        try:
            value = json.loads(data)
        except (ValueError, RecursionError):
            value = None
        if not isinstance(value, dict):
            raise self.error(f"sent something else than a JSON object: {_excerpt(data)}", "Is the URL right?")
        return value

    async def _refusal(self, response: httpx2.Response) -> EdgefcError:
        status = response.status_code
        with contextlib.suppress(httpx2.HTTPError):
            detail = _excerpt(await self._read(response, 4 * MAX_EXCERPT))
        detail = detail or response.reason_phrase
        if status in BUSY:
            hint = "Try again later, or give the engine more slots."
            return RemoteEngineBusyError(str(self.target), f"is busy (status {status}): {detail}", hint)
        hint = ""
        if status in {401, 403}:
            hint = f"Set {KEY_VARIABLE} to the engine's key."
        elif status == 404:
            hint = f"Is it a {self.target.kind}, and is the URL its root?"
        return self.error(f"refused the request (status {status}): {detail}", hint)

    def _transport_error(self, error: Exception) -> RemoteEngineError:
        if isinstance(error, httpx2.ConnectTimeout | httpx2.ConnectError):
            return self.error(f"cannot be reached: {error}", "Start it, or correct the URL.")
        if isinstance(error, httpx2.TimeoutException):
            reason = f"was silent for {self.target.silence_s:g} seconds"
            return self.error(reason, f"Try again; {TIMEOUT_VARIABLE} sets the seconds to wait.")
        return self.error(f"broke off the connection: {error or type(error).__name__}", "See its log, and try again.")


def _wait_for(response: httpx2.Response, usual: float) -> float:
    """Return the seconds that an engine asks to wait; the usual ones if it names none, or too many."""
    try:
        seconds = float(response.headers.get("retry-after", ""))
    except ValueError:
        return usual
    return seconds if 0 <= seconds <= MAX_WAIT_S else usual


def _excerpt(data: bytes) -> str:
    """Return an engine's own words for an error: one line without control characters."""
    with contextlib.suppress(ValueError, RecursionError):
        value = json.loads(data)
        for key in ("error", "message", "detail"):
            if isinstance(value, dict) and value.get(key):
                value = value[key]
        data = value.encode() if isinstance(value, str) else data
    text = " ".join(data.decode("utf-8", "replace").split())
    return "".join(char if char.isprintable() else "\ufffd" for char in text)[:MAX_EXCERPT]
