"""The model in a process of its own: what ends it costs the requests that it had, and nothing else."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psutil
import pytest

from edgefc.server.worker import proxy
from tests.server.conftest import Serving
from tests.server.test_chat import TOOLS, WEATHER
from tests.server.test_life import ENDLESS, begin, until_it_says, until_running

CHAT = "/v1/chat/completions"
CALL: dict[str, Any] = {"messages": WEATHER, "tools": TOOLS, "temperature": 0}
CRASHES = int(os.environ.get("EDGEFC_CRASHES", "6"))


@pytest.fixture(scope="module")
def apart(demo_path: Path) -> Iterator[Serving]:
    with Serving(("--worker", "--api-key", "secret")) as serving:
        yield serving


KEY = {"Authorization": "Bearer secret"}


def process_of(server: Serving) -> psutil.Process:
    """The model's process, once it is there."""
    for _ in range(600):
        found = [
            p for p in psutil.Process(server.process.pid).children() if "edgefc.server.worker.child" in p.cmdline()
        ]
        if found:
            return found[0]
        time.sleep(0.05)
    pytest.fail("there is no process of the model")


def calls(answer: Any) -> Any:
    return [call["function"] for call in answer["choices"][0]["message"]["tool_calls"]]


def test_it_answers_as_one_process_does(apart: Serving, server: Serving) -> None:
    whole = apart.post(CHAT, CALL, **KEY)
    assert whole.status == 200, whole.body
    assert calls(whole.json) == calls(server.post(CHAT, CALL).json)
    streamed = apart.post(CHAT, {**CALL, "stream": True}, **KEY)
    assert streamed.headers["content-type"].startswith("text/event-stream")
    events = streamed.body.decode().strip().split("\n\n")
    assert events[-1] == "data: [DONE]"
    deltas = [json.loads(event.removeprefix("data: "))["choices"][0]["delta"] for event in events[:-1]]
    arguments = "".join(call["function"].get("arguments", "") for d in deltas for call in d.get("tool_calls", ()))
    assert arguments == "".join(call["arguments"] for call in calls(whole.json))
    for path in ("/v1/models", "/health", "/openapi.json"):
        assert apart.ask("GET", path, headers=KEY).status == 200
    count = apart.post("/v1/chat/completions/input_tokens", CALL, **KEY).json
    assert count == server.post("/v1/chat/completions/input_tokens", CALL).json


def test_who_may_not_ask_does_not_reach_it(apart: Serving) -> None:
    assert apart.post(CHAT, CALL).status == 401
    assert apart.post(CHAT, CALL, **KEY, Host="evil.example").status == 403
    assert apart.post(CHAT, CALL, **KEY, Origin="http://evil.example").status == 403
    assert apart.ask("POST", CHAT, raw=b" " * ((8 << 20) + 1), headers=KEY).status == 413


def test_what_is_wrong_with_a_request_is_told_as_ever(apart: Serving, server: Serving) -> None:
    for body in ({}, {"messages": []}, {**CALL, "tools": [{"type": "function"}]}, {**CALL, "temperature": -1}):
        ours, theirs = apart.post(CHAT, body, **KEY), server.post(CHAT, body)
        assert (ours.status, ours.json) == (theirs.status, theirs.json)
    assert apart.ask("GET", "/v1/nothing", headers=KEY).status == 404
    assert apart.ask("DELETE", CHAT, headers=KEY).status == 405
    assert len(apart.ask("GET", "/health").headers["x-request-id"]) == 16


def test_a_client_that_goes_frees_its_place_there(tiny_qwen2: Path) -> None:
    with Serving(("--worker", "--n-ctx", "4096", "--family", "hermes"), models=(str(tiny_qwen2),)) as server:
        for stream in (True, False):
            connections = [begin(server, {**ENDLESS, "stream": stream}) for _ in range(4)]
            until_running(server, 4)
            for connection in connections:
                connection.close()
            server.wait_until_idle()


