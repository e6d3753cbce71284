"""A request's tools: checked once, wherever they come from, and handed down as they are."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, overload

from edgefc.errors import FieldPath, RequestError
from edgefc.limits import MAX_TOOLS
from edgefc.tools.definition import read_definition, unsupported_type
from edgefc.tools.python import PythonTool, ToolLike
from edgefc.tools.schemas import Note, list_of
from edgefc.types import Tool

UNSUPPORTED_HINT = "Use function tools, or set on_unsupported to omit."


class Omitted(NamedTuple):
    """A tool that is left out of a request: its position in the caller's list, its name or type, and the reason."""

    position: int
    name: str
    reason: str


class ToolSet(Sequence[Tool]):
    """Checked tools in OpenAI's form. Made by `ToolSet.of`.

    names      the tools' names, each once
    runners    the Python functions among them, by name
    bare       positions of the tools that came as a bare function object, without `type` and `function`
    json       all tools as JSON text
    changes    where tools are read differently from their text; paths begin with `tools` and the position
    warnings   keys without an effect
    omitted    tools that are left out, with the reason; their paths have the caller's positions
    positions  the caller's position of each tool
    """

    __slots__ = ("_tools", "bare", "changes", "json", "names", "omitted", "positions", "runners", "warnings")

    def __init__(
        self,
        tools: Sequence[Tool],
        runners: Mapping[str, PythonTool],
        bare: frozenset[int],
        *,
        changes: Sequence[Note] = (),
        warnings: Sequence[Note] = (),
        omitted: Sequence[Omitted] = (),
        positions: Sequence[int] | None = None,
    ) -> None:
        self._tools = tuple(tools)
        self.runners = dict(runners)
        self.bare = bare
        self.names = tuple(tool["function"]["name"] for tool in self._tools)
        self.json = f"[{', '.join(_to_json(tool, number) for number, tool in enumerate(self._tools))}]"
        self.changes, self.warnings, self.omitted = tuple(changes), tuple(warnings), tuple(omitted)
        self.positions = tuple(range(len(self._tools)) if positions is None else positions)

    @classmethod
    def of(cls, tools: ToolSet | Sequence[ToolLike], *, omit: bool = False) -> ToolSet:
        """Check functions, PythonTools and tool objects alike; a ToolSet is returned as it is.

        Tools may have the form of OpenAI, MCP, Anthropic, Google or the AI SDK. `omit`: those that are no functions,
        such as `web_search`, are left out instead of refused. Raises RequestError with the path of the first mistake.
        Schemas are checked when their grammar is compiled.
        """
        if isinstance(tools, cls):
            return tools
        if (listed := list_of(tools)) is None:
            raise RequestError("tools", "must be a list of tools")
        items = _declared(listed)
        if len(items) > MAX_TOOLS:
            raise RequestError("tools", f"{len(items)} tools exceed the limit of {MAX_TOOLS}", "Send fewer.")
        builder = _Builder(omit=omit)
        for position, item in items:
            builder.add(item, position)
        return builder.toolset()

    def without(self, reasons: Mapping[int, str]) -> ToolSet:
        """Return the tool set without some tools, given by their numbers, with the reason of each."""
        omitted = [Omitted(self.positions[number], self.names[number], reason) for number, reason in reasons.items()]
        return self._subset([number for number in range(len(self)) if number not in reasons], omitted)

    def only(self, names: Collection[str]) -> ToolSet:
        """Return the tool set of the tools with these names; the others do not count as left out."""
        return self._subset([number for number, name in enumerate(self.names) if name in names])

    def _subset(self, rest: Sequence[int], omitted: Sequence[Omitted] = ()) -> ToolSet:
        numbers = {number: new for new, number in enumerate(rest)}
        tools = [self._tools[number] for number in rest]
        names = {tool["function"]["name"] for tool in tools}
        return ToolSet(
            tools,
            {name: runner for name, runner in self.runners.items() if name in names},
            frozenset(numbers[number] for number in self.bare if number in numbers),
            changes=_renumbered(self.changes, numbers),
            warnings=_renumbered(self.warnings, numbers),
            omitted=(*self.omitted, *omitted),
            positions=[self.positions[number] for number in rest],
        )

    def as_functions(self) -> ToolSet:
        """Return the same tools as if none had come as a bare function object."""
        return ToolSet(self, self.runners, frozenset(), changes=self.changes, warnings=self.warnings)

    def part(self, number: int) -> ToolSet:
        """Return the tool set of one tool alone."""
        return self.without({other: "" for other in range(len(self)) if other != number})

    @overload
    def __getitem__(self, index: int) -> Tool: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[Tool, ...]: ...
    def __getitem__(self, index: int | slice) -> Tool | tuple[Tool, ...]:
        return self._tools[index]

    def __len__(self) -> int:
        return len(self._tools)

    def __iter__(self) -> Iterator[Tool]:
        return iter(self._tools)

    def __repr__(self) -> str:
        return f"ToolSet({', '.join(self.names)})"


