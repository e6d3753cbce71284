"""Tools that no grammar can enforce: the request is refused, or they are left out, or checked after decoding."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from edgefc import grammar
from edgefc.cache import TextCache
from edgefc.errors import LocatedError, RequestError, SchemaError
from edgefc.tools import ToolSet, parse_tool_choice
from edgefc.types import OnUnsupported, ToolChoice

T = TypeVar("T")
MODES = ("refuse", "omit", "check")
# Reasons of the tools to leave out, by their numbers; as JSON of tools and mode they are found again.
_reasons: TextCache[dict[int, str]] = TextCache(lambda reasons: 256 + sum(map(len, reasons.values())))


def unsupported_option(value: object) -> OnUnsupported:
    """Return the option `on_unsupported`; None is refuse. Raises RequestError."""
    if value is None:
        return "refuse"
    if value not in MODES:
        raise RequestError("on_unsupported", f"must be refuse, omit or check, not {value!r}")
    return value  # type: ignore[return-value]


def with_enforceable(
    tools: ToolSet | None,
    choice: bool | str | Mapping[str, Any] | None,
    mode: OnUnsupported,
    work: Callable[[ToolSet | None, ToolChoice], T],
) -> T:
    """Return `work(tools, tool choice)`, without the tools that cannot be enforced where these are to be left out.

    They are looked for only after `work` has failed: nearly all requests have none. Raises what `work` raises, with
    the caller's positions of tools; RequestError for a choice of tools that are left out.
    """
    try:
        return work(tools, _parsed(choice, tools))
    except LocatedError as error:
        is_of_tool = isinstance(error, SchemaError) and error.path[:1] in {("tools",), ()}
        if tools is None or mode == "refuse" or not is_of_tool:
            raise _at_position(error, tools) from None
        reasons = find_unsupported(tools, mode)
        if not reasons:
            raise _at_position(error, tools) from None
    rest = tools.without(reasons)
    try:
        return work(rest, _parsed(choice, rest))
    except LocatedError as error:
        raise _at_position(error, rest) from None


def enforceable(
    tools: ToolSet | None, choice: bool | str | Mapping[str, Any] | None, mode: OnUnsupported
) -> tuple[ToolSet | None, ToolChoice]:
    """Return the tools of a request without those that are to be left out, and the choice among them."""

    def work(toolset: ToolSet | None, parsed: ToolChoice) -> tuple[ToolSet | None, ToolChoice]:
        if toolset and mode != "refuse":
            grammar.compile_calls(toolset, check_patterns=mode == "check")
        return toolset, parsed

    return with_enforceable(tools, choice, mode, work)


def find_unsupported(tools: ToolSet, mode: OnUnsupported) -> dict[int, str]:
    """Return the reason of each tool whose grammar cannot be compiled, by its number."""
    return _reasons.get(f"{mode} {tools.json}", lambda: _find(tools, check_patterns=mode == "check"))


def _find(tools: ToolSet, *, check_patterns: bool) -> dict[int, str]:
    reasons: dict[int, str] = {}
    for number in range(len(tools)):
        try:
            grammar.compile_calls(tools.part(number), check_patterns=check_patterns)
        except SchemaError as error:
            located = error.at(*error.path[4:]) if error.path[:1] == ("tools",) else error
            reasons[number] = str(located).partition("\n")[0]
    return reasons


def _parsed(choice: bool | str | Mapping[str, Any] | None, tools: ToolSet | None) -> ToolChoice:
    """Read a tool choice; tools that are left out are not among the allowed ones. Raises RequestError."""
    if tools is None or not tools.omitted:
        return parse_tool_choice(choice, tools or ())
    reasons = {tool.name: tool.reason for tool in tools.omitted}
    others: list[Any] = [{"type": "function", "function": {"name": name}} for name in reasons]
    parsed = parse_tool_choice(choice, [*tools, *others])
    names = tuple(name for name in parsed.names if name not in reasons)
    if parsed.mode == "required" and not names:
        left_out = "; ".join(f"{name}: {reasons[name]}" for name in parsed.names)
        raise RequestError("tool_choice", f"the tools that must be called are left out ({left_out})")
    return ToolChoice(parsed.mode, names)


def _at_position(error: LocatedError, tools: ToolSet | None) -> LocatedError:
    """Return an error with the caller's position of a tool in its path."""
    path = error.path
    if tools is None or path[:1] != ("tools",) or len(path) < 2 or not isinstance(path[1], int):
        return error
    return error if path[1] >= len(tools) else error.at("tools", tools.positions[path[1]], *path[2:])
