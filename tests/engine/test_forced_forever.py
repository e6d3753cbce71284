"""Text that a grammar forces without end: refused before it is computed, or computed as far as the answer reaches."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from edgefc.engine import Engine, gbnf_grammar
from edgefc.errors import GrammarError, SchemaError
from edgefc.grammar import compile_calls, compile_schema
from tests.bounded import run_bounded

ONE = {"type": "array", "items": {"const": 1}}


def doubled(levels: int) -> dict[str, Any]:
    """Return a schema with 2^levels constants, written with references."""
    parts: dict[str, Any] = {
        f"d{level}": {
            "type": "object",
            "properties": {name: {"$ref": f"#/$defs/d{level + 1}"} for name in "ab"},
            "required": ["a", "b"],
            "additionalProperties": False,
        }
        for level in range(levels)
    }
    return {"$ref": "#/$defs/d0", "$defs": parts | {f"d{levels}": {"const": 1}}}


def nested(levels: int, count: int) -> dict[str, Any]:
    schema: dict[str, Any] = {"const": 0}
    for _ in range(levels):
        schema = {"type": "array", "items": schema, "minItems": count, "maxItems": count}
    return schema


ENDLESS: dict[str, Any] = {
    "a billion": {**ONE, "minItems": 10**9},
    "a hundred thousand": {**ONE, "minItems": 10**5},
    "nested": nested(3, 1000),
    "doubled": doubled(24),
    "behind a choice": {"anyOf": [{"type": "null"}, {**ONE, "minItems": 10**6}]},
    "alternatives alike": {"anyOf": [{**ONE, "minItems": count} for count in (10**6, 10**6 + 1)]},
    "after a choice": {
        "type": "array",
        "prefixItems": [{"enum": ["a", "b"]}],
        "items": {"const": 1},
        "minItems": 10**6,
    },
    "a constant many times": {"type": "array", "items": {"const": "a" * 1000}, "minItems": 1000},
    "a long constant": {"const": "a" * 100_000},
}


@pytest.mark.parametrize("name", ENDLESS)
def test_a_schema_that_forces_too_much_is_refused(name: str) -> None:
    with pytest.raises(SchemaError, match="bytes of constant text"):
        compile_schema(ENDLESS[name])
    schema = dict(ENDLESS[name])
    definitions = schema.pop("$defs", {})
    parameters = {"type": "object", "properties": {"x": schema}, "required": ["x"], "$defs": definitions}
    with pytest.raises(SchemaError, match="bytes of constant text"):
        compile_calls([{"type": "function", "function": {"name": "f", "parameters": parameters}}])


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "array", "items": {"type": "integer"}, "minItems": 10**9},
        {"type": "array", "items": {"enum": [1, 2]}, "minItems": 10**9},
        {"type": "string", "minLength": 10**6},
        {**ONE, "minItems": 2_000},
        nested(2, 40),
        doubled(6),
    ],
)
def test_choices_and_shorter_texts_are_accepted(schema: dict[str, Any]) -> None:
    assert compile_schema(schema).lark


GBNF = {
    "literal": 'root ::= "a"{1000000000}',
    "class": "root ::= [a]{1000000}",
    "class of equal characters": "root ::= [a-aa]{1000000}",
    "nested": 'root ::= (("a"{1000} "b"){1000}){1000}',
    "doubled": "root ::= a a\n" + "".join(f"{chr(97 + n)} ::= {chr(98 + n)} {chr(98 + n)}\n" for n in range(24)) + 'y ::= "x"',
    "long": 'root ::= [ab] "' + "a" * 100_000 + '"',
}  # fmt: skip


@pytest.mark.parametrize("name", GBNF)
def test_gbnf_that_forces_too_much_is_refused(name: str) -> None:
    with pytest.raises(GrammarError, match="bytes of constant text"):
        gbnf_grammar(GBNF[name])


def test_long_and_deep_gbnf_is_refused_or_read_at_once() -> None:
    rules = "".join(f'r{number} ::= "x" [ab] r{number + 1}\n' for number in range(1500))
    assert gbnf_grammar(f'root ::= r0\n{rules}r1500 ::= "y"\n').lark
    with pytest.raises(GrammarError, match="characters"):
        gbnf_grammar("root ::= [a-z]" + " " * 300_000)
    with pytest.raises(GrammarError):
        gbnf_grammar("root ::= " + "(" * 5000 + '"a"' + ")" * 5000)


@pytest.fixture(scope="module")
def engine(demo_path: Path) -> Iterator[Engine]:
    with Engine.load(demo_path) as loaded:
        yield loaded


def test_forced_text_is_computed_as_far_as_the_answer_reaches(engine: Engine) -> None:
    grammar, prompt = compile_schema({**ONE, "minItems": 2_000}), engine.tokenizer.encode("Hello")
    result = engine.submit(prompt, grammar=grammar, max_tokens=5).result(60)
    assert (len(result.token_ids), result.end_reason) == (5, "max_tokens")
    whole = engine.submit(prompt, grammar=grammar).result(60)
    assert (len(whole.token_ids), whole.end_reason) == (engine.n_ctx - len(prompt), "context")
    assert whole.text.startswith(result.text)


def test_an_answer_that_ends_where_the_room_ends_is_complete(engine: Engine) -> None:
    grammar, prompt = compile_schema({"const": "hello"}), engine.tokenizer.encode("Hello")
    length = len(engine.submit(prompt, grammar=grammar).result(60).token_ids)
    result = engine.submit(prompt, grammar=grammar, max_tokens=length).result(60)
    assert (result.text, result.end_reason) == ('"hello"', "stop")
    assert engine.submit(prompt, grammar=grammar, max_tokens=length - 1).result(60).end_reason == "max_tokens"


SCRIPT = """
import sys
from edgefc.engine import Engine
from edgefc.grammar import CompiledGrammar

with Engine.load(sys.argv[1]) as engine:
    for lark in ("start: T T T\\nT: /" + "a" * 8000 + "/\\n", 'start: "ab"{5000}\\n'):
        answer = engine.submit(engine.tokenizer.encode("Hello"), grammar=CompiledGrammar(lark), max_tokens=100).result()
        print(len(answer.token_ids))
"""


def test_forced_text_of_any_grammar_ends_soon(demo_path: Path, tmp_path: Path) -> None:
    result = run_bounded(["-c", SCRIPT, demo_path], tmp_path, seconds=60)
    assert result.stdout.split() == ["100", "100"], result.stderr[-2000:]
