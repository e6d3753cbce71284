"""The loop closes in every family: the grammar accepts a written message, and it is parsed back to the same message."""

from __future__ import annotations

import json
import random
from typing import Any

import pytest

from edgefc.formats import family_names, load_family
from edgefc.formats.parse import StreamParser
from edgefc.formats.write import write_assistant
from edgefc.grammar import CompiledGrammar, compile_output
from edgefc.grammar.argument_types import ArgumentTypes
from edgefc.types import OutputSyntax, ToolChoice
from tests.tool_sets import TOOL_SETS

FAMILIES = family_names()
WORDS = [
    "x",
    "Paris",
    'say "hi"',
    "back\\slash",
    "naïve 日本 🙂",
    "line\nbreak",
    "</tool_call>",
    "{}[]",
    "\u2028",
    "```",
    "tab\t",
]


def accepts(grammar: CompiledGrammar, text: str) -> bool:
    """Return True if llguidance accepts the whole text, byte by byte."""
    import llguidance

    matcher = llguidance.LLMatcher(byte_tokenizer(), grammar.lark)
    assert not matcher.is_error(), matcher.get_error()
    data = list(text.encode())
    return matcher.try_consume_tokens(data) == len(data) and matcher.is_accepting()


_TOKENIZER: list[Any] = []


def byte_tokenizer() -> Any:
    import llguidance

    class Bytes:
        eos_token_id, bos_token_id = 256, None
        tokens = (*(bytes([i]) for i in range(256)), b"\xff<eos>")
        special_token_ids = (256,)

        def __call__(self, text: Any) -> list[int]:
            return list(text if isinstance(text, bytes) else text.encode())

    if not _TOKENIZER:
        _TOKENIZER.append(llguidance.LLTokenizer(llguidance.TokenizerWrapper(Bytes())))
    return _TOKENIZER[0]


def parse(syntax: OutputSyntax, text: str, rng: random.Random | None = None, tools: Any = ()) -> tuple[Any, list[Any]]:
    """Parse a text in random pieces, or at once without `rng`; returns the message and all deltas.

    tools  those whose types of arguments the parser knows
    """
    ids = iter(range(10**6))
    types = {tool["function"]["name"]: ArgumentTypes(tool["function"]["parameters"]) for tool in tools}
    parser = StreamParser(syntax, make_id=lambda: f"call_{next(ids)}", types=types)
    deltas, index = [], 0
    while index < len(text):
        size = len(text) if rng is None else rng.choice([1, 1, 2, 3, 7, 20])
        deltas += parser.feed(text[index : index + size])
        index += size
    parsed = parser.finish("stop")
    return parsed, [*deltas, *parsed.deltas]


def instance(schema: dict[str, Any], rng: random.Random, root: dict[str, Any]) -> Any:
    """Return a valid value of one of the schemas of `tool_sets`."""
    if "$ref" in schema:
        return instance(root["$defs"][schema["$ref"].rsplit("/", 1)[-1]], rng, root)
    if "enum" in schema:
        return rng.choice(schema["enum"])
    if "const" in schema:
        return schema["const"]
    if "anyOf" in schema:
        return instance(rng.choice(schema["anyOf"]), rng, root)
    kind = schema["type"]
    if kind == "object":
        names = [n for n in schema["properties"] if n in schema.get("required", ()) or rng.random() < 0.5]
        return {name: instance(schema["properties"][name], rng, root) for name in names}
    if kind == "array":
        low, high = schema.get("minItems", 0), schema["maxItems"]
        count = rng.randint(low, high if rng.random() < 0.3 else low)
        return [instance(schema["items"], rng, root) for _ in range(count)]
    if kind == "string":
        length = rng.randint(schema.get("minLength", 0), schema["maxLength"])
        return "".join(rng.choice('aZ0 é"\\\n🙂{}[],:') for _ in range(length))
    if kind == "integer":
        return rng.randint(schema["minimum"], schema["maximum"])
    return rng.random() < 0.5 if kind == "boolean" else None


def random_calls(tools: list[Any], rng: random.Random) -> list[dict[str, Any]]:
    chosen = [rng.choice(tools)["function"] for _ in range(rng.choice([1, 1, 2, 3]))]
    return [
        {"id": "abcdefgh1", "name": f["name"], "arguments": instance(f["parameters"], rng, f["parameters"])}
        for f in chosen
    ]


