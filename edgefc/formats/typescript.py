"""Functionary's tool list: TypeScript declarations in a namespace.

The rules are those of the Jinja macros in Functionary's models (v2 to v3.2), with their oddities: an untyped
parameter has no type at all, and lists of types are not mapped to TypeScript's. `v1` follows the Python code of the
first generation, which differs in a few details. Source: MeetKai/functionary, json_to_ts_schema.txt and schema.py.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

_BOUNDS = (
    ("maximum", "Maximum"),
    ("minimum", "Minimum"),
    ("maxLength", "Maximum length"),
    ("minLength", "Minimum length"),
)
MAX_DEPTH = 64


def typescript(tools: Sequence[Mapping[str, Any]] | None, *, v1: bool = False) -> str:
    """Return the declarations of all functions; the code interpreter has none."""
    writer = _Writer(v1=v1)
    types = [writer.function(tool["function"]) for tool in tools or () if tool.get("type") != "code_interpreter"]
    head = "// Supported function definitions that should be called when necessary.\nnamespace functions {\n\n"
    return head + "".join(types) + "} // namespace functions"


class _Writer:
    """Writes the functions of one tool list."""

    def __init__(self, *, v1: bool) -> None:
        self._v1 = v1
        self._root: Mapping[str, Any] = {}

    def function(self, function: Mapping[str, Any]) -> str:
        head = f"// {function.get('description') or ''}\ntype {function['name']}"
        self._root = parameters = function.get("parameters") or {}
        properties = parameters.get("properties")
        if not properties and not (self._v1 and properties is not None):
            return f"{head} = () => any;\n\n"
        body = self._properties(properties, parameters.get("required", []), 0)
        if self._v1:
            body = body or "\n"
        return f"{head} = (_: {{{body}\n}}) => any;\n\n"

    def _properties(self, properties: Mapping[str, Any], required: Any, depth: int) -> str:
        """Return one line per property and its comments; every line begins with a newline."""
        if depth > MAX_DEPTH or not isinstance(properties, Mapping):
            return ""
        return "".join(
            self._property(name, self._resolve(schema), required, depth)
            for name, schema in properties.items()
            if isinstance(schema, Mapping)
        )

    def _property(self, name: str, schema: Mapping[str, Any], required: Any, depth: int) -> str:
        margin = "\n" + "    " * depth
        comment = self._comment(schema)
        examples = [f"Example {name}:", *schema["examples"]] if isinstance(schema.get("examples"), list) else []
        example_lines = "".join(margin + "// " + str(example).replace("'", '"') for example in examples)
        is_optional = isinstance(required, list | tuple | str) and name not in required
        declared = name + ("?" if is_optional else "")
        kind = self._type(schema)
        above = (margin + comment if comment is not None else "") + example_lines
        if kind == "object":
            children = self._properties(schema.get("properties", {}), schema.get("required", []), depth + 1)
            return f"{above}{margin}{declared}: {{{children}{margin}}},"
        items = self._resolve(schema.get("items", {}))
        if kind == "array" and "type" in items:
            array = self._array(declared, schema, depth)
            return above + array + ("" if array.endswith(",") else ",")
        if comment is None:
            above = ""
        if kind == "array":
            return f"{above}{margin}{declared}: [],"
        if "enum" in schema:
            kind = _options(schema["enum"])
        if schema.get("nullable"):
            kind += " | null"
        return f"{above}{margin}{declared}: {kind},"

    def _array(self, name: str | None, schema: Mapping[str, Any], depth: int) -> str:
        margin = "\n" + "    " * depth
        label = "" if name is None else f"{name}: "
        items = self._resolve(schema.get("items", {}))
        if not items or depth > MAX_DEPTH:
            return f"{margin}{label}[]"
        kind = self._type(items)
        if kind == "object":
            children = self._properties(items.get("properties", {}), items.get("required", []), depth + 1)
            return f"{margin}{label}{{{children}{margin}}}[]"
        if kind == "array":
            inner = self._array(None, items, depth + 1)
            return f"\n{inner}[]" if name is None else f"{margin}{label}{inner.strip()}[]"
        if "enum" in items:
            options = f"({_options(items['enum'])})[]"
            return options if name is None else f"{margin}{label}{options}"
        return f"\n{kind}[]" if name is None else f"{margin}{label}{kind}[],"

    def _type(self, schema: Mapping[str, Any]) -> str:
        if "type" in schema:
            kind = schema["type"]
            return _map_type(" | ".join(map(str, kind)) if isinstance(kind, list) else str(kind))
        if isinstance(schema.get("oneOf"), list):
            kinds = [str(way["type"]) for way in schema["oneOf"] if isinstance(way, Mapping) and "type" in way]
            if self._v1:
                kinds = list(map(_map_type, kinds))
            return _map_type(" | ".join(dict.fromkeys(kinds)))
        return "any" if self._v1 else ""

    def _comment(self, schema: Mapping[str, Any]) -> str | None:
        """Return the comment line of a parameter, None if it has none."""
        form = self._format(schema)
        keys = ("description", "default")
        if not self._v1 and not (
            any(key in schema for key in keys) or form is not None or any(schema.get(key) for key, _ in _BOUNDS)
        ):
            return None
        parts: list[str] = []
        if "description" in schema:
            text = str(schema["description"])
            parts.append(text if text.endswith(".") else text + ".")
        if "default" in schema:
            value = f'"{schema["default"]}"' if schema.get("type") == "string" else str(schema["default"])
            parts.append(f"Default={value}.")
        if form is not None:
            parts.append(f"Format={form}")
        parts += [f"{title}={schema[key]}" for key, title in _BOUNDS if key in schema]
        if self._v1:
            return "// " + " ".join(parts).replace("\n", " ") if parts else None
        return " ".join(["//", *parts])

    def _format(self, schema: Mapping[str, Any]) -> str | None:
        if "format" in schema:
            return str(schema["format"])
        ways = schema.get("oneOf")
        if not isinstance(ways, list):
            return None
        formats = [str(way["format"]) for way in ways if isinstance(way, Mapping) and "format" in way]
        if self._v1:
            return " or ".join(formats) if formats else None
        last = ways[-1].get("format") if ways and isinstance(ways[-1], Mapping) else None
        return "".join(form if form == last else f"{form} or " for form in formats)

    def _resolve(self, schema: Any) -> Mapping[str, Any]:
        """Follow a local `$ref`; a circle of references is an empty schema."""
        for _ in range(MAX_DEPTH):
            if not isinstance(schema, Mapping):
                return {}
            reference = schema.get("$ref")
            if not isinstance(reference, str) or not reference.startswith("#"):
                return schema
            schema = self._root
            for part in reference[1:].split("/")[1:]:
                key = part.replace("~1", "/").replace("~0", "~")
                schema = schema.get(key) if isinstance(schema, Mapping) else None
        return {}


def _map_type(kind: str) -> str:
    return "number" if kind in {"integer", "float"} else kind


def _options(values: Sequence[Any]) -> str:
    """Join enum values with bars; like the original, without a bar after a value that equals the last."""
    parts = []
    for value in values:
        parts.append(f'"{value}"' if isinstance(value, str) else str(value))
        if value != values[-1]:
            parts.append(" | ")
    return "".join(parts)
