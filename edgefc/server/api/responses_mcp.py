"""Tools of MCP servers in `/v1/responses`: `{"type": "mcp", "server_label": NAME}` offers those of a server that the
operator has configured. Requests name no addresses.

Approved calls run here, and the model reads their results; others end the response with an `mcp_approval_request`,
which the next request answers with an `mcp_approval_response` beside it. A call needs no approval where the server's
`approve` or the request's `require_approval` says so. Items are those of OpenAI's API.
"""

from __future__ import annotations

import asyncio
import json
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from edgefc.errors import FieldPath, RequestError, ToolError
from edgefc.server.api.fields import quote
from edgefc.tools.run import error_text

if TYPE_CHECKING:
    from edgefc.mcp import McpTool, McpTools

Item = dict[str, Any]
FOREIGN = ("server_url", "connector_id", "tunnel_id", "authorization", "headers")
NOT_ALLOWED = error_text("the user did not allow this call")
NO_SERVERS, HOW_TO_START = "this server has no MCP servers", "Start it with --mcp FILE."
_FILTERS = {"tool_names", "read_only"}


@dataclass(frozen=True, slots=True)
class ToolFilter:
    """The tools that a field selects, by name or by their server's word about them; without either, all."""

    names: frozenset[str] | None = None
    is_read_only: bool | None = None

    def selects(self, tool: McpTool) -> bool:
        return (self.names is None or tool.source.name in self.names) and (
            self.is_read_only is None or tool.source.is_read_only == self.is_read_only
        )


NOTHING, EVERYTHING = ToolFilter(frozenset()), ToolFilter()


@dataclass(frozen=True, slots=True)
class ServerEntry:
    """An entry of a request's tools: a server, which of its tools are offered, and which run without approval."""

    label: str
    allowed: ToolFilter
    unasked: ToolFilter


@dataclass(frozen=True, slots=True)
class OfferedTool:
    """A tool that the model may call."""

    tool: McpTool
    needs_approval: bool

    async def run(self, arguments: str) -> str:
        """Return the result of a call as text; a failure is its result."""
        try:
            result = await self.tool(**self.tool.parse(arguments))
        except (ToolError, ValueError) as error:
            return error_text(error.reason if isinstance(error, ToolError) else str(error))
        return str(result)


class OfferedTools:
    """The tools of MCP servers that one request offers.

    by_name   under the names by which the model calls them
    listings  for each entry, what the server offers, as an item of the answer
    """

    def __init__(self, entries: Sequence[ServerEntry], servers: McpTools) -> None:
        """Starts servers that do not run yet."""
        self.by_name: dict[str, OfferedTool] = {}
        self.listings: list[Item] = []
        self._all = {(tool.source.server, tool.source.name): tool for tool in servers.current()}
        failures = {omission.server: omission.reason for omission in servers.omitted if not omission.tool}
        for entry in entries:
            tools = [tool for (label, _), tool in self._all.items() if label == entry.label]
            tools = [tool for tool in tools if entry.allowed.selects(tool)]
            self.listings.append(_listing(entry.label, tools, failures.get(entry.label)))
            for tool in tools:
                is_unasked = tool.is_preapproved or entry.unasked.selects(tool)
                self.by_name[tool.name] = OfferedTool(tool, not is_unasked)

    @property
    def schemas(self) -> list[dict[str, Any]]:
        """The tools as a chat completion has them."""
        return [dict(offered.tool.schema) for offered in self.by_name.values()]

    def find(self, label: Any, name: Any) -> McpTool | None:
        """Find a tool by its server's label and its name there."""
        return self._all.get((label, name)) if isinstance(label, str) and isinstance(name, str) else None


def read_entries(tools: Sequence[Mapping[str, Any]], servers: McpTools | None) -> dict[int, ServerEntry]:
    """Read the entries of MCP servers in a request's tools, by their number. Raises RequestError.

    Without servers there are none: they are left out with a warning, as are other tools that are no functions.
    """
    entries: dict[int, ServerEntry] = {}
    for number, tool in enumerate(tools):
        if servers is None or tool.get("type") != "mcp":
            continue
        path: FieldPath = ("tools", number)
        for name in FOREIGN:
            if tool.get(name) is not None:
                hint = "Name one of its servers with server_label alone."
                raise RequestError((*path, name), "only the server's configuration names MCP servers", hint)
        label, labels = tool.get("server_label"), [server.name for server in servers.servers]
        if label not in labels:
            raise RequestError((*path, "server_label"), f"unknown server {quote(label)}", f"Use {_list(labels)}.")
        allowed = _filter(tool.get("allowed_tools"), (*path, "allowed_tools"), EVERYTHING)
        unasked = _unasked(tool.get("require_approval"), (*path, "require_approval"))
        entries[number] = ServerEntry(str(label), allowed, unasked)
    return entries


def _unasked(value: Any, path: FieldPath) -> ToolFilter:
    if value in (None, "always"):
        return NOTHING
    if value == "never":
        return EVERYTHING
    if not isinstance(value, Mapping) or not value.keys() <= {"always", "never"}:
        raise RequestError(path, "must be 'always', 'never', or an object of filters with these names")
    if value.get("never") is not None:
        return _filter(value["never"], (*path, "never"), NOTHING)
    always = _filter(value.get("always"), (*path, "always"), EVERYTHING)
    if always == EVERYTHING:
        return NOTHING
    raise RequestError(path, "a filter of 'always' alone is not supported", "Name the tools that need none in 'never'.")


