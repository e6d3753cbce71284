"""OpenAI's `tool_choice`, in all its forms, as one `ToolChoice`."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from typing import Any, Literal, cast

from edgefc.errors import RequestError
from edgefc.types import Tool, ToolChoice

FIELD = ("tool_choice",)
MODES = ("none", "auto", "required")


def parse_tool_choice(value: str | Mapping[str, Any], tools: Sequence[Tool]) -> ToolChoice:
    """Read OpenAI's tool_choice. Raises RequestError for an unknown mode or tool, or a required call without tools."""
    names = tuple(item["function"]["name"] for item in tools)
    if isinstance(value, str):
        if value not in MODES:
            raise RequestError(
                FIELD, f"unknown choice {value!r}", "Use none, auto, required, or an object that names a tool."
            )
        return _of_mode(value, names, names)
    if not isinstance(value, Mapping):
        raise RequestError(FIELD, "must be a string or an object")
    kind = value.get("type")
    if kind == "function":
        function = value.get("function")
        name = function.get("name") if isinstance(function, Mapping) else value.get("name")
        return _of_mode("required", (_existing(name, names),), names)
    if kind == "allowed_tools":
        return _allowed(value, names)
    raise RequestError(FIELD, f"unknown type {kind!r}", "Types are function and allowed_tools.")


def _allowed(value: Mapping[str, Any], names: tuple[str, ...]) -> ToolChoice:
    inner = value.get("allowed_tools", value)
    listed = inner.get("tools") if isinstance(inner, Mapping) else None
    if not isinstance(listed, list) or not listed or inner.get("mode", "auto") not in {"auto", "required"}:
        raise RequestError(FIELD, "allowed_tools needs a mode (auto or required) and a list of tools")
    functions = [item.get("function", item) if isinstance(item, Mapping) else {} for item in listed]
    allowed = tuple(_existing(function.get("name"), names) for function in functions)
    return _of_mode(inner.get("mode", "auto"), allowed, names)


def _of_mode(mode: str, allowed: tuple[str, ...], names: tuple[str, ...]) -> ToolChoice:
    if mode == "required" and not names:
        raise RequestError(FIELD, "a call is required, but there are no tools", "Add tools, or use auto.")
    return ToolChoice(cast(Literal["none", "auto", "required"], mode), allowed)


def _existing(name: object, names: tuple[str, ...]) -> str:
    if isinstance(name, str) and name in names:
        return name
    near = difflib.get_close_matches(str(name), names, n=2)
    hint = f"Did you mean {' or '.join(near)}?" if near else f"The tools are {', '.join(names) or 'none'}."
    raise RequestError(FIELD, f"unknown tool {name!r}", hint)
