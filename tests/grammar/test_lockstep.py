"""Both executors in lockstep over random texts: at every step they must allow the same next bytes.

The texts must be valid: the jsonschema package checks random texts of random schemas' grammars.
"""

from __future__ import annotations

import json
import random
from typing import Any

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgefc.errors import SchemaError
from edgefc.grammar import compile_output, compile_schema
from edgefc.types import ToolChoice
from tests.grammar.executors import walk
from tests.grammar.syntaxes import SYNTAXES, TOOLS
from tests.grammar.test_keywords import CASES, DIALECTS
from tests.property_settings import property_settings


@pytest.mark.parametrize("case", CASES, ids=lambda case: case[0])
def test_both_executors_allow_the_same_and_only_valid_values(case: tuple[str, Any, list[str], list[str]]) -> None:
    grammar = compile_schema(case[1])
    for seed in range(3):
        text = walk(grammar, random.Random(seed))
        if text is not None and case[0] not in DIALECTS:
            jsonschema.validate(json.loads(text), case[1])


@pytest.mark.parametrize("mode", ["none", "auto", "required"])
@pytest.mark.parametrize("family", SYNTAXES)
def test_both_executors_allow_the_same_answers(family: str, mode: Any) -> None:
    names = tuple(tool["function"]["name"] for tool in TOOLS)
    grammar = compile_output(SYNTAXES[family], TOOLS, ToolChoice(mode, names))
    for seed in range(4):
        walk(grammar, random.Random(seed), limit=200)


def scalars() -> st.SearchStrategy[Any]:
    small = st.integers(-30, 300)
    return st.one_of(
        st.builds(lambda a, b: {"type": "integer", "minimum": min(a, b), "maximum": max(a, b)}, small, small),
        st.builds(lambda a, b: {"type": "number", "minimum": min(a, b) / 8, "exclusiveMaximum": max(a, b) / 8 + 1}, small, small),
        st.builds(lambda a, b: {"type": "string", "minLength": a, "maxLength": a + b}, st.integers(0, 3), st.integers(0, 3)),
        st.builds(lambda v: {"enum": v}, st.lists(st.one_of(st.none(), st.booleans(), small, st.text(max_size=4)), min_size=1, max_size=5)),
        st.builds(lambda v: {"const": v}, st.recursive(small | st.text(max_size=3), lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=2), inner, max_size=2))),
        st.just({"type": ["boolean", "null"]}),
    )  # fmt: skip


def compound(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    def objects(properties: dict[str, Any], picks: list[bool], extra: Any) -> dict[str, Any]:
        required = [name for name, pick in zip(properties, picks, strict=False) if pick]
        schema = {"type": "object", "properties": properties, "required": required}
        return schema if extra is None else {**schema, "additionalProperties": extra}

    names = st.text('ab"\\é🙂 ', min_size=1, max_size=3)
    extras = st.none() | st.just(False) | st.builds(lambda s: s, inner)
    return st.one_of(
        st.builds(objects, st.dictionaries(names, inner, max_size=4), st.lists(st.booleans(), min_size=4, max_size=4), extras),
        st.builds(lambda s, a, b: {"type": "array", "items": s, "minItems": a, "maxItems": a + b}, inner, st.integers(0, 2), st.integers(0, 2)),
        st.builds(lambda p, s: {"type": "array", "prefixItems": p, "items": s, "maxItems": 4}, st.lists(inner, min_size=1, max_size=3), inner),
        st.builds(lambda s: {"anyOf": s}, st.lists(inner, min_size=1, max_size=3)),
        st.builds(lambda s: {"allOf": s}, st.lists(inner, min_size=1, max_size=2)),
        st.builds(lambda s: {"oneOf": s}, st.lists(inner, min_size=1, max_size=2)),
        st.builds(lambda s: {"$ref": "#/$defs/d", "$defs": {"d": s}}, inner),
    )  # fmt: skip


def at_root(schema: Any) -> Any:
    """Move definitions to the root, where their references point."""
    definitions: dict[str, Any] = {}

    def move(node: Any) -> Any:
        if isinstance(node, list):
            return [move(item) for item in node]
        if not isinstance(node, dict):
            return node
        if "$defs" in node:
            name = f"d{len(definitions)}"
            definitions[name] = None
            definitions[name] = move(node["$defs"]["d"])
            return {"$ref": f"#/$defs/{name}"}
        return {key: value if key in {"const", "enum"} else move(value) for key, value in node.items()}

    return {"allOf": [move(schema)], "$defs": definitions}


@property_settings(60)
@given(st.recursive(scalars(), compound, max_leaves=8), st.integers(0, 1000))
def test_texts_of_a_random_schemas_grammar_are_valid(schema: Any, seed: int) -> None:
    document = at_root(schema)
    try:
        grammar = compile_schema(document)
    except SchemaError:
        return  # overlapping branches, or contradictions
    text = walk(grammar, random.Random(seed), limit=300, patience=0.5)
    if text is not None:
        jsonschema.validate(json.loads(text), document, cls=jsonschema.Draft202012Validator)
