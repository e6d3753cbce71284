"""Conversion of type hints and docstrings to JSON Schema, and of JSON values to the hinted types."""

from __future__ import annotations

import dataclasses
import enum
import inspect
import re
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import typing_extensions

from edgefc.errors import ToolError

_SCALARS: dict[Any, str] = {str: "string", int: "integer", float: "number", bool: "boolean", type(None): "null"}


def parameters_of(function: Callable[..., Any], about: Mapping[str, str]) -> dict[str, Any]:
    """Build the schema of a function's parameters; `about` describes them. Raises ToolError naming the parameter."""
    try:
        hints = typing_extensions.get_type_hints(function, include_extras=True)
        signature = inspect.signature(function)
    except (NameError, TypeError, ValueError) as error:
        raise ToolError(f"{getattr(function, '__name__', function)}: {error}") from None
    properties: dict[str, Any] = {}
    required: list[str] = []
    for name, parameter in signature.parameters.items():
        location = f"{function.__name__}({name})"
        if parameter.kind not in {parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY}:
            raise ToolError(f"{location}: *args, **kwargs and positional-only parameters are not supported")
        if name not in hints:
            raise ToolError(f"{location}: missing type hint", f"Write for example {name}: str.")
        schema, annotation = _unannotated(hints[name])
        properties[name] = _schema(schema, location)
        if text := about.get(name) or annotation:
            properties[name]["description"] = text
        if parameter.default is parameter.empty:
            required.append(name)
    return {"type": "object", "properties": properties, "required": required}


def _unannotated(hint: Any) -> tuple[Any, str]:
    """Split a hint into the hint without Annotated and the text of the annotation."""
    if typing_extensions.get_origin(hint) is typing_extensions.Annotated:
        inner, *extras = typing_extensions.get_args(hint)
        return inner, next((extra for extra in extras if isinstance(extra, str)), "")
    return hint, ""


def _schema(hint: Any, location: str) -> dict[str, Any]:
    """Build the JSON Schema of a type hint. Raises ToolError naming the parameter."""
    hint, text = _unannotated(hint)
    schema = _bare_schema(hint, location)
    if text:
        schema["description"] = text
    return schema


def _bare_schema(hint: Any, location: str) -> dict[str, Any]:
    origin, args = typing_extensions.get_origin(hint), typing_extensions.get_args(hint)
    if hint in _SCALARS:
        return {"type": _SCALARS[hint]}
    if hint is Any or hint is object:
        return {}
    if origin in {typing.Literal, typing_extensions.Literal}:
        kinds = {_SCALARS.get(type(value)) for value in args}
        kind = kinds.pop() if len(kinds) == 1 else None
        return {**({"type": kind} if kind else {}), "enum": list(args)}
    if origin in {typing.Union, types.UnionType}:
        branches = [_schema(arg, location) for arg in args if arg is not type(None)]
        # The model omits an optional parameter; null would be a second way to say the same.
        return branches[0] if len(branches) == 1 else {"anyOf": branches}
    if hint in {list, tuple, set} or origin in {list, tuple, set, Sequence, frozenset}:
        items = [arg for arg in args if arg is not Ellipsis]
        if len(items) > 1:
            each = [_schema(item, location) for item in items]
            return {"type": "array", "prefixItems": each, "items": False, "minItems": len(each)}
        return {"type": "array", **({"items": _schema(items[0], location)} if items else {})}
    if hint is dict or origin in {dict, Mapping}:
        if args and args[0] is not str:
            raise ToolError(f"{location}: keys of a JSON object must be str, not {args[0]}")
        return {"type": "object", **({"additionalProperties": _schema(args[1], location)} if args else {})}
    if isinstance(hint, type) and issubclass(hint, enum.Enum):
        values = [member.value for member in hint]
        kind = _SCALARS.get(type(values[0])) if values else None
        return {**({"type": kind} if kind else {}), "enum": values}
    if typing_extensions.is_typeddict(hint):
        fields = typing_extensions.get_type_hints(hint, include_extras=True)
        return _object(fields, hint.__required_keys__, location)
    if dataclasses.is_dataclass(hint) and isinstance(hint, type):
        fields = typing_extensions.get_type_hints(hint, include_extras=True)
        required = {
            f.name
            for f in dataclasses.fields(hint)
            if f.default is dataclasses.MISSING and f.default_factory is dataclasses.MISSING
        }
        return _object({f.name: fields[f.name] for f in dataclasses.fields(hint)}, required, location)
    raise ToolError(
        f"{location}: unsupported type {hint!r}",
        "Use str, int, float, bool, list, dict, Literal, Enum, TypedDict or a dataclass.",
    )


def _object(fields: Mapping[str, Any], required: Any, location: str) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": {name: _schema(hint, f"{location}.{name}") for name, hint in fields.items()},
        "required": [name for name in fields if name in required],
        "additionalProperties": False,
    }


def convert_arguments(function: Callable[..., Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """Convert JSON values to the types of the function's hints."""
    hints = typing_extensions.get_type_hints(function)
    return {name: _convert(value, hints.get(name, Any)) for name, value in values.items()}


def _convert(value: Any, hint: Any) -> Any:
    origin, args = typing_extensions.get_origin(hint), typing_extensions.get_args(hint)
    if origin in {typing.Union, types.UnionType}:
        inner = [arg for arg in args if arg is not type(None)]
        return _convert(value, inner[0]) if len(inner) == 1 and value is not None else value
    if isinstance(hint, type) and issubclass(hint, enum.Enum):
        return hint(value)
    if dataclasses.is_dataclass(hint) and isinstance(hint, type) and isinstance(value, dict):
        fields = typing_extensions.get_type_hints(hint)
        return hint(**{name: _convert(item, fields[name]) for name, item in value.items()})
    if isinstance(value, list) and (origin or hint) in {list, tuple, set, frozenset}:
        item = args[0] if args else Any
        return (origin or hint)(_convert(each, item) for each in value)
    if hint is float and isinstance(value, int):
        return float(value)
    if hint is int and isinstance(value, float):
        return int(value)
    return value


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
