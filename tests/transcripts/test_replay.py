"""The same questions again, as a regression test."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import edgefc as api
from edgefc.chat.recorder import Recorder
from edgefc.transcripts import read, replay
from tests.transcripts.conftest import WEATHER, edgefc, lines, user, write


@pytest.fixture(scope="module")
def model() -> Iterator[api.Model]:
    with api.load("demo") as loaded:
        yield loaded


def statuses(model: api.Model, path: Path, *, text: bool = False) -> list[str]:
    return [result.status for result in replay(model, read([path]), text=text)]


def tampered(path: Path, tmp_path: Path, number: int, old: str, new: str) -> Path:
    """A copy of the first two lines, with something else in the answer of one."""
    found = lines(path)[:2]
    before = json.dumps(found[number]["reply"])
    assert old in before
    found[number]["reply"] = json.loads(before.replace(old, new))
    return write(tmp_path / "tampered.jsonl", found)


def test_what_was_recorded_is_answered_in_the_same_way(talks: Path, served: Path, tmp_path: Path) -> None:
    done = edgefc("transcripts", "replay", talks, served, "--text", cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout == "13 answers: 13 equal, 0 changed, 0 failed\n"


def test_a_call_with_another_argument_is_a_change(talks: Path, tmp_path: Path) -> None:
    path = tampered(talks, tmp_path, 0, "Oslo", "Rome")
    done = edgefc("transcripts", "replay", path, cwd=tmp_path)
    assert done.returncode == 1
    assert f"{path}, line 1: changed" in done.stdout
    assert 'call 2: get_weather({"location": "Rome"}) → get_weather({"location": "Oslo"})' in done.stdout
    assert "2 answers: 1 equal, 1 changed, 0 failed" in done.stdout


def test_json_tells_each_answer(talks: Path, tmp_path: Path) -> None:
    path = tampered(talks, tmp_path, 0, "get_weather", "get_time")
    told = json.loads(edgefc("transcripts", "replay", path, "--json", "-m", "demo", cwd=tmp_path).stdout)
    assert (told["ok"], told["equal"], told["changed"], told["failed"]) == (False, 1, 1, 0)
    assert [answer["line"] for answer in told["answers"]] == [1, 2]
    changed = told["answers"][0]
    assert (changed["status"], changed["file"]) == ("changed", str(path))
    assert changed["recorded"]["tool_calls"][0]["function"]["name"] == "get_time"
    assert changed["now"]["tool_calls"][0]["function"]["name"] == "get_weather"


def test_what_is_said_is_compared_only_when_asked_for(model: api.Model, talks: Path, tmp_path: Path) -> None:
    path = tampered(talks, tmp_path, 1, "degrees", "Degrees")
    assert "changed" not in statuses(model, path)
    assert statuses(model, path, text=True)[1] == "changed"


def test_arguments_are_compared_as_values(model: api.Model, talks: Path, tmp_path: Path) -> None:
    found = lines(talks)[:1]
    found[0]["reply"]["message"]["tool_calls"][1]["function"]["arguments"] = '{ "location":"\\u004fslo"}'
    path = write(tmp_path / "a.jsonl", found)
    assert set(statuses(model, path)) == {"equal"}


def test_a_missing_call_another_outcome_and_other_missing_tools_are_changes(
    model: api.Model, talks: Path, tmp_path: Path
) -> None:
    found = [lines(talks)[number] for number in (0, 1, 4)]
    del found[0]["reply"]["message"]["tool_calls"][1]
    found[1]["reply"]["outcome"] = "no_tool"
    found[2]["reply"]["missing"] = []
    results = list(replay(model, read([write(tmp_path / "a.jsonl", found)])))
    assert [result.status for result in results] == ["changed"] * 3
    assert results[0].differences == ('call 2: none → get_weather({"location": "Oslo"})',)
    assert results[1].differences == ("outcome: no_tool → answer",)
    assert results[2].differences == ("missing: none → get_weather",)


def test_numbers_are_equal_however_they_are_written(model: api.Model, tmp_path: Path) -> None:
    number = {"type": "object", "properties": {"n": {"type": "number", "const": 5}}, "required": ["n"]}
    tool = {"type": "function", "function": {"name": "pick", "description": "Pick", "parameters": number}}
    model.recorder = Recorder(tmp_path / "a.jsonl", {"name": "demo", "family": "demo"})
    model.chat([user("Pick")], tools=[tool], tool_choice="required", parallel_tool_calls=False)
    model.recorder = None
    assert statuses(model, tampered(tmp_path / "a.jsonl", tmp_path, 0, " 5}", " 5.0}")) == ["equal"]
    assert statuses(model, tampered(tmp_path / "a.jsonl", tmp_path, 0, " 5}", " 5.5}")) == ["changed"]
    assert statuses(model, tampered(tmp_path / "a.jsonl", tmp_path, 0, " 5}", " true}")) == ["changed"]


def test_sampling_is_repeated_also_where_answers_were_sampled_again(model: api.Model, tmp_path: Path) -> None:
    """Random answers, of which a check after decoding refuses some."""
    numbers = {"type": "array", "uniqueItems": True, "minItems": 2, "maxItems": 3,
               "items": {"type": "integer", "minimum": 0, "maximum": 9}}  # fmt: skip
    parameters = {"type": "object", "properties": {"numbers": numbers}, "required": ["numbers"]}
    tool: dict[str, Any] = {"name": "pick", "description": "Pick numbers", "parameters": parameters}
    options: Any = {"tool_choice": "required", "temperature": 2.0, "parallel_tool_calls": False, "max_tokens": 120}
    resampled, told = 0, []
    model.recorder = Recorder(tmp_path / "a.jsonl", {"name": "demo", "family": "demo"})
    for seed in range(8):
        try:
            reply = model.chat([user("Pick two numbers")], tools=[tool], seed=seed, **options)
        except api.EdgefcError:
            continue
        told.append(seed)
        resampled += reply.stats.resamples
    model.recorder = None
    assert resampled > 0
    assert [line["options"]["seed"] for line in lines(tmp_path / "a.jsonl")] == told
    assert set(statuses(model, tmp_path / "a.jsonl", text=True)) == {"equal"}


def test_a_question_that_cannot_be_asked_any_more_is_a_failure(model: api.Model, tmp_path: Path) -> None:
    model.recorder = Recorder(tmp_path / "a.jsonl", {"name": "demo", "family": "demo"})
    model.chat([user("word " * 300)], tools=[WEATHER], max_tokens=4)
    model.recorder = None
    done = edgefc("transcripts", "replay", "a.jsonl", "--n-ctx", "256", cwd=tmp_path)
    assert done.returncode == 1
    assert "a.jsonl, line 1: failed" in done.stdout
    assert "the context holds only 256" in done.stdout
    assert "0 equal, 0 changed, 1 failed" in done.stdout


def test_the_recorded_chat_format_is_used(tmp_path: Path) -> None:
    """What was asked with another family than the model's own is asked with it again."""
    options = ("--family", "hermes", "--max-tokens", "12", "--transcripts", "a.jsonl")
    assert edgefc("call", "hello", *options, cwd=tmp_path).returncode == 1  # the answer is cut off
    assert lines(tmp_path / "a.jsonl")[0]["model"]["family"] == "hermes"
    assert edgefc("transcripts", "replay", "a.jsonl", "--text", cwd=tmp_path).returncode == 0
    assert edgefc("transcripts", "replay", "a.jsonl", "--text", "--family", "demo", cwd=tmp_path).returncode == 1


def test_a_model_that_is_not_here(talks: Path, tmp_path: Path) -> None:
    found = lines(talks)[:1]
    found[0]["model"]["name"] = "mine-3b"
    write(tmp_path / "a.jsonl", found)
    done = edgefc("transcripts", "replay", "a.jsonl", cwd=tmp_path)
    assert done.returncode == 2
    assert "mine-3b" in done.stderr
    assert "--model" in done.stderr
    assert edgefc("transcripts", "replay", "a.jsonl", "--model", "demo", cwd=tmp_path).returncode == 0


def test_an_empty_transcript_is_no_passed_test(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text("\n", encoding="utf-8")
    done = edgefc("transcripts", "replay", "a.jsonl", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert "nothing to replay" in done.stderr
