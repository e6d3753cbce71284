"""Tools: Python functions as OpenAI tools, checks of what callers send, and running a call."""

from __future__ import annotations

import dataclasses
import difflib
import enum
import importlib.util
import inspect
import json
import re
import sys
import typing
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, overload

from edgefc.errors import RequestError, ToolError
from edgefc.tools import signature
from edgefc.types import Tool, ToolChoice

# What `{"type": "code_interpreter"}` is a short spelling of.
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
_NAME = re.compile(r"[A-Za-z0-9_.:-]{1,128}\Z")


class PythonTool:
    """A function the model can call. Still callable as the function it was."""

    def __init__(
        self, function: Callable[..., Any], *, name: str | None = None, description: str | None = None
    ) -> None:
        self.function = function
        summary, about = signature.read_docstring(inspect.getdoc(function) or "")
        self.name = name or function.__name__
        spec: dict[str, Any] = {"name": self.name}
        if text := description or summary:
            spec["description"] = text
        spec["parameters"] = signature.parameters_of(function, about)
        self.schema: Tool = {"type": "function", "function": spec}  # type: ignore[typeddict-item]
        self.__doc__ = function.__doc__

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.function(*args, **kwargs)

    def __repr__(self) -> str:
        return f"PythonTool({self.name!r})"


ToolLike = PythonTool | Callable[..., Any] | Mapping[str, Any]


@overload
def tool(function: Callable[..., Any]) -> PythonTool: ...
@overload
def tool(*, name: str | None = None, description: str | None = None) -> Callable[[Callable[..., Any]], PythonTool]: ...
def tool(
    function: Callable[..., Any] | None = None, *, name: str | None = None, description: str | None = None
) -> PythonTool | Callable[[Callable[..., Any]], PythonTool]:
    """Make a tool of a function, from its type hints and docstring.

    The docstring's first paragraph describes the tool; its `Args:` section (Google, NumPy or reST style) the
    parameters. A parameter with a default, or that may be None, is optional. Raises ToolError for a hint that has
    no JSON Schema.
    """
    if function is not None:
        return PythonTool(function)
    return lambda f: PythonTool(f, name=name, description=description)


def as_tools(given: Sequence[ToolLike]) -> tuple[list[Tool], dict[str, PythonTool]]:
    """Schemas of functions, PythonTools and OpenAI tools alike, and the functions by name."""
    schemas: list[Tool] = []
    runners: dict[str, PythonTool] = {}
    for item in given:
        if isinstance(item, Mapping):
            schemas.append(typing.cast(Tool, item))
        elif callable(item):
            made = item if isinstance(item, PythonTool) else PythonTool(item)
            runners[made.name] = made
            schemas.append(made.schema)
        else:
            raise RequestError("tools", f"a tool is a function or an OpenAI tool object, not {type(item).__name__}")
    return schemas, runners


def check_tools(tools: Sequence[Mapping[str, Any]]) -> list[Tool]:
    """Tools in OpenAI's form; a bare function object is taken as one. Raises RequestError with the place."""
    if not isinstance(tools, list | tuple):
        raise RequestError("tools", "must be a list of tools")
    checked: list[Tool] = []
    names: set[str] = set()
    for number, item in enumerate(tools):
        place = f"tools[{number}]"
        if not isinstance(item, Mapping):
            raise RequestError(place, "must be an object with type and function")
        is_code = item.get("type") == "code_interpreter"
        function = item.get("function", CODE_INTERPRETER if is_code else item if "name" in item else None)
        if item.get("type", "function") not in {"function", "code_interpreter"} or not isinstance(function, Mapping):
            raise RequestError(place, 'must be {"type": "function", "function": {…}}')
        name = function.get("name")
        if not isinstance(name, str) or not _NAME.match(name):
            raise RequestError(
                f"{place}.function.name", f"{name!r} is no tool name", "Use 1 to 128 letters, digits, or _ . : -"
            )
        if name in names:
            raise RequestError(f"{place}.function.name", f"{name!r} is the name of another tool already")
        names.add(name)
        if not isinstance(function.get("description", ""), str):
            raise RequestError(f"{place}.function.description", "must be a string")
        if not isinstance(function.get("parameters", {}), Mapping):
            raise RequestError(f"{place}.function.parameters", "must be a JSON Schema object")
        kind = "code_interpreter" if is_code else "function"
        checked.append(typing.cast(Tool, {"type": kind, "function": dict(function)}))
    return checked


