"""BFCL's function docs as OpenAI tools, in the form of BFCL's own handlers for OpenAI-style models.

Names lose their dots and types become JSON Schema's. For Java and JavaScript every argument is a string of source text,
and its description names the type.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping
from typing import Any

from edgefc.evaluation.bfcl import tool_name
from edgefc.types import Tool

_SYNTAX = {"simple_java": "Java 8 SDK", "simple_javascript": "JavaScript"}
_LANGUAGE = {"simple_java": "Java", "simple_javascript": "JavaScript"}
_TYPES = {
    "integer": "integer", "byte": "integer", "short": "integer", "long": "integer", "Bigint": "integer",
    "number": "number", "float": "number", "double": "number", "boolean": "boolean", "bool": "boolean",
    "array": "array", "list": "array", "tuple": "array", "Array": "array", "ArrayList": "array", "Queue": "array",
    "Stack": "array", "dict": "object", "object": "object", "HashMap": "object", "Hashtable": "object",
}  # fmt: skip


def as_tool(doc: Mapping[str, Any], category: str) -> Tool:
    """Convert one function doc. Raises KeyError, TypeError or AttributeError when it is malformed."""
    function = copy.deepcopy(dict(doc))
    syntax = _SYNTAX.get(category, "Python 3")
    function["name"] = tool_name(function["name"])
    function["description"] += f" Note that the provided function is in {syntax} syntax."
    parameters = function["parameters"]
    parameters["type"] = "object"
    for parameter in parameters["properties"].values():
        if category in _LANGUAGE:
            _as_source(parameter, _LANGUAGE[category])
        else:
            _as_schema(parameter)
    return {"type": "function", "function": function}  # type: ignore[typeddict-item]


def _as_source(parameter: dict[str, Any], language: str) -> None:
    """Change a parameter to one that takes source text."""
    kind = parameter["type"]
    note = (
        f" This parameter can be of any type of {language} object in string representation."
        if kind == "any"
        else f" This is {language} {kind} type parameter in string representation."
    )
    if kind in {"Array", "ArrayList", "array"}:
        item = parameter.pop("items")["type"]
        note += f" The list elements are of type {item}; they are not in string representation."
    if kind == "dict" and "properties" in parameter:
        schema = json.dumps(parameter.pop("properties"))
        note += f" The dictionary entries have the following schema; they are not in string representation. {schema}"
    parameter["description"] += note
    parameter["type"] = "string"


def _as_schema(node: dict[str, Any], *, described: bool = True) -> None:
    """Replace types by JSON Schema's, at any depth; unknown and absent ones become strings."""
    kind = node.get("type")
    node["type"] = _TYPES.get(str(kind), "string")
    if kind == "float" and described:
        node["format"] = "float"
        node["description"] = node.get("description", "") + " This is a float type value."
    for child in node.get("properties", {}).values():
        _as_schema(child)
    if isinstance(node.get("items"), dict):
        _as_schema(node["items"], described=False)
