"""The tools of MCP servers and OpenAPI documents on the command line, and the approval of their calls."""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgefc.cli.console import CallApproval, ask, count_of, err, print_call
from edgefc.terminal import escape_json, single_line

if TYPE_CHECKING:
    from edgefc.mcp import McpTool
    from edgefc.openapi import OpenApiTools
    from edgefc.tools import ToolSet
    from edgefc.tools.remote import RemoteTool

MAX_LINES = 5  # about operations that are left out
DEFAULT = Path("default")  # a value of --mcp: the file of the configuration folder


def file_of(path: Path) -> Path:
    """Return the path of a file; `default` stands for the one in the configuration folder."""
    from edgefc.mcp.config import default_path

    return default_path() if path == DEFAULT and not path.exists() else path


def with_servers(path: Path, own: ToolSet) -> ToolSet:
    """Return own tools and those of the servers of a file. Raises RequestError.

    The servers end when the program ends.
    """
    from edgefc.mcp import connect

    tools = connect(file_of(path), reserved=own.names)
    found = list(tools)
    for omission in tools.omitted:
        if omission.tool and omission.reason not in {"not in allow", "in deny"}:
            err.print(single_line(f"{omission.server}: {omission.tool} is left out: {omission.reason}"), style="dim")
    return _joined(own, found)


def with_documents(
    sources: Sequence[str], own: ToolSet, *, allow_writes: bool, allow_hosts: Sequence[str] | None
) -> ToolSet:
    """Return own tools and the operations of OpenAPI documents. Raises RequestError.

    What is left out, and the keys that the environment does not have, are named on stderr.
    """
    for source in sources:
        from edgefc.openapi import connect

        tools = connect(source, allow_writes=allow_writes, allow_hosts=allow_hosts or (), reserved=own.names)
        lines = left_out(tools)
        if len(lines) > MAX_LINES:
            rest = count_of(len(lines) - MAX_LINES, "more line")
            lines = [*lines[:MAX_LINES], f"{rest} like these: `edgefc openapi` has all of them"]
        for line in lines:
            err.print(single_line(line), style="dim")
        keys = Counter(variable for tool in tools for variable in tool.missing_keys)
        for variable, number in keys.items():
            verb = "needs" if number == 1 else "need"
            err.print(single_line(f"{count_of(number, 'tool')} {verb} a key: export {variable}=…"))
        own = _joined(own, list(tools))
    return own


def left_out(tools: OpenApiTools) -> list[str]:
    """Return lines about the operations that are left out; those that may change something are counted."""
    from edgefc.openapi.operations import WRITES

    lines = [
        f"{tools.title}: {one.tool} is left out: {one.reason}" if one.tool else f"{tools.title}: {one.reason}"
        for one in tools.omitted
        if one.reason != WRITES
    ]
    if writes := len(tools.omitted) - len(lines):
        verb = "operation that may change something is" if writes == 1 else "operations that may change something are"
        lines.append(f"{tools.title}: {writes} {verb} left out; --allow-writes offers them")
    return lines


class Follower:
    """Follows changes of MCP servers' tools from question to question of a chat."""

    def __init__(self, tools: ToolSet, approval: CallApproval) -> None:
        self._approval = approval
        self._found: list[McpTool] = []
        if "edgefc.mcp.tools" in sys.modules:
            from edgefc.mcp.tools import McpTool

            self._found = [runner for runner in tools.runners.values() if isinstance(runner, McpTool)]
        self._owners = list(dict.fromkeys(tool.owner for tool in self._found))

    def updated(self, tools: ToolSet) -> ToolSet:
        """Return the tools as the servers have them now; the same object if nothing has changed."""
        found = [tool for owner in self._owners for tool in owner]
        if found == self._found:
            return tools
        names = {tool.name for tool in self._found}
        tools = _joined(tools.only([name for name in tools.names if name not in names]), found)
        self._found = found
        if isinstance(self._approval, ServerApproval):
            self._approval.offer(tools)
        err.print("the servers' tools have changed: /tools lists them", style="dim")
        return tools


def _joined(own: ToolSet, found: Sequence[RemoteTool]) -> ToolSet:
    from edgefc.tools import ToolSet

    return ToolSet.of([*(own.runners.get(tool["function"]["name"], tool) for tool in own), *found])


def new_approval(tools: ToolSet, *, is_asking: bool, yes: bool, is_plain: bool) -> CallApproval | None:
    """Return who decides about calls: the user, for servers' tools unless `yes`, for others if `is_asking`."""
    servers_tools = _servers_tools(tools)
    if servers_tools:
        return ServerApproval(servers_tools, is_asking=is_asking, yes=yes, is_plain=is_plain)
    return CallApproval(ask=is_asking) if is_asking or is_plain else None


def _servers_tools(tools: ToolSet) -> dict[str, RemoteTool]:
    if "edgefc.tools.remote" not in sys.modules:
        return {}
    from edgefc.tools.remote import RemoteTool

    return {name: runner for name, runner in tools.runners.items() if isinstance(runner, RemoteTool)}


class ServerApproval(CallApproval):
    """Asks about calls of servers' tools, and remembers what the user decides for good."""

    def __init__(self, tools: dict[str, RemoteTool], *, is_asking: bool, yes: bool, is_plain: bool) -> None:
        from edgefc.tools.approval import Approvals

        super().__init__(ask=is_asking)
        self._tools, self._yes, self._is_plain = tools, yes, is_plain
        self._session: set[str] = set()  # fingerprints
        self._approvals = Approvals()

    def offer(self, tools: ToolSet) -> None:
        """Decide about these tools from now on."""
        self._tools = _servers_tools(tools)

    def __call__(self, name: str, arguments: dict[str, Any]) -> bool:
        tool = self._tools.get(name)
        if tool is None:
            return super().__call__(name, arguments)
        probability = self.probabilities.popleft() if self.probabilities else None
        self._show(name, arguments, probability)
        decision = self._approvals.decision(tool.source)
        if decision == "never":
            err.print("  not run: you have refused this tool for good", style="dim")
            return False
        if self._yes or decision == "always" or self._is_allowed_now(tool):
            return True
        return self._ask_user(tool)

    def _is_allowed_now(self, tool: RemoteTool) -> bool:
        return tool.is_preapproved or tool.source.fingerprint in self._session

    def _show(self, name: str, arguments: dict[str, Any], probability: float | None) -> None:
        if self._is_plain:
            print_call(name, arguments, probability)
        else:  # stdout has JSON
            err.print(f"  → {single_line(name)}({escape_json(json.dumps(arguments, ensure_ascii=False))})")

    def _ask_user(self, tool: RemoteTool) -> bool:
        if not sys.stdin.isatty():
            err.print("  not run: no terminal to ask for approval; --yes runs tools without asking")
            return False
        source = tool.source
        always = "[a]lways, " if source.is_read_only else ""
        about = f"{single_line(tool.origin, limit=80)}, {source.badge}"
        answer = ask(f"  {about}. Run it? [o]nce, {always}[s]ession, ne[v]er, [N]o: ")
        if answer in {"v", "never"}:
            self._approvals.remember(source, "never")
        elif answer in {"s", "session"}:
            self._session.add(source.fingerprint)
        elif answer in {"a", "always"} and source.is_read_only:
            self._approvals.remember(source, "always")
        elif answer not in {"o", "once", "y", "yes"}:
            err.print("  not run", style="dim")
            return False
        return answer not in {"v", "never"}
