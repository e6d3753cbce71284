"""The text of a grammar: readable, reproducible, and without anything that llama.cpp reads differently."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from edgefc.grammar import compile_output, compile_schema
from edgefc.grammar.gbnf import GbnfWriter
from edgefc.grammar.rules import Chars, Literal, Node, Ref, Repeat, choice, optional, prune, sequence
from edgefc.types import ToolChoice
from tests.grammar.executors import LlamaCpp, accepts, reach
from tests.grammar.syntaxes import HERMES, TOOLS


def test_the_grammar_of_a_tool_reads_like_the_call() -> None:
    compiled = compile_output(HERMES, TOOLS[1:2], ToolChoice("required", ("get_weather",)), parallel=False)
    lines = compiled.gbnf.splitlines()
    assert lines[0] == r'root ::= "<tool_call>\n{\"name\": \"" call'
    assert r'call ::= "get_weather\", \"arguments\": " get-weather-args "}\n</tool_call>"' in lines
    assert (
        r'get-weather-args ::= "{\"city\": \"" char* "\"" (", \"unit\": " ("\"celsius\"" | "\"fahrenheit\""))? "}"'
        in lines
    )


def test_the_grammar_of_any_json_value_is_the_golden_one() -> None:
    text = Path(__file__).with_name("json.gbnf").read_text(encoding="utf-8")
    assert re.sub(r"(?m)^#.*\n", "", text) == compile_schema(True).gbnf
    LlamaCpp(text)


@pytest.mark.parametrize("char", [chr(code) for code in (*range(1, 0x100), 0x2028, 0xFEFF, 0xFFFF, 0x1F642, 0x10FFFF)])
def test_llama_cpp_reads_every_character_as_it_was_meant(char: str) -> None:
    rules: dict[str, Node] = {"root": sequence(Literal(f"<{char}>"), Chars(((ord(char), ord(char)),)))}
    gbnf = GbnfWriter(rules).text()
    assert "\0" not in gbnf
    assert reach(LlamaCpp(gbnf), f"<{char}>{char}") == -1
    assert reach(LlamaCpp(gbnf), f"<{char}>~~") != -1


def test_a_key_with_every_unusual_character_is_accepted_exactly() -> None:
    key = "".join(map(chr, [*range(0x20), 0x22, 0x27, 0x5B, 0x5C, 0x5D, 0x7F, 0x80, 0x2028, 0xD800, 0x1F642]))
    grammar = compile_schema({"type": "object", "properties": {key: {"const": key}}, "required": [key]})
    escaped = "".join(c if c in "'[]\x7f\x80\u2028🙂" else {"\n": "\\n", "\r": "\\r", "\t": "\\t", "\b": "\\b", "\f": "\\f", '"': '\\"', "\\": "\\\\"}.get(c, f"\\u{ord(c):04x}") for c in key)  # fmt: skip
    assert accepts(grammar, f'{{"{escaped}": "{escaped}"}}')
    assert not accepts(grammar, '{"a": "a"}')


def test_endless_rules_are_pruned() -> None:
    rules: dict[str, Node] = {
        "root": sequence(Literal("a"), optional(Ref("endless")), choice(Ref("endless"), Ref("good"))),
        "endless": sequence(Literal("x"), Ref("other")),
        "other": choice(Ref("endless"), sequence(Ref("other"), Literal("y"))),
        "good": Repeat(choice(Literal("b"), Ref("endless")), 1, 2),
        "unused": Literal("c"),
    }
    assert prune(rules) == {"root": sequence(Literal("a"), Ref("good")), "good": Repeat(Literal("b"), 1, 2)}
