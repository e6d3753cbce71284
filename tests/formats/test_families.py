"""Every family, every choice: both executors accept a written message, and it is parsed back to the same message."""

from __future__ import annotations

import json
import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgefc.formats import Family, ParsedReply, StreamParser, family_names, load_family
from edgefc.formats.write import write_assistant
from edgefc.grammar import CompiledGrammar, compile_output
from edgefc.types import Delta, Tool, ToolChoice
from tests.grammar import executors
from tests.property_settings import property_settings

FAMILIES = family_names()
MODES = ["none", "auto", "required", "named", "allowed"]


def values() -> st.SearchStrategy[tuple[dict[str, Any], Any]]:
    """Generate a schema and a value of it."""
    text = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=12)
    word = st.sampled_from(["Paris", '"', "\\", "</tool_call>", ">>>", "<|im_end|>", "]}", "```", "日本🙂", ""])
    plain = st.one_of(
        (text | word).map(lambda value: ({"type": "string"}, value)),
        st.integers(-(10**6), 10**6).map(lambda value: ({"type": "integer"}, value)),
        st.booleans().map(lambda value: ({"type": "boolean"}, value)),
        st.sampled_from(["celsius", "fahrenheit"]).map(lambda value: ({"enum": ["celsius", "fahrenheit"]}, value)),
        st.lists(text, max_size=3).map(lambda value: ({"type": "array", "items": {"type": "string"}}, value)),
        st.none().map(lambda value: ({"type": ["string", "null"]}, value)),
    )
    nested = plain.map(
        lambda pair: ({"type": "object", "properties": {"a": pair[0]}, "required": ["a"]}, {"a": pair[1]})
    )
    return plain | nested


@st.composite
def conversations(draw: st.DrawFn) -> tuple[list[Tool], list[dict[str, Any]]]:
    """Generate tools, and calls of some of them."""
    names = draw(
        st.lists(
            st.sampled_from(["get_weather", "spotify.play", "f", "send-mail", "now", "get"]),
            min_size=1,
            max_size=3,
            unique=True,
        )
    )
    tools: list[Tool] = []
    examples: list[dict[str, Any]] = []
    for name in names:
        parts = draw(st.dictionaries(st.sampled_from(["location", "unit", "q", "x y"]), values(), max_size=3))
        required = [key for key in parts if draw(st.booleans())]
        schema = {"type": "object", "properties": {k: v[0] for k, v in parts.items()}, "required": required}
        tools.append({"type": "function", "function": {"name": name, "description": "d", "parameters": schema}})
        present = [key for key in parts if key in required or draw(st.booleans())]
        examples.append({"name": name, "arguments": {key: parts[key][1] for key in present}, "id": "abcdefgh1"})
    calls = draw(st.lists(st.sampled_from(examples), min_size=1, max_size=3))
    return tools, calls


def without_thoughts(family: Family) -> bool | None:
    """Return the value of `thinking` with which no thoughts stand before an answer, where the prompt begins them."""
    return False if family.opens_thoughts else None


def choice_of(mode: str, tools: list[Tool], calls: list[dict[str, Any]]) -> ToolChoice:
    names = tuple(tool["function"]["name"] for tool in tools)
    if mode == "named":
        return ToolChoice("required", (calls[0]["name"],))
    if mode == "allowed":
        return ToolChoice("auto", tuple(name for name in names if name in {call["name"] for call in calls}))
    return ToolChoice(mode, names)  # type: ignore[arg-type]


def both_accept(grammar: CompiledGrammar, text: str) -> bool:
    return executors.accepts(grammar, text)


def parse_in_pieces(parser: StreamParser, text: str, rng: random.Random) -> tuple[ParsedReply, list[Delta]]:
    """Return the message of a text that comes in pieces, and its deltas."""
    deltas, index = [], 0
    while index < len(text):
        size = rng.choice([1, 1, 2, 3, 7, 200])
        deltas += parser.feed(text[index : index + size])
        index += size
    result = parser.finish("stop")
    return result, [*deltas, *result.deltas]


def calls_of(message: Any) -> list[dict[str, Any]]:
    functions = [call["function"] for call in message.get("tool_calls", [])]
    return [{"name": f["name"], "arguments": json.loads(f["arguments"])} for f in functions]


