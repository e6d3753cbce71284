"""Python types as JSON Schema, and JSON values as objects of these types, by pydantic.

The schemas are written for a small model and a grammar: objects are closed unless their type takes extra values,
references are resolved where a type does not contain itself, and null is left out where omitting the value says the
same.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Generic

import typing_extensions
from pydantic import PydanticUserError, TypeAdapter, ValidationError
from pydantic.errors import PydanticInvalidForJsonSchema, PydanticUndefinedAnnotation
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core import core_schema
from typing_extensions import TypeVar

T = TypeVar("T", default=Any)
MAX_INLINED = 100_000  # subschemas; references of larger schemas stay
MAX_ERRORS = 5
INTEGER_KEY = "^-?(0|[1-9][0-9]*)$"


class UnsupportedTypeError(Exception):
    """A type has no JSON Schema; the text says why."""


class JsonType(Generic[T]):
    """A Python type with its JSON Schema.

    schema  what the model may write
    """

    def __init__(self, hint: Any) -> None:
        """Raises UnsupportedTypeError."""
        try:
            self._adapter: TypeAdapter[T] = TypeAdapter(hint)
            schema = self._adapter.json_schema(schema_generator=_SchemaGenerator)
        except (PydanticUserError, PydanticUndefinedAnnotation, PydanticInvalidForJsonSchema) as error:
            raise UnsupportedTypeError(str(error).partition("\n")[0]) from None
        except (TypeError, ValueError, NameError, RecursionError) as error:
            raise UnsupportedTypeError(f"{type(error).__name__}: {error}") from None
        self.schema: dict[str, Any] = _without_references(schema)

    def parse(self, value: Any) -> T:
        """Construct the object of a JSON value. Raises pydantic's ValidationError."""
        return self.parse_json(json.dumps(value))

    def parse_json(self, text: str) -> T:
        """Construct the object of JSON text. Raises pydantic's ValidationError."""
        return self._adapter.validate_json(text)


def describe(error: ValidationError) -> str:
    """Return the first findings of pydantic, with their paths, on one line."""
    findings = error.errors(include_url=False, include_input=False, include_context=False)
    texts = [f"{'.'.join(map(str, one['loc']))}: {one['msg']}".removeprefix(": ") for one in findings[:MAX_ERRORS]]
    return "; ".join([*texts, *(["…"] if len(findings) > MAX_ERRORS else [])])


class _SchemaGenerator(GenerateJsonSchema):
    """Pydantic's generator, without what it adds for readers other than a model."""

    ignored_warning_kinds = {"skipped-choice", "non-serializable-default", "skipped-discriminator"}  # noqa: RUF012 - as pydantic has it

    def field_title_should_be_set(self, schema: Any) -> bool:  # noqa: ARG002
        return False

    def sort(self, value: JsonSchemaValue, parent_key: str | None = None) -> JsonSchemaValue:  # noqa: ARG002
        return value

    def model_schema(self, schema: core_schema.ModelSchema) -> JsonSchemaValue:
        return _of_class(super().model_schema(schema), schema["cls"])

    def dataclass_schema(self, schema: core_schema.DataclassSchema) -> JsonSchemaValue:
        return _of_class(super().dataclass_schema(schema), schema["cls"])

    def typed_dict_schema(self, schema: core_schema.TypedDictSchema) -> JsonSchemaValue:
        return _of_class(super().typed_dict_schema(schema), schema.get("cls"))

    def arguments_schema(self, schema: core_schema.ArgumentsSchema) -> JsonSchemaValue:
        """Return an object's schema for a named tuple of pydantic before 2.14, and for a dataclass's arguments."""
        metadata = {**schema.get("metadata", {}), "pydantic_js_prefer_positional_arguments": False}
        return super().arguments_schema({**schema, "metadata": metadata})

    def named_tuple_schema(self, schema: core_schema.NamedTupleSchema) -> JsonSchemaValue:
        """Return an object's schema: names help a model more than positions."""
        array, names = super().named_tuple_schema(schema), [field["name"] for field in schema["fields"]]
        properties = dict(zip(names, array.get("prefixItems", ()), strict=True))
        required = names[: array.get("minItems", 0)]
        return _of_class({"type": "object", "properties": properties, "required": required}, schema["cls"])

    def literal_schema(self, schema: core_schema.LiteralSchema) -> JsonSchemaValue:
        found = super().literal_schema(schema)
        if "const" in found:
            found = {"enum": [found.pop("const")], **found}
        return found

    def tagged_union_schema(self, schema: core_schema.TaggedUnionSchema) -> JsonSchemaValue:
        found = super().tagged_union_schema(schema)
        if "oneOf" in found:  # the tags keep the branches apart already
            found["anyOf"] = found.pop("oneOf")
        return found

    def default_schema(self, schema: core_schema.WithDefaultSchema) -> JsonSchemaValue:
        inner = schema["schema"]
        if "default" in schema and schema["default"] is None:
            return self.generate_inner(inner["schema"] if inner["type"] == "nullable" else inner)
        return super().default_schema(schema)

    def set_schema(self, schema: core_schema.SetSchema) -> JsonSchemaValue:
        return _without_uniqueness(super().set_schema(schema))

    def frozenset_schema(self, schema: core_schema.FrozenSetSchema) -> JsonSchemaValue:
        return _without_uniqueness(super().frozenset_schema(schema))

    def decimal_schema(self, schema: core_schema.DecimalSchema) -> JsonSchemaValue:
        """Return a number's schema: pydantic reads its shortest digits, so 0.1 stays 0.1."""
        found: JsonSchemaValue = {"type": "number"}
        names = {"ge": "minimum", "gt": "exclusiveMinimum", "le": "maximum", "lt": "exclusiveMaximum"}
        found |= {names[key]: float(schema[key]) for key in names if schema.get(key) is not None}  # type: ignore[literal-required]
        if (multiple := schema.get("multiple_of")) is not None:
            found["multipleOf"] = float(multiple)
        elif (places := schema.get("decimal_places")) is not None:
            found["multipleOf"] = 10**-places if places else 1
        return found

    def dict_schema(self, schema: core_schema.DictSchema) -> JsonSchemaValue:
        found = super().dict_schema(schema)
        if "patternProperties" in found:
            found.setdefault("additionalProperties", False)
        keys = self.generate_inner(schema["keys_schema"]) if "keys_schema" in schema else {}
        kind = keys.get("type", "string")
        if kind == "integer":
            found["propertyNames"] = {"pattern": INTEGER_KEY}
        elif kind != "string":
            raise PydanticInvalidForJsonSchema(f"keys of a JSON object cannot be of the type {kind}")
        return found


