"""What is written when models are asked, and what is read back."""

from __future__ import annotations

import json
import logging
import os
import re
import sys
from pathlib import Path
from typing import Any

import pytest

import edgefc as api
from edgefc.chat.recorder import Recorder
from edgefc.errors import TranscriptError
from edgefc.models.manifest import MANIFEST
from edgefc.transcripts import read
from tests.server.server_process import ServerProcess
from tests.transcripts.conftest import WEATHER, calls, edgefc, lines, record, result, says, user, write


def test_each_answer_of_the_program_is_a_line(talks: Path) -> None:
    found = lines(talks)
    outcomes = [line["reply"]["outcome"] for line in found]
    assert outcomes == ["call", "answer", "call", "answer", "clarify", "call", "answer", "call"]
    roles = [message["role"] for message in found[3]["messages"]]
    assert roles == ["user", "assistant", "tool", "tool", "assistant", "user", "assistant", "tool"]
    first = found[0]
    assert first["version"] == 1
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}\+00:00", first["time"])
    assert first["model"] == {"name": "demo", "family": "demo"}
    assert first["edgefc"] == api.__version__
    assert "get_weather" in [tool["function"]["name"] for tool in first["tools"]]
    assert found[4]["reply"]["missing"] == ["get_weather"]
    assert found[7]["options"] == {"parallel_tool_calls": False}


def test_a_seed_that_was_drawn_is_recorded_where_it_matters(talks: Path) -> None:
    found = lines(talks)
    assert "seed" not in found[0]["options"], "its sampling is greedy"
    assert found[5]["options"]["temperature"] == 0.8
    assert isinstance(found[5]["options"]["seed"], int)


def test_a_server_records_chats_and_responses_streamed_or_not(served: Path) -> None:
    found = lines(served)
    assert [line["reply"]["outcome"] for line in found[:2]] == ["call", "answer"]
    assert len(found) == 5, "a raw prompt is no conversation, and a refused request has no answer"
    assert found[1]["messages"][1]["tool_calls"] == found[0]["reply"]["message"]["tool_calls"]
    assert found[0]["tools"] == [WEATHER]
    assert sorted(line["options"]["seed"] for line in found[2:4]) == [7, 8]
    assert found[4]["tools"] is None
    records = list(read([served]))
    assert records[0].options["logit_bias"] == {5: -1.0}


def test_a_server_with_its_model_in_another_process_records_as_well(tmp_path: Path) -> None:
    path = tmp_path / "talks.jsonl"
    with ServerProcess(("--worker",), {"EDGEFC_TRANSCRIPTS": str(path)}) as server:
        answer = server.post("/v1/chat/completions", {"messages": [user()], "tools": [WEATHER]})
        assert answer.status == 200, answer.body
    assert [line["reply"]["message"] for line in lines(path)] == [answer.json["choices"][0]["message"]]
    assert f"are written to {path}" in "".join(server.lines)


@pytest.mark.skipif(os.name != "posix", reason="file modes are a Unix thing")
def test_only_the_owner_can_read_it(tmp_path: Path, served: Path) -> None:
    assert served.stat().st_mode & 0o777 == 0o600
    loose = tmp_path / "loose.jsonl"
    loose.write_text("", encoding="utf-8")
    loose.chmod(0o664)
    Recorder(loose, {})
    assert loose.stat().st_mode & 0o777 == 0o600


def test_nothing_is_recorded_unless_asked_for(tmp_path: Path) -> None:
    assert edgefc("call", "time in Rome", cwd=tmp_path).returncode == 0
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("command", ["chat", "run", "call", "serve"])
def test_help_says_what_is_written_and_who_can_read_it(command: str, tmp_path: Path) -> None:
    told = " ".join(re.sub(r"[│|]", " ", edgefc(command, "--help", cwd=tmp_path).stdout).split())
    assert re.search(r"(questions|prompts) and answers to this file, readable only by you", told)


def test_a_file_that_cannot_be_written_is_said_before_the_model_is_loaded(tmp_path: Path) -> None:
    done = edgefc("serve", "demo", "--port", "0", "--transcripts", tmp_path, cwd=tmp_path)
    assert done.returncode == 2
    assert str(tmp_path) in done.stderr
    assert "cannot be written" in done.stderr
    assert "Traceback" not in done.stderr


def test_what_a_tool_loop_says_to_the_model_later_is_no_part_of_an_earlier_line(tmp_path: Path) -> None:
    """The same list of messages grows while the model is asked again and again."""
    with api.load("demo", transcripts=tmp_path / "talks.jsonl") as model:
        messages: list[Any] = [user()]
        stream = model.chat(messages, tools=[WEATHER], stream=True)
        messages.append(user("something else"))
        assert stream.reply
    assert [message["content"] for message in lines(tmp_path / "talks.jsonl")[0]["messages"]] == [user()["content"]]


def test_a_cancelled_answer_is_none(tmp_path: Path) -> None:
    with (
        api.load("demo", transcripts=tmp_path / "talks.jsonl") as model,
        model.chat([user()], tools=[WEATHER], stream=True) as stream,
    ):
        next(stream)
    assert lines(tmp_path / "talks.jsonl") == []


def test_a_full_disk_costs_a_line_and_not_an_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("there is no /dev/full")
    recorder = Recorder(tmp_path / "talks.jsonl", {})
    recorder.path = Path("/dev/full")
    with api.load("demo") as model, caplog.at_level(logging.ERROR, "edgefc.transcripts"):
        model.recorder = recorder
        assert model.chat([user()], tools=[WEATHER]).outcome == "call"
    assert "/dev/full: an answer could not be recorded" in caplog.text