def streamed_calls(deltas: list[Delta]) -> list[dict[str, Any]]:
    """Assemble calls from deltas; each id, type and name comes once."""
    calls: dict[int, dict[str, Any]] = {}
    for delta in deltas:
        for part in delta.get("tool_calls", []):
            if "id" in part:
                assert part["index"] not in calls
                calls[part["index"]] = {"name": part["function"]["name"], "arguments": ""}
                assert part["type"] == "function"
            calls[part["index"]]["arguments"] += part["function"].get("arguments", "")
    return [{**call, "arguments": json.loads(call["arguments"])} for call in calls.values()]


@pytest.mark.parametrize("name", FAMILIES)
@property_settings(100, share=0.1)
@given(conversations(), st.sampled_from(["", "Let me <see>.", "naïve 🙂\n\nok"]), st.integers(0, 1 << 30))
def test_the_loop_closes(
    name: str, conversation: tuple[list[Tool], list[dict[str, Any]]], text_beside: str, seed: int
) -> None:
    check_loop(load_family(name), conversation, text_beside, seed)


def check_loop(
    family: Family, conversation: tuple[list[Tool], list[dict[str, Any]]], text_beside: str, seed: int
) -> None:
    """Write calls in all choices; both executors must accept them, and the parser must read the same."""
    (tools, calls), rng = conversation, random.Random(seed)
    thinking = without_thoughts(family)
    syntax = family.syntax if thinking is None else family.syntax_for(tools, thinking=thinking)
    for mode in MODES:
        choice = choice_of(mode, tools, calls)
        for parallel in (True, False):
            if mode == "none" and not parallel:
                continue
            many = parallel and syntax.parallel
            legal = [call for call in calls if call["name"] in choice.names][: None if many else 1]
            grammar = compile_output(syntax, tools, choice, parallel=parallel)
            may_have_text = mode in {"auto", "allowed"} and allows_text_beside_calls(family)
            content = text_beside if may_have_text else ""
            text = write_assistant(syntax, {"role": "assistant", "content": content, "tool_calls": legal})
            assert both_accept(grammar, text) == (mode != "none"), text
            if mode == "none":
                answer = write_assistant(syntax, {"role": "assistant", "content": text_beside or "x"})
                assert both_accept(grammar, answer), answer
                message, _ = parse_in_pieces(family.parser(tools, thinking=thinking), answer, rng)
                assert (message.outcome, message.message["content"]) == ("answer", text_beside or "x")
                continue
            message, deltas = parse_in_pieces(family.parser(tools, thinking=thinking), text, rng)
            expected = [{"name": call["name"], "arguments": call["arguments"]} for call in legal]
            assert message.outcome == "call"
            assert calls_of(message.message) == expected
            assert streamed_calls(deltas) == expected
            assert (message.message["content"] or "") == content
            assert "".join(delta.get("content", "") for delta in deltas) == content


def allows_text_beside_calls(family: Family) -> bool:
    """Return True if an answer can have both text and calls."""
    syntax = family.syntax
    return bool(syntax.text_begin) or syntax.calls_preamble is not None or "{text}" in syntax.calls_begin


@pytest.mark.parametrize("mode", ["none", "auto", "required"])
@pytest.mark.parametrize("name", FAMILIES)
def test_both_executors_allow_the_same_answers(name: str, mode: Any) -> None:
    family = load_family(name)
    # Random text hardly ever writes the mark that ends a string without quotes.
    text_schema = (
        {"type": "string"} if family.syntax.arguments in {"json", "pythonic"} else {"maxLength": 5, "type": "string"}
    )
    schema = {"type": "object", "properties": {"q": text_schema, "n": {"type": "integer"}}, "required": ["q"]}
    tools: list[Tool] = [
        {"type": "function", "function": {"name": tool, "parameters": schema}} for tool in ("get", "get_it")
    ]
    tools.append({"type": "code_interpreter", "function": {"name": "python", "parameters": {"type": "object"}}})
    names = ("get", "get_it", "python")
    thinking = without_thoughts(family)
    syntax = family.syntax if thinking is None else family.syntax_for(tools, thinking=thinking)
    grammar = compile_output(syntax, tools, ToolChoice(mode, names))
    ended = 0
    for seed in range(6):
        text = executors.walk(grammar, random.Random(seed), limit=300)
        if text is None:
            continue
        ended += 1
        message, _ = parse_in_pieces(family.parser(tools, thinking=thinking), text, random.Random(seed))
        if mode == "required":
            assert message.outcome == "call", text
        if mode == "none":
            assert message.outcome == "answer", text
        for call in calls_of(message.message):
            assert call["name"] in names
    assert ended or mode != "required"
