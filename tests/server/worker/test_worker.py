"""The models in a worker process: a crash costs its running requests, and nothing else."""

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

import pytest

from edgefc.server import forwarding
from tests.server.examples import ENDLESS, TOOLS, WEATHER
from tests.server.server_process import CHAT, ServerProcess, endless_server, read_until

CALL: dict[str, Any] = {"messages": WEATHER, "tools": TOOLS, "temperature": 0}
CRASHES = int(os.environ.get("EDGEFC_CRASHES", "6"))


@pytest.fixture(scope="module")
def worker_server(demo_path: Path) -> Iterator[ServerProcess]:
    with ServerProcess(("--worker", "--api-key", "secret")) as server:
        yield server


KEY = {"Authorization": "Bearer secret"}


def calls(answer: Any) -> Any:
    return [call["function"] for call in answer["choices"][0]["message"]["tool_calls"]]


def test_answers_are_those_of_a_single_process(worker_server: ServerProcess, server: ServerProcess) -> None:
    whole = worker_server.post(CHAT, CALL, **KEY)
    assert whole.status == 200, whole.body
    assert calls(whole.json) == calls(server.post(CHAT, CALL).json)
    streamed = worker_server.post(CHAT, {**CALL, "stream": True}, **KEY)
    assert streamed.headers["content-type"].startswith("text/event-stream")
    events = streamed.body.decode().strip().split("\n\n")
    assert events[-1] == "data: [DONE]"
    deltas = [json.loads(event.removeprefix("data: "))["choices"][0]["delta"] for event in events[:-1]]
    arguments = "".join(call["function"].get("arguments", "") for d in deltas for call in d.get("tool_calls", ()))
    assert arguments == "".join(call["arguments"] for call in calls(whole.json))
    for path in ("/v1/models", "/health", "/openapi.json"):
        assert worker_server.request("GET", path, headers=KEY).status == 200
    count = worker_server.post("/v1/chat/completions/input_tokens", CALL, **KEY).json
    assert count == server.post("/v1/chat/completions/input_tokens", CALL).json


def test_rejected_requests_do_not_reach_the_worker(worker_server: ServerProcess) -> None:
    assert worker_server.post(CHAT, CALL).status == 401
    assert worker_server.post(CHAT, CALL, **KEY, Host="evil.example").status == 403
    assert worker_server.post(CHAT, CALL, **KEY, Origin="http://evil.example").status == 403
    assert worker_server.request("POST", CHAT, raw=b" " * ((8 << 20) + 1), headers=KEY).status == 413


def test_errors_are_those_of_a_single_process(worker_server: ServerProcess, server: ServerProcess) -> None:
    for body in ({}, {"messages": []}, {**CALL, "tools": [{"type": "function"}]}, {**CALL, "temperature": -1}):
        ours, theirs = worker_server.post(CHAT, body, **KEY), server.post(CHAT, body)
        assert (ours.status, ours.json) == (theirs.status, theirs.json)
    assert worker_server.request("GET", "/v1/nothing", headers=KEY).status == 404
    assert worker_server.request("DELETE", CHAT, headers=KEY).status == 405
    assert len(worker_server.request("GET", "/health").headers["x-request-id"]) == 16


def test_a_client_that_disconnects_frees_its_slot_in_the_worker(tiny_model: Path) -> None:
    with endless_server(tiny_model, "--worker") as server:
        for stream in (True, False):
            connections = [server.send_chat({**ENDLESS, "stream": stream}) for _ in range(4)]
            server.wait_until_running(4)
            for connection in connections:
                connection.close()
            server.wait_until_idle()


