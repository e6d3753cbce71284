"""The tools of one server as edgefc offers them: the allowed ones, each with its fingerprint."""

from __future__ import annotations

import fnmatch
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field

import mcp_types

from edgefc.mcp.config import ServerConfig
from edgefc.mcp.sifting import reason_of
from edgefc.tools.remote import Omission, ServerTool

MAX_LISTED = 1024  # tools of a server that are looked at
MAX_DESCRIPTION = 50_000  # characters, some 12,000 tokens
MAX_OFFERED = 128  # tools of a server that are offered; GitHub's has 117


@dataclass(frozen=True, slots=True)
class Listing:
    """The offered tools of a server and the others."""

    tools: tuple[ServerTool, ...] = ()
    omitted: tuple[Omission, ...] = ()
    by_name: dict[str, ServerTool] = field(default_factory=dict)


def new_listing(config: ServerConfig, tools: Sequence[mcp_types.Tool], *, is_whole: bool = True) -> Listing:
    """Return the tools that the configuration allows, from those that the SDK has read."""
    offered: dict[str, ServerTool] = {}
    omitted: list[Omission] = []
    for tool in tools:
        reason = _omission(config, tool, offered)
        if reason:
            omitted.append(Omission(config.name, tool.name, reason))
        else:
            offered[tool.name] = _server_tool(config, tool)
    if not is_whole:
        reason = f"it has more than {MAX_LISTED:,} tools, or vast ones; the others are not looked at"
        omitted.append(Omission(config.name, "", reason))
    return Listing(tuple(offered.values()), tuple(omitted), offered)


def _omission(config: ServerConfig, tool: mcp_types.Tool, offered: dict[str, ServerTool]) -> str:
    name = tool.name
    if malformed := reason_of(tool):
        return malformed
    if config.allow is not None and not _matches(name, config.allow):
        return "not in allow"
    if _matches(name, config.deny):
        return "in deny"
    if name in offered:
        return "the server has another tool of this name"
    if len(tool.description or "") > MAX_DESCRIPTION:
        return f"its description has more than {MAX_DESCRIPTION:,} characters"
    if len(offered) >= MAX_OFFERED:
        return f"more than {MAX_OFFERED} tools; name the ones you need in allow"
    return ""


def _matches(name: str, patterns: Sequence[str]) -> bool:
    return any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)


def _server_tool(config: ServerConfig, tool: mcp_types.Tool) -> ServerTool:
    hints = tool.annotations
    is_read_only = hints is not None and hints.read_only_hint is True
    is_destructive = not is_read_only and (hints is None or hints.destructive_hint is not False)
    description = tool.description or ""
    facts = [config.identity, tool.name, description, tool.input_schema, is_read_only, is_destructive]
    text = json.dumps(facts, sort_keys=True).encode()
    fingerprint = hashlib.sha256(text).hexdigest()
    return ServerTool(config.name, tool.name, description, tool.input_schema, is_read_only, is_destructive, fingerprint)


def is_preapproved(config: ServerConfig, tool: ServerTool) -> bool:
    """Return True if the configuration lets a tool run without asking."""
    if isinstance(config.approve, tuple):
        return tool.name in config.approve
    return config.approve == "always" or (config.approve == "read-only" and tool.is_read_only)
