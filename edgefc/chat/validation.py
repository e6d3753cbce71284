"""What a grammar does not enforce is checked after decoding, with the jsonschema package."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import jsonschema
from jsonschema.protocols import Validator
from referencing import Registry
from referencing.exceptions import NoSuchResource

from edgefc.grammar import Finding
from edgefc.grammar.automata import matches
from edgefc.grammar.json_schema.document import Place
from edgefc.grammar.json_schema.keywords import kind, kinds_of
from edgefc.grammar.patterns import search
from edgefc.types import ToolCall, Tools

MAX_REASON = 200


class CallChecker:
    """Checks calls of the tools whose schemas the grammar enforces in part only.

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

    def first_problem(self, calls: Sequence[ToolCall]) -> tuple[int, Finding] | None:
        """The first call whose arguments do not satisfy their schema, and where; None when all do."""
        for number, call in enumerate(calls):
            validator = self._validators.get(call["function"]["name"])
            if validator is None:
                continue
            arguments = json.loads(call["function"]["arguments"])
            try:
                error = next(iter(validator.iter_errors(arguments)), None)
            except BaseException as broken:
                # A schema that goes round in circles; the reference library, in Rust, panics on it.
                if isinstance(broken, RecursionError) or type(broken).__name__ == "PanicException":
                    return number, Finding(("arguments",), "the schema goes round in circles on them")
                raise
            if error is not None:
                return number, Finding(("arguments", *error.absolute_path), error.message[:MAX_REASON])
        return None


def _validator(schema: Mapping[str, Any]) -> Validator:
    """A validator of the schema's draft that reads types as the grammar does and fetches nothing."""
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
    made: Validator = extended(schema, registry=Registry(retrieve=_nowhere))  # type: ignore[call-arg]
    return made


def _nowhere(uri: str) -> Any:
    raise NoSuchResource(uri)


Errors = Iterator[jsonschema.ValidationError]


def _type(_: Any, __: Any, value: Any, schema: Mapping[str, Any]) -> Errors:
    kinds = kinds_of(Place((), schema))
    if kinds is not None and kind(value) not in kinds:
        yield jsonschema.ValidationError(f"{value!r} is not of type {schema['type']!r}")


def _matches(pattern: str, text: str) -> bool:
    # An automaton, and not Python's `re`, which some patterns keep busy for ever.
    return matches(search(pattern), text)


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