class _Builder:
    """Collects the tools of one set."""

    def __init__(self, *, omit: bool) -> None:
        self._omit = omit
        self._tools: list[Tool] = []
        self._runners: dict[str, PythonTool] = {}
        self._bare: set[int] = set()
        self._names: set[str] = set()
        self._notes: tuple[list[Note], list[Note]] = ([], [])
        self._omitted: list[Omitted] = []
        self._positions: list[int] = []

    def add(self, item: Any, position: int) -> None:
        """Read one tool. Raises RequestError."""
        path: FieldPath = ("tools", position)
        if (kind := unsupported_type(item)) is not None:
            if not self._omit:
                raise RequestError((*path, "type"), f"unsupported tool type {kind!r}", UNSUPPORTED_HINT)
            name = item.get("name")
            reason = f"unsupported tool type {kind!r}"
            self._omitted.append(Omitted(position, name if isinstance(name, str) else kind, reason))
            return
        if callable(item):
            runner = item if isinstance(item, PythonTool) else PythonTool(item)
            self._runners[runner.name] = runner
            item = runner.schema
        definition = read_definition(item, path)
        name = definition.tool["function"]["name"]
        if name in self._names:
            raise RequestError((*path, "function", "name"), f"duplicate tool name {name!r}", "Rename one of them.")
        self._names.add(name)
        number = {position: len(self._tools)}
        if definition.is_bare:
            self._bare.add(len(self._tools))
        for notes, found in zip(self._notes, (definition.changes, definition.warnings), strict=True):
            notes.extend(_renumbered(found, number))
        self._positions.append(position)
        self._tools.append(definition.tool)

    def toolset(self) -> ToolSet:
        changes, warnings = self._notes
        return ToolSet(
            self._tools,
            self._runners,
            frozenset(self._bare),
            changes=changes,
            warnings=warnings,
            omitted=self._omitted,
            positions=self._positions,
        )


def _declared(items: list[Any]) -> list[tuple[int, Any]]:
    """Return tools with their positions; Google's lists of declarations are several tools at one position."""
    found: list[tuple[int, Any]] = []
    for position, item in enumerate(items):
        declared = None
        if isinstance(item, Mapping) and "function" not in item and "name" not in item:
            declared = list_of(item.get("functionDeclarations", item.get("function_declarations")))
        found += [(position, item)] if declared is None else [(position, tool) for tool in declared]
    return found


def _renumbered(notes: Sequence[Note], numbers: Mapping[int, int]) -> list[Note]:
    """Return the notes about some tools, with new numbers in their paths."""
    return [
        (("tools", numbers[path[1]], *path[2:]), reason)
        for path, reason in notes
        if isinstance(path[1], int) and path[1] in numbers
    ]


def _to_json(tool: Tool, number: int) -> str:
    try:
        text = json.dumps(tool, ensure_ascii=False)
        text.encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise RequestError(("tools", number), f"cannot be written as JSON: {error}") from None
    return text
