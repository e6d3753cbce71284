"""JSON Schemas as clients write them, without what they did not mean: null for "not given", PHP's wrong brackets.

PHP has one type for lists and objects: an empty object is written as `[]`, an empty list perhaps as `{}`, and a list
with gaps as `{"1": …, "3": …}`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from edgefc.errors import FieldPath

Note = tuple[FieldPath, str]  # a location, and how it is read differently from its text
Change = Callable[[dict[str, Any], FieldPath], dict[str, Any]]

LISTS = frozenset({"required", "enum", "anyOf", "allOf", "oneOf", "prefixItems", "examples"})
NAMED = frozenset({"properties", "patternProperties", "$defs", "definitions", "dependentSchemas", "dependencies"})
SINGLE = frozenset(
    {"items", "additionalProperties", "additionalItems", "not", "if", "then", "else", "contains", "propertyNames",
     "unevaluatedProperties", "unevaluatedItems", "contentSchema"}
)  # fmt: skip
_MAY_BE_NULL = frozenset({"const", "default", "example"})
_NOT_GIVEN = "null is read as not given"
_OBJECT = "an empty array is read as an empty object"
_LIST = "an object with numbers for names is read as an array"


def clean_schema(schema: Any) -> tuple[Any, list[Note]]:
    """Return a schema without nulls that mean "not given" and without PHP's brackets, and where these were.

    What is no schema at all, or too deeply nested, is returned as it is: the compiler refuses it.
    """
    notes: list[Note] = []

    def clean(node: dict[str, Any], path: FieldPath) -> dict[str, Any]:
        return _clean_node(node, path, notes)

    if schema == [] and isinstance(schema, list):
        return {}, [((), _OBJECT)]
    try:
        return map_schemas(schema, clean), notes
    except RecursionError:
        return schema, []


def map_schemas(schema: Any, change: Change, path: FieldPath = ()) -> Any:
    """Return a copy of a schema with all schemas in it changed, the outer ones first."""
    if not isinstance(schema, Mapping):
        return schema
    node = change(dict(schema), path)
    for key, value in node.items():
        at = (*path, key)
        if key in NAMED and isinstance(value, Mapping):
            node[key] = {name: map_schemas(item, change, (*at, name)) for name, item in value.items()}
        elif key in SINGLE or key in LISTS - {"enum", "examples", "required"}:
            if isinstance(value, list | tuple):
                node[key] = [map_schemas(item, change, (*at, number)) for number, item in enumerate(value)]
            else:
                node[key] = map_schemas(value, change, at)
    return node


def without_nulls(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields that are not None: null means "not given"."""
    return {name: value for name, value in fields.items() if value is not None}


def list_of(value: Any) -> list[Any] | None:
    """Return the items of a list, also of one that PHP has written as an object; None: it is neither."""
    if isinstance(value, list | tuple):
        return list(value)
    if isinstance(value, Mapping) and all(isinstance(key, str) and key.isdecimal() for key in value):
        return list(value.values())
    return None


def looks_like_schema(value: Any) -> bool:
    """Return whether a value is a schema of arguments, or the properties of one."""
    if not isinstance(value, Mapping) or not value:
        return False
    if isinstance(value.get("properties"), Mapping | list) or value.get("type") == "object":
        return True
    if any(key in value for key in ("$schema", "$ref", "anyOf", "oneOf", "allOf", "additionalProperties")):
        return True
    return all(isinstance(item, Mapping) and "type" in item for item in value.values())


def _clean_node(node: dict[str, Any], path: FieldPath, notes: list[Note]) -> dict[str, Any]:
    cleaned: dict[str, Any] = {}
    for key, value in node.items():
        at = (*path, key)
        if value is None and key not in _MAY_BE_NULL:
            notes.append((at, _NOT_GIVEN))
            continue
        if key in LISTS and isinstance(value, Mapping) and (items := list_of(value)) is not None:
            notes.append((at, _LIST))
            cleaned[key] = items
            continue
        if key in SINGLE and value == [] and isinstance(value, list):
            notes.append((at, _OBJECT))
            cleaned[key] = {}
        else:
            cleaned[key] = _clean_named(value, at, notes) if key in NAMED else value
    return cleaned


def _clean_named(value: Any, path: FieldPath, notes: list[Note]) -> Any:
    """Return schemas by name; a name without a schema may have any value."""
    if isinstance(value, list) and not value:
        notes.append((path, _OBJECT))
        return {}
    if not isinstance(value, Mapping):
        return value
    empty = [name for name, item in value.items() if item is None or (item == [] and path[-1] != "dependencies")]
    notes += [((*path, name), _NOT_GIVEN if value[name] is None else _OBJECT) for name in empty]
    return {name: {} if name in empty else item for name, item in value.items()}
