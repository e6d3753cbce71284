"""Gemma's spelling of tools and results: bare keys in alphabetical order, strings between two tokens.

Sources: the chat templates of Gemma 4, and Ollama's renderer of FunctionGemma with its tests.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

_STANDARD_KEYS = {"description", "type", "properties", "required", "nullable"}


def declaration(tool: Mapping[str, Any], quote: str, *, is_terse: bool = False) -> str:
    """Write a tool's declaration; `is_terse`: FunctionGemma's, in which properties have a description and a type."""
    function = tool.get("function", tool)
    text = f"declaration:{function['name']}{{description:{quote}{function.get('description') or ''}{quote}"
    if parameters := function.get("parameters"):
        text += f",parameters:{{{_schema(parameters, quote, is_terse=is_terse)}}}"
    return text + "}"


def response(name: str, content: str, quote: str, *, reads_json: bool = False) -> str:
    """Write a tool's result; `reads_json`: a JSON object is one here, too, and not a string."""
    value: Any = content
    if reads_json:
        try:
            value = json.loads(content)
        except ValueError:
            value = content
    body = _value(value if isinstance(value, dict) else {"value": content}, quote)
    return f"response:{name}{body}"


def _schema(parameters: Mapping[str, Any], quote: str, *, is_terse: bool) -> str:
    parts: list[str] = []
    if properties := parameters.get("properties"):
        body = _terse_properties(properties, quote) if is_terse else _properties(properties, quote)
        parts.append(f"properties:{{{body}}}")
    if required := parameters.get("required"):
        parts.append(f"required:{_value(required, quote)}")
    if kind := parameters.get("type"):
        parts.append(f"type:{quote}{str(kind).upper()}{quote}")
    return ",".join(parts)


def _properties(properties: Mapping[str, Any], quote: str, left_out: Iterable[str] = ()) -> str:
    return ",".join(
        f"{name}:{{{_property(schema if isinstance(schema, Mapping) else {}, quote)}}}"
        for name, schema in _sorted(properties)
        if name not in left_out
    )


def _terse_properties(properties: Mapping[str, Any], quote: str) -> str:
    parts: list[str] = []
    for name, schema in _sorted(properties):
        facts = schema if isinstance(schema, Mapping) else {}
        text, kind = facts.get("description") or "", str(facts.get("type", "")).upper()
        enum = f",enum:{_value(facts['enum'], quote)}" if facts.get("enum") else ""
        parts.append(f"{name}:{{description:{quote}{text}{quote}{enum},type:{quote}{kind}{quote}}}")
    return ",".join(parts)


def _property(schema: Mapping[str, Any], quote: str) -> str:
    kind = str(schema.get("type", "")).upper()
    parts: list[str] = []
    if text := schema.get("description"):
        parts.append(f"description:{quote}{text}{quote}")
    if kind == "STRING" and schema.get("enum"):
        parts.append(f"enum:{_value(schema['enum'], quote, quoted_keys=True)}")
    if kind == "ARRAY" and isinstance(schema.get("items"), Mapping) and schema["items"]:
        items = (_item(name, value, quote) for name, value in _sorted(schema["items"]) if value is not None)
        parts.append(f"items:{{{','.join(items)}}}")
    if schema.get("nullable"):
        parts.append("nullable:true")
    if kind == "OBJECT":
        inner = schema.get("properties")
        left_out = () if isinstance(inner, Mapping) else _STANDARD_KEYS
        parts.append(f"properties:{{{_properties(inner if isinstance(inner, Mapping) else schema, quote, left_out)}}}")
        if schema.get("required"):
            parts.append(f"required:{_value(schema['required'], quote)}")
    return ",".join([*parts, f"type:{quote}{kind}{quote}"])


def _item(name: str, value: Any, quote: str) -> str:
    """Write one keyword of the schema of an array's items."""
    if name == "properties":
        return f"properties:{{{_properties(value, quote) if isinstance(value, Mapping) else ''}}}"
    if name == "required":
        return f"required:{_value(value, quote)}"
    if name == "type":
        return f"type:{_value(value.upper() if isinstance(value, str) else [item.upper() for item in value], quote)}"
    return f"{name}:{_value(value, quote, quoted_keys=True)}"


def _value(value: Any, quote: str, *, quoted_keys: bool = False) -> str:
    if isinstance(value, Mapping):
        mark = quote if quoted_keys else ""
        members = (
            f"{mark}{name}{mark}:{_value(item, quote, quoted_keys=quoted_keys)}" for name, item in _sorted(value)
        )
        return "{" + ",".join(members) + "}"
    if isinstance(value, list):
        return "[" + ",".join(_value(item, quote, quoted_keys=quoted_keys) for item in value) + "]"
    return f"{quote}{value}{quote}" if isinstance(value, str) else json.dumps(value)


def _sorted(members: Mapping[str, Any]) -> list[tuple[str, Any]]:
    # As Jinja's dictsort, which ignores case.
    return sorted(members.items(), key=lambda member: member[0].lower())
