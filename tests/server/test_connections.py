"""Connections that do nothing make room for others."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import psutil
import pytest
from starlette.types import Message, Receive, Scope, Send

from edgefc.server.connections import MAX_CONNECTIONS, MIN_AGE_S, RESERVE, ConnectionTable, Stage, client_of
from edgefc.server.security import SecurityMiddleware
from edgefc.server.settings import Settings
from tests.server.server_process import CHAT, ServerProcess

SMALL = {"messages": [{"role": "user", "content": "Hello!"}], "max_tokens": 2}
HEALTH = b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n"
BODY = (
    f"POST {CHAT} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 9\r\n\r\n{{".encode()
)
needs_posix = pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX limits")


@dataclass(eq=False)
class Client:
    """A connection in some stage, for a table without a server."""

    address: str = "127.0.0.1"
    stage: Stage = Stage.IDLE
    since: float = 0.0
    dropped: bool = False

    def drop(self) -> None:
        self.dropped = True


def fill(table: ConnectionTable, clients: list[Client]) -> list[Client]:
    for client in clients:
        assert table.add(client)
    return clients


def test_the_oldest_idle_connection_of_the_busiest_client_is_closed_first() -> None:
    table = ConnectionTable(6)
    others = fill(table, [Client("10.0.0.1"), Client("10.0.0.1", Stage.WORKING)])
    busiest = fill(table, [Client("10.0.0.2", since=4 - n) for n in range(3)])
    fill(table, [Client("10.0.0.3", Stage.SENDING)])
    assert table.add(Client())
    assert not any(client.dropped for client in others)
    assert [client.dropped for client in busiest] == [False, False, True]


def test_stages_make_room_in_order_and_requests_in_computation_never() -> None:
    table = ConnectionTable(4)
    clients = fill(table, [Client(stage=stage) for stage in reversed(Stage)])
    for left in range(3, 0, -1):
        assert table.add(Client(stage=Stage.WORKING))
        assert [client.dropped for client in clients] == [False] * left + [True] * (4 - left)
    assert all(table.add(Client()) for _ in range(3 * RESERVE)), "the newest idle one replaces another in the reserve"
    assert table.is_full
    table = ConnectionTable(2)
    fill(table, [Client(stage=Stage.WORKING) for _ in range(2 + RESERVE)])
    assert not table.add(Client(stage=Stage.WORKING))
    assert not table.add(Client("10.0.0.1"))


def test_a_young_request_is_not_closed() -> None:
    table = ConnectionTable(1)
    (young,) = fill(table, [Client(stage=Stage.SENDING, since=time.monotonic() + MIN_AGE_S)])
    assert table.add(Client(stage=Stage.WORKING))
    assert not young.dropped


def test_a_client_on_another_machine_gets_half_of_the_places() -> None:
    table = ConnectionTable(10)
    fill(table, [Client("10.0.0.1", Stage.WORKING) for _ in range(5)])
    assert not table.add(Client("10.0.0.1"))
    assert table.add(Client("10.0.0.2"))
    assert client_of("::ffff:10.0.0.1") == "10.0.0.1"
    assert client_of("2001:db8::1") == client_of("2001:db8::2%eth0") == "2001:db8::/64"
    assert client_of("::1") == client_of("127.0.0.1") == client_of("") == ""


@contextmanager
def many_descriptors() -> Iterator[None]:
    """Allow this process more than a thousand sockets."""
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 2000 if hard == resource.RLIM_INFINITY else min(hard, 2000)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, wanted), hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def assert_served(server: ServerProcess) -> None:
    assert server.request("GET", "/health").status == 200
    assert server.post(CHAT, SMALL).status == 200


@needs_posix
@pytest.mark.parametrize("options", [(), ("--worker",)], ids=["alone", "worker"])
def test_idle_connections_shut_nobody_out(options: tuple[str, ...]) -> None:
    """1,100 connections: silent ones, kept-alive ones, and some with half a body."""
    with ServerProcess(options) as server, many_descriptors(), ExitStack() as stack:
        process = psutil.Process(server.process.pid)
        for number in range(1100):
            connection = stack.enter_context(server.socket())
            if number % 3 == 1:
                connection.sendall(HEALTH)
                assert connection.recv(4096).startswith(b"HTTP/1.1 200")
            elif number % 3 == 2:
                connection.sendall(BODY)
            if number % 100 == 99:
                assert_served(server)
                assert process.num_fds() < MAX_CONNECTIONS + 150
        assert_served(server)
        assert len(server.lines) < 100 + 3 * 1100, "no flood of the log"


@needs_posix
def test_a_lack_of_descriptors_closes_idle_connections() -> None:
    with ServerProcess() as server, ExitStack() as stack:
        process = psutil.Process(server.process.pid)
        few = process.num_fds() + 40
        process.rlimit(psutil.RLIMIT_NOFILE, (few, few))
        for _ in range(100):
            stack.enter_context(server.socket())
        for _ in range(3):
            assert_served(server)
    assert sum("connections are accepted" in line for line in server.lines) <= 2


def test_a_client_on_another_machine_gets_half_of_the_queue() -> None:
    async def ask(address: str, requests: int) -> list[int]:
        done = asyncio.Event()
        statuses: list[int] = []

        async def application(_scope: Scope, _receive: Receive, send: Send) -> None:
            await done.wait()
            await send({"type": "http.response.start", "status": 200, "headers": []})

        async def send(message: Message) -> None:
            if message["type"] == "http.response.start":
                statuses.append(message["status"])

        guarded = SecurityMiddleware(application, Settings(parallel=1, max_waiting=5))
        scope: Scope = {"type": "http", "method": "POST", "path": CHAT, "headers": [(b"host", b"localhost")],
                        "client": (address, 1)}  # fmt: skip
        tasks = [asyncio.ensure_future(guarded(scope, receive_nothing, send)) for _ in range(requests)]
        await asyncio.sleep(0.01)
        done.set()
        await asyncio.gather(*tasks)
        return statuses

    async def receive_nothing() -> Message:
        return {"type": "http.request", "body": b"", "more_body": False}

    assert asyncio.run(ask("10.0.0.1", 5)) == [429, 429, 200, 200, 200]
    assert asyncio.run(ask("127.0.0.1", 5)) == [200] * 5
