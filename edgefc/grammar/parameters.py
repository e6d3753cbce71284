"""A tool's parameters as the schema of its arguments, however they are given."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from edgefc.errors import SchemaError
from edgefc.grammar.json_schema.keywords import COMBINING

# Keywords that say which properties an object has.
_ABOUT_PROPERTIES = (
    "properties", "patternProperties", "propertyNames", "required", "minProperties", "maxProperties",
    "dependentRequired", "dependentSchemas", "dependencies", *COMBINING,
)  # fmt: skip
# Names that are keywords where a schema has them, and no arguments.
_NEVER_BARE = {"additionalProperties", "patternProperties", "propertyNames", "unevaluatedProperties", "not", "if"}


def read_parameters(parameters: Any) -> tuple[dict[str, Any], str]:
    """Return the schema of a tool's arguments, and how it is read differently from its text; "": not at all."""
    parameters = {} if parameters is None else parameters
    if not isinstance(parameters, dict):
        raise SchemaError((), "must be a schema of an object")
    is_bare = all(isinstance(value, dict) and "type" in value for value in parameters.values())
    if parameters and is_bare and not parameters.keys() & _NEVER_BARE:
        # Some data sets give the properties alone; as a schema, they would be annotations and assert nothing.
        required = [name for name, value in parameters.items() if not _is_optional(value)]
        schema = {"type": "object", "properties": parameters, "required": required}
        return schema, "bare properties are read as those of an object; those without a default are required"
    if parameters and "type" not in parameters:
        return parameters, "a schema without a type is read as that of an object"
    return parameters, ""


def says_nothing(parameters: Mapping[str, Any]) -> bool:
    """Return whether a schema of an object says nothing about its properties: such a tool has no arguments."""
    if parameters.keys() & {"additionalProperties", "unevaluatedProperties"}:
        return False
    values = (parameters.get(keyword) for keyword in _ABOUT_PROPERTIES)
    return not any(value and value is not True for value in values)  # a boolean `required` is draft 3's


def _is_optional(schema: dict[str, Any]) -> bool:
    return "default" in schema or schema.get("optional") is True or "optional" in str(schema["type"]).lower()