@pytest.mark.skipif(os.name == "nt", reason="needs POSIX signals")
def test_a_crash_costs_the_running_requests_and_nothing_else(demo_path: Path) -> None:
    """Crashes at random times, by several signals, while six clients send requests; each gets its answer or the error."""
    rng = random.Random(4)
    with ServerProcess(("--worker",)) as server, ThreadPoolExecutor(6) as pool:
        right = calls(server.post(CHAT, CALL).json)
        done = threading.Event()
        outcomes: list[str] = []

        def client(number: int) -> None:
            while not done.is_set():
                stream = bool(number % 2)
                answer = server.post(CHAT, {**CALL, "stream": stream})
                if answer.status == 503:
                    assert answer.error["code"] == "model_crashed"
                    assert answer.headers["retry-after"]
                    outcomes.append("503")
                elif not stream:
                    assert answer.status == 200
                    assert calls(answer.json) == right
                    outcomes.append("200")
                else:
                    *events, last = answer.body.decode().removesuffix("\n\n").split("\n\n")
                    chunks = [json.loads(event.removeprefix("data: ")) for event in events]
                    if last == "data: [DONE]":
                        assert chunks[-1]["choices"][0]["finish_reason"] == "tool_calls"
                        outcomes.append("200")
                    else:
                        assert json.loads(last.removeprefix("data: "))["error"]["code"] == "model_crashed"
                        outcomes.append("event")

        clients = [pool.submit(client, number) for number in range(6)]
        for crash in range(CRASHES):
            finished = len(outcomes)
            time.sleep(rng.random() / 2)
            while len(outcomes) < finished + 3 and not any(c.done() for c in clients):
                time.sleep(0.01)
            server.worker_process().send_signal([signal.SIGKILL, signal.SIGSEGV, signal.SIGABRT][crash % 3])
            while server.metric("edgefc_worker_restarts") < crash + 1:
                time.sleep(0.05)
        done.set()
        for one in clients:
            one.result(60)
        assert {"200", "503"} <= set(outcomes)
        assert calls(server.post(CHAT, CALL).json) == right
    assert any("SIGSEGV; restarting it" in line for line in server.lines)


@pytest.mark.skipif(os.name == "nt", reason="needs POSIX signals")
def test_a_stream_that_breaks_off_ends_in_an_error(tiny_model: Path) -> None:
    with endless_server(tiny_model, "--worker") as server:
        connection = server.send_chat(ENDLESS)
        read_until(connection, b'"content"')
        server.worker_process().kill()
        read_until(connection, b"model_crashed")
        # Later requests wait for the restart.
        assert server.post(CHAT, {**ENDLESS, "stream": False, "max_tokens": 3}).status == 200
        connection.close()


@pytest.mark.skipif(os.name == "nt", reason="needs POSIX signals")
def test_a_signal_lets_running_requests_finish_and_leaves_no_process(demo_path: Path) -> None:
    with ServerProcess(("--worker",)) as server:
        process = server.worker_process()
        responses: list[Any] = []
        thread = threading.Thread(
            target=lambda: responses.append(server.post(CHAT, {**CALL, "n": 8, "temperature": 1}))
        )
        thread.start()
        server.wait_until_running(1)
        server.process.send_signal(signal.SIGTERM)
        thread.join()
        server.process.wait(30)
        assert responses[0].status == 200
        assert len(responses[0].json["choices"]) == 8
        assert server.process.returncode == 0
        assert not process.is_running()


@pytest.mark.skipif(os.name == "nt", reason="needs POSIX signals")
def test_the_worker_does_not_outlive_its_parent(tiny_model: Path) -> None:
    with endless_server(tiny_model, "--worker") as server:
        connection = server.send_chat(ENDLESS)
        read_until(connection, b'"content"')
        process = server.worker_process()
        server.process.kill()
        process.wait(30)
        connection.close()


@pytest.mark.skipif(os.name == "nt", reason="needs POSIX signals")
def test_a_restart_is_retried_until_the_model_loads(demo_path: Path, tmp_path: Path) -> None:
    model, away = tmp_path / "model.gguf", tmp_path / "away.gguf"
    shutil.copy(demo_path, model)
    with ServerProcess(("--worker", "--timeout", "1"), models=(str(model),)) as server:
        model.rename(away)
        server.worker_process().kill()
        answer = server.post(CHAT, CALL)
        while answer.status == 503 and answer.error["code"] == "model_crashed":  # the supervisor has not noticed yet
            answer = server.post(CHAT, CALL)
        assert (answer.status, answer.error["code"]) == (503, "loading")
        assert server.request("GET", "/health").status == 503
        away.rename(model)
        while server.request("GET", "/health").status != 200:
            time.sleep(0.1)
        assert server.post(CHAT, {**CALL, "max_tokens": 2}).status == 200


def test_a_model_that_does_not_load_is_reported_at_once(demo_path: Path, tmp_path: Path) -> None:
    short = tmp_path / "short.gguf"
    short.write_bytes(demo_path.read_bytes()[:100_000])
    command = [sys.executable, "-m", "edgefc", "serve", str(short), "--worker", "--port", "0"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 2
    assert "short.gguf" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_complete_stream_gets_no_error() -> None:
    """If the process ends between a stream's last event and the end of its response."""
    last_events = (
        b"data: [DONE]",
        b'event: message_stop\ndata: {"type":"message_stop"}',
        b"event: response.completed\ndata: {}",
    )
    for last in last_events:
        assert forwarding.LAST_EVENT.match(last)
    for last in (b"", b'data: {"choices":[]}', b"event: response.output_text.delta\ndata: {}", b": still computing"):
        assert not forwarding.LAST_EVENT.match(last)
