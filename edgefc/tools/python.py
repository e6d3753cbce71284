"""Python functions as tools: their schema, and running a call."""

from __future__ import annotations

import dataclasses
import enum
import inspect
import json
from collections.abc import Callable, Mapping
from typing import Any, overload

from edgefc.tools import signature
from edgefc.types import Tool


class PythonTool:
    """A function the model can call; calling the object calls the function."""

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
    """Turn a function into a tool, using its type hints and docstring.

    The docstring's first paragraph describes the tool; its `Args:` section (Google, NumPy or reST style) the
    parameters. A parameter with a default, or that may be None, is optional. Raises ToolError for a hint that has
    no JSON Schema.
    """
    if function is not None:
        return PythonTool(function)
    return lambda f: PythonTool(f, name=name, description=description)


def run_tool(runner: PythonTool, arguments: str | Mapping[str, Any]) -> str:
    """Run a call, its arguments given as JSON text or as an object, and return the result as text for the model.

    A mistake inside, be it wrong arguments or the function's own exception, becomes `{"error": …}`: the model can read
    it and try something else.
    """
    import jsonschema

    try:
        values = json.loads(arguments) if isinstance(arguments, str) else arguments
        jsonschema.validate(values, runner.schema["function"]["parameters"])
        result = runner.function(**signature.convert_arguments(runner.function, values))
    except jsonschema.ValidationError as error:
        return _to_json({"error": f"wrong arguments: {error.message}"})
    except Exception as error:  # noqa: BLE001 - a tool may raise anything, and the chat must go on
        return _to_json({"error": f"{type(error).__name__}: {error}"})
    return result if isinstance(result, str) else _to_json(result)


def _to_json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, default=_jsonable)


def _jsonable(value: Any) -> Any:
    """Convert dataclasses, enums and sets, which json cannot write; anything else becomes its text."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return dataclasses.asdict(value)
    if isinstance(value, enum.Enum):
        return value.value
    return sorted(value) if isinstance(value, set | frozenset) else str(value)
