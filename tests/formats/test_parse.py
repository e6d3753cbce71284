"""Streaming: any cut gives the same message, and a call that is cut off never looks complete."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from edgefc.engine.detokenizer import Detokenizer
from edgefc.formats import family_names, load_family
from edgefc.formats.parse import ParsedReply, StreamParser
from edgefc.formats.write import write_assistant
from edgefc.types import Delta
from tests.formats.test_families import allows_text_beside_calls

TOOLS: Any = [
    {"type": "function", "function": {"name": name, "parameters": {"type": "object"}}} for name in ("f", "g.h", "get")
]
CALLS = [
    {"name": "f", "arguments": {"a": 'x}\\"] ```', "b": [1, {"c": None}], "é": "日本🙂\n"}, "id": "abcdefgh1"},
    {"name": "g.h", "arguments": {}, "id": "abcdefgh2"},
    {"name": "f", "arguments": {"a": "</tool_call>>>>get\n<|im_end|>"}, "id": "abcdefgh3"},
]


def answer(family: str) -> str:
    """Write three calls, or one if the family makes only one, after a word if the family allows text before calls."""
    syntax = load_family(family).syntax
    calls = CALLS if syntax.parallel else CALLS[:1]
    content = "" if not allows_text_beside_calls(load_family(family)) else "On <it>, 🙂."
    return write_assistant(syntax, {"role": "assistant", "content": content, "tool_calls": calls})


ANSWERS = {name: answer(name) for name in family_names()}
CODE = {name: load_family(name).syntax.code for name in family_names() if load_family(name).syntax.code}
TEXTS = {
    "demo": '{"response": "tab\\t \\"q\\" \\\\ \\u00e9 \\ud83d\\ude42 end"}',
    "arch-chat": '```json\n{"required_functions": ["f", "g"], "clarification": "Which\\none?"}\n```',
    "hermes": "No <tool_cal here, <tool_call",
    "qwen3": "<think>\nA <tool_call> maybe?\n</think>\n\nYes <b>🙂</b>",
    "functionary-v3.llama3": "all\nA >>> b\n>>>",
    "functionary-v3.1": "x <function=nothing>{}</function",
    "xlam2-qwen": "[1] is a footnote",
}


def parse(family: str, pieces: list[str], reason: str = "stop") -> tuple[ParsedReply, list[Delta]]:
    ids = iter(range(99))
    parser = StreamParser(
        load_family(family).syntax, lambda: f"call_{next(ids)}", names=["f", "g.h", "get", "python"], code="python"
    )
    deltas = [delta for piece in pieces for delta in parser.feed(piece)]
    parsed = parser.finish(reason)  # type: ignore[arg-type]
    return replace(parsed, deltas=()), [*deltas, *parsed.deltas]


@pytest.mark.parametrize(("family", "text"), [*ANSWERS.items(), *TEXTS.items()])
def test_any_cut_gives_the_same_message(family: str, text: str) -> None:
    whole, _ = parse(family, [text])
    for cut in range(len(text)):
        assert parse(family, [text[:cut], text[cut:]])[0] == whole, cut
    assert parse(family, list(text))[0] == whole
    output = Detokenizer()
    assert parse(family, [*(output.feed(bytes([byte])) for byte in text.encode()), output.flush()])[0] == whole


@pytest.mark.parametrize(("family", "text"), ANSWERS.items())
def test_deltas_concatenate_to_the_message(family: str, text: str) -> None:
    parsed, deltas = parse(family, list(text))
    calls: dict[int, dict[str, str]] = {}
    assert len(parsed.message["tool_calls"]) == (3 if load_family(family).syntax.parallel else 1)
    for delta in deltas:
        for part in delta.get("tool_calls", []):
            call = calls.setdefault(part["index"], {"arguments": ""})
            if "id" in part:
                assert "id" not in call, "an id comes once"
                call.update(id=part["id"], type=part["type"], name=part["function"]["name"])
            call["arguments"] += part["function"].get("arguments", "")
    streamed = [
        {"id": c["id"], "type": c["type"], "function": {"name": c["name"], "arguments": c["arguments"]}}
        for c in calls.values()
    ]
    assert streamed == parsed.message["tool_calls"]
    assert "".join(delta.get("content", "") for delta in deltas) == (parsed.message["content"] or "")
    for call in streamed:
        json.loads(call["function"]["arguments"])


@pytest.mark.parametrize(("family", "text"), ANSWERS.items())
def test_a_cut_off_answer_has_its_complete_calls_and_no_other(family: str, text: str) -> None:
    whole = parse(family, [text])[0].message
    n_complete = 0
    for cut in range(len(text)):
        parsed, _ = parse(family, [text[:cut]], "length")
        calls = [call["function"] for call in parsed.message.get("tool_calls", [])]
        assert calls == [call["function"] for call in whole["tool_calls"][: len(calls)]], text[:cut]
        assert parsed.outcome == ("call" if calls else "length")
        assert len(calls) >= n_complete
        assert (whole["content"] or "").startswith(parsed.message["content"] or ""), text[:cut]
        n_complete = len(calls)
    assert n_complete >= len(whole["tool_calls"]) - 1


@pytest.mark.parametrize("family", CODE)
def test_raw_code_is_streamed_and_is_not_a_call_when_cut_off(family: str) -> None:
    program = 'print("日本🙂")\nx = {"a": 1}  # </function> >>>'
    text = CODE[family].replace("{code}", program)
    whole, deltas = parse(family, [text])
    assert json.loads(whole.message["tool_calls"][0]["function"]["arguments"]) == {"code": program}
    for cut in range(len(text)):
        assert parse(family, [text[:cut], text[cut:]])[0] == whole
        assert "tool_calls" not in parse(family, [text[:cut]], "length")[0].message
    assert len(parse(family, list(text))[1]) > len(deltas)


def test_json_escapes_become_characters() -> None:
    assert parse("demo", [TEXTS["demo"]])[0].message["content"] == 'tab\t "q" \\ é 🙂 end'


@pytest.mark.parametrize(
    "text",
    [
        "just words",
        "{",
        '{"required_functions": ["a" b], "clarification": "x"}',
        '{"tool_calls": 5}',
        "```json\nnonsense",
        '{"response": 3}',
        "",
        "<tool_call>\nnot json",
    ],
)
@pytest.mark.parametrize("family", family_names())
def test_damaged_output_is_an_answer_and_not_an_exception(family: str, text: str) -> None:
    parsed, _ = parse(family, list(text))
    assert "tool_calls" not in parsed.message
    assert parsed.outcome in {"answer", "length"}


def test_a_partial_marker_at_the_end_is_text() -> None:
    parsed, deltas = parse("hermes", list(TEXTS["hermes"]))
    assert parsed.message["content"] == "No <tool_cal here, <tool_call"
    assert "".join(delta.get("content", "") for delta in deltas) == "No <tool_cal here, <tool_call"


@pytest.mark.parametrize("text", ['{"name": [], "arguments": {}}', '[{"name": {"f": 1}}]', '{"name": null}'])
def test_a_call_whose_name_is_not_a_string_is_text(text: str) -> None:
    reply = load_family("hermes").parse(text, TOOLS)
    assert (reply.outcome, reply.message["content"]) == ("answer", text)