def _filter(value: Any, path: FieldPath, default: ToolFilter) -> ToolFilter:
    if value is None:
        return default
    if isinstance(value, Mapping):
        if unknown := value.keys() - _FILTERS:
            raise RequestError((*path, min(map(str, unknown))), "unknown field", f"Fields are {_list(_FILTERS)}.")
        names, read_only = value.get("tool_names"), value.get("read_only")
        if read_only is not None and not isinstance(read_only, bool):
            raise RequestError((*path, "read_only"), "must be true or false")
    else:
        names, read_only = value, None
    if names is not None and not (isinstance(names, list) and all(isinstance(name, str) for name in names)):
        raise RequestError(path, "must be a list of names, or an object with tool_names and read_only")
    return ToolFilter(None if names is None else frozenset(names), read_only)


def choice_of_mcp(choice: Any, offered: OfferedTools) -> Any:
    """Return a request's tool choice; one of an MCP server's tools as a choice of functions. Raises RequestError."""
    if not isinstance(choice, Mapping) or choice.get("type") != "mcp":
        return choice
    label, name = choice.get("server_label"), choice.get("name")
    names = [
        known
        for known, one in offered.by_name.items()
        if one.tool.source.server == label and name in (None, one.tool.source.name)
    ]
    if not names:
        raise RequestError(
            ("tool_choice",), "none of the offered tools is meant", "Name a server of tools, and a tool."
        )
    tools = [{"type": "function", "name": known} for known in names]
    return {"type": "allowed_tools", "mode": "required", "tools": tools}


def _list(names: Sequence[str] | set[str]) -> str:
    return ", ".join(sorted(names)) or "none: the configuration has no servers"


# -- items --------------------------------------------------------------------------------------------------------


def _listing(label: str, tools: Sequence[McpTool], error: str | None) -> Item:
    """Return the item that tells a server's tools."""
    listed = [
        {
            "name": tool.source.name, "description": tool.source.description, "input_schema": tool.source.schema,
            "annotations": {"read_only": tool.source.is_read_only},
        }
        for tool in tools
    ]  # fmt: skip
    item = {"id": new_id("mcpl"), "type": "mcp_list_tools", "server_label": label, "tools": listed}
    return {**item, "error": error} if error else item


def call_item(offered: OfferedTool) -> Item:
    """Return the item of a call: one that runs here, or a question whether it may."""
    source, is_question = offered.tool.source, offered.needs_approval
    item = {
        "id": new_id("mcpr" if is_question else "mcp"), "type": "mcp_approval_request" if is_question else "mcp_call",
        "server_label": source.server, "name": source.name, "arguments": "",
    }  # fmt: skip
    return item if is_question else {**item, "status": "in_progress", "approval_request_id": None}


def set_result(item: Item, result: str) -> None:
    """Complete a call's item with its result."""
    if (reason := _reason_of(result)) is None:
        item |= {"status": "completed", "output": result, "error": None}
    else:
        error = {"type": "mcp_tool_execution_error", "content": [{"type": "text", "text": reason}]}
        item |= {"status": "failed", "output": None, "error": error}


def result_in(item: Mapping[str, Any]) -> Any:
    """Return the result in a call's item, of a call that failed its error."""
    if item.get("output") is not None:
        return item["output"]
    error = item.get("error")
    return error if error is None or isinstance(error, str) else json.dumps({"error": error}, ensure_ascii=False)


def _reason_of(result: str) -> str | None:
    """Return why a call failed; None: it did not."""
    try:
        value = json.loads(result)
    except ValueError:
        return None
    is_error = isinstance(value, dict) and value.keys() == {"error"} and isinstance(value["error"], str)
    return str(value["error"]) if is_error else None


def new_id(prefix: str) -> str:
    return f"{prefix}_{secrets.token_hex(16)}"


# -- approvals ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Approval:
    """A user's decision about a call that an earlier response asked for."""

    request: Mapping[str, Any]
    is_given: bool
    path: FieldPath


def approvals_in(items: Sequence[Mapping[str, Any]], servers: McpTools | None) -> list[Approval]:
    """Return the decisions in the input whose calls have not run. Raises RequestError for one without its question."""
    requests = {str(item.get("id")): item for item in items if item.get("type") == "mcp_approval_request"}
    done = {str(item.get("approval_request_id")) for item in items if item.get("type") == "mcp_call"}
    approvals: list[Approval] = []
    for number, item in enumerate(items):
        if item.get("type") != "mcp_approval_response" or (key := str(item.get("approval_request_id"))) in done:
            continue
        path: FieldPath = ("input", number, "approval_request_id")
        is_given = item.get("approve") is True
        if key not in requests:
            raise RequestError(path, "the input has no such mcp_approval_request", "Send it before its answer.")
        if servers is None and is_given:
            raise RequestError(path, NO_SERVERS, HOW_TO_START)
        if servers is not None:
            approvals.append(Approval(requests[key], is_given, path))
    return approvals


async def run_approved(approvals: Sequence[Approval], offered: OfferedTools) -> list[Item]:
    """Run the calls that were allowed, side by side; return the items of all calls. Raises RequestError."""
    items: list[Item] = []
    runs: list[OfferedTool | None] = []
    for approval in approvals:
        request = approval.request
        tool = offered.find(request.get("server_label"), request.get("name"))
        if tool is None:
            raise RequestError(approval.path, f"no configured server has the tool {quote(request.get('name'))}")
        call = OfferedTool(tool, needs_approval=False)
        items.append({**call_item(call), "arguments": request.get("arguments") or "{}",
                      "approval_request_id": str(request["id"])})  # fmt: skip
        runs.append(call if approval.is_given else None)
    results = await asyncio.gather(
        *(run.run(item["arguments"]) for run, item in zip(runs, items, strict=True) if run is not None)
    )
    left = iter(results)
    for run, item in zip(runs, items, strict=True):
        set_result(item, NOT_ALLOWED if run is None else next(left))
    return items