def _of_class(schema: JsonSchemaValue, cls: type[Any] | None) -> JsonSchemaValue:
    """Close the object of a class, unless it takes extra values, and drop the class's name."""
    if schema.get("title") == getattr(cls, "__name__", None):
        schema.pop("title", None)
    if "properties" in schema or schema.get("type") == "object":
        schema.setdefault("properties", {})
        schema.setdefault("additionalProperties", False)
    if cls is not None:
        _add_descriptions(schema, cls)
    return schema


def _add_descriptions(schema: JsonSchemaValue, cls: type[Any]) -> None:
    """Describe the fields that are `Annotated` with a text."""
    try:
        hints = typing_extensions.get_type_hints(cls, include_extras=True)
    except (NameError, TypeError):
        return
    properties = schema.get("properties", {})
    for name, hint in hints.items():
        if name in properties and (text := annotation_text(hint)):
            properties[name] = {**properties[name], "description": properties[name].get("description", text)}


def annotation_text(hint: Any) -> str:
    """Return the text that a hint is `Annotated` with, "" for none."""
    while typing_extensions.get_origin(hint) in {typing_extensions.Required, typing_extensions.NotRequired}:
        (hint,) = typing_extensions.get_args(hint)
    if typing_extensions.get_origin(hint) is not typing_extensions.Annotated:
        return ""
    return next((extra for extra in typing_extensions.get_args(hint)[1:] if isinstance(extra, str)), "")


def _without_uniqueness(schema: JsonSchemaValue) -> JsonSchemaValue:
    schema.pop("uniqueItems", None)  # a set drops repeated items by itself
    return schema


def _without_references(schema: Mapping[str, Any]) -> dict[str, Any]:
    """Replace references by their definitions, except in types that contain themselves; order the keywords."""
    definitions = schema.get("$defs", {})
    try:
        inliner = _Inliner(definitions)
        found = inliner.read({key: value for key, value in schema.items() if key != "$defs"})
    except OverflowError:
        return dict(schema)
    needed: dict[str, Any] = {}
    while missing := inliner.recursive - needed.keys():
        for name in missing:
            needed[name] = inliner.read(definitions[name])
    return {**found, "$defs": needed} if needed else dict(found)


class _Inliner:
    """Copies a schema with its references resolved.

    recursive  names of the definitions that stay references
    """

    def __init__(self, definitions: Mapping[str, Any]) -> None:
        self._definitions, self._count = definitions, 0
        self.recursive: set[str] = set()

    def read(self, node: Mapping[str, Any]) -> dict[str, Any]:
        """Copy a subschema Raises OverflowError."""
        self._count += 1
        if self._count > MAX_INLINED:
            raise OverflowError
        if isinstance(node.get("$ref"), str):
            name = node["$ref"].removeprefix("#/$defs/")
            beside = {key: value for key, value in node.items() if key != "$ref"}
            if self._is_recursive(name):
                self.recursive.add(name)
                return {"$ref": node["$ref"], **beside}
            node = {**self._definitions[name], **beside}
        if "enum" in node and "title" in node:  # the name of an Enum
            node = {key: value for key, value in node.items() if key != "title"}
        return _ordered({key: self._value(key, value) for key, value in node.items() if key != "discriminator"})

    def _value(self, key: str, value: Any) -> Any:
        if key in {"properties", "patternProperties", "$defs", "dependentSchemas"}:
            return {name: self._value("", inner) for name, inner in value.items()}
        if key in {"default", "const", "enum", "examples"}:
            return value
        if isinstance(value, Mapping):
            return self.read(value)
        if isinstance(value, list):
            return [self.read(item) if isinstance(item, Mapping) else item for item in value]
        return value

    def _is_recursive(self, name: str) -> bool:
        """Return True if a definition contains itself."""
        found: set[str] = set()
        pending = _references(self._definitions[name])
        while pending:
            other = pending.pop()
            if other == name:
                return True
            if other not in found:
                found.add(other)
                pending |= _references(self._definitions[other])
        return False


def _references(node: Any) -> set[str]:
    """Return the names of the definitions that a subschema refers to."""
    if isinstance(node, list):
        return {name for item in node for name in _references(item)}
    if not isinstance(node, Mapping):
        return set()
    own = {node["$ref"].removeprefix("#/$defs/")} if isinstance(node.get("$ref"), str) else set()
    return own | {name for key, value in node.items() if key != "discriminator" for name in _references(value)}


def _ordered(schema: dict[str, Any]) -> dict[str, Any]:
    """Put the type first and the description last."""
    order = {"type": -1, "description": 1}
    return {key: schema[key] for key in sorted(schema, key=lambda key: order.get(key, 0))}
