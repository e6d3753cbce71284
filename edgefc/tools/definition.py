"""One tool as clients define it: OpenAI's, MCP's, Anthropic's, Google's or the AI SDK's form → OpenAI's."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from typing import Any, NamedTuple, cast

from edgefc.errors import FieldPath, RequestError
from edgefc.limits import MAX_TOOL_NAME
from edgefc.tools.schemas import Note, clean_schema, looks_like_schema, without_nulls
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
PARAMETERS = "parameters"
# Other protocols' names of the parameters: MCP and the AI SDK, Anthropic, Google.
SCHEMA_KEYS = ("inputSchema", "input_schema", "parametersJsonSchema", "parameters_json_schema")
_FUNCTION_KEYS = ("name", "description", PARAMETERS, "strict")
# What transformers and Google add about the result; templates may show it.
_RESULT_KEYS = {"return", "returns", "response"}
# Keys of these protocols that say nothing about a call's arguments.
_NO_EFFECT = {
    "type", "function", "title", "annotations", "outputSchema", "output_schema", "_meta", "meta", "icons", "execution",
    "cache_control", "responseJsonSchema", "response_json_schema", "providerOptions", "extras",
    "defer_loading", "input_examples", "allowed_callers", "eager_input_streaming", "id", "index",
}  # fmt: skip
_CALLABLE_TYPES = {"function", "code_interpreter"}
_NAME = re.compile(rf"[A-Za-z0-9_.:-]{{1,{MAX_TOOL_NAME}}}\Z")


class Definition(NamedTuple):
    """A tool that has been read.

    changes   locations that are read differently from their text
    warnings  keys that have no effect
    is_bare   it came as a function's object alone, without `type` and `function`
    """

    tool: Tool
    changes: list[Note]
    warnings: list[Note]
    is_bare: bool


def unsupported_type(item: Any) -> str | None:
    """Return the type of a tool that is no function, such as `web_search` or `custom`; None: it is a function.

    Anthropic's `custom` tools have a schema and are functions.
    """
    if not isinstance(item, Mapping) or isinstance(item.get("function"), Mapping):
        return None
    kind = item.get("type")
    if not isinstance(kind, str) or kind in _CALLABLE_TYPES:
        return None
    if difflib.get_close_matches(kind.lower(), ("function",), 1, 0.75) or _has_schema(item):
        return None
    return kind


def read_definition(item: Any, path: FieldPath) -> Definition:
    """Read one tool. Raises RequestError with the path of the first mistake."""
    if not isinstance(item, Mapping):
        raise RequestError(path, f"must be a function or an object with type and function, not {type(item).__name__}")
    item = without_nulls(item)
    is_code = item.get("type") == "code_interpreter"
    inner = item.get("function", CODE_INTERPRETER if is_code else None)
    function, is_bare = inner, inner is None and "name" in item
    if is_bare:
        function = {key: value for key, value in item.items() if key != "type"}
    kind = item.get("type", "function")
    is_function = (isinstance(kind, str) and kind in _CALLABLE_TYPES) or (is_bare and _has_schema(item))
    if not is_function or not isinstance(function, Mapping):
        raise RequestError(path, 'must be {"type": "function", "function": {…}}')
    function = without_nulls(function)
    notes = _Notes([], [])
    if not is_bare and not is_code:
        function = _with_outer(function, item, path, notes)
    tool_path = (*path, "function")
    function = _with_parameters(function, tool_path, notes)
    _check_keys(function, path if is_bare else tool_path, notes)
    _check_fields(function, tool_path)
    if PARAMETERS in function:
        function[PARAMETERS], cleaned = clean_schema(function[PARAMETERS])
        notes.changes.extend(((*tool_path, PARAMETERS, *at), reason) for at, reason in cleaned)
        if not isinstance(function[PARAMETERS], Mapping):
            raise RequestError((*tool_path, PARAMETERS), "must be a JSON Schema object")
    kind = "code_interpreter" if is_code else "function"
    return Definition(cast(Tool, {"type": kind, "function": function}), *notes, is_bare)


class _Notes(NamedTuple):
    changes: list[Note]
    warnings: list[Note]


def _has_schema(item: Mapping[str, Any]) -> bool:
    return any(isinstance(item.get(key), Mapping) for key in (PARAMETERS, *SCHEMA_KEYS))


def _with_outer(function: dict[str, Any], item: dict[str, Any], path: FieldPath, notes: _Notes) -> dict[str, Any]:
    """Add the function's fields that stand beside it instead of inside."""
    for key in (*_FUNCTION_KEYS, *SCHEMA_KEYS):
        if key in item and key not in function:
            function[key] = item[key]
            if key != "strict":
                notes.changes.append(((*path, key), f"{key} is read as if it stood in function"))
        elif key in item and key in (PARAMETERS, *SCHEMA_KEYS) and item[key] != function[key]:
            raise RequestError((*path, key), f"{key} stands in function as well, and differs", "Remove one of them.")
    _check_keys({key: value for key, value in item.items() if key not in (*_FUNCTION_KEYS, *SCHEMA_KEYS)}, path, notes)
    return function


def _with_parameters(function: dict[str, Any], path: FieldPath, notes: _Notes) -> dict[str, Any]:
    """Return the function with its schema under `parameters`, whatever the name was."""
    for key in SCHEMA_KEYS:
        if key not in function:
            continue
        schema = function.pop(key)
        if PARAMETERS in function and function[PARAMETERS] != schema:
            reason = f"{key} and {PARAMETERS} differ"
            raise RequestError((*path, key), reason, "Remove one of them.")
        function[PARAMETERS] = schema
        notes.changes.append(((*path, key), f"{key} is read as {PARAMETERS}"))
    return function


def _check_keys(function: dict[str, Any], path: FieldPath, notes: _Notes) -> None:
    """Refuse keys that are misspelt or hold a schema; others are left out with a warning."""
    for key in [key for key in function if key not in _FUNCTION_KEYS and key not in _RESULT_KEYS]:
        value = function.pop(key)
        if key in _NO_EFFECT or (isinstance(key, str) and key.startswith(("x-", "_"))):
            continue
        near = difflib.get_close_matches(str(key).lower(), (*_FUNCTION_KEYS, "inputschema", "input_schema"), 1, 0.8)
        if near:
            intended = {"inputschema": "inputSchema"}.get(near[0], near[0])
            raise RequestError((*path, str(key)), f"unknown key {key!r}", f"Did you mean {intended!r}?")
        if looks_like_schema(value):
            reason = f"a JSON Schema under the unknown key {key!r} would have no effect"
            raise RequestError((*path, str(key)), reason, f"Put it under {PARAMETERS!r}.")
        notes.warnings.append(((*path, str(key)), f"unknown key {key!r} has no effect"))


def _check_fields(function: Mapping[str, Any], path: FieldPath) -> None:
    name = function.get("name")
    if not isinstance(name, str) or not _NAME.match(name):
        hint = f"Use 1 to {MAX_TOOL_NAME} letters, digits, or _ . : -"
        raise RequestError((*path, "name"), f"invalid tool name {name!r}", hint)
    if not isinstance(function.get("description", ""), str):
        raise RequestError((*path, "description"), "must be a string")
    if PARAMETERS in function and not isinstance(function[PARAMETERS], Mapping | list):
        raise RequestError((*path, PARAMETERS), "must be a JSON Schema object")