@pytest.mark.skipif(os.name == "nt", reason="needs POSIX signals")
def test_a_crash_costs_the_requests_that_run_and_nothing_else(demo_path: Path) -> None:
    """At random instants, by several signals, while six clients ask; every answer is right or says what happened."""
    rng = random.Random(4)
    with Serving(("--worker",)) as server, ThreadPoolExecutor(6) as pool:
        right = calls(server.post(CHAT, CALL).json)
        done = threading.Event()
        seen: list[str] = []

        def client(number: int) -> None:
            while not done.is_set():
                stream = bool(number % 2)
                answer = server.post(CHAT, {**CALL, "stream": stream})
                if answer.status == 503:
                    assert answer.error["code"] == "model_crashed"
                    assert answer.headers["retry-after"]
                    seen.append("503")
                elif not stream:
                    assert answer.status == 200
                    assert calls(answer.json) == right
                    seen.append("200")
                else:
                    *events, last = answer.body.decode().removesuffix("\n\n").split("\n\n")
                    said = [json.loads(event.removeprefix("data: ")) for event in events]
                    if last == "data: [DONE]":
                        assert said[-1]["choices"][0]["finish_reason"] == "tool_calls"
                        seen.append("200")
                    else:
                        assert json.loads(last.removeprefix("data: "))["error"]["code"] == "model_crashed"
                        seen.append("event")

        clients = [pool.submit(client, number) for number in range(6)]
        for crash in range(CRASHES):
            served = len(seen)
            time.sleep(rng.random() / 2)
            while len(seen) < served + 3 and not any(c.done() for c in clients):
                time.sleep(0.01)
            process_of(server).send_signal([signal.SIGKILL, signal.SIGSEGV, signal.SIGABRT][crash % 3])
            while server.metric("edgefc_worker_restarts") < crash + 1:
                time.sleep(0.05)
        done.set()
        for one in clients:
            one.result(60)
        assert {"200", "503"} <= set(seen)
        assert calls(server.post(CHAT, CALL).json) == right
    assert any("SIGSEGV; restarting it" in line for line in server.lines)


@pytest.mark.skipif(os.name == "nt", reason="needs POSIX signals")
def test_a_stream_that_breaks_off_ends_in_an_error(tiny_qwen2: Path) -> None:
    with Serving(("--worker", "--n-ctx", "4096", "--family", "hermes"), models=(str(tiny_qwen2),)) as server:
        connection = begin(server, ENDLESS)
        seen = until_it_says(connection, b'"content"')
        process_of(server).kill()
        seen += until_it_says(connection, b"model_crashed")
        # While it is started again, others wait, and are answered.
        assert server.post(CHAT, {**ENDLESS, "stream": False, "max_tokens": 3}).status == 200
        connection.close()


@pytest.mark.skipif(os.name == "nt", reason="needs POSIX signals")
def test_told_to_stop_it_finishes_what_runs_and_leaves_nothing(demo_path: Path) -> None:
    with Serving(("--worker",)) as server:
        process = process_of(server)
        got: list[Any] = []
        asking = threading.Thread(target=lambda: got.append(server.post(CHAT, {**CALL, "n": 8, "temperature": 1})))
        asking.start()
        until_running(server, 1)
        server.process.send_signal(signal.SIGTERM)
        asking.join()
        server.process.wait(30)
        assert got[0].status == 200
        assert len(got[0].json["choices"]) == 8
        assert server.process.returncode == 0
        assert not process.is_running()


@pytest.mark.skipif(os.name == "nt", reason="needs POSIX signals")
def test_it_does_not_outlive_who_started_it(tiny_qwen2: Path) -> None:
    with Serving(("--worker", "--n-ctx", "4096", "--family", "hermes"), models=(str(tiny_qwen2),)) as server:
        connection = begin(server, ENDLESS)
        until_it_says(connection, b'"content"')
        process = process_of(server)
        server.process.kill()
        process.wait(30)
        connection.close()


@pytest.mark.skipif(os.name == "nt", reason="needs POSIX signals")
def test_a_model_that_cannot_be_loaded_again_is_said_and_tried(demo_path: Path, tmp_path: Path) -> None:
    model, away = tmp_path / "model.gguf", tmp_path / "away.gguf"
    shutil.copy(demo_path, model)
    with Serving(("--worker", "--timeout", "1"), models=(str(model),)) as server:
        model.rename(away)
        process_of(server).kill()
        answer = server.post(CHAT, CALL)
        while answer.status == 503 and answer.error["code"] == "model_crashed":  # it had not been noticed yet
            answer = server.post(CHAT, CALL)
        assert (answer.status, answer.error["code"]) == (503, "loading")
        assert server.ask("GET", "/health").status == 503
        away.rename(model)
        while server.ask("GET", "/health").status != 200:
            time.sleep(0.1)
        assert server.post(CHAT, {**CALL, "max_tokens": 2}).status == 200


def test_a_model_that_cannot_be_loaded_is_said_at_once(demo_path: Path, tmp_path: Path) -> None:
    short = tmp_path / "short.gguf"
    short.write_bytes(demo_path.read_bytes()[:100_000])
    command = [sys.executable, "-m", "edgefc", "serve", str(short), "--worker", "--port", "0"]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert ended.returncode == 2
    assert "short.gguf" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_a_stream_that_was_told_to_its_end_is_no_failure() -> None:
    """Where the process ends between a stream's last event and the end of its answer."""
    ended = (
        b"data: [DONE]",
        b'event: message_stop\ndata: {"type":"message_stop"}',
        b"event: response.completed\ndata: {}",
    )
    for last in ended:
        assert proxy.LAST_EVENT.match(last)
    for last in (b"", b'data: {"choices":[]}', b"event: response.output_text.delta\ndata: {}", b": still computing"):
        assert not proxy.LAST_EVENT.match(last)
