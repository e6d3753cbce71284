"""The rest of a grammar amid an answer accepts what the whole accepts there, and nothing else."""

from __future__ import annotations

import json
import random

import pytest
from llguidance.gbnf_to_lark import any_to_lark

from edgefc.errors import ConstraintError
from edgefc.grammar import CompiledGrammar, compile_output, compile_schema
from edgefc.grammar.portable import portable, portable_rest
from edgefc.types import ToolChoice
from tests.grammar.executors import Guidance, LlamaCpp, reach
from tests.grammar.syntaxes import SYNTAXES, TOOLS, written

NAMES = tuple(tool["function"]["name"] for tool in TOOLS)


@pytest.mark.parametrize("name", SYNTAXES)
@pytest.mark.parametrize("mode", ["auto", "required"])
def test_every_beginning_of_a_call_continues(name: str, mode: str) -> None:
    gbnf = compile_output(SYNTAXES[name], TOOLS, ToolChoice(mode, NAMES)).gbnf
    text = written(SYNTAXES[name], [("get_weather", {"city": "Zürich 🎉", "unit": "celsius"})])
    assert reach(LlamaCpp(gbnf), text) == -1
    for size in range(0, len(text) + 1, 7):
        rest = portable_rest(gbnf, text[:size])
        assert reach(LlamaCpp(rest), text[size:]) == -1, (text[:size], rest[:2000])
        whole, left = LlamaCpp(gbnf), LlamaCpp(rest)
        whole.advance(text[:size].encode())
        assert whole.mask() == left.mask(), text[:size]


def test_a_repetition_counts_on() -> None:
    gbnf = 'root ::= item{2,3} "!"\nitem ::= "a" [0-9]\n'
    rest = portable_rest(gbnf, "a1a")
    assert [reach(LlamaCpp(rest), text) for text in ("1!", "1a2!", "1a2a3!", "!")] == [-1, -1, 3, 0]


def test_a_recursive_root_keeps_its_meaning() -> None:
    rest = portable_rest('root ::= "(" root? ")"\n', "((")
    assert [reach(LlamaCpp(rest), text) == -1 for text in ("))", "(()))", "()))", ")")] == [True, False, True, False]


def test_a_text_that_the_grammar_forbids_has_no_rest() -> None:
    with pytest.raises(ConstraintError, match="from 'c' on"):
        portable_rest('root ::= "ab" [x-z]*\n', "abxc")


def test_escapes_survive() -> None:
    value = '\\"]-^é🎉\n'
    gbnf = f'root ::= "a" {json.dumps(value, ensure_ascii=False)} [^\\x5D\\x5E\\x2D]\n'
    assert reach(LlamaCpp(portable_rest(gbnf, "a\\")), value[1:] + "z") == -1


@pytest.mark.parametrize("name", SYNTAXES)
@pytest.mark.parametrize("mode", ["auto", "required"])
def test_portable_gbnf_means_the_same(name: str, mode: str) -> None:
    gbnf = compile_output(SYNTAXES[name], TOOLS, ToolChoice(mode, NAMES)).gbnf
    text = written(SYNTAXES[name], [("get_weather", {"city": "-^]\\[ Zürich 🎉", "unit": "celsius"})])
    one, other = LlamaCpp(gbnf), LlamaCpp(portable(gbnf))
    for byte in text.encode():
        assert one.mask() == other.mask()
        one.accept(byte)
        other.accept(byte)
    assert reach(LlamaCpp(portable(portable(gbnf))), text) == -1


@pytest.mark.parametrize(
    ("gbnf", "expected"),
    [
        (r'root ::= "\x22a\x07b\u00e9"', r'root ::= ("\"a" [\x07] "bé")'),  # no digit after a number
        (r"root ::= [*-+\x2D/-9]", "root ::= [*-+/-9-]"),  # a dash, at the end
        (r"root ::= [^\x5Ea-z\x5D\x5B]", r"root ::= [^a-z\]\[^]"),
        (r"root ::= [\x5E]", 'root ::= ("^")'),
        (r"root ::= [\x01-\x1F0-9]", r"root ::= [0-9\x01-\x1F]"),
        (r"root ::= [\uE000-\U0010FFFF]", "root ::= [\ue000-\U0010ffff]"),
        ("root ::= ([a-z]{1,64})?", "root ::= [a-z]{0,64}"),  # no optional repetition
        ("root ::= ([a-z]{2,3})?", 'root ::= ([a-z]{2,3} | "")'),
    ],
)
def test_what_others_misread_is_written_otherwise(gbnf: str, expected: str) -> None:
    assert portable(gbnf) == f"{expected}\n"


