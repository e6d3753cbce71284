"""Text that contains JSON, code, tool names and calls that are only shown stays the text it was."""

from __future__ import annotations

import gzip
import json
import random
from collections.abc import Iterator

import pytest

import edgefc
from edgefc.formats import family_names, load_family
from edgefc.formats.write import write_assistant
from edgefc.grammar import compile_output
from edgefc.tools import ToolSet, parse_tool_choice
from tests.conftest import SHARED
from tests.formats.answer_corpus import KINDS, TOOL_SETS, TextCase, pieces, text_cases

COUNT = 1000
FREE_TEXT = [name for name in family_names() if load_family(name).syntax.text is None]
OWN_TEMPLATE = ["generic", "hermes", "qwen3"]
BFCL = SHARED / "data" / "bfcl"


@pytest.fixture(scope="module")
def cases() -> list[TextCase]:
    return text_cases(COUNT, TOOL_SETS)


@pytest.fixture(scope="module")
def demo_model() -> Iterator[edgefc.Model]:
    with edgefc.load("demo", n_ctx=512, n_parallel=1) as model:
        yield model


def calls_in(family: str, cases: list[TextCase]) -> list[tuple[str, str]]:
    """Return the kinds and texts of the cases that a family does not read as the text they are."""
    rng, declared, wrong = random.Random(1), load_family(family), []
    for case in cases:
        tools = ToolSet.of(list(case.tools))
        written = write_assistant(declared.syntax_for(tools), {"role": "assistant", "content": case.text})
        thinking = False if declared.opens_thoughts else None
        parser = declared.parser(tools, parse_tool_choice("auto", tools), thinking=thinking)
        content = "".join(delta.get("content", "") for piece in pieces(rng, written) for delta in parser.feed(piece))
        parsed = parser.finish("stop")
        content += "".join(delta.get("content", "") for delta in parsed.deltas)
        if parsed.message != {"role": "assistant", "content": case.text} or content != case.text:
            wrong.append((case.kind, case.text))
    return wrong


def test_the_corpus_is_the_same_each_time_and_varied(cases: list[TextCase]) -> None:
    assert text_cases(COUNT, TOOL_SETS) == cases
    assert len({case.text for case in cases}) > 0.9 * COUNT
    assert {case.kind for case in cases} == {kind.__name__ for kind in KINDS}
    named = [case for case in cases if any(tool["function"]["name"] in case.text for tool in case.tools)]
    assert len(named) > 0.8 * COUNT


@pytest.mark.parametrize("family", FREE_TEXT)
def test_text_is_no_call(cases: list[TextCase], family: str) -> None:
    assert calls_in(family, cases) == []


@pytest.mark.parametrize("family", OWN_TEMPLATE)
def test_text_about_other_peoples_tools_is_no_call(family: str) -> None:
    if not BFCL.is_dir():
        pytest.skip(f"BFCL's tools are not in {BFCL}")
    tool_sets = []
    for path in sorted(BFCL.glob("*multiple.jsonl.gz")):
        with gzip.open(path, "rt", encoding="utf-8") as file:
            tool_sets += [json.loads(line)["tools"] for line in file]
    assert calls_in(family, text_cases(COUNT, tool_sets)) == []


@pytest.mark.parametrize("family", OWN_TEMPLATE)
def test_the_grammar_of_auto_allows_the_text(cases: list[TextCase], demo_model: edgefc.Model, family: str) -> None:
    syntax, tokenizer = load_family(family).syntax, demo_model.engine.tokenizer
    refused = []
    for case in cases[:: 5 if family == "generic" else 25]:
        # The grammar keeps the family's own mark out of text, and lets a call follow its own beginning.
        if any(marker in case.text for marker in syntax.markers) or case.kind == "placeholder":
            continue
        tools = ToolSet.of(list(case.tools))
        grammar = compile_output(load_family(family).syntax_for(tools), tools, parse_tool_choice("auto", tools))
        constraint = demo_model.engine.constraint(grammar)
        ids = tokenizer.encode(case.text)
        if (count := constraint.count_allowed(ids)) < len(ids):
            refused.append((case.kind, tokenizer.decode(ids[:count]), tokenizer.decode(ids[count:])))
            continue
        for token in ids:
            constraint.consume(token)
        if not constraint.is_accepting:
            refused.append((case.kind, case.text, "the end"))
    assert refused == []
