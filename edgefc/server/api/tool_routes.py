"""The routes below /tools: checking tools, reading them from other texts, running examples and tools of MCP servers."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Annotated, Any

from fastapi import APIRouter, Request
from pydantic import AliasChoices, BaseModel, ConfigDict, Field

from edgefc.server.api.fields import ToolList, quote
from edgefc.server.api.respond import JsonRoute, service_of
from edgefc.server.api.responses_mcp import HOW_TO_START, NO_SERVERS, OfferedTool
from edgefc.server.errors import STATUSES, ApiError, ErrorBody
from edgefc.server.sse import cancel_on_disconnect
from edgefc.types import OnUnsupported

if TYPE_CHECKING:
    from edgefc.mcp import McpTool, McpTools

router = APIRouter(
    prefix="/tools", route_class=JsonRoute, responses={status: {"model": ErrorBody} for status in STATUSES}
)


class LintRequest(BaseModel):
    """The body of /tools/lint; `on_unsupported` as in ChatOptions, also under the name it has in other requests.

    grammar  True: the response has the GBNF of calls of all tools, null if one is refused
    """

    model_config = ConfigDict(strict=True, extra="allow")

    tools: ToolList
    on_unsupported: Annotated[
        OnUnsupported | None, Field(validation_alias=AliasChoices("on_unsupported", "x_edgefc_on_unsupported"))
    ] = None
    grammar: bool = False


class ReadRequest(BaseModel):
    """The body of /tools/read."""

    model_config = ConfigDict(strict=True, extra="allow")

    source: str


class RunRequest(BaseModel):
    """The body of /tools/run: the name of an example tool, or of a tool as its MCP server names it."""

    model_config = ConfigDict(strict=True, extra="allow")

    name: str
    arguments: dict[str, Any]
    server: str | None = None


@router.post("/lint", summary="Check tools: mistakes, keywords that no grammar enforces, and costs")
async def lint(body: LintRequest, request: Request) -> dict[str, Any]:
    return await cancel_on_disconnect(
        request,
        service_of(request).linter.lint(body.tools, body.on_unsupported or "refuse", with_grammar=body.grammar),
    )


@router.post("/read", summary="Read tools from Python functions, which are not run, or an OpenAPI document")
async def read_tools(body: ReadRequest, request: Request) -> dict[str, Any]:
    return await cancel_on_disconnect(request, service_of(request).linter.read(body.source))


@router.get("/mcp", summary="List the tools of the configured MCP servers, which start if they do not run")
async def list_mcp_tools(request: Request) -> dict[str, Any]:
    servers = _servers(request)
    tools = await asyncio.to_thread(servers.current)
    listed = [{"server": tool.source.server, "name": tool.source.name, "badge": tool.source.badge, "tool": tool.schema}
              for tool in tools]  # fmt: skip
    omitted = [{"server": each.server, "name": each.tool, "reason": each.reason} for each in servers.omitted]
    return {"tools": listed, "omitted": omitted}


@router.post("/run", summary="Run an example tool, which is harmless, or a tool of a configured MCP server")
async def run_tool(body: RunRequest, request: Request) -> dict[str, Any]:
    if body.server is None:
        return await cancel_on_disconnect(request, service_of(request).linter.run(body.name, body.arguments))
    servers = _servers(request)
    tool = _find(await asyncio.to_thread(servers.current), body.server, body.name)
    run = OfferedTool(tool, needs_approval=False).run(json.dumps(body.arguments))
    return {"content": await cancel_on_disconnect(request, run)}


def _servers(request: Request) -> McpTools:
    servers = service_of(request).mcp
    if servers is None:
        raise ApiError(404, f"{NO_SERVERS}\n{HOW_TO_START}", code="no_mcp_servers")
    return servers


def _find(tools: tuple[McpTool, ...], server: str, name: str) -> McpTool:
    for tool in tools:
        if (tool.source.server, tool.source.name) == (server, name):
            return tool
    raise ApiError(
        400, f"the server {quote(server)} has no tool {quote(name)}\nGET /tools/mcp lists all.", path=("name",)
    )
