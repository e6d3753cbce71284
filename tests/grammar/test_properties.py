"""Random schemas: every text of a grammar is valid, and every valid value can be written.

The tests include a short run; EDGEFC_PROPERTY_EXAMPLES=20000 makes it a long one, with new examples each time.
"""

from __future__ import annotations

import itertools
import json
import random
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import jsonschema
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from edgefc.errors import SchemaError
from edgefc.grammar import CompiledGrammar, compile_schema
from tests.grammar.executors import Guidance, LlamaCpp, reach, walk
from tests.property_settings import property_settings

T = TypeVar("T")
RUN = property_settings(150)
NAMES = ["a", "b", "ab", "x-"]
# Without dots: ECMA-262's exclude more line ends than Python's.
PATTERNS = ["^a", "b$", "^[ab]*$", "^x-", "a[^c]*b", "^(?!a)", "^[^c]{1,2}$", "^(a|b)b?$"]
# Without line ends: Python's `$` matches before a final one, ECMA-262's does not.
TEXTS = ["", "a", "b", "ab", "ba", "aab", "x-", "é", '"\\\t']
NUMBERS = [0, 1, 2, 3, 5, -1, -4, 6, 12, 0.5, -1.5, 2.25]
LEAVES = [None, True, False, *NUMBERS, *TEXTS, [], {}, [1], ["a", "b"], {"a": 1}, {"b": "ab"}]

counts = st.integers(0, 4)
names = st.sampled_from(NAMES)
patterns = st.sampled_from(PATTERNS)
bounds = st.sampled_from(NUMBERS)
KINDS = ["string", "integer", "number", "boolean", "null", "array", "object"]


def _any_of(keywords: dict[str, st.SearchStrategy[Any]], most: int) -> st.SearchStrategy[dict[str, Any]]:
    """Generate objects with some of these keywords."""
    chosen = st.lists(st.sampled_from(sorted(keywords)), max_size=most, unique=True)
    return chosen.flatmap(lambda picked: st.fixed_dictionaries({key: keywords[key] for key in picked}))


