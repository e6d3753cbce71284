"""The tools of all servers as one sequence for `Model.run`, and the functions that call them."""

from __future__ import annotations

import asyncio
import collections
import json
import logging
import re
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Self, overload

from edgefc.errors import ToolError
from edgefc.grammar.refusal import refusal_of
from edgefc.limits import MAX_TOOLS
from edgefc.mcp import background
from edgefc.mcp.config import ServerConfig, default_path, read_config
from edgefc.mcp.listing import Listing, is_preapproved
from edgefc.mcp.result import result_text
from edgefc.tools.remote import MAX_RESULT, Omission, RemoteTool, ServerTool

log = logging.getLogger("edgefc.mcp")
CLOSE_S = 20.0
_UNSAFE = re.compile(r"[^A-Za-z0-9_.-]")


class McpTool(RemoteTool):
    """A tool of a server.

    config  the server
    owner   all tools of the connection; after a change they have another object for this tool
    """

    def __init__(
        self, name: str, source: ServerTool, config: ServerConfig, call: Callable[..., Any], owner: McpTools
    ) -> None:
        super().__init__(name, source, call)
        self.config, self.is_preapproved, self.owner = config, is_preapproved(config, source), owner


class McpTools(Sequence[McpTool]):
    """The tools that the servers have now. Servers start, all at once, when the tools are first looked at.

    Used with `with` or `async with`; `close` ends all servers, as does the end of the program.

    omitted  the tools and servers that are left out, with the reason, as of the last look
    """

    def __init__(self, servers: Sequence[ServerConfig], *, reserved: Iterable[str], max_result: int) -> None:
        from edgefc.mcp.connection import Connection

        self.servers = tuple(servers)
        self.omitted: tuple[Omission, ...] = ()
        self._reserved, self._max_result = frozenset(reserved), max_result
        self._connections = [Connection(server) for server in servers]
        self._listings: list[Listing] = []
        self._tools: tuple[McpTool, ...] = ()
        self._finalizer = weakref.finalize(self, _close, self._connections)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        await background.await_in_loop(self._list_all())
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._finalizer.detach() is not None:
            await background.await_in_loop(_close_all(self._connections))

    def close(self) -> None:
        """End all servers. Tools that are called after that return an error."""
        self._finalizer()

    def current(self) -> tuple[McpTool, ...]:
        """Return the tools, asking servers that are not started, or that said that their tools have changed."""
        if self._finalizer.alive:
            background.wait_for(self._list_all())
        return self._tools

    @overload
    def __getitem__(self, index: int) -> McpTool: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[McpTool, ...]: ...
    def __getitem__(self, index: int | slice) -> McpTool | tuple[McpTool, ...]:
        return self.current()[index]

    def __iter__(self) -> Iterator[McpTool]:
        return iter(self.current())

    def __len__(self) -> int:
        return len(self.current())

    def _caller(self, connection: Any, source: ServerTool) -> Callable[..., Any]:
        """Return the function that calls a tool. A failure is its result: the model can read it.

        The function refers to this object, which closes the connections when nobody refers to it any more.
        """

        async def call(**arguments: Any) -> str:
            try:
                result = await background.await_in_loop(connection.call(source, arguments))
            except ToolError as error:
                return json.dumps({"error": error.reason}, ensure_ascii=False)
            return result_text(result, self._max_result)

        return call

    async def _list_all(self) -> None:
        listings = await asyncio.gather(*(self._listing(connection) for connection in self._connections))
        if any(new is not old for new, old in zip(listings, self._listings, strict=False)) or not self._listings:
            self._listings = listings
            # Compiling takes milliseconds per tool; calls of other tools go on meanwhile.
            await asyncio.get_running_loop().run_in_executor(None, self._build)

    async def _listing(self, connection: Any) -> Listing:
        try:
            listing: Listing = await connection.listing()
        except ToolError as error:
            omission = Omission(connection.config.name, "", f"{error.reason}. {error.hint}".removesuffix(". "))
            if omission not in self.omitted:
                log.warning("%s", omission.reason)
            return Listing(omitted=(omission,))
        return listing

    def _build(self) -> None:
        """Make the tools of the listings: names without collisions, schemas that can be enforced."""
        omitted = [omission for listing in self._listings for omission in listing.omitted]
        counts = collections.Counter(tool.name for listing in self._listings for tool in listing.tools)
        tools: dict[str, McpTool] = {}
        for connection, listing in zip(self._connections, self._listings, strict=True):
            for source in listing.tools:
                name = source.name
                if counts[name] > 1 or name in self._reserved:
                    name = f"{_UNSAFE.sub('_', source.server)}__{source.name}"
                tool = McpTool(name, source, connection.config, self._caller(connection, source), self)
                reason = refusal_of(tool.schema)
                if name in tools or name in self._reserved:
                    reason = f"another tool has the name {name}"
                elif not reason and len(tools) >= MAX_TOOLS:
                    reason = f"more than {MAX_TOOLS} tools; name the ones you need in allow"
                if reason:
                    omitted.append(Omission(source.server, source.name, reason))
                else:
                    tools[name] = tool
        self._tools, self.omitted = tuple(tools.values()), tuple(omitted)


def connect(
    source: str | Path | Mapping[str, Any] | Sequence[ServerConfig] | None = None,
    *,
    reserved: Iterable[str] = (),
    max_result: int = MAX_RESULT,
) -> McpTools:
    """Return the tools of MCP servers, for `Model.run`, `Model.chat` or `ToolSet.of`.

    source      a file in the `mcpServers` format, its content as an object, or servers that `read_config` has read;
                None: mcp.json of the configuration folder
    reserved    names of other tools: a server's tool of such a name is called `server__tool`
    max_result  characters of a result, of which head and tail remain

    Raises RequestError with the location of a mistake.
    """
    if source is None:
        source = default_path()
    servers = read_config(source) if isinstance(source, str | Path | Mapping) else source
    return McpTools(servers, reserved=reserved, max_result=max_result)


async def _close_all(connections: Sequence[Any]) -> None:
    await asyncio.gather(*(connection.close() for connection in connections), return_exceptions=True)


def _close(connections: Sequence[Any]) -> None:
    try:
        background.wait_for(_close_all(connections), CLOSE_S)
    except TimeoutError:
        log.warning("MCP servers do not end within %g s", CLOSE_S)
