"""Clients that go, requests that wait, and a server that is told to stop."""

from __future__ import annotations

import json
import random
import signal
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from tests.server.conftest import Serving
from tests.server.test_chat import TOOLS, WEATHER

CHAT = "/v1/chat/completions"
# Random weights do not end their answers: what runs until it is cancelled.
ENDLESS: dict[str, Any] = {"messages": [{"role": "user", "content": "Go on"}], "temperature": 0, "stream": True,
                           "logit_bias": {}}  # fmt: skip


@pytest.fixture(scope="module")
def endless(tiny_qwen2: Path) -> Iterator[Serving]:
    """A model that ends no answer by itself, four requests at a time and two waiting."""
    with Serving(("--waiting", "2", "--n-ctx", "4096", "--family", "hermes"), models=(str(tiny_qwen2),)) as serving:
        yield serving


def begin(server: Serving, body: Any) -> socket.socket:
    """A request of which the answer is not read; its socket."""
    connection = server.socket()
    data = json.dumps(body).encode()
    head = f"POST {CHAT} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {len(data)}\r\n\r\n"
    connection.sendall(head.encode() + data)
    return connection


def until_it_says(connection: socket.socket, text: bytes) -> bytes:
    """Reads until this was said; what was said so far."""
    connection.settimeout(120)
    seen = b""
    while text not in seen:
        piece = connection.recv(4096)
        if not piece:
            pytest.fail(f"it ended without {text!r}: {seen[-500:]!r}")
        seen += piece
    return seen


def until_running(server: Serving, count: int) -> None:
    for _ in range(400):
        if server.metric("edgefc_running") >= count:
            return
        time.sleep(0.02)
    pytest.fail(f"{count} requests never ran")


@pytest.mark.parametrize("stream", [True, False])
def test_a_client_that_goes_frees_its_place(endless: Serving, stream: bool) -> None:
    for _ in range(3):
        connections = [begin(endless, {**ENDLESS, "stream": stream}) for _ in range(4)]
        until_running(endless, 4)
        for connection in connections:
            connection.close()
        endless.wait_until_idle()
    assert endless.metric('edgefc_requests_total{path="/chat/completions",status="499"}') >= (0 if stream else 12)


def test_a_client_that_goes_during_its_prefill(endless: Serving) -> None:
    long = {**ENDLESS, "messages": [{"role": "user", "content": "word " * 3000}]}
    connection = begin(endless, long)
    until_running(endless, 1)
    connection.close()
    endless.wait_until_idle()


def test_more_than_may_wait_are_turned_away(endless: Serving) -> None:
    connections = [begin(endless, ENDLESS) for _ in range(6)]
    until_running(endless, 6)
    turned = endless.post(CHAT, {**ENDLESS, "stream": False})
    assert turned.status == 429
    assert turned.error["code"] == "queue_full"
    assert turned.headers["retry-after"]
    for connection in connections:
        connection.close()
    endless.wait_until_idle()
    assert endless.post(CHAT, {**ENDLESS, "stream": False, "max_tokens": 3}).status == 200


def test_a_silent_stream_says_that_it_is_alive(demo_path: Path, tiny_qwen2: Path) -> None:
    """While it waits for one of four places."""
    with Serving(("--n-ctx", "4096", "--family", "hermes", "--heartbeat", "0.2"), models=(str(tiny_qwen2),)) as server:
        busy = [begin(server, ENDLESS) for _ in range(4)]
        for connection in busy:  # they have the places, and keep them
            until_it_says(connection, b'"content"')
        waiting = begin(server, ENDLESS)
        until_it_says(waiting, b": still computing")
        for connection in (*busy, waiting):
            connection.close()
        server.wait_until_idle()


def test_a_request_may_not_take_for_ever(tiny_qwen2: Path) -> None:
    options = ("--n-ctx", "4096", "--family", "hermes", "--timeout", "1")
    with Serving(options, models=(str(tiny_qwen2),)) as server:
        body = {**ENDLESS, "stream": False}
        late = server.post(CHAT, body)
        assert late.status == 408
        assert late.error["code"] == "timeout"
        events = server.post(CHAT, ENDLESS).body.decode()
        assert json.loads(events.strip().split("\n\n")[-1].removeprefix("data: "))["error"]["code"] == "timeout"
        server.wait_until_idle()


def test_answers_are_not_mixed_up_however_many_ask_and_go(server: Serving) -> None:
    """Each asks about a city of its own; a third hangs up."""
    cities = ["Paris", "Oslo", "Lima", "Rome", "Cairo", "Tokyo", "Berlin", "Madrid"]

    def ask(city: str) -> str:
        body = {
            "messages": [{"role": "user", "content": f"What is the weather in {city}?"}], "tools": TOOLS,
            "tool_choice": {"type": "function", "function": {"name": "get_weather"}}, "temperature": 0,
            "parallel_tool_calls": False,
        }  # fmt: skip
        answer = server.post(CHAT, body).json
        return str(answer["choices"][0]["message"]["tool_calls"][0]["function"]["arguments"])

    alone = {city: ask(city) for city in cities}
    rng = random.Random(1)
    asked = [rng.choice(cities) for _ in range(120)]

    def one(city: str) -> tuple[str, str]:
        if rng.random() < 0.33:
            body = {"messages": WEATHER, "tools": TOOLS, "stream": True}
            connection = begin(server, body)
            time.sleep(rng.random() / 20)
            connection.close()
        return city, ask(city)

    with ThreadPoolExecutor(24) as pool:
        for city, answer in pool.map(one, asked):
            assert answer == alone[city]
    server.wait_until_idle()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_told_to_stop_it_finishes_what_runs(demo_path: Path, number: signal.Signals) -> None:
    with Serving() as server:
        body = {"messages": WEATHER, "tools": TOOLS, "temperature": 0}
        whole = server.post(CHAT, body).json["choices"][0]["message"]["tool_calls"]
        got: list[Any] = []

        def ask() -> None:
            with suppress(OSError):  # it may have stopped to listen before
                got.append(server.post(CHAT, {**body, "max_tokens": 400}))

        asking = threading.Thread(target=ask)
        asking.start()
        time.sleep(0.01)
        server.process.send_signal(number)
        asking.join()
        server.process.wait(20)
        assert server.process.returncode == 0
        if got and got[0].status == 200:
            told = got[0].json["choices"][0]["message"]["tool_calls"]
            assert [call["function"] for call in told] == [call["function"] for call in whole]


def test_told_twice_it_stops_at_once(tiny_qwen2: Path) -> None:
    with Serving(("--n-ctx", "4096", "--family", "hermes", "--drain", "600"), models=(str(tiny_qwen2),)) as server:
        connection = begin(server, ENDLESS)
        until_running(server, 1)
        server.process.send_signal(signal.SIGTERM)
        time.sleep(0.5)
        assert server.process.poll() is None, "it waits for what runs"
        server.process.send_signal(signal.SIGTERM)
        server.process.wait(20)
        connection.close()


def test_what_does_not_end_in_time_is_ended(tiny_qwen2: Path) -> None:
    with Serving(("--n-ctx", "4096", "--family", "hermes", "--drain", "1"), models=(str(tiny_qwen2),)) as server:
        connection = begin(server, ENDLESS)
        until_running(server, 1)
        server.process.send_signal(signal.SIGTERM)
        server.process.wait(30)
        connection.settimeout(5)
        seen = b""
        while piece := connection.recv(65536):
            seen += piece
        assert b"data: " in seen
        connection.close()
        assert server.process.returncode == 0
