"""Checks of tool calls after decoding, with the jsonschema package, for keywords that no grammar enforces."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import jsonschema
from jsonschema.protocols import Validator
from referencing import Registry
from referencing.exceptions import NoSuchResource

from edgefc.grammar import Finding, backtracking
from edgefc.grammar.derivatives import matches
from edgefc.grammar.json_schema.document import Subschema
from edgefc.grammar.json_schema.keywords import declared_types, json_type
from edgefc.grammar.patterns import PatternError, compile_pattern
from edgefc.types import Call, Tools

MAX_REASON = 200


class CallChecker:
    """Checks calls of tools whose schemas the grammar enforces only in part.

    tools       the tools of the request
    unenforced  `CompiledGrammar.unenforced` of their grammar
    """

    def __init__(self, tools: Tools, unenforced: Sequence[Finding]) -> None:
        numbers = {finding.path[1] for finding in unenforced if finding.path[:1] == ("tools",)}
        self._validators = {
            tool["function"]["name"]: _validator(tool["function"].get("parameters") or {})
            for number, tool in enumerate(tools)
            if number in numbers
        }

    def first_problem(self, calls: Sequence[Call]) -> tuple[int, Finding] | None:
        """Return the position of the first call that violates its schema, and the violation; None: all are valid."""
        for number, call in enumerate(calls):
            validator = self._validators.get(call.name)
            if validator is None:
                continue
            try:
                error = next(iter(validator.iter_errors(call.arguments)), None)
            except jsonschema.ValidationError as failure:
                error = failure
            except BaseException as failure:
                # An endlessly recursive schema. The `referencing` library, in Rust, panics on some of them, and its
                # exception cannot be imported.
                if isinstance(failure, RecursionError) or type(failure).__name__ == "PanicException":
                    return number, Finding(("arguments",), "the schema recurses endlessly on these arguments")
                raise
            if error is not None:
                return number, Finding(("arguments", *error.absolute_path), error.message[:MAX_REASON])
        return None


def _validator(schema: Mapping[str, Any]) -> Validator:
    """Build a validator of the schema's draft that reads types as the grammar does and opens no connection."""
    base = jsonschema.validators.validator_for(schema, jsonschema.Draft202012Validator)
    extended = jsonschema.validators.extend(  # type: ignore[no-untyped-call]
        base,
        {
            "type": _type,
            "pattern": _pattern,
            "patternProperties": _pattern_properties,
            "additionalProperties": _additional_properties,
        },
    )
    validator: Validator = extended(schema, registry=Registry(retrieve=_refuse))  # type: ignore[call-arg]
    return validator


def _refuse(uri: str) -> Any:
    raise NoSuchResource(uri)


Errors = Iterator[jsonschema.ValidationError]


def _type(_: Any, __: Any, value: Any, schema: Mapping[str, Any]) -> Errors:
    types = declared_types(Subschema((), schema))
    if types is not None and json_type(value) not in types:
        yield jsonschema.ValidationError(f"{value!r} is not of type {schema['type']!r}")


def _matches(pattern: str, text: str) -> bool:
    # An automaton wherever there is one: in a backtracking engine some patterns run for ever.
    try:
        node = compile_pattern(pattern)
    except PatternError:
        try:
            return backtracking.matches(pattern, text)
        except backtracking.NotCheckableError as error:
            raise jsonschema.ValidationError(f"{pattern!r}: {error}") from None
    return matches(node, text)


def _pattern(_: Any, pattern: str, value: Any, __: Any) -> Errors:
    if isinstance(value, str) and not _matches(pattern, value):
        yield jsonschema.ValidationError(f"{value!r} does not match {pattern!r}")


def _pattern_properties(validator: Any, patterns: Mapping[str, Any], value: Any, _: Any) -> Errors:
    if isinstance(value, dict):
        for pattern, schema in patterns.items():
            for name in value:
                if _matches(pattern, name):
                    yield from validator.descend(value[name], schema, path=name, schema_path=pattern)


def _additional_properties(validator: Any, rest: Any, value: Any, schema: Mapping[str, Any]) -> Errors:
    if isinstance(value, dict):
        for name in value:
            patterns = schema.get("patternProperties", ())
            if name not in schema.get("properties", ()) and not any(_matches(pattern, name) for pattern in patterns):
                if rest is False:
                    yield jsonschema.ValidationError(f"{name!r} is not a property", path=[name])
                else:
                    yield from validator.descend(value[name], rest, path=name)
