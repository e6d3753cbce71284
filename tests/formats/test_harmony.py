"""gpt-oss names the recipient of a call in the header of the channel, or in that of the role."""

from __future__ import annotations

import random

import pytest

from edgefc.formats import load_family
from edgefc.grammar import compile_output
from edgefc.tools import ToolSet
from edgefc.types import Tool, ToolChoice
from tests.formats.test_families import both_accept, calls_of, parse_in_pieces, streamed_calls

FAMILY = load_family("gpt-oss")
TOOLS: list[Tool] = [
    {
        "type": "function",
        "function": {"name": name, "parameters": {"type": "object", "properties": {"q": {"type": "string"}}}},
    }
    for name in ("get", "get_it")
]
HEADS = [
    "<|channel|>commentary to=functions.get_it <|constrain|>json<|message|>",
    " to=functions.get_it<|channel|>commentary json<|message|>",
    " to=functions.get_it<|channel|>commentary <|constrain|>json<|message|>",
]
NEXT = "<|end|><|start|>assistant"
THOUGHTS, TEXT = f"<|channel|>analysis<|message|>Hm.{NEXT}", f"<|channel|>commentary<|message|>I will look.{NEXT}"


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("before", ["", THOUGHTS, TEXT, THOUGHTS + TEXT], ids=["", "thoughts", "text", "both"])
def test_either_header_names_the_recipient(head: str, before: str) -> None:
    text = f'{before}{head}{{"q": "<|call|> to=functions.get"}}'
    expected = [{"name": "get_it", "arguments": {"q": "<|call|> to=functions.get"}}]
    for mode in ("auto", "required"):
        if mode == "auto" or TEXT not in before:
            assert both_accept(compile_output(FAMILY.syntax, TOOLS, ToolChoice(mode, ("get", "get_it"))), text)  # type: ignore[arg-type]
    for seed in range(4):
        reply, deltas = parse_in_pieces(FAMILY.parser(ToolSet.of(TOOLS)), text, random.Random(seed))
        assert (reply.outcome, calls_of(reply.message), streamed_calls(deltas)) == ("call", expected, expected)
        assert reply.message["content"] == ("I will look." if TEXT in before else None)
        assert reply.message.get("reasoning_content") == ("Hm." if THOUGHTS in before else None)
    for tools in (None, ToolSet.of(TOOLS)):
        assert calls_of(FAMILY.parse(f"{text}<|call|>", tools).message) == expected


def test_only_tools_that_may_be_called_are_recipients() -> None:
    grammar = compile_output(FAMILY.syntax, TOOLS, ToolChoice("auto", ("get",)))
    assert not any(both_accept(grammar, f'{head}{{"q": "x"}}') for head in HEADS)
    reply = FAMILY.parse(" to=functions.other<|channel|>commentary json<|message|>{}", ToolSet.of(TOOLS))
    assert reply.outcome == "answer"
