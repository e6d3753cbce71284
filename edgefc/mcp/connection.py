"""One server: started when it is needed, and again after it ended. All methods run in the background loop."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any

import mcp_types
from mcp.client import Client
from mcp.shared.exceptions import MCPError
from pydantic import TypeAdapter, ValidationError

from edgefc._version import __version__
from edgefc.errors import EdgefcError, ToolError
from edgefc.mcp.config import ServerConfig
from edgefc.mcp.http import open_http
from edgefc.mcp.listing import MAX_LISTED, Listing, new_listing
from edgefc.mcp.sifting import LONGEST_REASON, describe_invalid, sifted
from edgefc.mcp.stdio import Process
from edgefc.terminal import single_line
from edgefc.tools.remote import ServerTool

log = logging.getLogger("edgefc.mcp")
FIRST_PAUSE_S, LONGEST_PAUSE_S = 1.0, 60.0  # between attempts to start, doubled each time
STOP_S = 10.0
MAX_LISTED_BYTES = 32 << 20  # of pages of tools, before the others are not looked at
_RESULT: TypeAdapter[mcp_types.CallToolResult | mcp_types.InputRequiredResult] = TypeAdapter(
    mcp_types.CallToolResult | mcp_types.InputRequiredResult
)


class _Session:
    """A started server, served by a task of its own: the SDK's scopes must be left in the task that entered them."""

    def __init__(self, config: ServerConfig, on_tools_changed: Callable[[], None]) -> None:
        self.config = config
        self._on_tools_changed = on_tools_changed
        self._stop, self._ready = asyncio.Event(), asyncio.get_running_loop().create_future()
        self._process = None if config.command is None else Process(config, self._stop.set)
        self._task = asyncio.create_task(self._serve())
        self._listener: asyncio.Task[None] | None = None

    @property
    def is_open(self) -> bool:
        return not self._stop.is_set() and not self._task.done()

    @property
    def end_reason(self) -> str:
        return self._process.end_reason if self._process is not None else ""

    async def client(self) -> Client:
        """Wait until the server has answered. Raises what its start raises."""
        client: Client = await asyncio.shield(self._ready)
        return client

    def end(self) -> None:
        """Let the next call start anew."""
        self._stop.set()

    async def close(self) -> None:
        """Stop the server; at most a few seconds, also if it hangs."""
        self._stop.set()
        if not self._ready.done() and self._process is not None:
            self._process.kill()
        done, _ = await asyncio.wait([self._task], timeout=STOP_S if self._ready.done() or self._process else 0.1)
        if not done:
            self._task.cancel()
            await asyncio.wait([self._task], timeout=STOP_S)

    async def _serve(self) -> None:
        try:
            client = Client(
                self._target(),
                read_timeout_seconds=self.config.timeout,
                message_handler=self._on_message,
                client_info=mcp_types.Implementation(name="edgefc", version=__version__),
            )
            async with client:
                self._listener = asyncio.create_task(self._listen(client))
                self._ready.set_result(client)
                try:
                    await self._stop.wait()
                finally:
                    self._listener.cancel()
                    await asyncio.gather(self._listener, return_exceptions=True)
        except BaseException as error:
            if not self._ready.done():
                self._ready.set_exception(error if isinstance(error, Exception) else ToolError("was cancelled"))
                self._ready.exception()  # perhaps nobody waits for it
            elif not isinstance(error, Exception):
                raise
            else:
                log.debug("%s: %s", self.config.name, describe(error))

    def _target(self) -> Any:
        if self._process is not None:
            return sifted(self._process.open())
        return sifted(open_http(self.config)) if self.config.url is not None else self.config.server

    async def _on_message(self, message: Any) -> None:
        if isinstance(message, mcp_types.ToolListChangedNotification):
            self._on_tools_changed()

    async def _listen(self, client: Client) -> None:
        """Follow changes of the tools where the protocol has subscriptions; elsewhere they come as notifications."""
        tools = client.server_capabilities.tools
        if tools is None or not tools.list_changed:
            return
        try:
            async with client.listen(tools_list_changed=True) as changes:
                async for _ in changes:
                    self._on_tools_changed()
        except Exception as error:  # noqa: BLE001 - whatever a server does is its failure alone
            log.debug("%s: changes of its tools are not followed: %s", self.config.name, describe(error))


