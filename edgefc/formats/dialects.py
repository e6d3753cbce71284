"""Tool dialects: the ways families spell a tool list inside the prompt.

A dialect is a pure function from OpenAI tools to text. Chat templates reach it as a Jinja filter of the
same name; a family's declaration picks it. Nothing here changes the meaning of a schema: what a dialect
cannot express stays in the grammar.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

_SPACES = str.maketrans({"\n": " ", "\r": " ", "\t": " "})


def outline(tools: Sequence[Mapping[str, Any]]) -> str:
    """The demo family's tool list: one line a tool, one indented line a parameter.

    `get_weather: Get the current weather`
    `  location (string): The city`
    `  unit ("celsius"|"fahrenheit", optional): The unit`

    It spends about a third of the tokens of the JSON schema, which is what a very small model needs most.
    """
    lines: list[str] = []
    for tool in tools:
        function = tool.get("function", tool)
        lines.append(_described(str(function["name"]), function))
        parameters = function.get("parameters") or {}
        required = set(parameters.get("required") or ())
        for name, schema in (parameters.get("properties") or {}).items():
            optional = "" if name in required else ", optional"
            kind = _outline_type(schema, depth=0)
            lines.append(_described(f"  {name} ({kind}{optional})", schema))
    return "\n".join(lines)


def _described(head: str, schema: Any) -> str:
    text = schema.get("description") if isinstance(schema, Mapping) else None
    return f"{head}: {str(text).translate(_SPACES).strip()}" if text else head


def _outline_type(schema: Any, depth: int) -> str:
    """A schema's type in a few characters; `any` where it says nothing short."""
    if not isinstance(schema, Mapping) or depth > 8:
        return "any"
    if "const" in schema:
        return json.dumps(schema["const"], ensure_ascii=False)
    if isinstance(schema.get("enum"), list):
        return "|".join(json.dumps(value, ensure_ascii=False) for value in schema["enum"])
    for keyword in ("anyOf", "oneOf"):
        if isinstance(schema.get(keyword), list):
            return "|".join(_outline_type(branch, depth + 1) for branch in schema[keyword])
    kind = schema.get("type")
    if isinstance(kind, list):
        return "|".join(str(item) for item in kind)
    if kind == "array":
        item = _outline_type(schema.get("items"), depth + 1)
        return f"({item})[]" if "|" in item else f"{item}[]"
    if kind == "object" and isinstance(schema.get("properties"), Mapping):
        required = set(schema.get("required") or ())
        fields = (
            f"{name}{'' if name in required else '?'}: {_outline_type(value, depth + 1)}"
            for name, value in schema["properties"].items()
        )
        return "{" + ", ".join(fields) + "}"
    return str(kind) if kind else "any"
