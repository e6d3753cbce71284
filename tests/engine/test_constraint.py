"""Started grammars are copied for later requests; the copies know nothing of each other."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from edgefc.engine import Engine
from edgefc.engine.choice import CallPath
from edgefc.engine.constraint import ConstraintFactory
from edgefc.errors import ConstraintError, GrammarError
from edgefc.grammar import CompiledGrammar, compile_schema


@pytest.fixture(scope="module")
def engine(demo_path: Path) -> Iterator[Engine]:
    with Engine.load(demo_path) as loaded:
        yield loaded


def test_copies_of_a_started_grammar_are_independent(engine: Engine) -> None:
    grammar = compile_schema({"enum": ["ab", "cd"]})
    tokens = engine.tokenizer.encode('"ab"', bos="never")
    first, second = engine.constraint(grammar), engine.constraint(grammar)
    start = first.mask()
    assert first.try_consume(tokens)
    assert first.is_finished or first.is_accepting
    assert np.array_equal(second.mask(), start)
    assert (second.masks, second.checks) == (1, 0)
    assert not second.try_consume([*tokens[:-1], *tokens])
    assert np.array_equal(engine.constraint(grammar).mask(), start)


def test_an_invalid_grammar_is_refused_each_time(engine: Engine) -> None:
    for _ in range(2):
        with pytest.raises(GrammarError):
            engine.constraint(CompiledGrammar("start: /(/"))


def test_a_path_ends_where_the_answer_is_no_call(engine: Engine) -> None:
    factory = ConstraintFactory(engine._vocabulary.guidance_tokenizer, engine.tokenizer.vocabulary.handle)
    grammar = compile_schema({"enum": ["ab", "cd"]})
    good, bad = (engine.tokenizer.encode(text, bos="never") for text in ('"ab"', "no"))
    path = CallPath(factory, grammar)
    assert path.mask([]) is not None
    assert path.mask(good[:1]) is not None
    assert path.mask([*good[:1], *bad]) is None
    assert path.mask([*good[:1], *bad, *bad]) is None


def test_a_panic_of_llguidance_ends_only_the_answers_that_were_under_way(engine: Engine) -> None:
    """A lexeme that cannot go on, which llguidance does not see, and a control token that must follow."""
    token = engine.tokenizer.special_id("<|im_start|>")
    lark = f'start: T <[{token}]>\nT: (/[^\\x{{0}}]+/ & ~/(?s:.*)x(?s:.*)/) "x"\n'
    factory = ConstraintFactory(engine._vocabulary.guidance_tokenizer, engine.tokenizer.vocabulary.handle)
    grammar = CompiledGrammar(lark)
    first, other = factory.start(grammar), factory.start(grammar)
    assert first.try_consume(engine.tokenizer.encode("yx", bos="never"))
    with pytest.raises(ConstraintError, match="panic"):
        first.mask()
    with pytest.raises(ConstraintError, match="panic"):
        other.mask()
    assert factory.start(grammar).mask().any()
