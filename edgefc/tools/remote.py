"""Tools that somebody else runs: MCP servers, and the operations of HTTP APIs."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from edgefc.errors import ToolError
from edgefc.tools.python import PythonTool
from edgefc.types import Tool, finite_float, refuse_constant

MAX_RESULT = 12_000  # characters; some 3,000 tokens
HEAD = 2 / 3  # the share of a long result that is its beginning


@dataclass(frozen=True, slots=True)
class ServerTool:
    """A tool as its server or its document describes it.

    is_read_only, is_destructive  the server's word, which nobody checks; without it a tool is taken for destructive
    fingerprint  sha256 of server, name, description and schema: another one means that the tool has changed
    """

    server: str
    name: str
    description: str
    schema: dict[str, Any]
    is_read_only: bool
    is_destructive: bool
    fingerprint: str

    @property
    def badge(self) -> str:
        return "read-only" if self.is_read_only else "destructive" if self.is_destructive else "adds only"


@dataclass(frozen=True, slots=True)
class Omission:
    """A tool that is left out, or a whole server if `tool` is empty, with the reason."""

    server: str
    tool: str
    reason: str


class RemoteTool(PythonTool[..., Any]):
    """A tool of a server. Calling it with keyword arguments returns a coroutine of the result as text.

    source          the tool as its server describes it
    origin          the server, for the question whether a call may run
    is_preapproved  True if a call may run without a question
    """

    is_preapproved = False

    def __init__(self, name: str, source: ServerTool, call: Callable[..., Any]) -> None:
        self.name, self.source = name, source
        self.function, self.__wrapped__, self.__name__ = call, call, name
        self.__doc__ = source.description or None
        # The connection has the time limit, and says whose it is.
        self.timeout, self.is_async = None, True
        spec: dict[str, Any] = {"name": name}
        if source.description:
            spec["description"] = source.description
        spec["parameters"] = source.schema
        self.schema: Tool = {"type": "function", "function": spec}  # type: ignore[typeddict-item]

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.name!r}, server={self.source.server!r})"

    @property
    def origin(self) -> str:
        return self.source.server

    def parse(self, arguments: str | Mapping[str, Any]) -> dict[str, Any]:
        """Read the arguments; the server checks them."""
        if isinstance(arguments, str):
            arguments = json.loads(arguments, parse_float=finite_float, parse_constant=refuse_constant)
        if not isinstance(arguments, Mapping):
            raise ToolError("the arguments must be an object")
        return dict(arguments)


def shorten(text: str, limit: int) -> str:
    """Return head and tail of a text that is too long."""
    if len(text) <= limit:
        return text
    head = int(limit * HEAD)
    tail = limit - head
    note = f"\n[{len(text) - limit:,} of {len(text):,} characters are left out here]\n"
    return f"{text[:head]}{note}{text[-tail:]}"
