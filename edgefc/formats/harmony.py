"""The tool list of gpt-oss: TypeScript types in a namespace, byte for byte as its chat template writes them.

Source: gpt-oss' chat template, whose white space inside nested objects is kept as it is.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

_SIMPLE = {"number": "number", "integer": "number", "boolean": "boolean"}
_ITEMS = {"string": "string[]", "number": "number[]", "integer": "number[]", "boolean": "boolean[]"}
_INDENT = "\n" + " " * 16
_MAX_ITEM = 50  # characters of an item's type; longer ones are any
_MAX_DEPTH = 32


def namespace(tools: Sequence[Mapping[str, Any]] | None) -> str:
    """Write tools as the namespace `functions`."""
    types = (_tool(tool.get("function", tool)) for tool in tools or ())
    return f"## functions\n\nnamespace functions {{\n\n{''.join(types)}}} // namespace functions"


def _tool(function: Mapping[str, Any]) -> str:
    parameters = function.get("parameters")
    schema: Mapping[str, Any] = parameters if isinstance(parameters, Mapping) else {}
    head = f"// {function.get('description') or ''}\ntype {function['name']} = "
    properties = schema.get("properties")
    if not isinstance(properties, Mapping) or not properties:
        return f"{head}() => any;\n\n"
    required = schema.get("required") or ()
    lines = "".join(_parameter(name, facts, name in required) for name, facts in properties.items())
    return f"{head}(_: {{\n{lines}}}) => any;\n\n"


def _parameter(name: str, facts: Any, is_required: bool) -> str:
    schema: Mapping[str, Any] = facts if isinstance(facts, Mapping) else {}
    comment = f"// {schema['description']}\n" if schema.get("description") else ""
    text = f"{comment}{name}{'' if is_required else '?'}: {_type(schema)}"
    if "default" in schema:
        default = schema["default"] if schema.get("enum") or schema.get("oneOf") else _json(schema["default"])
        text += f"{'' if schema.get('oneOf') and not schema.get('enum') else ', '}// default: {default}"
    return f"{text},\n"


def _type(facts: Any, depth: int = 0) -> str:
    schema: Mapping[str, Any] = facts if isinstance(facts, Mapping) else {}
    kind = schema.get("type")
    if depth > _MAX_DEPTH:
        return "any"
    if kind == "array":
        return _array(schema, depth) + (" | null" if schema.get("nullable") else "")
    if isinstance(kind, list) and kind:
        return " | ".join(map(str, kind))
    if schema.get("oneOf"):
        return _one_of(schema["oneOf"], depth)
    if kind == "string":
        if schema.get("enum"):
            return '"' + '" | "'.join(map(str, schema["enum"])) + '"'
        return "string | null" if schema.get("nullable") else "string"
    if kind == "object":
        return _object(schema, depth)
    return _SIMPLE.get(str(kind), "any")


def _array(schema: Mapping[str, Any], depth: int) -> str:
    items = schema.get("items")
    if not isinstance(items, Mapping) or not items:
        return "any[]"
    if simple := _ITEMS.get(str(items.get("type"))):
        return simple
    inner = _type(items, depth + 1)
    return "any[]" if inner == "object | object" or len(inner) > _MAX_ITEM else f"{inner}[]"


def _one_of(variants: Sequence[Any], depth: int) -> str:
    texts: list[str] = []
    for variant in variants:
        if not isinstance(variant, Mapping):
            continue
        text = _type(variant, depth + 1)
        text += f"// {variant['description']}" if variant.get("description") else ""
        text += f"{' ' * 20}// default: {_json(variant['default'])}" if "default" in variant else ""
        texts.append(text)
    return " | \n".join(texts)


def _object(schema: Mapping[str, Any], depth: int) -> str:
    properties = schema.get("properties")
    if not isinstance(properties, Mapping) or not properties:
        return "object"
    required = schema.get("required") or ()
    members = (
        f"{name}{'' if name in required else '?'}: {_INDENT}{_type(facts, depth + 1)}"
        for name, facts in properties.items()
    )
    return "{\n" + ", ".join(members) + "}"


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)