@pytest.mark.parametrize("number", range(len(TOOL_SETS)))
@pytest.mark.parametrize("family", FAMILIES)
def test_calls_are_written_accepted_and_parsed_to_the_same_calls(family: str, number: int) -> None:
    syntax, tools = load_family(family).syntax, TOOL_SETS[number]
    rng = random.Random(f"{family}{number}")
    grammar = compile_output(syntax, tools, ToolChoice("auto", tuple(t["function"]["name"] for t in tools)))
    for _ in range(3):
        calls = random_calls(tools, rng)[: None if syntax.parallel else 1]
        text = write_assistant(syntax, {"role": "assistant", "content": "", "tool_calls": calls})
        assert accepts(grammar, text), text
        parsed, _ = parse(syntax, text, rng, tools)
        assert parsed.outcome == "call"
        functions = [c["function"] for c in parsed.message["tool_calls"]]
        assert [{"name": f["name"], "arguments": json.loads(f["arguments"])} for f in functions] == [
            {"name": call["name"], "arguments": call["arguments"]} for call in calls
        ]


@pytest.mark.parametrize("word", WORDS)
@pytest.mark.parametrize("family", FAMILIES)
def test_text_is_written_accepted_and_parsed_to_the_same_text(family: str, word: str) -> None:
    syntax, tools = load_family(family).syntax, TOOL_SETS[3]
    if word.startswith(syntax.forbidden_starts):
        pytest.skip("a text of this family must not begin like this: it would read like a call")
    names = tuple(t["function"]["name"] for t in tools)
    for mode in ("auto", "none"):
        text = write_assistant(syntax, {"role": "assistant", "content": word})
        assert accepts(compile_output(syntax, tools, ToolChoice(mode, names)), text)  # type: ignore[arg-type]
    parsed, deltas = parse(syntax, text, random.Random(word))
    assert (parsed.outcome, parsed.message["content"]) == ("answer", word)
    assert "".join(delta.get("content", "") for delta in deltas) == word


@pytest.mark.parametrize("family", [f for f in FAMILIES if load_family(f).syntax.clarify])
def test_a_clarification_names_the_tools_it_is_about(family: str) -> None:
    syntax, tools = load_family(family).syntax, TOOL_SETS[6]
    names = tuple(t["function"]["name"] for t in tools)
    message = {"role": "assistant", "content": 'Which "city"?\n', "required_functions": list(names[:2])}
    text = write_assistant(syntax, message)
    assert accepts(compile_output(syntax, tools, ToolChoice("auto", names)), text)
    for rng in (None, random.Random(1)):
        parsed, _ = parse(syntax, text, rng)
        assert (parsed.outcome, parsed.missing) == ("clarify", names[:2])
        assert parsed.message["content"] == message["content"]


def test_no_tool_is_an_outcome_of_its_own() -> None:
    syntax = load_family("demo").syntax
    text = write_assistant(syntax, {"role": "assistant", "content": "Sorry.", "no_tool": True})
    parsed, _ = parse(syntax, text)
    assert (parsed.outcome, parsed.message["content"]) == ("no_tool", "Sorry.")


@pytest.mark.parametrize("family", [f for f in FAMILIES if load_family(f).syntax.calls_preamble is not None])
def test_text_before_a_call_is_content(family: str) -> None:
    syntax, tools = load_family(family).syntax, TOOL_SETS[2]
    call = {
        "name": tools[0]["function"]["name"],
        "id": "abcdefgh1",
        "arguments": instance(tools[0]["function"]["parameters"], random.Random(0), {}),
    }
    text = write_assistant(syntax, {"role": "assistant", "content": "Let me <see>.\n", "tool_calls": [call]})
    assert accepts(compile_output(syntax, tools, ToolChoice("auto", (call["name"],))), text)
    parsed, deltas = parse(syntax, text, random.Random(5))
    assert parsed.message["content"] == "Let me <see>.\n"
    assert "".join(delta.get("content", "") for delta in deltas) == "Let me <see>.\n"
    assert len(parsed.message["tool_calls"]) == 1


@pytest.mark.parametrize("family", FAMILIES)
def test_a_required_choice_leaves_no_text_and_none_leaves_no_call(family: str) -> None:
    syntax, tools = load_family(family).syntax, TOOL_SETS[1]
    names = tuple(t["function"]["name"] for t in tools)
    call = write_assistant(syntax, {"content": "", "tool_calls": random_calls(tools, random.Random(3))})
    text = write_assistant(syntax, {"content": "hello"})
    required = compile_output(syntax, tools, ToolChoice("required", names))
    assert accepts(required, call)
    assert not accepts(required, text)
    none = compile_output(syntax, tools, ToolChoice("none", names))
    assert accepts(none, text)
    assert not accepts(none, call)


@pytest.mark.parametrize("family", FAMILIES)
def test_without_parallel_calls_there_is_at_most_one(family: str) -> None:
    syntax, tools = load_family(family).syntax, TOOL_SETS[1]
    names = tuple(t["function"]["name"] for t in tools)
    rng = random.Random(8)
    one = random_calls(tools, rng)[:1]
    grammar = compile_output(syntax, tools, ToolChoice("auto", names), parallel=False)
    assert accepts(grammar, write_assistant(syntax, {"tool_calls": one}))
    assert not accepts(grammar, write_assistant(syntax, {"tool_calls": one * 2}))
