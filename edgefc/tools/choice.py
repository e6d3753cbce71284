"""`tool_choice` in every spelling that clients use, as one `ToolChoice`."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from typing import Any, Literal, cast

from edgefc.errors import RequestError
from edgefc.tools.schemas import list_of, without_nulls
from edgefc.types import Tool, ToolChoice

FIELD = ("tool_choice",)
MODES = ("none", "auto", "required")
# Anthropic's, Google's and Mistral's word for `required`, and Google's for "a call where it is certain to be valid".
_SAME = {"any": "required", "validated": "auto"}
_NAMED = {"function", "tool", "custom"}  # types of objects that name a tool: OpenAI's, and Anthropic's and the AI SDK's
_CONFIGS = ("functionCallingConfig", "function_calling_config")  # Google's


def parse_tool_choice(value: bool | str | Mapping[str, Any] | None, tools: Sequence[Tool]) -> ToolChoice:
    """Read a tool_choice; None is auto.

    Raises RequestError for an unknown mode or tool, or a required call without tools.
    """
    names = tuple(item["function"]["name"] for item in tools)
    if value is None or value in ({}, ""):
        return _of_mode("auto", names, names)
    if isinstance(value, bool):  # LangChain's
        return _of_mode("required" if value else "none", names, names)
    if isinstance(value, str):
        if value in names:
            return _of_mode("required", (value,), names)
        if (mode := _mode(value)) is None:
            hint = "Use none, auto, required, the name of a tool, or an object that names one."
            raise RequestError(FIELD, f"unknown choice {value!r}", hint)
        return _of_mode(mode, names, names)
    if not isinstance(value, Mapping):
        raise RequestError(FIELD, "must be a string or an object")
    return _parse_object(without_nulls(value), names)


def forbids_parallel(value: object) -> bool:
    """Return whether a tool_choice says, as Anthropic's may, that an answer has at most one call."""
    return isinstance(value, Mapping) and value.get("disable_parallel_tool_use") is True


def _parse_object(value: Mapping[str, Any], names: tuple[str, ...]) -> ToolChoice:
    for key in _CONFIGS:
        if isinstance(config := value.get(key), Mapping):
            return _parse_object(config, names)
    kind = value.get("type", value.get("mode"))
    if kind == "allowed_tools" or "allowed_tools" in value:
        return _allowed(value, names)
    if (isinstance(kind, str) and kind in _NAMED) or (kind is None and _name_in(value) is not None):
        name = _name_in(value)
        if name is None and kind == "function":  # a call, whatever the function
            return _of_mode("required", names, names)
        return _of_mode("required", (_existing(name, names),), names)
    allowed = list_of(value.get("allowedFunctionNames", value.get("allowed_function_names")) or ())
    if isinstance(kind, str) and (mode := _mode(kind)) is not None:
        return _of_mode(mode, tuple(_existing(name, names) for name in allowed or names), names)
    if kind is None and len(value) == 1:  # Bedrock's {"any": {}}
        (key, inner), *_ = value.items()
        if (mode := _mode(key)) is not None:
            return _of_mode(mode, names, names)
        if key == "tool" and isinstance(inner, Mapping):
            return _of_mode("required", (_existing(_name_in(inner), names),), names)
    if isinstance(kind, str) and kind in names:
        return _of_mode("required", (kind,), names)
    hint = "Types are auto, none, required, any, function, tool and allowed_tools."
    raise RequestError(FIELD, f"unknown type {kind!r}", hint)


def _mode(text: str) -> str | None:
    """Return the canonical mode of this name, if there is one."""
    lower = text.strip().lower()
    mode = _SAME.get(lower, lower)
    return mode if mode in MODES else None


def _name_in(value: Mapping[str, Any]) -> Any:
    """Return the tool that an object names: inside of `function`, `tool` or `custom`, or directly."""
    for key in ("function", "tool", "custom"):
        inner = value.get(key)
        if isinstance(inner, Mapping):
            return inner.get("name")
        if isinstance(inner, str):
            return inner
    return value.get("name", value.get("toolName", value.get("tool_name")))


def _allowed(value: Mapping[str, Any], names: tuple[str, ...]) -> ToolChoice:
    inner = value.get("allowed_tools", value)
    listed = list_of(inner.get("tools") if isinstance(inner, Mapping) else inner)
    mode = _mode(str(inner.get("mode") or "auto")) if isinstance(inner, Mapping) else "auto"
    if not listed or mode not in {"auto", "required"}:
        raise RequestError(FIELD, "allowed_tools needs a mode (auto or required) and a list of tools")
    found = [
        item if isinstance(item, str) else _name_in(item) if isinstance(item, Mapping) else None for item in listed
    ]
    return _of_mode(mode, tuple(_existing(name, names) for name in found), names)


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
