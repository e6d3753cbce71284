"""Grammars whose rules use one another thousands of levels deep: llguidance visits them by recursion."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from edgefc.engine import Engine, gbnf_grammar
from edgefc.errors import GrammarError
from edgefc.grammar import CompiledGrammar, calls, compile_schema
from edgefc.grammar.lark import nesting


@pytest.fixture(scope="module")
def engine(demo_path: Path) -> Iterator[Engine]:
    with Engine.load(demo_path) as loaded:
        yield loaded


@pytest.fixture(autouse=True)
def time_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a busy machine compile these schemas, which take most of the usual 500 ms."""
    monkeypatch.setattr(calls, "DEADLINE_S", 60)


def chain(n: int) -> dict[str, Any]:
    """A schema whose definitions refer to the next one, or back to the first one."""
    defs: dict[str, Any] = {
        f"d{i}": {
            "type": "object",
            "properties": {"x": {"anyOf": [{"$ref": f"#/$defs/d{i + 1}"}, {"$ref": "#/$defs/d0"}]}},
        }
        for i in range(n)
    }
    return {"$ref": "#/$defs/d0", "$defs": {**defs, f"d{n}": {"type": "integer"}}}


def rules(n: int, begin: str = "", end: str = "") -> str:
    lines = (f'r{i} ::= {begin}"x" r{i + 1} "y"{end} | [a-c]{{1,9}} r{i // 2}\n' for i in range(n))
    return f'root ::= r0\n{"".join(lines)}r{n} ::= "z"'


DEEP = {
    "definitions": lambda: compile_schema(chain(1000)),
    "optional properties": lambda: compile_schema(
        {"type": "object", "properties": {f"p{i}": {"type": "string"} for i in range(1000)}}
    ),
    "rules of GBNF": lambda: gbnf_grammar(rules(5000)),
    "parentheses": lambda: gbnf_grammar(rules(600, "(" * 15, " root?)" * 15)),
}


@pytest.mark.parametrize("name", DEEP)
def test_a_deep_grammar_is_executed(name: str, engine: Engine) -> None:
    grammar = DEEP[name]()
    assert nesting(grammar.lark) > 1000
    constraint = engine.constraint(grammar)
    assert constraint.mask().any()
    copy = constraint.fork()
    copy.consume(int(copy.mask().nonzero()[0][0]))
    assert copy.mask().any()


def test_one_that_would_overflow_the_stack_is_refused(engine: Engine) -> None:
    text = "start: r0\n" + "".join(f"r{i}: (T0 r{i + 1})* T0\n" for i in range(9000)) + "r9000: T0\nT0: /x/\n"
    assert nesting(text) > 12_000
    with pytest.raises(GrammarError, match="levels deep; at most 12,000"):
        engine.constraint(CompiledGrammar(text))


def test_levels_are_those_of_the_longest_way() -> None:
    assert nesting("start: T0\nT0: /x/\n") == 1
    assert nesting("start: r1 | (T0 | (r2))\nr1: r2\nr2: start T0\nT0: /(((r1)))/\n") == 3
    assert nesting("start: ((r1)* | r2)\nr1: T0\nr2: m0_0\nm0_0: T0 m0_1\nm0_1: T0\n") == 5
