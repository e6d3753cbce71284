"""Clients that disconnect, requests that wait, and a server that is stopped."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from tests.server.examples import ENDLESS, TOOLS, WEATHER
from tests.server.server_process import CHAT, ServerProcess, endless_server, read_until


@pytest.fixture(scope="module")
def endless(tiny_model: Path) -> Iterator[ServerProcess]:
    """Serve a model that never ends its answer: four requests run and two may wait."""
    with endless_server(tiny_model, "--waiting", "2") as server:
        yield server


@pytest.mark.parametrize("stream", [True, False])
def test_a_client_that_disconnects_frees_its_slot(endless: ServerProcess, stream: bool) -> None:
    for _ in range(3):
        connections = [endless.send_chat({**ENDLESS, "stream": stream}) for _ in range(4)]
        endless.wait_until_running(4)
        for connection in connections:
            connection.close()
        endless.wait_until_idle()
    assert endless.metric('edgefc_requests_total{path="/chat/completions",status="499"}') >= (0 if stream else 12)


def test_a_client_that_disconnects_during_prefill(endless: ServerProcess) -> None:
    long = {**ENDLESS, "messages": [{"role": "user", "content": "word " * 3000}]}
    connection = endless.send_chat(long)
    endless.wait_until_running(1)
    connection.close()
    endless.wait_until_idle()


def test_requests_beyond_the_queue_are_rejected(endless: ServerProcess) -> None:
    connections = [endless.send_chat(ENDLESS) for _ in range(6)]
    endless.wait_until_running(6)
    rejected = endless.post(CHAT, {**ENDLESS, "stream": False})
    assert rejected.status == 429
    assert rejected.error["code"] == "queue_full"
    assert rejected.headers["retry-after"]
    for connection in connections:
        connection.close()
    endless.wait_until_idle()
    assert endless.post(CHAT, {**ENDLESS, "stream": False, "max_tokens": 3}).status == 200


def test_a_silent_stream_sends_comments(demo_path: Path, tiny_model: Path) -> None:
    """While it waits for one of four slots."""
    with endless_server(tiny_model, "--heartbeat", "0.2") as server:
        busy = [server.send_chat(ENDLESS) for _ in range(4)]
        for connection in busy:  # they occupy the slots
            read_until(connection, b'"content"')
        waiting = server.send_chat(ENDLESS)
        read_until(waiting, b": still computing")
        for connection in (*busy, waiting):
            connection.close()
        server.wait_until_idle()


def test_a_request_times_out(tiny_model: Path) -> None:
    with endless_server(tiny_model, "--timeout", "1") as server:
        body = {**ENDLESS, "stream": False}
        late = server.post(CHAT, body)
        assert late.status == 408
        assert late.error["code"] == "timeout"
        events = server.post(CHAT, ENDLESS).body.decode()
        assert json.loads(events.strip().split("\n\n")[-1].removeprefix("data: "))["error"]["code"] == "timeout"
        server.wait_until_idle()


def test_answers_are_not_mixed_up_when_many_clients_connect_and_disconnect(server: ServerProcess) -> None:
    """Each request is about one city, and a third of the clients also disconnect from another request."""
    cities = ["Paris", "Oslo", "Lima", "Rome", "Cairo", "Tokyo", "Berlin", "Madrid"]

    def ask_weather(city: str) -> str:
        body = {
            "messages": [{"role": "user", "content": f"What is the weather in {city}?"}], "tools": TOOLS,
            "tool_choice": {"type": "function", "function": {"name": "get_weather"}}, "temperature": 0,
            "parallel_tool_calls": False,
        }  # fmt: skip
        answer = server.post(CHAT, body).json
        return str(answer["choices"][0]["message"]["tool_calls"][0]["function"]["arguments"])

    alone = {city: ask_weather(city) for city in cities}
    rng = random.Random(1)
    questions = [rng.choice(cities) for _ in range(120)]

    def one(city: str) -> tuple[str, str]:
        if rng.random() < 0.33:
            body = {"messages": WEATHER, "tools": TOOLS, "stream": True}
            connection = server.send_chat(body)
            time.sleep(rng.random() / 20)
            connection.close()
        return city, ask_weather(city)

    with ThreadPoolExecutor(24) as pool:
        for city, answer in pool.map(one, questions):
            assert answer == alone[city]
    server.wait_until_idle()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_lets_running_requests_finish(demo_path: Path, number: signal.Signals) -> None:
    with ServerProcess() as server:
        body = {"messages": WEATHER, "tools": TOOLS, "temperature": 0}
        whole = server.post(CHAT, body).json["choices"][0]["message"]["tool_calls"]
        responses: list[Any] = []

        def send_request() -> None:
            with suppress(OSError):  # the server may have stopped listening before
                responses.append(server.post(CHAT, {**body, "max_tokens": 400}))

        thread = threading.Thread(target=send_request)
        thread.start()
        time.sleep(0.01)
        server.process.send_signal(number)
        thread.join()
        server.process.wait(20)
        assert server.process.returncode == 0
        if responses and responses[0].status == 200:
            calls = responses[0].json["choices"][0]["message"]["tool_calls"]
            assert [call["function"] for call in calls] == [call["function"] for call in whole]


def test_a_second_signal_cancels_running_requests(tiny_model: Path) -> None:
    with endless_server(tiny_model, "--drain", "600") as server:
        connection = server.send_chat(ENDLESS)
        server.wait_until_running(1)
        server.process.send_signal(signal.SIGTERM)
        time.sleep(0.5)
        assert server.process.poll() is None, "the server waits for the running request"
        server.process.send_signal(signal.SIGTERM)
        server.process.wait(20)
        connection.close()


CLEANS_UP = """
import sys, time, edgefc
from edgefc.server import Settings, serve
with edgefc.load("demo") as model:
    serve(model, Settings(port=0), lambda url: print("serving", flush=True))
    print("cleaning up", flush=True)
    sys.stdin.readline()
    print("done", flush=True)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="signals of Unix")
def test_a_signal_while_the_program_cleans_up_does_not_end_it() -> None:
    for further, code in ((0, 0), (1, 0), (2, 130)):
        command = [sys.executable, "-c", CLEANS_UP]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdin is not None
            assert process.stdout is not None
            assert process.stdout.readline() == "serving\n"
            process.send_signal(signal.SIGTERM)
            assert process.stdout.readline() == "cleaning up\n"
            for _ in range(further):
                process.send_signal(signal.SIGTERM)
                time.sleep(0.2)
            if code == 0:
                process.stdin.write("\n")
                process.stdin.flush()
            assert process.stdout.read() == ("done\n" if code == 0 else "")
            assert process.wait() == code


def test_requests_that_outlast_the_drain_are_cancelled(tiny_model: Path) -> None:
    with endless_server(tiny_model, "--drain", "1") as server:
        connection = server.send_chat(ENDLESS)
        server.wait_until_running(1)
        server.process.send_signal(signal.SIGTERM)
        server.process.wait(30)
        connection.settimeout(5)
        data = b""
        while chunk := connection.recv(65536):
            data += chunk
        assert b"data: " in data
        connection.close()
        assert server.process.returncode == 0
