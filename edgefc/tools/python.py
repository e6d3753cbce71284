"""Python functions as tools, with their schemas."""

from __future__ import annotations

import functools
import inspect
import json
from collections.abc import Callable, Mapping
from typing import Any, Generic, overload

from typing_extensions import ParamSpec, TypeVar

from edgefc.errors import ToolError
from edgefc.tools import signature
from edgefc.types import Tool, finite_float, refuse_constant

MAX_TIMEOUT = 86_400.0  # seconds
P = ParamSpec("P", default=...)
R = TypeVar("R", default=Any)


class PythonTool(Generic[P, R]):
    """A function the model can call; calling the object calls the function, whose name and signature it has.

    name      the tool's name
    function  the function, which is also `__wrapped__`
    schema    the tool as OpenAI's API has it
    timeout   seconds that a call of `Model.run` may take; None: any time
    is_async  True if the function is a coroutine function or an asynchronous generator
    """

    __wrapped__: Callable[P, R]
    __name__: str

    def __init__(
        self,
        function: Callable[P, R],
        *,
        name: str | None = None,
        description: str | None = None,
        timeout: float | None = None,
    ) -> None:
        """Raises ToolError if a model cannot call the function, or the time limit is impossible."""
        if not callable(function):
            raise ToolError(f"a tool must be a function, not {function!r}", "Pass the function itself, not its result.")
        if timeout is not None and not 0 < timeout <= MAX_TIMEOUT:
            raise ToolError(f"timeout must be between 0 and {MAX_TIMEOUT:g} seconds, not {timeout!r}")
        functools.update_wrapper(self, function, updated=())
        self.function, self.timeout = function, timeout
        docstring = signature.callable_docstring(function)
        summary, about = signature.read_docstring(docstring)
        self.name = name or signature.callable_name(function)
        self.is_async = _is_async(function)
        self._parameters = signature.Parameters(function, self.name, about)
        spec: dict[str, Any] = {"name": self.name}
        if text := description or summary:
            spec["description"] = text
        spec["parameters"] = self._parameters.schema
        self.schema: Tool = {"type": "function", "function": spec}  # type: ignore[typeddict-item]
        self.__doc__ = docstring or None

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        return self.function(*args, **kwargs)

    def __repr__(self) -> str:
        return f"PythonTool({self.name!r})"

    def parse(self, arguments: str | Mapping[str, Any]) -> dict[str, Any]:
        """Construct the function's arguments from JSON, given as text or as an object.

        Raises json.JSONDecodeError, or pydantic's ValidationError for values that do not fit the type hints.
        """
        if isinstance(arguments, str):
            values = json.loads(arguments, parse_float=finite_float, parse_constant=refuse_constant)
            return self._parameters.parse(values)
        return self._parameters.parse(arguments)


def _is_async(function: Any) -> bool:
    while isinstance(function, functools.partial):
        function = function.func
    return any(
        inspect.iscoroutinefunction(one) or inspect.isasyncgenfunction(one)
        for one in (function, vars(type(function)).get("__call__"))
    )


ToolLike = PythonTool[..., Any] | Callable[..., Any] | Mapping[str, Any]


@overload
def tool(
    function: Callable[P, R],
    /,
    *,
    name: str | None = None,
    description: str | None = None,
    timeout: float | None = None,
) -> PythonTool[P, R]: ...
@overload
def tool(
    *, name: str | None = None, description: str | None = None, timeout: float | None = None
) -> Callable[[Callable[P, R]], PythonTool[P, R]]: ...
def tool(
    function: Callable[..., Any] | None = None,
    /,
    *,
    name: str | None = None,
    description: str | None = None,
    timeout: float | None = None,
) -> PythonTool | Callable[[Callable[..., Any]], PythonTool]:
    """Turn a function into a tool, using its type hints and docstring.

    function     a function, coroutine function, generator, `functools.partial`, bound method or callable object
    name         the tool's name; None: the function's
    description  None: the docstring's first paragraph
    timeout      seconds after which a call gets an error result; an ordinary function then runs in a thread of its own

    Parameters may have any type that pydantic can read from JSON; values are constructed and validated before the
    function is called. Pydantic's `Field`, a text in `Annotated`, or the docstring's `Args:` section (Google, NumPy or
    reST style) describes a parameter. One with a default, or that may be None, is optional.

    Raises ToolError for a hint that has no JSON Schema.
    """
    if function is not None:
        return PythonTool(function, name=name, description=description, timeout=timeout)
    return lambda f: PythonTool(f, name=name, description=description, timeout=timeout)
