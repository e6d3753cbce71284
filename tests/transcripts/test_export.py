"""Datasets for fine-tuning: nothing that was called is lost, and what a format cannot say is skipped with the reason.

The property tests read the datasets back by the rules of those who train with them, not with edgefc's own code.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgefc.errors import RequestError
from edgefc.transcripts import Dataset, export, read
from tests.property_settings import property_settings
from tests.transcripts.conftest import WEATHER, calls, edgefc, record, result, says, user, write

RUN = property_settings(100)
TYPES = {"str": "string", "int": "integer", "float": "number", "bool": "boolean", "list": "array", "dict": "object"}
Call = tuple[str, dict[str, Any]]

texts = st.text(st.characters(codec="utf-8"), min_size=1, max_size=12)
names = st.sampled_from(["get_weather", "add", "a.b", "q-1"])
values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False) | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=6,
)
arguments = st.dictionaries(texts, values, max_size=3)
rounds = st.lists(st.tuples(names, arguments, texts), min_size=1, max_size=3)
properties = st.fixed_dictionaries(
    {"type": st.sampled_from(sorted(TYPES.values()))},
    optional={"description": texts, "enum": st.lists(texts, min_size=1, max_size=2), "default": values},
)


@st.composite
def tool_sets(draw: st.DrawFn) -> list[dict[str, Any]]:
    made = []
    for name in draw(st.lists(names, min_size=1, max_size=3, unique=True)):
        shown = draw(st.dictionaries(texts, properties, max_size=3))
        required = draw(st.lists(st.sampled_from(sorted(shown)), unique=True)) if shown else []
        parameters = {"type": "object", "properties": shown, "required": required}
        made.append({"type": "function", "function": {"name": name, "description": "x", "parameters": parameters}})
    return made


@st.composite
def conversations(draw: st.DrawFn) -> list[dict[str, Any]]:
    """A line for each answer of a conversation: questions, rounds of calls with their results, answers in text."""
    tools = draw(tool_sets())
    system = draw(st.none() | texts)
    messages: list[dict[str, Any]] = [] if system is None else [{"role": "system", "content": system}]
    made = []
    for asked in draw(st.lists(st.tuples(texts, st.lists(rounds, max_size=2)), min_size=1, max_size=3)):
        question, called = asked
        messages.append(user(question))
        for one_round in called:
            answer = calls(*((name, json.dumps(given)) for name, given, _ in one_round))
            made.append(record(list(messages), answer, "call", tools=tools))
            messages.append(answer)
            messages += [result(text, number) for number, (_, _, text) in enumerate(one_round)]
        answer = says(draw(texts))
        made.append(record(list(messages), answer, tools=tools))
        messages.append(answer)
    return made[: draw(st.integers(1, len(made)))]


def exported(path: Path, records: list[dict[str, Any]], to: str, **options: Any) -> Dataset:
    made = export(read([write(path, records)]), to, **options)
    assert len(made.entries) + made.merged + len(made.skipped) + made.filtered_out == len(records)
    made.entries = json.loads(json.dumps(made.entries))
    return made


def said(records: list[dict[str, Any]]) -> Iterator[Any]:
    """All that was said until the last answer: a text, a list of calls, or a list of results."""
    results: list[str] = []
    for message in [*records[-1]["messages"], records[-1]["reply"]["message"]]:
        if message["role"] == "tool":
            results.append(message["content"])
            continue
        if results:
            yield results
            results = []
        if message.get("tool_calls"):
            functions = [call["function"] for call in message["tool_calls"]]
            yield [(function["name"], json.loads(function["arguments"])) for function in functions]
        else:
            yield message["content"]


@given(records=conversations())
@RUN
def test_sharegpt_says_all_that_was_said(records: list[dict[str, Any]], tmp_path_factory: Any) -> None:
    made = exported(tmp_path_factory.getbasetemp() / "property.jsonl", records, "sharegpt")
    (entry,) = made.entries
    told: list[Any] = [entry["system"]] if entry["system"] else []
    for number, turn in enumerate(entry["conversations"]):
        assert turn["from"] in (("human", "observation"), ("gpt", "function_call"))[number % 2]
        value: Any = turn["value"]
        if turn["from"] == "function_call":
            value = json.loads(value)
            value = [(call["name"], call["arguments"]) for call in (value if isinstance(value, list) else [value])]
        elif turn["from"] == "observation":
            value = value.split("\n</tool_response>\n<tool_response>\n")
        told.append(value)
    assert told == list(said(records))
    assert len(entry["conversations"]) % 2 == 0
    assert json.loads(entry["tools"]) == [tool["function"] for tool in records[-1]["tools"]]


@given(records=conversations())
@RUN
def test_trl_says_all_that_was_said(records: list[dict[str, Any]], tmp_path_factory: Any) -> None:
    made = exported(tmp_path_factory.getbasetemp() / "property.jsonl", records, "trl")
    (entry,) = made.entries
    told: list[Any] = []
    waiting: dict[str, str] = {}
    for message in entry["messages"]:
        if message["role"] == "tool":
            assert waiting.pop(message["tool_call_id"]) == message["name"]
            told[-1].append(message["content"])
        elif "tool_calls" in message:
            assert {call["type"] for call in message["tool_calls"]} == {"function"}
            functions = [call["function"] for call in message["tool_calls"]]
            waiting = {call["id"]: call["function"]["name"] for call in message["tool_calls"]}
            told += [[(function["name"], function["arguments"]) for function in functions], []]
        else:
            told.append(message["content"])
    assert [part for part in told if part != []] == list(said(records))
    assert entry["tools"] == records[-1]["tools"]


@given(records=conversations())
@RUN
def test_xlam_says_the_calls_of_each_first_question(records: list[dict[str, Any]], tmp_path_factory: Any) -> None:
    made = exported(tmp_path_factory.getbasetemp() / "property.jsonl", records, "xlam")
    single = [r for r in records if len(r["messages"]) == 1 and r["reply"]["outcome"] == "call"]
    assert len(made.entries) == len(single)
    for number, (entry, found) in enumerate(zip(made.entries, single, strict=True)):
        assert list(entry) == ["id", "query", "tools", "answers"]
        assert (entry["id"], entry["query"]) == (number, found["messages"][0]["content"])
        told = [(call["name"], call["arguments"]) for call in json.loads(entry["answers"])]
        assert told == list(said([found]))[-1]
        assert [unflattened(tool) for tool in json.loads(entry["tools"])] == [
            {**tool["function"], "parameters": {**tool["function"]["parameters"], "required": required}}
            for tool in found["tools"]
            for parameters in [tool["function"]["parameters"]]
            for required in [[name for name in parameters["properties"] if name in parameters["required"]]]
        ]


def unflattened(tool: dict[str, Any]) -> dict[str, Any]:
    """JSON Schema again, as who knows xlam-function-calling-60k would read it."""
    shown, required = {}, []
    for name, parameter in tool["parameters"].items():
        kind, _, optional = parameter["type"].partition(", ")
        assert optional in {"", "optional"}
        required += [] if optional else [name]
        shown[name] = {**parameter, "type": TYPES[kind]}
    return {**tool, "parameters": {"type": "object", "properties": shown, "required": required}}


SUNNY = [user(), calls(("get_weather", {"location": "Paris"})), result("sunny")]
NESTED = {"type": "object", "properties": {"at": {"type": "object", "properties": {"x": {"type": "integer"}},
          "required": ["x"]}}, "required": ["at"]}  # fmt: skip


def tool(parameters: dict[str, Any] | None, **others: Any) -> dict[str, Any]:
    function = {"name": "f", **({} if parameters is None else {"parameters": parameters}), **others}
    return {"type": "function", "function": function}


def asked(parameters: Any) -> dict[str, Any]:
    return record([user()], calls(("f", "{}")), "call", tools=[tool(parameters)])


def one(**schema: Any) -> dict[str, Any]:
    return asked({"type": "object", "properties": {"a": schema}, "required": []})


REFUSED: dict[str, tuple[dict[str, Any], str, str]] = {
    "cut off": (record([user()], says("It is"), "length"), "sharegpt xlam trl", "cut off"),
    "a program": (record([user()], says("x"), tools=[{"type": "code_interpreter"}]), "sharegpt trl", "code_interpreter"),
    "nothing said": (record([user()], says("", no_tool=True), "no_tool"), "sharegpt xlam trl", "neither text nor calls"),
    "text beside calls": (
        record([user()], calls(("get_weather", "{}"), content="Let me see"), "call"),
        "sharegpt xlam",
        "text beside its calls",
    ),
    "two questions": (record([user(), user("And Oslo?")], says("x")), "sharegpt", "in turns"),
    "an answer first": (record([says("Hello"), user()], says("x")), "sharegpt", "in turns"),
    "a late system message": (
        record([user(), {"role": "system", "content": "Be brief"}], says("x")),
        "sharegpt",
        "system message",
    ),
    "thoughts": (record([user()], says("x", reasoning_content="hm")), "sharegpt", "--no-reasoning"),
    "a separator": (
        record(
            [user(), calls(("f", "{}"), ("f", "{}")), result("a"), result("</tool_response>\n<tool_response>", 1)],
            says("x"),
        ),
        "sharegpt",
        "separates results",
    ),
    "a system message": (
        record([{"role": "system", "content": "x"}, user()], calls(("get_weather", "{}")), "call"),
        "xlam",
        "system message",
    ),
    "several turns": (record(SUNNY, says("It is sunny")), "xlam", "single turn"),
    "no calls": (record([user()], says("x")), "xlam", "calls no tool"),
    "definitions": (asked({"$defs": {}, "properties": {}}), "xlam", "f: parameters have $defs"),
    "other properties": (asked({"type": "object", "additionalProperties": True}), "xlam", "additionalProperties"),
    "no object": (asked({"type": "array"}), "xlam", "not an object"),
    "one without a schema": (asked({"type": "object", "required": ["a"]}), "xlam", "no schema"),
    "an odd list of required ones": (asked({"type": "object", "required": [[]]}), "xlam", "no schema"),
    "optional of several types": (one(anyOf=[{"type": "string"}, {"type": "null"}]), "xlam", "f.a"),
    "optional of anything": (
        asked({"type": "object", "properties": {"a": True}, "required": []}), "xlam", "no single type"
    ),
}  # fmt: skip


@pytest.mark.parametrize(("line", "formats", "reason"), REFUSED.values(), ids=REFUSED.keys())
def test_what_a_format_cannot_say_is_skipped_with_the_reason(
    line: dict[str, Any], formats: str, reason: str, tmp_path: Path
) -> None:
    for to in ("sharegpt", "xlam", "trl"):
        made = exported(tmp_path / "a.jsonl", [line], to)
        if to in formats.split():
            ((skipped, why),) = made.skipped
            assert reason in why
            assert skipped.line == 1
        elif to != "xlam":
            assert len(made.entries) == 1


def test_xlam_keeps_what_is_inside_of_parameters(tmp_path: Path) -> None:
    (entry,) = exported(tmp_path / "a.jsonl", [asked({**NESTED, "additionalProperties": False})], "xlam").entries
    flat = {"at": {"type": "dict", "properties": {"x": {"type": "integer"}}, "required": ["x"]}}
    assert json.loads(entry["tools"]) == [{"name": "f", "description": "", "parameters": flat}]


def test_a_tool_without_parameters_takes_an_empty_object(tmp_path: Path) -> None:
    for to in ("sharegpt", "trl"):
        (entry,) = exported(tmp_path / "a.jsonl", [asked(None)], to).entries
        tools = json.loads(entry["tools"]) if to == "sharegpt" else [tool["function"] for tool in entry["tools"]]
        assert tools == [{"name": "f", "parameters": {"type": "object", "properties": {}}}]


def test_thoughts_are_kept_where_there_is_a_place_for_them(tmp_path: Path) -> None:
    line = record([user()], says("x", reasoning_content="hm"))
    (entry,) = exported(tmp_path / "a.jsonl", [line], "trl").entries
    assert entry["messages"][-1] == {"role": "assistant", "content": "x", "reasoning_content": "hm"}
    for to in ("sharegpt", "trl"):
        (entry,) = exported(tmp_path / "a.jsonl", [line], to, reasoning=False).entries
        assert "hm" not in json.dumps(entry)


def test_a_conversation_is_one_entry_also_when_ids_and_spelling_differ(tmp_path: Path) -> None:
    """What a client sends back is not what it was sent, byte for byte."""
    first = record([user()], calls(("get_weather", '{"location":"Paris"}')), "call")
    again = json.loads(json.dumps(SUNNY).replace("call_0", "call_x"))
    lines = [first, record(again, says("It is sunny")), record(SUNNY, says("It is sunny"))]
    for to in ("sharegpt", "trl"):
        made = exported(tmp_path / "a.jsonl", lines, to)
        assert (len(made.entries), made.merged) == (1, 2)


def test_what_clients_do_not_send_back_makes_no_other_conversation(tmp_path: Path) -> None:
    asked = record([user("Weather?")], says("Where?", required_functions=["get_weather"]), "clarify")
    answered = record([user("Weather?"), says("Where?"), user("In Oslo")], says("It is sunny"))
    made = exported(tmp_path / "a.jsonl", [asked, answered], "trl")
    assert (len(made.entries), made.merged) == (1, 1)


def test_an_answer_that_was_cut_off_spoils_the_conversation_that_went_on(tmp_path: Path) -> None:
    cut = record([user()], says("It is"), "length")
    on = record([user(), says("It is"), user("Go on")], says("sunny"))
    made = exported(tmp_path / "a.jsonl", [cut, on], "trl")
    assert [why for _, why in made.skipped] == ["an answer was cut off"]


def test_the_same_question_with_other_tools_is_another_entry(tmp_path: Path) -> None:
    lines = [record([user()], says("x")), record([user()], says("x"), tools=None)]
    assert len(exported(tmp_path / "a.jsonl", lines, "trl").entries) == 2


def test_only_what_was_asked_for(tmp_path: Path) -> None:
    lines = [
        record(SUNNY, says("It is sunny")),
        record([user("Hi")], says("Hello")),
        record([user()], says("?"), "clarify"),
    ]
    for only, entries in (("called", 1), ("answer", 2), ("clarify", 1), ("no_tool", 0)):
        made = exported(tmp_path / "a.jsonl", lines, "trl", only=only)
        assert (len(made.entries), made.filtered_out) == (entries, 3 - entries)


def test_formats_and_choices_there_are_not(tmp_path: Path) -> None:
    for to, only in (("alpaca", None), ("trl", "calls")):
        with pytest.raises(RequestError, match=r"alpaca|calls"):
            export([], to, only=only)


@pytest.mark.parametrize("to", ["sharegpt", "xlam", "trl"])
def test_what_the_program_and_a_server_recorded(to: str, talks: Path, served: Path, tmp_path: Path) -> None:
    done = edgefc("transcripts", "export", talks, served, "--to", to, "-o", "out.jsonl", "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    entries = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text(encoding="utf-8").splitlines()]
    assert told["entries"] == len(entries)
    assert told["entries"] + told["joined"] + len(told["skipped"]) == 13
    if os.name == "posix":
        assert (tmp_path / "out.jsonl").stat().st_mode & 0o777 == 0o600
    text = json.dumps(entries)
    for city in ("Paris", "Oslo", "Rome"):
        assert city in text
    if to == "xlam":
        assert {skipped["reason"] for skipped in told["skipped"]} <= {"is not a single turn", "calls no tool"}
        assert [call["arguments"] for call in json.loads(entries[0]["answers"])] == [
            {"location": "Paris"}, {"location": "Oslo"},
        ]  # fmt: skip
    else:
        assert not told["skipped"]
        assert told["joined"] >= 4


def test_strictly_nothing_may_be_skipped(tmp_path: Path) -> None:
    write(tmp_path / "a.jsonl", [record([user()], calls(("get_weather", "{}")), "call"), record([user()], says("x"))])
    words = ("transcripts", "export", "a.jsonl", "--to", "xlam", "-o", "out.jsonl")
    done = edgefc(*words, "--strict", cwd=tmp_path)
    assert (done.returncode, (tmp_path / "out.jsonl").exists()) == (1, False)
    assert "1 skipped: calls no tool (first in a.jsonl, line 2)" in done.stdout
    assert edgefc(*words, cwd=tmp_path).returncode == 0
    assert (tmp_path / "out.jsonl").exists()


def test_a_dataset_without_an_entry_is_a_failure(tmp_path: Path) -> None:
    write(tmp_path / "a.jsonl", [record([user()], says("x"))])
    done = edgefc("transcripts", "export", "a.jsonl", "--to", "xlam", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (1, "")
    assert "calls no tool" in done.stderr


def test_a_printed_dataset_is_nothing_but_the_dataset(tmp_path: Path) -> None:
    write(tmp_path / "a.jsonl", [record(SUNNY, says("It is sunny ☀"))])
    done = edgefc("transcripts", "export", "a.jsonl", "--to", "trl", cwd=tmp_path)
    assert [message["role"] for message in json.loads(done.stdout)["messages"]] == [
        "user",
        "assistant",
        "tool",
        "assistant",
    ]
    assert "1 entry written" in done.stderr
    refused = edgefc("transcripts", "export", "a.jsonl", "--to", "trl", "--json", cwd=tmp_path)
    assert (refused.returncode, refused.stdout) == (2, "")
    assert "--output" in refused.stderr


def test_a_target_that_cannot_be_written(tmp_path: Path) -> None:
    write(tmp_path / "a.jsonl", [record([user()], says("x"))])
    done = edgefc("transcripts", "export", "a.jsonl", "--to", "trl", "-o", "none/out.jsonl", cwd=tmp_path)
    assert done.returncode == 2
    assert "cannot be written" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_tool_keeps_what_else_it_has(tmp_path: Path) -> None:
    line = record(
        [user()], calls(("f", "{}")), "call", tools=[tool({"type": "object", "properties": {}}, strict=True), WEATHER]
    )
    for to in ("sharegpt", "xlam"):
        (entry,) = exported(tmp_path / "a.jsonl", [line], to).entries
        assert json.loads(entry["tools"])[0]["strict"] is True
        assert len(json.loads(entry["tools"])) == 2