def parse_tool_choice(value: str | Mapping[str, Any], tools: Sequence[Tool]) -> ToolChoice:
    """OpenAI's tool_choice in one form. Raises RequestError for an unknown mode or name."""
    names = tuple(item["function"]["name"] for item in tools)
    if isinstance(value, str):
        if value not in {"none", "auto", "required"}:
            raise RequestError(
                "tool_choice", f"unknown choice {value!r}", "Say none, auto, required, or name a tool by an object."
            )
        return _choice(value, names, names)
    if not isinstance(value, Mapping):
        raise RequestError("tool_choice", "must be a string or an object")
    if value.get("type") == "function":
        named = value.get("function")
        name = named.get("name") if isinstance(named, Mapping) else value.get("name")
        return _choice("required", (_known(name, names),), names)
    if value.get("type") == "allowed_tools":
        inner = value.get("allowed_tools", value)
        listed = inner.get("tools") if isinstance(inner, Mapping) else None
        if not isinstance(listed, list) or not listed or inner.get("mode", "auto") not in {"auto", "required"}:
            raise RequestError("tool_choice", "allowed_tools needs a mode (auto or required) and a list of tools")
        allowed = [item.get("function", item) if isinstance(item, Mapping) else {} for item in listed]
        return _choice(inner.get("mode", "auto"), tuple(_known(f.get("name"), names) for f in allowed), names)
    raise RequestError("tool_choice", f"unknown type {value.get('type')!r}", "Types are function and allowed_tools.")


def _choice(mode: str, chosen: tuple[str, ...], names: tuple[str, ...]) -> ToolChoice:
    if mode == "required" and not names:
        raise RequestError("tool_choice", "a call is required, but there are no tools")
    return ToolChoice(typing.cast(Any, mode), chosen)


def _known(name: object, names: tuple[str, ...]) -> str:
    if isinstance(name, str) and name in names:
        return name
    near = difflib.get_close_matches(str(name), names, n=2)
    hint = f"Did you mean {' or '.join(near)}?" if near else f"There are {', '.join(names) or 'no tools'}."
    raise RequestError("tool_choice", f"there is no tool {name!r}", hint)


def run_tool(runner: PythonTool, arguments: str) -> str:
    """Run a call and give its result as text for the model.

    What goes wrong inside, be it wrong arguments or the function's own exception, becomes `{"error": …}`: the
    model can read it and try something else.
    """
    import jsonschema

    try:
        values = json.loads(arguments)
        jsonschema.validate(values, runner.schema["function"]["parameters"])
        result = runner.function(**signature.converted(runner.function, values))
    except jsonschema.ValidationError as error:
        return _dump({"error": f"wrong arguments: {error.message}"})
    except Exception as error:  # noqa: BLE001 - a tool may raise anything, and the chat must go on
        return _dump({"error": f"{type(error).__name__}: {error}"})
    return result if isinstance(result, str) else _dump(result)


def load_tools(path: Path) -> list[ToolLike]:
    """Tools from a file: a .py's functions, or a .json list of OpenAI tools. Raises ToolError."""
    if not path.is_file():
        raise ToolError(f"there is no file {path}")
    return list(_from_python(path) if path.suffix == ".py" else _from_json(path))


def _from_json(path: Path) -> list[Mapping[str, Any]]:
    tools = read_json_tools(path)
    check_tools(tools)
    return tools


def read_json_tools(path: Path) -> list[Any]:
    """The list of tools in a .json file, as it is. Raises ToolError."""
    if not path.is_file():
        raise ToolError(f"there is no file {path}")
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except UnicodeDecodeError as error:
        raise ToolError(f"{path} is not UTF-8 text: {error.reason}") from None
    except (json.JSONDecodeError, RecursionError) as error:
        where = f" line {error.lineno}, column {error.colno}" if isinstance(error, json.JSONDecodeError) else ""
        raise ToolError(f"{path}{where}: not JSON: {error}", "It should be a list of OpenAI tools.") from None
    tools = data.get("tools") if isinstance(data, dict) else data
    if not isinstance(tools, list):
        raise ToolError(f"{path}: must be a list of tools, or an object with one under 'tools'")
    return tools


def _from_python(path: Path) -> list[PythonTool]:
    """Functions marked with @tool; without any, all public ones that are defined in the file."""
    spec = importlib.util.spec_from_file_location(f"edgefc_tools_{path.stem}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses and type hints look their module up
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        line = getattr(error, "lineno", None)
        trace = error.__traceback__
        while trace is not None and line is None:
            line = trace.tb_lineno if trace.tb_frame.f_code.co_filename == str(path) else None
            trace = trace.tb_next
        raise ToolError(f"{path}{f' line {line}' if line else ''}: {type(error).__name__}: {error}") from error
    marked = [value for value in vars(module).values() if isinstance(value, PythonTool)]
    if marked:
        return marked
    plain = [
        value
        for name, value in vars(module).items()
        if inspect.isfunction(value) and value.__module__ == module.__name__ and not name.startswith("_")
    ]
    if not plain:
        raise ToolError(
            f"{path} defines no functions", "Define functions with type hints, or mark them with @edgefc.tool."
        )
    return [PythonTool(function) for function in plain]


def _dump(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, default=_plain)


def _plain(value: Any) -> Any:
    """What json cannot write by itself: dataclasses, enums, sets; anything else as its text."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return dataclasses.asdict(value)
    if isinstance(value, enum.Enum):
        return value.value
    return sorted(value) if isinstance(value, set | frozenset) else str(value)
