"""Batches of requests: checked before anything is computed, answered once each, and resumed after any end."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import edgefc
from edgefc.errors import EngineClosedError, RequestError
from edgefc.server import ModelPool, Settings
from edgefc.server.batch import plan_batch, run_batch

TOOL = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Get the current weather for a city",
        "parameters": {"type": "object", "properties": {"location": {"type": "string"}}, "required": ["location"]},
    },
}


def line(custom_id: str, url: str = "/v1/chat/completions", **body: Any) -> str:
    question = [{"role": "user", "content": f"What is the weather in Oslo? ({custom_id})"}]
    fields = {"model": "any", "messages": question, "tools": [TOOL], "max_tokens": 30, **body}
    return json.dumps({"custom_id": custom_id, "method": "POST", "url": url, "body": fields}) + "\n"


def answers(path: Path) -> dict[str, dict[str, Any]]:
    """Return the answers of a file by id; each id is there once."""
    entries = [json.loads(text) for text in path.read_text().splitlines()]
    by_id = {entry["custom_id"]: entry for entry in entries}
    assert len(by_id) == len(entries)
    return by_id


@pytest.fixture(scope="module")
def pool() -> Iterator[ModelPool]:
    with edgefc.load("demo", n_ctx=512, n_threads=1) as model:
        yield ModelPool.of_loaded(model)


SETTINGS = Settings(parallel=2)


def test_each_request_is_answered_as_over_http(pool: ModelPool, tmp_path: Path) -> None:
    source, target = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    source.write_text(
        line("call", tool_choice="required") + "\n" + line("bad", tools="none")
        + json.dumps({"custom_id": "words", "url": "/v1/responses", "body": {"model": "m", "input": "hi"}})
    )  # fmt: skip
    seen: list[int] = []
    counts = run_batch(pool, plan_batch(source, target), SETTINGS, lambda now: seen.append(now.answered))
    assert (counts.total, counts.earlier, counts.answered, counts.refused) == (3, 0, 3, 1)
    assert seen == [1, 2, 3]
    assert counts.first_refusal.startswith("bad: 400 tools")
    got = answers(target)
    call = got["call"]["response"]["body"]["choices"][0]["message"]["tool_calls"][0]["function"]
    assert call["name"] == "get_weather"
    assert "location" in json.loads(call["arguments"])
    assert got["bad"]["response"]["status_code"] == 400
    assert got["words"]["response"]["body"]["object"] == "response"
    assert all(entry["error"] is None and entry["id"] and entry["response"]["request_id"] for entry in got.values())


def test_an_unfinished_batch_goes_on_where_it_ended(pool: ModelPool, tmp_path: Path) -> None:
    source, target = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    source.write_text("".join(line(str(number)) for number in range(6)))
    run_batch(pool, plan_batch(source, target), SETTINGS)
    whole = target.read_bytes().splitlines(keepends=True)
    target.write_bytes(b"".join(whole[:3]) + whole[3][:40])  # killed while it wrote
    with pytest.raises(RequestError, match="--resume goes on"):
        plan_batch(source, target)
    counts = run_batch(pool, plan_batch(source, target, resume=True), SETTINGS)
    assert (counts.earlier, counts.answered) == (3, 3)
    assert answers(target).keys() == {str(number) for number in range(6)}
    assert target.read_bytes().startswith(b"".join(whole[:3]))


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("{", "line 2: not JSON"),
        ("[]", "line 2: not a JSON object"),
        ("[" * 100_000, "line 2: not JSON"),
        (line("0"), "line 2: '0' is not the first"),
        (line(""), "line 2: must be a text of 1 to 512"),
        (line("1", url="/v1/embeddings"), "line 2: must be one of /v1/chat/completions"),
        (line("1").replace("POST", "GET"), "line 2: must be POST"),
        ('{"custom_id": "1", "url": "/v1/completions"}', "line 2: must be an object"),
        (line("1", stream=True), "line 2: a batch has whole answers"),
    ],
)
def test_a_mistake_is_named_with_its_line(tmp_path: Path, text: str, reason: str) -> None:
    source = tmp_path / "in.jsonl"
    source.write_text(line("0") + text)
    with pytest.raises(RequestError, match=reason):
        plan_batch(source, tmp_path / "out.jsonl")


@pytest.mark.parametrize(("text", "reason"), [("x\n", "not an answer"), ('{"custom_id": "9"}\n', "does not ask")])
def test_a_file_of_something_else_is_left_alone(tmp_path: Path, text: str, reason: str) -> None:
    source, target = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    source.write_text(line("0"))
    target.write_text(text)
    with pytest.raises(RequestError, match=reason):
        plan_batch(source, target, resume=True)
    assert target.read_text() == text


def test_an_engine_that_stopped_ends_the_batch_and_no_answer_is_lost(tmp_path: Path) -> None:
    source, target = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    source.write_text("".join(line(str(number)) for number in range(5)))
    with edgefc.load("demo", n_ctx=512, n_threads=1) as model:
        pool = ModelPool.of_loaded(model)

        def stop(_: object) -> None:
            model.engine.close()  # type: ignore[attr-defined]

        with pytest.raises(EngineClosedError, match="has stopped"):
            run_batch(pool, plan_batch(source, target), Settings(parallel=1), stop)
    assert answers(target).keys() == {"0"}


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT], ids=["killed", "interrupted"])
def test_a_process_that_ends_loses_and_repeats_nothing(tmp_path: Path, number: signal.Signals) -> None:
    source, target = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    source.write_text("".join(line(str(number)) for number in range(40)))
    command = [sys.executable, "-m", "edgefc", "batch", str(source), "-o", str(target), "-m", "demo", "--n-threads=1"]
    for resume in ([], ["--resume"]):
        least = 3 + (target.read_bytes().count(b"\n") if resume else 0)  # three answers of this process
        process = subprocess.Popen(
            [*command, *resume], stderr=subprocess.PIPE, text=True,
            # Where the tests run in the background, children inherit that SIGINT is ignored.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )  # fmt: skip
        while process.poll() is None and (not target.exists() or target.read_bytes().count(b"\n") < least):
            time.sleep(0.01)
        process.send_signal(number)
        _, said = process.communicate()
        if number == signal.SIGINT:
            is_done = len(answers(target)) == 40  # the signal came after the last answer, perhaps in Python's own end
            assert process.returncode == 130 or (is_done and process.returncode in (0, -signal.SIGINT))
            assert is_done or "run the same command with --resume" in said
    subprocess.run([*command, "--resume"], check=True, stderr=subprocess.PIPE)
    assert answers(target).keys() == {str(number) for number in range(40)}
