"""POST /tools/lint: hostile schemas cost their own request, and nobody waits for them."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psutil
import pytest

from edgefc.server import linter
from tests.server.server_process import CHAT, ServerProcess

SMALL: dict[str, Any] = {"messages": [{"role": "user", "content": "Hello!"}], "max_tokens": 2}
PATH = "/v1/tools/lint"


def tool(schema: Any) -> dict[str, Any]:
    return {"type": "function", "function": {"name": "f", "description": "d", "parameters": schema}}


# Compiling them takes longer than a request may.
COSTLY: dict[str, Any] = {
    "tools": [
        tool({"properties": {"a": {"allOf": [{"pattern": f"[{char}{number}y].{{17}}$"} for char in "abcdefgh"]}}})
        for number in range(64)
    ]
}


@pytest.fixture(scope="module")
def lint_server() -> Iterator[ServerProcess]:
    with ServerProcess() as server:
        yield server


def children(server: ServerProcess) -> list[psutil.Process]:
    return psutil.Process(server.process.pid).children(recursive=True)


def test_costly_checks_are_ended_and_block_nobody(lint_server: ServerProcess) -> None:
    with ThreadPoolExecutor(2) as pool:
        costly = pool.submit(lint_server.post, PATH, COSTLY)
        for _ in range(20):
            assert lint_server.request("GET", "/health").status == 200
            assert lint_server.post(CHAT, SMALL).status == 200
        answer = costly.result(120)
    assert (answer.status, answer.error["code"], answer.error["param"]) == (400, "too_expensive", "tools"), answer.body
    ordinary = lint_server.post(PATH, {"tools": [tool({"type": "object"})]})
    assert ordinary.status == 200
    assert ordinary.json["ok"]


def send_costly(server: ServerProcess) -> socket.socket:
    data = json.dumps(COSTLY).encode()
    head = f"POST {PATH} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    connection = server.socket()
    connection.sendall(f"{head}Content-Length: {len(data)}\r\n\r\n".encode() + data)
    return connection


def test_few_checks_wait(lint_server: ServerProcess) -> None:
    connections = [send_costly(lint_server) for _ in range(linter.MAX_REQUESTS)]
    time.sleep(0.5)
    answer = lint_server.post(PATH, {"tools": []})
    assert (answer.status, answer.error["code"]) == (429, "queue_full")
    for connection in connections:
        connection.close()


def test_a_client_that_disconnects_ends_its_check(lint_server: ServerProcess) -> None:
    while lint_server.post(PATH, {"tools": []}).status != 200:
        time.sleep(0.1)
    (process,) = children(lint_server)
    connection = send_costly(lint_server)
    time.sleep(0.3)
    connection.close()
    process.wait(4)  # less than a check may take
    assert lint_server.post(PATH, {"tools": []}).json == {"ok": True, "tools": []}
