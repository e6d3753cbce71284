"""Parameters of functions: their schema, and their values from JSON. Descriptions come from docstrings."""

from __future__ import annotations

import functools
import inspect
import json
import operator
import re
import types
import typing
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import typing_extensions

from edgefc.errors import ToolError

if TYPE_CHECKING:
    from edgefc.tools.json_types import JsonType

_NO_NAMES = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD, inspect.Parameter.POSITIONAL_ONLY)


class Parameters:
    """The parameters of a function that a model can name.

    schema  JSON Schema of an object with their values
    """

    def __init__(self, function: Callable[..., Any], name: str, about: Mapping[str, str]) -> None:
        """`about` describes parameters. Raises ToolError naming the one that has no schema."""
        self._hints: dict[str, Any] = {}
        defaults: dict[str, Any] = {}
        for parameter in _parameters(function, name):
            hint, is_required, default = _field(parameter, f"{name}({parameter.name})")
            required = typing_extensions.Required if is_required else typing_extensions.NotRequired
            self._hints[parameter.name] = required[hint]
            if default is not None:
                defaults[parameter.name] = default
        self._name = name
        self._type = self._json_type()
        self.schema = _readable(self._type.schema, defaults, about)

    def parse(self, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """Construct the parameters' values from JSON values. Raises pydantic's ValidationError."""
        values: dict[str, Any] = self._type.parse(arguments)
        return values

    def _json_type(self) -> JsonType:
        from edgefc.tools.json_types import JsonType, UnsupportedTypeError

        try:
            return JsonType(_typed_dict(self._hints))
        except UnsupportedTypeError as error:
            for parameter, hint in self._hints.items():
                try:
                    JsonType(_typed_dict({parameter: hint}))
                except UnsupportedTypeError as own:
                    (inner,) = typing_extensions.get_args(hint)
                    raise ToolError(
                        f"{self._name}({parameter}): unsupported type {_type_name(inner)}: {own}",
                        "Use types that pydantic can read from JSON, such as str, list[int], dataclasses or models.",
                    ) from None
            raise ToolError(f"{self._name}: {error}") from None


def _typed_dict(hints: Mapping[str, Any]) -> Any:
    """Return the type of a function's keyword arguments."""
    make: Any = typing_extensions.TypedDict
    cls = make("Arguments", dict(hints))
    cls.__pydantic_config__ = {"extra": "forbid"}
    return cls


def _parameters(function: Callable[..., Any], name: str) -> list[inspect.Parameter]:
    """Return the parameters, each with its resolved hint. Raises ToolError."""
    try:
        signature = inspect.signature(function)
        hints = typing_extensions.get_type_hints(_annotated_function(function), include_extras=True)
    except (NameError, TypeError, ValueError) as error:
        advice = "Define the type at the module's top level." if isinstance(error, NameError) else ""
        raise ToolError(f"{name}: {error}", advice) from None
    bound = function.keywords if isinstance(function, functools.partial) else {}
    found = []
    for parameter in signature.parameters.values():
        if parameter.name in bound:
            continue
        location = f"{name}({parameter.name})"
        if parameter.kind in _NO_NAMES:
            raise ToolError(f"{location}: *args, **kwargs and positional-only parameters are not supported")
        hint: Any = hints.get(parameter.name, parameter.annotation)
        if hint is parameter.empty and type(parameter.default) in {str, int, float, bool}:
            hint = type(parameter.default)  # `limit=3`
        if hint is parameter.empty and parameter.name == "self":
            raise ToolError(
                f"{location}: missing type hint", "Make the tool from the bound method: tool(object.method)."
            )
        if hint is parameter.empty or isinstance(hint, str):
            raise ToolError(f"{location}: missing type hint", f"Write for example {parameter.name}: str.")
        found.append(parameter.replace(annotation=hint))
    return found


def _annotated_function(function: Any) -> Any:
    """Return the object whose annotations are those of a callable."""
    while isinstance(function, functools.partial):
        function = function.func
    if inspect.isclass(function):
        return function if hasattr(function, "__pydantic_fields__") else vars(function).get("__init__", function)
    if inspect.isroutine(function):
        return function
    return type(function).__call__


def _field(parameter: inspect.Parameter, location: str) -> tuple[Any, bool, Any]:
    """Return the hint for pydantic, True if a value is required, and a default to show. Raises ToolError."""
    from pydantic import Field
    from pydantic.errors import PydanticUserError
    from pydantic.fields import FieldInfo

    hint, default = _with_descriptions(parameter.annotation), parameter.default
    try:
        if isinstance(default, FieldInfo):
            hint, default = typing.Annotated[hint, default], parameter.empty
        if default is None:
            return typing.Annotated[hint, Field(default=None)], False, None
        is_required = FieldInfo.from_annotation(hint).is_required()
        if default is not parameter.empty:
            return hint if is_required else typing.Annotated[hint, Field(default=default)], False, default
    except (PydanticUserError, TypeError) as error:
        raise ToolError(f"{location}: {error}") from None
    if is_required and _allows_none(hint):
        return typing.Annotated[hint, Field(default=None)], False, None
    return hint, is_required, None


def _allows_none(hint: Any) -> bool:
    if typing_extensions.get_origin(hint) is typing_extensions.Annotated:
        return _allows_none(typing_extensions.get_args(hint)[0])
    is_union = typing_extensions.get_origin(hint) in {typing.Union, types.UnionType}
    return is_union and type(None) in typing_extensions.get_args(hint)


def _with_descriptions(hint: Any) -> Any:
    """Turn texts in `Annotated`, at any depth, into pydantic's descriptions, and typed dicts into those it can read."""
    from pydantic import Field

    origin: Any = typing_extensions.get_origin(hint)
    args = typing_extensions.get_args(hint)
    if origin is typing_extensions.Annotated:
        inner, *extras = args
        fields = (Field(description=extra) if isinstance(extra, str) else extra for extra in extras)
        return typing.Annotated[(_with_descriptions(inner), *fields)]
    if origin in {typing.Union, types.UnionType}:
        return functools.reduce(operator.or_, map(_with_descriptions, args))
    if origin in {list, set, frozenset, tuple, dict}:
        return origin[tuple(arg if arg is Ellipsis else _with_descriptions(arg) for arg in args)]
    if type(hint).__module__ == "typing" and typing_extensions.is_typeddict(hint):
        return _copied_typed_dict(hint)
    return hint


def _copied_typed_dict(hint: Any) -> Any:
    """Return a typed dict as typing_extensions makes it: pydantic reads no other before Python 3.12."""
    fields: dict[str, Any] = {}
    for name, inner in typing_extensions.get_type_hints(hint, include_extras=True).items():
        origin: Any = typing_extensions.get_origin(inner)
        args = typing_extensions.get_args(inner)
        if origin in {typing_extensions.Required, typing_extensions.NotRequired}:
            fields[name] = origin[_with_descriptions(args[0])]
        else:
            required = typing_extensions.Required if name in hint.__required_keys__ else typing_extensions.NotRequired
            fields[name] = required[_with_descriptions(inner)]
    make: Any = typing_extensions.TypedDict
    copied = make(hint.__name__, fields)
    copied.__doc__ = hint.__doc__
    return copied


def _readable(schema: Mapping[str, Any], defaults: Mapping[str, Any], about: Mapping[str, str]) -> dict[str, Any]:
    """Return the schema of all parameters with their defaults and descriptions."""
    from pydantic_core import PydanticSerializationError, to_jsonable_python

    properties = dict(schema["properties"])
    for name, default in defaults.items():
        try:
            value = to_jsonable_python(default)
            json.dumps(value, allow_nan=False)
        except (PydanticSerializationError, ValueError, TypeError):
            continue
        if name in properties:  # not one with an alias
            properties[name] = {**properties[name], "default": value}
    for name, text in about.items():
        if name in properties:
            properties[name] = {**properties[name], "description": properties[name].get("description", text)}
    rest = {key: schema[key] for key in ("$defs",) if key in schema}
    return {"type": "object", "properties": properties, "required": schema.get("required", []), **rest}


def _type_name(hint: Any) -> str:
    while typing_extensions.get_origin(hint) is typing_extensions.Annotated:
        hint = typing_extensions.get_args(hint)[0]
    return hint.__qualname__ if isinstance(hint, type) else str(hint)


def callable_name(function: Any) -> str:
    """Return a function's name; the class's for an object that can be called."""
    while isinstance(function, functools.partial):
        function = function.func
    name: str = getattr(function, "__name__", None) or type(function).__name__
    return name


def callable_docstring(function: Any) -> str:
    """Return the docstring of a function, of an object that can be called, or of its class."""
    while isinstance(function, functools.partial):
        function = function.func
    if isinstance(function, type) or inspect.isroutine(function):
        return inspect.getdoc(function) or ""
    return inspect.cleandoc(type(function).__call__.__doc__ or type(function).__doc__ or "")


def read_docstring(text: str) -> tuple[str, dict[str, str]]:
    """Split a docstring into its first paragraph and the text about each parameter (Google, NumPy or reST style)."""
    paragraphs = re.split(r"\n\s*\n", text.strip())
    summary = " ".join(paragraphs[0].split()) if paragraphs and not _SECTION.match(paragraphs[0]) else ""
    about: dict[str, str] = {}
    for name, line in re.findall(r"^:param (?:[^:\n]+ )?(\w+):[ \t]*(.+(?:\n[ \t]+.+)*)", text, re.MULTILINE):
        about[name] = " ".join(line.split())
    if google := re.search(r"^(?:Args|Arguments|Parameters):[ \t]*\n((?:[ \t]+.*\n?|\n)+)", text, re.MULTILINE):
        indent = len(google[1]) - len(google[1].lstrip())
        entry = re.compile(
            rf"^[ \t]{{{indent}}}(\w+)(?:[ \t]*\([^)]*\))?:[ \t]*(.*(?:\n[ \t]{{{indent + 1},}}.+)*)", re.MULTILINE
        )
        about.update({name: " ".join(line.split()) for name, line in entry.findall(google[1])})
    if numpy := re.search(
        r"^Parameters[ \t]*\n-{3,}[ \t]*\n((?:.+\n?)+?)(?=\n\w+[ \t]*\n-{3,}|\Z|\n\n)", text, re.MULTILINE
    ):
        entry = re.compile(r"^(\w+)[ \t]*(?::.*)?\n((?:[ \t]+.+\n?)+)", re.MULTILINE)
        about.update({name: " ".join(line.split()) for name, line in entry.findall(numpy[1])})
    return summary, about


_SECTION = re.compile(r"(Args|Arguments|Parameters|Returns|Raises):|Parameters\s*\n-+|:param ")
