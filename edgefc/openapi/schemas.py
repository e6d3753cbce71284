"""OpenAPI's schemas → JSON Schema for a model.

Other schemas are written out where they are used: a small model reads them better than `$ref`. Those that contain
themselves, and all of an operation whose schema would become too large, stay references, to its `$defs`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from edgefc.errors import ToolError
from edgefc.openapi.references import References

MAX_INLINE = 300  # schemas of an operation that are written out: some 3,000 tokens of a prompt
MAX_SCHEMAS = 20_000
MAX_DEPTH = 60
MAX_DESCRIPTION = 240  # characters, of a property
MAX_EXAMPLE = 80  # characters
# Keywords whose values are copied.
_PLAIN = frozenset(
    {"type", "format", "enum", "const", "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum",
     "multipleOf", "minLength", "maxLength", "pattern", "minItems", "maxItems", "uniqueItems", "minContains",
     "maxContains", "minProperties", "maxProperties", "dependentRequired", "default"}
)  # fmt: skip
_NAMED = frozenset({"properties", "patternProperties", "dependentSchemas"})
_LISTS = frozenset({"allOf", "anyOf", "oneOf", "prefixItems"})
_SINGLE = frozenset(
    {"items", "additionalProperties", "not", "if", "then", "else", "contains", "propertyNames",
     "unevaluatedProperties", "unevaluatedItems"}
)  # fmt: skip
_REFUSED = ("$dynamicRef", "$recursiveRef", "$id")


class _CycleError(Exception):
    def __init__(self, reference: str) -> None:
        self.reference = reference


class _TooLargeError(Exception):
    pass


def convert_all(schemas: Mapping[str, Any], references: References, *, is_3_0: bool) -> dict[str, Any]:
    """Return an object schema with these properties, and the `$defs` that they need. Raises ToolError."""
    cyclic: set[str] = set()
    is_inline = True
    while True:
        converter = _Converter(references, cyclic, is_3_0=is_3_0, is_inline=is_inline)
        try:
            properties = {name: converter.convert(schema, 0) for name, schema in schemas.items()}
            converter.define_all()
        except _CycleError as error:
            cyclic.add(error.reference)
            is_inline = len(cyclic) < 50
        except _TooLargeError:
            if not is_inline:
                raise ToolError(f"its parameters have more than {MAX_SCHEMAS:,} schemas") from None
            is_inline = False
        else:
            found: dict[str, Any] = {"type": "object", "properties": properties}
            return found | ({"$defs": converter.definitions} if converter.definitions else {})


class _Converter:
    def __init__(self, references: References, cyclic: set[str], *, is_3_0: bool, is_inline: bool) -> None:
        self.definitions: dict[str, Any] = {}
        self._references, self._cyclic = references, cyclic
        self._is_3_0, self._is_inline = is_3_0, is_inline
        self._names: dict[str, str] = {}
        self._pending: list[str] = []
        self._path: list[str] = []  # references that are being written out
        self._count = 0

    def define_all(self) -> None:
        """Convert the schemas that references name, and those that they name in turn."""
        while self._pending:
            reference = self._pending.pop()
            self.definitions[self._names[reference]] = self.convert(self._references.resolve(reference), 0)

    def convert(self, node: Any, depth: int) -> Any:
        self._count += 1
        if self._count > (MAX_INLINE if self._is_inline else MAX_SCHEMAS):
            raise _TooLargeError
        if depth > MAX_DEPTH:
            if self._is_inline:
                raise _TooLargeError
            raise ToolError(f"its schema is nested deeper than {MAX_DEPTH} levels")
        if isinstance(node, bool):
            return node
        if not isinstance(node, Mapping):
            raise ToolError(f"a schema must be an object, not {type(node).__name__}")
        if "$ref" in node:
            return self._convert_reference(node, depth)
        if refused := [keyword for keyword in _REFUSED if keyword in node]:
            raise ToolError(f"{refused[0]} is not supported")
        schema = {keyword: value for keyword, value in self._keywords(node, depth) if value is not None}
        return _without_3_0(schema, node) if self._is_3_0 else schema

    def _keywords(self, node: Mapping[str, Any], depth: int) -> Iterator[tuple[str, Any]]:
        for keyword, value in node.items():
            if keyword in _NAMED:
                if not isinstance(value, Mapping):
                    raise ToolError(f"{keyword} must be an object")
                unsent = self._unsent(value) if keyword == "properties" else set()
                rest = {name: item for name, item in value.items() if name not in unsent}
                yield keyword, {name: self.convert(item, depth + 1) for name, item in rest.items()}
            elif keyword in _LISTS:
                if not isinstance(value, list):
                    raise ToolError(f"{keyword} must be a list")
                yield keyword, [self.convert(item, depth + 1) for item in value]
            elif keyword in _SINGLE:
                yield keyword, self.convert(value, depth + 1)
            elif keyword == "required":
                if not isinstance(value, list):
                    continue  # true or false beside the keywords of one property: a frequent mistake
                properties = node.get("properties")
                unsent = self._unsent(properties) if isinstance(properties, Mapping) else set()
                yield keyword, [name for name in value if not (isinstance(name, str) and name in unsent)] or None
            elif keyword in _PLAIN:
                yield keyword, value
        yield from _annotations(node)

    def _unsent(self, properties: Mapping[str, Any]) -> set[str]:
        """Return the names of the properties that only answers have."""
        return {name for name, schema in properties.items() if self._is_read_only(schema)}

    def _is_read_only(self, schema: Any) -> bool:
        if not isinstance(schema, Mapping):
            return False
        return self._references.follow(schema, "a schema").get("readOnly") is True

    def _convert_reference(self, node: Mapping[str, Any], depth: int) -> Any:
        reference = node["$ref"]
        target = self._references.resolve(reference)
        rest = {keyword: value for keyword, value in node.items() if keyword != "$ref"}
        if self._is_3_0:  # where all else is ignored, but authors write descriptions
            rest = {keyword: value for keyword, value in rest.items() if keyword == "description"}
        beside = self.convert(rest, depth + 1) if rest else {}
        if self._is_inline and reference not in self._cyclic:
            if reference in self._path:
                raise _CycleError(reference)
            self._path.append(reference)
            schema = self.convert(target, depth + 1)
            self._path.pop()
        else:
            schema = {"$ref": f"#/$defs/{self._name_of(reference)}"}
        if not beside:
            return schema
        if isinstance(schema, dict) and set(beside) <= {"description", "default", "examples"}:
            return schema | beside
        return {"allOf": [schema, beside]}

    def _name_of(self, reference: str) -> str:
        if reference not in self._names:
            base = re.sub(r"\W", "_", reference.rpartition("/")[2])[:40] or "schema"
            name, number = base, 1
            while name in self._names.values():
                number += 1
                name = f"{base}_{number}"
            self._names[reference] = name
            self._pending.append(reference)
        return self._names[reference]


def _annotations(node: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Yield the description, and one short example."""
    if isinstance(text := node.get("description"), str) and text.strip():
        yield "description", brief(text, MAX_DESCRIPTION)
    examples = node.get("examples")
    first = examples[0] if isinstance(examples, list) and examples else node.get("example")
    if first is not None and "enum" not in node and len(repr(first)) <= MAX_EXAMPLE:
        yield "examples", [first]


