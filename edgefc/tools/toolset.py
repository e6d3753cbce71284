"""A request's tools: checked once, wherever they come from, and handed down as they are."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, cast, overload

from edgefc.errors import FieldPath, RequestError
from edgefc.limits import MAX_TOOL_NAME, MAX_TOOLS
from edgefc.tools.python import PythonTool, ToolLike
from edgefc.types import Tool

# `{"type": "code_interpreter"}` is short for this function.
CODE_INTERPRETER = {
    "name": "python",
    "description": "Run a Python program and get what it prints",
    "parameters": {
        "type": "object",
        "properties": {"code": {"type": "string", "description": "The program"}},
        "required": ["code"],
        "additionalProperties": False,
    },
}
_NAME = re.compile(rf"[A-Za-z0-9_.:-]{{1,{MAX_TOOL_NAME}}}\Z")


class ToolSet(Sequence[Tool]):
    """Checked tools in OpenAI's form. Made by `ToolSet.of`.

    names    the tools' names, each once
    runners  the Python functions among them, by name
    bare     positions of the tools that came as a bare function object, without `type` and `function`
    json     all tools as JSON text
    """

    __slots__ = ("_tools", "bare", "json", "names", "runners")

    def __init__(self, tools: Sequence[Tool], runners: Mapping[str, PythonTool], bare: frozenset[int]) -> None:
        self._tools = tuple(tools)
        self.runners = dict(runners)
        self.bare = bare
        self.names = tuple(tool["function"]["name"] for tool in self._tools)
        self.json = f"[{', '.join(_to_json(tool, number) for number, tool in enumerate(self._tools))}]"

    @classmethod
    def of(cls, tools: ToolSet | Sequence[ToolLike]) -> ToolSet:
        """Check functions, PythonTools and OpenAI tool objects alike; a ToolSet is returned as it is.

        Raises RequestError with the path of the first mistake. Schemas are checked when their grammar is compiled.
        """
        if isinstance(tools, cls):
            return tools
        if not isinstance(tools, list | tuple):
            raise RequestError("tools", "must be a list of tools")
        if len(tools) > MAX_TOOLS:
            raise RequestError("tools", f"{len(tools)} tools exceed the limit of {MAX_TOOLS}", "Send fewer.")
        checked: list[Tool] = []
        runners: dict[str, PythonTool] = {}
        bare: set[int] = set()
        names: set[str] = set()
        for number, item in enumerate(tools):
            schema: Any = item
            if callable(item):
                runner = item if isinstance(item, PythonTool) else PythonTool(item)
                runners[runner.name] = runner
                schema = runner.schema
            path = ("tools", number)
            tool = _checked(schema, path)
            name = tool["function"]["name"]
            if name in names:
                raise RequestError((*path, "function", "name"), f"duplicate tool name {name!r}", "Rename one of them.")
            names.add(name)
            if "function" not in schema and "name" in schema:
                bare.add(number)
            checked.append(tool)
        return cls(checked, runners, frozenset(bare))

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


def _checked(item: Any, path: FieldPath) -> Tool:
    """Return one tool in OpenAI's form; a bare function object is read as one."""
    if not isinstance(item, Mapping):
        raise RequestError(path, f"must be a function or an object with type and function, not {type(item).__name__}")
    is_code = item.get("type") == "code_interpreter"
    function = item.get("function", CODE_INTERPRETER if is_code else item if "name" in item else None)
    if item.get("type", "function") not in {"function", "code_interpreter"} or not isinstance(function, Mapping):
        raise RequestError(path, 'must be {"type": "function", "function": {…}}')
    name = function.get("name")
    if not isinstance(name, str) or not _NAME.match(name):
        hint = f"Use 1 to {MAX_TOOL_NAME} letters, digits, or _ . : -"
        raise RequestError((*path, "function", "name"), f"invalid tool name {name!r}", hint)
    if not isinstance(function.get("description", ""), str):
        raise RequestError((*path, "function", "description"), "must be a string")
    if not isinstance(function.get("parameters", {}), Mapping):
        raise RequestError((*path, "function", "parameters"), "must be a JSON Schema object")
    kind = "code_interpreter" if is_code else "function"
    return cast(Tool, {"type": kind, "function": dict(function)})


def _to_json(tool: Tool, number: int) -> str:
    try:
        text = json.dumps(tool, ensure_ascii=False)
        text.encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise RequestError(("tools", number), f"cannot be written as JSON: {error}") from None
    return text