def test_a_line_that_broke_off_spoils_no_other(tmp_path: Path) -> None:
    path = tmp_path / "talks.jsonl"
    path.write_text('{"version": 1, "mess', encoding="utf-8")
    with api.load("demo", transcripts=path) as model:
        model.chat([user()], tools=[WEATHER])
    with pytest.raises(TranscriptError, match=r"talks\.jsonl, line 1: invalid JSON"):
        list(read([path]))
    path.write_text("\n".join(path.read_text(encoding="utf-8").splitlines()[1:]), encoding="utf-8")
    assert [found.line for found in read([path])] == [1]


def test_the_hash_that_a_manifest_knows_is_recorded(tmp_path: Path, demo_path: Path) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "mine.gguf").symlink_to(demo_path)
    (folder / "tokenizer.json").symlink_to(demo_path.with_name("tokenizer.json"))
    file = {"name": "mine.gguf", "role": "model", "size": demo_path.stat().st_size, "sha256": "ab" * 32}
    manifest = {"format": 1, "id": "mine", "repo": "", "revision": "", "quantization": "Q8_0", "family": "demo",
                "licence": "", "created": "", "files": [file]}  # fmt: skip
    (folder / MANIFEST).write_text(json.dumps(manifest), encoding="utf-8")
    with api.load(folder / "mine.gguf", family="demo", transcripts=tmp_path / "talks.jsonl") as model:
        model.chat([user()])
    assert lines(tmp_path / "talks.jsonl")[0]["model"] == {"name": "mine", "family": "demo", "sha256": "ab" * 32}


def test_what_was_written_is_read_back(talks: Path, served: Path) -> None:
    for path in (talks, served):
        written, records = lines(path), list(read([path]))
        assert [found.line for found in records] == list(range(1, len(written) + 1))
        for line, found in zip(written, records, strict=True):
            assert (found.messages, found.reply) == (line["messages"], line["reply"])
            assert (None if found.tools is None else list(found.tools)) == line["tools"]
            assert found.answer["role"] == "assistant"


GOOD = record([user()], calls(("get_weather", '{"location": "Paris"}')), "call")


def broken(**parts: Any) -> dict[str, Any]:
    return {**GOOD, **parts}


BAD: dict[str, tuple[Any, str]] = {
    "no object": ([1], "not a record of a transcript"),
    "another file's": ({"messages": []}, "not a record of a transcript"),
    "a later version": (broken(version=2), "version"),
    "no model": (broken(model=None), "model"),
    "no family": (broken(model={"name": "demo"}), "model.family"),
    "an option there is not": (broken(options={"temprature": 0}), "options.temprature"),
    "an option of another type": (broken(options={"stop": 5}), "options.stop"),
    "odd token ids": (broken(options={"logit_bias": {"x": 1}}), "options.logit_bias"),
    "a message of nobody": (broken(messages=[{"role": "usr", "content": "x"}]), "messages[0].role"),
    "no messages": (broken(messages=[]), "messages"),
    "open calls": (broken(messages=[user(), GOOD["reply"]["message"]]), "no result yet"),
    "a tool without a name": (broken(tools=[{"type": "function", "function": {}}]), "tools[0].function.name"),
    "half a character": (broken(tools=[{"name": "f", "description": "\ud83d"}]), "surrogates not allowed"),
    "an unknown outcome": (record([user()], says("hi"), "fine"), "reply.outcome"),
    "a reply of the user": (broken(reply={**GOOD["reply"], "message": user()}), "reply.message"),
    "arguments that are none": (record([user()], calls(("f", "[1]")), "call"), "arguments"),
    "no list": (broken(reply={**GOOD["reply"], "missing": None}), "reply.missing"),
}


@pytest.mark.parametrize(("line", "place"), BAD.values(), ids=BAD.keys())
def test_what_is_no_record_is_told_with_file_and_line(line: Any, place: str, tmp_path: Path) -> None:
    path = write(tmp_path / "talks.jsonl", [GOOD, line])
    with pytest.raises(TranscriptError) as caught:
        list(read([path]))
    assert f"{path}, line 2: " in str(caught.value)
    assert place in str(caught.value)


@pytest.mark.parametrize("text", ["{", "[" * 100_000, '{"version": NaN}', "\udcff"])
def test_what_is_not_json_is_told_with_file_and_line(text: str, tmp_path: Path) -> None:
    path = tmp_path / "talks.jsonl"
    path.write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(TranscriptError, match="line 1: invalid JSON"):
        list(read([path]))


def test_tools_must_be_said_even_where_there_are_none(tmp_path: Path) -> None:
    line = record([user()], says("hi"), tools=None)
    assert next(read([write(tmp_path / "a.jsonl", [line])])).tools is None
    del line["tools"]
    with pytest.raises(TranscriptError, match="tools: is missing"):
        list(read([write(tmp_path / "a.jsonl", [line])]))


def test_results_stand_in_the_order_of_their_calls(tmp_path: Path) -> None:
    asked = [user(), calls(("f", "{}"), ("g", "{}")), result("of g", 1), result("of f", 0)]
    found = next(read([write(tmp_path / "a.jsonl", [record(asked, says("done"))])]))
    assert [message["content"] for message in found.conversation[2:]] == ["of f", "of g", "done"]


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    done = edgefc("transcripts", "replay", "none.jsonl", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert "none.jsonl" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.skipif(sys.platform == "win32", reason="an open file cannot be moved there")
def test_the_file_may_be_moved_away_at_any_time(tmp_path: Path) -> None:
    path = tmp_path / "talks.jsonl"
    with api.load("demo", transcripts=path) as model:
        model.chat([user()], max_tokens=4)
        path.rename(tmp_path / "old.jsonl")
        model.chat([user()], max_tokens=4)
    assert len(lines(path)) == len(lines(tmp_path / "old.jsonl")) == 1
