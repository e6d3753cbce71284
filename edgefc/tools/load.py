"""Tools from files: functions of a .py, or OpenAI tools of a .json."""

from __future__ import annotations

import importlib.util
import inspect
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

from edgefc.errors import ToolError
from edgefc.tools.python import PythonTool
from edgefc.tools.schemas import list_of
from edgefc.tools.thread import call_with_timeout
from edgefc.tools.toolset import ToolSet


def load_tools(path: Path, *, timeout: float | None = None, omit: bool = False) -> ToolSet:
    """Read a file's tools. Raises ToolError, or RequestError with the path of an invalid tool in a .json.

    timeout  the time limit, in seconds, of functions that set none
    omit     leave out tools of a .json that are no functions
    """
    if not path.is_file():
        raise ToolError(f"no such file: {path}")
    return ToolSet.of(_from_python(path, timeout) if path.suffix == ".py" else read_json_tools(path), omit=omit)


def read_json_tools(path: Path) -> list[Any]:
    """Read the list of tools in a .json file, unchecked. Raises ToolError."""
    if not path.is_file():
        raise ToolError(f"no such file: {path}")
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except UnicodeDecodeError as error:
        raise ToolError(f"{path} is not UTF-8 text: {error.reason}") from None
    except (json.JSONDecodeError, RecursionError) as error:
        where = f" line {error.lineno}, column {error.colno}" if isinstance(error, json.JSONDecodeError) else ""
        raise ToolError(f"{path}{where}: invalid JSON: {error}", "It should hold a list of OpenAI tools.") from None
    tools = data.get("tools") if isinstance(data, Mapping) else data
    if (listed := list_of(tools)) is not None:
        return listed
    if isinstance(tools, Mapping) and all(isinstance(tool, Mapping) for tool in tools.values()):
        return [{"name": name, **tool} for name, tool in tools.items()]  # by name, as in the AI SDK
    raise ToolError(f"{path}: must be a list of tools, or an object with such a list under 'tools'")


def _from_python(path: Path, timeout: float | None) -> list[PythonTool]:
    """Load a file's tools. Raises ToolError."""
    found = read_python_tools(path, timeout=timeout)
    for one in found:
        if isinstance(one, PythonTool):
            one.timeout = timeout if one.timeout is None else one.timeout
    return [one if isinstance(one, PythonTool) else PythonTool(one, timeout=timeout) for one in found]


def read_python_tools(path: Path, *, timeout: float | None = None) -> Sequence[PythonTool | Callable[..., Any]]:
    """Return functions marked with @tool; without any, all public functions defined in the file, unchecked.

    Raises ToolError.
    """
    module = _import(path, timeout)
    if marked := [value for value in vars(module).values() if isinstance(value, PythonTool)]:
        return marked
    functions = [
        value
        for name, value in vars(module).items()
        if inspect.isfunction(value) and value.__module__ == module.__name__ and not name.startswith("_")
    ]
    if not functions:
        raise ToolError(
            f"{path} defines no functions", "Define functions with type hints, or mark them with @edgefc.tool."
        )
    return functions


def _import(path: Path, timeout: float | None) -> ModuleType:
    """Import a file: in the thread of the calls where they have a time limit. Raises ToolError."""
    spec = importlib.util.spec_from_file_location(f"edgefc_tools_{path.stem}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses and type hints look their module up
    try:
        if timeout is None:
            spec.loader.exec_module(module)
        else:
            call_with_timeout(partial(spec.loader.exec_module, module), None)
    except (Exception, SystemExit) as error:
        line = _line_in(path, error)
        location = f"{path} line {line}" if line else str(path)
        raise ToolError(f"{location}: {type(error).__name__}: {error}") from error
    return module


def _line_in(path: Path, error: BaseException) -> int | None:
    """Find the line of a file at which an exception was raised."""
    line: int | None = getattr(error, "lineno", None)
    trace = error.__traceback__
    while trace is not None and line is None:
        line = trace.tb_lineno if trace.tb_frame.f_code.co_filename == str(path) else None
        trace = trace.tb_next
    return line