@pytest.mark.parametrize("mode", ["auto", "required"])
def test_llguidance_reads_portable_gbnf(mode: str) -> None:
    for syntax in SYNTAXES.values():
        gbnf = portable(compile_output(syntax, TOOLS, ToolChoice(mode, NAMES)).gbnf)
        text = written(syntax, [("get_weather", {"city": "Oslo - 1", "unit": "celsius"})])
        assert reach(Guidance(any_to_lark(gbnf)), text) == -1


@pytest.mark.parametrize("name", SYNTAXES)
@pytest.mark.parametrize("mode", ["auto", "required"])
def test_every_beginning_of_a_call_continues_in_lark(name: str, mode: str) -> None:
    grammar = compile_output(SYNTAXES[name], TOOLS, ToolChoice(mode, NAMES))
    text = written(SYNTAXES[name], [("get_weather", {"city": "Zürich 🎉", "unit": "celsius"})])
    for size in range(0, len(text) + 1, 7):
        rest = grammar.lark_after([text[:size]])
        whole, left = Guidance(grammar.lark), Guidance(rest)
        whole.advance(text[:size].encode())
        assert whole.mask() == left.mask(), (text[:size], rest)
        assert reach(Guidance(rest), text[size:]) == -1, (text[:size], rest)


SCHEMAS = (
    {"type": "number", "multipleOf": 0.25, "minimum": -3},
    {"type": "string", "pattern": "^[a-z]{2,5}[0-9]+$", "minLength": 4},
    {"type": "string", "not": {"enum": ["no", "none"]}},
    {"anyOf": [{"type": "string", "maxLength": 3}, {"type": "integer", "multipleOf": 7}]},
    {"properties": {"a": {"format": "date"}, "b": {"type": "array", "items": {"enum": ["x", "xy", 3]}, "minItems": 1}},
     "type": "object", "additionalProperties": {"type": "integer"}},
)  # fmt: skip


def test_the_rest_in_lark_is_exact_anywhere() -> None:
    rng = random.Random(20261130)
    choices = [ToolChoice(mode, NAMES) for mode in ("auto", "required")]
    grammars = [compile_output(syntax, TOOLS, choice) for syntax in SYNTAXES.values() for choice in choices]
    for grammar in (*map(compile_schema, SCHEMAS), *grammars):
        for _ in range(4):
            answer = _beginning(grammar, rng)
            cut = rng.randrange(len(answer) + 1)
            whole, left = Guidance(grammar.lark), Guidance(grammar.lark_after([answer[:cut]]))
            whole.advance(answer[:cut].encode())
            for byte in answer[cut:].encode():
                assert whole.mask() == left.mask(), (answer, cut, grammar.lark)
                whole.accept(byte)
                left.accept(byte)
            assert whole.mask() == left.mask(), (answer, cut, grammar.lark)


def _beginning(grammar: CompiledGrammar, rng: random.Random, limit: int = 120) -> str:
    """Return random ASCII with which a text of the language begins, or all of one."""
    walk, raw = Guidance(grammar.lark), bytearray()
    while len(raw) < limit and (allowed := sorted(byte for byte in walk.mask() if byte < 0x80)):
        closing = [byte for byte in allowed if chr(byte) in '"]},:']
        raw.append(rng.choice(closing if closing and rng.random() < 0.4 else allowed))
        walk.accept(raw[-1])
    return raw.decode()


def test_control_tokens_continue_by_id() -> None:
    syntax = SYNTAXES["hermes"]
    control = {"<tool_call>": 300}
    grammar = compile_output(syntax, TOOLS, ToolChoice("required", NAMES), parallel=False, control=control)
    assert grammar.control == {300}
    rest = grammar.lark_after([300, "\n{"])
    assert reach(Guidance(rest), '"name": "get_weather"') == len('"name": "get_weather"')
    with pytest.raises(ConstraintError, match="from '<tool_call>"):
        grammar.lark_after(["<tool_call>\n"])
