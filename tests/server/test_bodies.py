"""Bodies of many values: refused before they fill the memory, and nobody waits for them."""

from __future__ import annotations

import json
import socket
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any

import psutil
import pytest
from pydantic_core import from_json

from edgefc.server.bodies import MAX_PARSED, SMALL_BODY, BodyBudget, parsed_size
from tests.server.server_process import CHAT, HttpResponse, ServerProcess, read_until

SMALL: dict[str, Any] = {"messages": [{"role": "user", "content": "Hello!"}], "max_tokens": 2}
LIMIT = 8 << 20
GROWTH = 120 << 20  # bytes of the server's memory for one body after the other


def body(item: bytes, name: bytes = b"x", ends: bytes = b"[]") -> bytes:
    """A chat request of 8 MB with a field of many values."""
    head = json.dumps(SMALL).encode()[:-1] + b', "%s": %s' % (name, ends[:1])
    count = (LIMIT - len(head) - 10) // (len(item) + 1)
    return head + b",".join([item] * count) + ends[1:] + b"}"


MANY: dict[str, bytes] = {
    "objects": body(b"{}"), "pairs": body(b'{"a":1}'), "arrays": body(b"[]"), "texts": body(b'""'), "numbers": body(b"1"),
    "tools": body(b"{}", b"tools"), "messages": body(b"{}", b"messages"), "nested": body(b'[{"a":[{}]}]'),
    "spaced": body(b" 1234"),
}  # fmt: skip
# Few enough to be read, and each of them wrong.
WRONG: dict[str, tuple[str, dict[str, Any]]] = {
    "biases": (CHAT, {**SMALL, "logit_bias": {str(n): "x" for n in range(300_000)}}),
    "tokens": ("/v1/detokenize", {"tokens": ["x"] * 300_000}),
    "prompt": ("/v1/completions", {"prompt": ["x", *[1.5] * 300_000]}),
    "token ids": ("/v1/completions", {"prompt": [-1] * 300_000}),
    "system": ("/v1/messages", {"messages": SMALL["messages"], "max_tokens": 2, "system": [1] * 300_000}),
}


@pytest.fixture(scope="module")
def body_server() -> Iterator[ServerProcess]:
    with ServerProcess() as server:
        server.post(CHAT, SMALL)
        yield server


def memory(server: ServerProcess) -> int:
    return int(psutil.Process(server.process.pid).memory_info().rss)


@pytest.mark.parametrize("data", MANY.values(), ids=MANY.keys())
def test_a_body_of_many_values_is_refused_before_it_is_parsed(body_server: ServerProcess, data: bytes) -> None:
    before = memory(body_server)
    answer = body_server.request("POST", CHAT, raw=data)
    assert (answer.status, "too many values" in answer.error["message"]) == (413, True), answer.body
    assert memory(body_server) < before + GROWTH
    assert body_server.post(CHAT, SMALL).status == 200


@pytest.mark.parametrize(("path", "request_body"), WRONG.values(), ids=WRONG.keys())
def test_many_mistakes_are_one_error(body_server: ServerProcess, path: str, request_body: dict[str, Any]) -> None:
    before = memory(body_server)
    answer = body_server.post(path, request_body)
    assert answer.status == 400, answer.body
    assert len(answer.body) < 1000
    assert memory(body_server) < before + GROWTH


def test_a_long_text_is_not_taken_for_values() -> None:
    for text in ("a, b, " * 1_000_000, "{[,]}" * 1_000_000, '"a","b"' * 500_000, "\\" * 1_000_001):
        assert parsed_size(json.dumps({"messages": [{"role": "user", "content": text}]}).encode()) < MAX_PARSED


@pytest.mark.skipif(sys.implementation.name != "cpython", reason="sizes of CPython's objects")
@pytest.mark.parametrize("item", [b"{}", b'{"a":1}', b"[]", b'"abc"', b"12345", b'[{"a":[{}]}]', b'{"a":1,"b":[]}'])
def test_sizes_are_not_underestimated(item: bytes) -> None:
    data = b"[" + b",".join([item] * 50_000) + b"]"
    before = sys.getallocatedblocks()
    values = from_json(data, cache_strings="keys")

    def size(value: Any) -> int:
        inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
        return sys.getsizeof(value) + sum(map(size, inner))

    assert sys.getallocatedblocks() > before
    assert size(values) < 1.2 * parsed_size(data)


def test_all_bodies_together_have_a_limit(body_server: ServerProcess) -> None:
    """Nine clients send 8 MB each, but for the last byte; one more is refused, and small requests are answered."""
    data = json.dumps({"messages": [], "x": "a" * (LIMIT - 30)}).encode()
    head = f"POST {CHAT} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {len(data)}\r\n\r\n"

    def send(connection: socket.socket) -> None:
        connection.sendall(head.encode() + data[:-1])

    with ExitStack() as stack, ThreadPoolExecutor(8) as pool:
        connections = [stack.enter_context(body_server.socket()) for _ in range(8)]
        list(pool.map(send, connections))
        time.sleep(0.5)
        refused = refusal(body_server, data)
        assert (refused.status, "together" in refused.error["message"]) == (503, True)
        assert refused.headers["retry-after"] == "1"
        assert body_server.post(CHAT, SMALL).status == 200
        connections[0].sendall(data[-1:])
        assert b" 400 " in read_until(connections[0], b"\r\n")
    assert body_server.request("POST", CHAT, raw=data).status == 400


def refusal(server: ServerProcess, data: bytes) -> HttpResponse:
    """Send more than a small body and read the response to it."""
    return server.request("POST", CHAT, raw=data[:-1][: 4 * SMALL_BODY])


def test_a_budget_is_free_again_at_the_end_of_a_request() -> None:
    budget = BodyBudget(1000)
    with budget.open() as first, budget.open() as second:
        first.add(600)
        second.add(100)
        assert budget.total == 700
    assert budget.total == 0