def _without_3_0(schema: dict[str, Any], node: Mapping[str, Any]) -> dict[str, Any]:
    """Write what OpenAPI 3.0 has in other words as JSON Schema."""
    for bound, exclusive in (("minimum", "exclusiveMinimum"), ("maximum", "exclusiveMaximum")):
        if isinstance(schema.get(exclusive), bool):
            is_exclusive = schema.pop(exclusive)
            if is_exclusive and bound in schema:
                schema[exclusive] = schema.pop(bound)
    if node.get("nullable") is not True:
        return schema
    if isinstance(schema.get("type"), str):
        schema["type"] = [schema["type"], "null"]
        if isinstance(schema.get("enum"), list) and None not in schema["enum"]:
            schema["enum"] = [*schema["enum"], None]
        return schema
    if not set(schema) - {"description", "default", "examples"}:
        return schema  # anything, null too
    outer: dict[str, Any] = {
        keyword: schema.pop(keyword) for keyword in ("description", "default") if keyword in schema
    }
    return {**outer, "anyOf": [schema, {"type": "null"}]}


def brief(text: str, limit: int) -> str:
    """Return a text on one line of at most `limit` characters, cut at a word."""
    line = " ".join(text[: 8 * limit].split())
    if len(line) <= limit:
        return line
    return f"{line[: limit - 1].rpartition(' ')[0] or line[: limit - 1]}…"
