"""Streaming: any cut gives the same message, and a call that is cut off never looks complete."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from edgefc.formats import load_family
from edgefc.formats.parse import Parsed, StreamParser
from edgefc.types import Delta

ANSWERS = {
    "hermes": 'On it.\n<tool_call>\n{"name": "f", "arguments": {"a": "x}\\"]", "b": [1, {"c": null}]}}\n</tool_call>\n'
    '<tool_call>\n{"name": "g.h", "arguments": {}}\n</tool_call>',
    "demo": '{"tool_calls": [{"name": "f", "arguments": {"a": "\\u00e9\\ud83d\\ude42"}}, {"name": "g", "arguments": {}}]}',
    "arch-chat": '```json\n{"tool_calls": [{"name": "f", "arguments": {"a": "``` \\\\"}}]}\n```',
}
TEXTS = {
    "demo": '{"response": "tab\\t \\"q\\" \\\\ \\u00e9 \\ud83d\\ude42 end"}',
    "arch-chat": '```json\n{"required_functions": ["f", "g"], "clarification": "Which\\none?"}\n```',
    "hermes": "No <tool_cal here, <tool_call",
}


def parse(family: str, pieces: list[str], reason: str = "stop") -> tuple[Parsed, list[Delta]]:
    ids = iter(range(99))
    parser = StreamParser(load_family(family).syntax, make_id=lambda: f"call_{next(ids)}")
    deltas = [delta for piece in pieces for delta in parser.feed(piece)]
    parsed = parser.finish(reason)  # type: ignore[arg-type]
    return replace(parsed, deltas=()), [*deltas, *parsed.deltas]


@pytest.mark.parametrize(("family", "text"), [*ANSWERS.items(), *TEXTS.items()])
def test_any_cut_gives_the_same_message(family: str, text: str) -> None:
    whole, _ = parse(family, [text])
    for cut in range(len(text)):
        assert parse(family, [text[:cut], text[cut:]])[0] == whole, cut
    assert parse(family, list(text))[0] == whole


@pytest.mark.parametrize(("family", "text"), ANSWERS.items())
def test_deltas_concatenate_to_the_message(family: str, text: str) -> None:
    parsed, deltas = parse(family, list(text))
    calls: dict[int, dict[str, str]] = {}
    for delta in deltas:
        for part in delta.get("tool_calls", []):
            call = calls.setdefault(part["index"], {"arguments": ""})
            if "id" in part:
                assert "id" not in call, "an id comes once"
                call.update(id=part["id"], type=part["type"], name=part["function"]["name"])
            call["arguments"] += part["function"].get("arguments", "")
    told = [
        {"id": c["id"], "type": c["type"], "function": {"name": c["name"], "arguments": c["arguments"]}}
        for c in calls.values()
    ]
    assert told == parsed.message["tool_calls"]
    assert "".join(delta.get("content", "") for delta in deltas) == (parsed.message["content"] or "")
    for call in told:
        json.loads(call["function"]["arguments"])


@pytest.mark.parametrize(("family", "text"), ANSWERS.items())
def test_a_cut_off_answer_never_shows_a_call_as_complete(family: str, text: str) -> None:
    for cut in range(len(text)):
        parsed, _ = parse(family, [text[:cut]], "length")
        assert parsed.outcome == "length"
        assert "tool_calls" not in parsed.message
        assert not any(mark in (parsed.message["content"] or "") for mark in ("tool_call", "```", "{"))


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
@pytest.mark.parametrize("family", ["demo", "arch-chat", "hermes"])
def test_damaged_output_is_an_answer_and_no_exception(family: str, text: str) -> None:
    parsed, _ = parse(family, list(text))
    assert "tool_calls" not in parsed.message
    assert parsed.outcome in {"answer", "length"}


def test_a_partial_marker_at_the_end_is_text() -> None:
    parsed, deltas = parse("hermes", list(TEXTS["hermes"]))
    assert parsed.message["content"] == "No <tool_cal here, <tool_call"
    assert "".join(delta.get("content", "") for delta in deltas) == "No <tool_cal here, <tool_call"
