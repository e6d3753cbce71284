"""Tools from the source of Python functions, which is read and never run: names, type hints, defaults, docstrings."""

from __future__ import annotations

import ast
import contextlib
import datetime as dt
import inspect
import json
import typing
from collections.abc import Callable, Iterator
from typing import Any

from edgefc.errors import ToolError
from edgefc.tools.python import PythonTool

MAX_SOURCE = 256 << 10  # characters
_TYPES: dict[str, Any] = {
    "str": str, "int": int, "float": float, "bool": bool, "list": list, "dict": dict, "tuple": tuple, "set": set,
    "List": list, "Dict": dict, "Tuple": tuple, "Set": set, "Sequence": list, "Iterable": list, "Mapping": dict,
    "Any": Any, "object": Any, "date": dt.date, "datetime": dt.datetime, "time": dt.time, "timedelta": dt.timedelta,
}  # fmt: skip
_BOUNDS = {"description", "ge", "gt", "le", "lt", "multiple_of", "min_length", "max_length", "pattern"}
_HINT = f"Hints are made of {', '.join(sorted(_TYPES))}, Literal, Optional, Union and Annotated."


def read_functions(source: str) -> list[PythonTool[..., Any]]:
    """Return a tool for each public function at the top level; the body of the last may be missing.

    Raises ToolError for what is no source, and for a parameter whose type is not among the usual ones.
    """
    if len(source) > MAX_SOURCE:
        raise ToolError(f"the source has more than {MAX_SOURCE:,} characters")
    try:
        functions = [node for node in _parse(source).body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
        tools = [_tool(node) for node in functions if not node.name.startswith("_")]
    except (RecursionError, MemoryError):
        raise ToolError("the source is nested too deeply") from None
    if not tools:
        raise ToolError("there is no function", "Write for example `def get_weather(location: str): ...`.")
    return tools


def _parse(source: str) -> ast.Module:
    try:
        return ast.parse(source)
    except (SyntaxError, ValueError) as error:
        with contextlib.suppress(SyntaxError, ValueError):
            return ast.parse(f"{source.rstrip().removesuffix(':')}: ...")  # a signature alone
        line = f"line {error.lineno}: " if isinstance(error, SyntaxError) and error.lineno else ""
        raise ToolError(f"{line}{error.msg if isinstance(error, SyntaxError) else error}") from None


def _tool(node: ast.FunctionDef | ast.AsyncFunctionDef) -> PythonTool[..., Any]:
    from pydantic.errors import PydanticUserError
    from pydantic_core import SchemaError

    try:
        tool = PythonTool(_stub(node))
        json.dumps(tool.schema, ensure_ascii=False).encode()
        return tool
    except UnicodeEncodeError:
        raise ToolError(f"{node.name}: a text has half a character, which cannot be sent") from None
    except (SchemaError, PydanticUserError, TypeError, ValueError) as error:  # bounds that pydantic refuses
        reason = [line.strip() for line in str(error).splitlines() if line.strip()][-1:]
        raise ToolError(f"{node.name}: {''.join(reason)}") from None


def _stub(node: ast.FunctionDef | ast.AsyncFunctionDef) -> Callable[..., Any]:
    """Return a function with the name, signature and docstring of a definition, that does nothing."""

    def stub(**_: Any) -> None:
        """Do nothing: only the signature is used."""

    parameters = list(_parameters(node))
    stub.__name__ = stub.__qualname__ = node.name
    stub.__doc__ = ast.get_docstring(node)
    stub.__annotations__ = {each.name: each.annotation for each in parameters if each.annotation is not each.empty}
    try:
        stub.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    except ValueError as error:
        raise ToolError(f"{node.name}: {error}") from None
    return stub


def _parameters(node: ast.FunctionDef | ast.AsyncFunctionDef) -> Iterator[inspect.Parameter]:
    kinds, spec = inspect.Parameter, node.args
    named = [*spec.posonlyargs, *spec.args]
    defaults: list[ast.expr | None] = [*[None] * (len(named) - len(spec.defaults)), *spec.defaults]
    found: list[tuple[ast.arg, Any, ast.expr | None]] = [
        (each, kinds.POSITIONAL_ONLY if each in spec.posonlyargs else kinds.POSITIONAL_OR_KEYWORD, default)
        for each, default in zip(named, defaults, strict=True)
    ]
    found += [(each, kinds.VAR_POSITIONAL, None) for each in [spec.vararg] if each]
    found += [
        (each, kinds.KEYWORD_ONLY, default) for each, default in zip(spec.kwonlyargs, spec.kw_defaults, strict=True)
    ]
    found += [(each, kinds.VAR_KEYWORD, None) for each in [spec.kwarg] if each]
    for each, kind, default in found:
        location = f"{node.name}({each.arg})"
        hint = kinds.empty if each.annotation is None else _Hints(location).read(each.annotation)
        value = kinds.empty if default is None else _default(default)
        yield inspect.Parameter(each.arg, kind, annotation=hint, default=value)


def _default(node: ast.expr) -> Any:
    """Return a default that is written out; None, which says only that there is one, for any other."""
    try:
        return ast.literal_eval(node)
    except (ValueError, TypeError, SyntaxError):
        return None


class _Hints:
    """Reads the type hints of a parameter."""

    def __init__(self, location: str) -> None:
        self._location = location

    def read(self, node: ast.expr) -> Any:
        """Return the type that a hint stands for. Raises ToolError."""
        if isinstance(node, ast.Constant) and node.value is None:
            return None
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            try:
                return self.read(ast.parse(node.value, mode="eval").body)
            except (SyntaxError, ValueError):
                raise self._refusal(node) from None
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitOr):
            return typing.Union[self.read(node.left), self.read(node.right)]  # noqa: UP007 - None | None is no type
        if isinstance(node, ast.Subscript):
            return self._generic(node)
        if isinstance(node, ast.Name | ast.Attribute) and (name := _last_name(node)) in _TYPES:
            return _TYPES[name]
        raise self._refusal(node)

    def _generic(self, node: ast.Subscript) -> Any:
        name = _last_name(node.value)
        items = node.slice.elts if isinstance(node.slice, ast.Tuple) else [node.slice]
        if name == "Literal":
            return typing.Literal[tuple(self._literal(item) for item in items)]
        if name == "Annotated":
            notes = [note for item in items[1:] if (note := self._note(item)) is not None]
            return typing.Annotated[(self.read(items[0]), *notes)] if notes else self.read(items[0])
        if name == "Optional":
            return typing.Optional[self.read(items[0])]  # noqa: UP045
        if name == "Union":
            return typing.Union[tuple(map(self.read, items))]  # noqa: UP007
        base = _TYPES.get(name)
        if base not in {list, dict, tuple, set}:
            raise self._refusal(node)
        arguments = tuple(... if _is_ellipsis(item) else self.read(item) for item in items)
        if len(arguments) != {list: 1, set: 1, dict: 2}.get(base, len(arguments)):
            raise self._refusal(node)
        return base[arguments]

    def _literal(self, node: ast.expr) -> Any:
        try:
            value = ast.literal_eval(node)
        except (ValueError, TypeError, SyntaxError):
            raise self._refusal(node) from None
        if not isinstance(value, str | int | bool | None):
            raise self._refusal(node)
        return value

    def _note(self, node: ast.expr) -> Any:
        """Return a description, or pydantic's bounds; None for a note that means nothing here."""
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            return node.value
        if not isinstance(node, ast.Call) or _last_name(node.func) != "Field":
            return None
        from pydantic import Field

        values = {each.arg: _default(each.value) for each in node.keywords if each.arg in _BOUNDS}
        return Field(**{name: value for name, value in values.items() if value is not None})

    def _refusal(self, node: ast.expr) -> ToolError:
        return ToolError(f"{self._location}: unknown type {ast.unparse(node)[:80]!r}", _HINT)


def _is_ellipsis(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and node.value is ...


def _last_name(node: ast.expr) -> str:
    return node.id if isinstance(node, ast.Name) else node.attr if isinstance(node, ast.Attribute) else ""