class Connection:
    """A server's tools and calls. A failed start is not tried again for a while."""

    def __init__(self, config: ServerConfig) -> None:
        self.config = config
        self._session: _Session | None = None
        self._listing: Listing | None = None
        self._lock, self._is_closed = asyncio.Lock(), False
        # Starts that failed in a row, the loop's time of the next attempt, and the last failure.
        self._failures, self._next_start = 0, 0.0
        self._failure: ToolError | None = None

    async def listing(self) -> Listing:
        """Return the tools, listed anew after a start and after a change. Raises ToolError."""
        async with self._lock:
            try:
                async with asyncio.timeout(self.config.timeout):
                    session = await self._open_session()
                    if self._listing is None:
                        self._listing = await self._list(await session.client())
                    return self._listing
            except Exception as error:  # noqa: BLE001 - whatever a server does is its failure alone
                raise await self._failed(error) from None

    async def call(self, tool: ServerTool, arguments: dict[str, Any]) -> mcp_types.CallToolResult:
        """Call a tool. Raises ToolError, also if the tool is no longer what the caller knows."""
        listing = await self.listing()
        current = listing.by_name.get(tool.name)
        if current is None or current.fingerprint != tool.fingerprint:
            change = "has gone" if current is None else "has changed"
            raise self._error(f"the tool {tool.name!r} {change} since it was listed")
        session = self._session
        assert session is not None
        try:
            async with asyncio.timeout(self.config.timeout):
                client = await session.client()
                return await _call(client, tool.name, arguments)
        except TimeoutError:
            raise self._error(f"no result within {self.config.timeout:g} s") from None
        except Exception as error:  # noqa: BLE001 - whatever a server does is its failure alone
            if self._is_lost(error):
                session.end()
            raise self._error(session.end_reason or describe(error)) from None

    def _is_lost(self, error: Exception) -> bool:
        """Return True for an error after which only a new session can help."""
        if not isinstance(error, MCPError):
            return self.config.url is not None
        # Over HTTP, INVALID_REQUEST is the answer to a session that the server no longer knows.
        is_unknown = self.config.url is not None and error.code == mcp_types.INVALID_REQUEST
        return is_unknown or error.code == mcp_types.CONNECTION_CLOSED

    async def close(self) -> None:
        """End the server for good."""
        self._is_closed = True
        await self._close_session()

    async def _close_session(self) -> None:
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    async def _open_session(self) -> _Session:
        if self._session is not None and self._session.is_open:
            return self._session
        if self._is_closed:
            raise ToolError("the connection was closed", "Call tools inside the with block.")
        if self._failure is not None and asyncio.get_running_loop().time() < self._next_start:
            raise self._failure
        await self._close_session()
        self._listing = None
        self._session = _Session(self.config, self._forget_listing)
        await self._session.client()
        return self._session

    def _forget_listing(self) -> None:
        self._listing = None

    async def _list(self, client: Client) -> Listing:
        found: list[Any] = []
        cursor, size = None, 0
        while len(found) < MAX_LISTED and size < MAX_LISTED_BYTES:
            page = await client.list_tools(cursor=cursor, cache_mode="bypass")
            found += page.tools
            cursor = page.next_cursor
            if cursor is None:
                break
            size += len(page.model_dump_json())
        self._failures = 0
        is_whole = len(found) <= MAX_LISTED and cursor is None
        return new_listing(self.config, found[:MAX_LISTED], is_whole=is_whole)

    async def _failed(self, error: Exception) -> ToolError:
        """Close the session, note the time of the next attempt and return the error for the caller."""
        session = self._session
        reason, hint = describe(error), error.hint if isinstance(error, EdgefcError) else ""
        if isinstance(error, TimeoutError):
            reason = f"no answer within {self.config.timeout:g} s"
        elif session is not None and session.end_reason:
            reason = session.end_reason
        if session is not None:
            await self._close_session()
            pause = min(FIRST_PAUSE_S * 2**self._failures, LONGEST_PAUSE_S)
            self._failures += 1
            self._next_start = asyncio.get_running_loop().time() + pause
            self._failure = ToolError(reason, hint)
        return self._error(reason, hint)

    def _error(self, reason: str, hint: str = "") -> ToolError:
        return ToolError(f"MCP server {self.config.name}: {reason}", hint)


async def _call(client: Client, name: str, arguments: dict[str, Any]) -> mcp_types.CallToolResult:
    """Call a tool. Raises ToolError and what the SDK raises.

    Not `client.call_tool`, which checks results with the server's output schema: its patterns may never end. A model
    reads results as text.
    """
    parameters = mcp_types.CallToolRequestParams(name=name, arguments=arguments)
    result = await client.session.send_request(mcp_types.CallToolRequest(params=parameters), _RESULT)
    if isinstance(result, mcp_types.InputRequiredResult):
        raise ToolError("wants to ask the user, which edgefc does not support")
    return result


def describe(error: BaseException) -> str:
    """Return an error's text on one line; of a group, the first error's."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    text = error.reason if isinstance(error, EdgefcError) else str(error)
    if isinstance(error, ValidationError):
        return describe_invalid(error)
    is_own = isinstance(error, EdgefcError | MCPError)
    return single_line(text if is_own and text else f"{type(error).__name__}: {text}", limit=LONGEST_REASON)