def _schemas(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    some = st.lists(inner, min_size=1, max_size=3)
    named = st.dictionaries(names, inner, max_size=3)
    typed = st.sampled_from(KINDS)
    texts = {"type": st.just("string"), "minLength": counts, "maxLength": counts, "pattern": patterns}
    numbers = {
        "type": st.sampled_from(["integer", "number"]), "minimum": bounds, "maximum": bounds,
        "exclusiveMinimum": bounds, "exclusiveMaximum": bounds, "multipleOf": st.sampled_from([1, 2, 3, 5, 0.5, 0.25]),
    }  # fmt: skip
    objects = {
        "type": st.just("object"), "properties": named, "required": st.lists(names, max_size=2, unique=True),
        "additionalProperties": inner, "patternProperties": st.dictionaries(patterns, inner, max_size=2),
        "propertyNames": _any_of({"pattern": patterns, "maxLength": counts, "enum": st.just(["a", "b"])}, 2),
        "minProperties": st.integers(0, 2), "maxProperties": counts,
        "dependentRequired": st.dictionaries(names, st.lists(names, max_size=2, unique=True), max_size=2),
        "dependentSchemas": st.dictionaries(names, inner, max_size=2), "unevaluatedProperties": st.sampled_from([False, {"type": "integer"}]),
    }  # fmt: skip
    arrays = {
        "type": st.just("array"), "items": inner, "prefixItems": some, "minItems": counts, "maxItems": counts,
        "contains": inner, "minContains": st.integers(0, 2), "maxContains": st.integers(1, 2),
        "uniqueItems": st.booleans(), "unevaluatedItems": st.just(False),
    }  # fmt: skip
    combined = {
        "anyOf": some, "oneOf": some, "allOf": some, "not": inner, "if": inner, "then": inner, "else": inner,
        "type": st.one_of(typed, st.lists(typed, min_size=1, max_size=3, unique=True)),
        "$ref": st.sampled_from(["#/$defs/one", "#"]),
    }  # fmt: skip
    return st.one_of(
        _any_of(texts, 3), _any_of(numbers, 3), _any_of(objects, 4), _any_of(arrays, 4), _any_of(combined, 3),
        _any_of(combined | objects, 4), _any_of(combined | arrays | texts | numbers, 4),
    )  # fmt: skip


leaves: st.SearchStrategy[Any] = st.one_of(
    st.booleans(),
    st.sampled_from(KINDS).map(lambda kind: {"type": kind}),
    st.lists(st.sampled_from(LEAVES), min_size=1, max_size=4).map(lambda values: {"enum": values}),
    st.sampled_from(LEAVES).map(lambda value: {"const": value}),
)
# Schemas, each with a definition that it may refer to.
schemas = st.tuples(st.recursive(leaves, _schemas, max_leaves=6), st.recursive(leaves, _schemas, max_leaves=3)).map(
    lambda pair: {**pair[0], "$defs": {"one": pair[1]}} if isinstance(pair[0], dict) else pair[0]
)


def _compiled(schema: Any) -> CompiledGrammar:
    try:
        return compile_schema(schema)
    except SchemaError as error:
        assume("longer than" in error.reason or error.reason)  # a refusal is an answer
        assume(False)
        raise


def _terminating(judge: Callable[[], T]) -> T | None:
    """Return a validator's judgement; None if it recurses endlessly, which draft 2020-12 leaves undefined."""
    try:
        return judge()
    except BaseException as error:  # the `referencing` library, in Rust, panics
        if isinstance(error, RecursionError) or type(error).__name__ == "PanicException":
            return None
        raise


def _keywords(error: jsonschema.ValidationError) -> Iterator[str]:
    """Yield the keywords on the path to an error and to the errors that caused it."""
    yield from map(str, error.absolute_schema_path)
    for part in error.context or ():
        yield from _keywords(part)


@RUN
@given(schemas, st.integers(0, 2**32))
def test_every_text_of_a_grammar_is_valid(schema: Any, seed: int) -> None:
    """On random walks, llguidance and llama.cpp allow the same bytes at every step."""
    grammar = _compiled(schema)
    validator = jsonschema.Draft202012Validator(schema)
    rng = random.Random(seed)
    for _ in range(3):
        text = walk(grammar, rng, limit=100)
        if text is None:
            continue
        errors = _terminating(lambda text=text: list(validator.iter_errors(json.loads(text))))
        if errors is None:
            continue
        listed = {str(finding.path[-1]) for finding in grammar.unenforced}
        listed |= {"then", "else"} if "if" in listed else set()
        missed = [error for error in errors if not listed & set(_keywords(error))]
        assert not missed, (text, schema, missed[0].message, grammar.unenforced)


def _orders(value: Any) -> Iterator[Any]:
    """Yield a value with the names of its objects in every order."""
    if isinstance(value, dict):
        for order in itertools.permutations(value):
            for items in itertools.product(*(list(_orders(value[name])) for name in order)):
                yield dict(zip(order, items, strict=True))
    elif isinstance(value, list):
        for items in itertools.product(*(list(_orders(item)) for item in value)):
            yield list(items)
    else:
        yield value


values = st.recursive(
    st.sampled_from(LEAVES),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(names, inner, max_size=3)),
    max_leaves=4,
)


@RUN
@given(schemas, st.lists(values, min_size=1, max_size=12))
def test_every_valid_value_can_be_written(schema: Any, instances: list[Any]) -> None:
    """At least one order of the properties is accepted; numbers have their shortest spelling."""
    grammar = _compiled(schema)
    validator = jsonschema.Draft202012Validator(schema)
    for instance in instances:
        if _terminating(lambda instance=instance: validator.is_valid(instance)):
            texts = [json.dumps(each, ensure_ascii=False) for each in itertools.islice(_orders(instance), 150)]
            assert any(reach(Guidance(grammar.lark), text) == -1 for text in texts), (texts[0], schema)
            accepted = next(text for text in texts if reach(Guidance(grammar.lark), text) == -1)
            assert reach(LlamaCpp(grammar.gbnf), accepted) == -1


@pytest.mark.parametrize("text", ['{"a": 1}', "[1, 2.5]", '"é"', "null"])
def test_the_executors_can_refuse(text: str) -> None:
    """The properties rely on it: an executor refuses texts outside of its grammar."""
    grammar = compile_schema({"type": "boolean"})
    assert reach(Guidance(grammar.lark), text) != -1
    assert reach(LlamaCpp(grammar.gbnf), text) != -1
