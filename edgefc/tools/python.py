"""Python functions as tools, with their schemas."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any, overload

from edgefc.errors import ToolError
from edgefc.tools import signature
from edgefc.types import Tool

MAX_TIMEOUT = 86_400.0  # seconds


class PythonTool:
    """A function the model can call; calling the object calls the function.

    timeout  seconds that a call of `Model.run` may take; None: any time, in the caller's thread
    """

    def __init__(
        self,
        function: Callable[..., Any],
        *,
        name: str | None = None,
        description: str | None = None,
        timeout: float | None = None,
    ) -> None:
        if timeout is not None and not 0 < timeout <= MAX_TIMEOUT:
            raise ToolError(f"timeout must be between 0 and {MAX_TIMEOUT:g} seconds, not {timeout!r}")
        self.function, self.timeout = function, timeout
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
def tool(
    *, name: str | None = None, description: str | None = None, timeout: float | None = None
) -> Callable[[Callable[..., Any]], PythonTool]: ...
def tool(
    function: Callable[..., Any] | None = None,
    *,
    name: str | None = None,
    description: str | None = None,
    timeout: float | None = None,
) -> PythonTool | Callable[[Callable[..., Any]], PythonTool]:
    """Turn a function into a tool, using its type hints and docstring.

    The docstring's first paragraph describes the tool; its `Args:` section (Google, NumPy or reST style) the
    parameters. A parameter with a default, or that may be None, is optional. A call that takes more than `timeout`
    seconds gets an error result; it runs in a thread of its own. Raises ToolError for a hint that has no JSON Schema.
    """
    if function is not None:
        return PythonTool(function)
    return lambda f: PythonTool(f, name=name, description=description, timeout=timeout)
