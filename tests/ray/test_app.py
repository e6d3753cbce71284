"""`edgefc.ray:app` behind Ray Serve's own HTTP: clients that disconnect, and replicas that are killed."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.ray.processes import NEEDS_RAY, nothing_left, wait_for_replicas
from tests.server.examples import ENDLESS
from tests.server.server_process import CHAT, ServerProcess, read_until

pytestmark = NEEDS_RAY
# As `serve run edgefc.ray:app` does, which has no option for the port.
SCRIPT = """
import signal, sys
import ray
from ray import serve
ray.init(address="local", include_dashboard=False, log_to_driver=False)
serve.start(http_options={"host": "127.0.0.1", "port": int(sys.argv[1])})
from edgefc.ray import app
serve.run(app)
print("ready", flush=True)
signal.sigwait({signal.SIGTERM})
serve.shutdown()
ray.shutdown()
"""
REPLICA = "x-edgefc-replica"
LONG = 3000  # tokens; an answer of so many lasts until the test has done what it has to do


@contextmanager
def serve_run(model: Path) -> Iterator[ServerProcess]:
    """Run the application on a free port; yields a client for it."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    settings = {"EDGEFC_MODEL": str(model), "EDGEFC_RAY": "replicas=2", "EDGEFC_N_CTX": "4096",
                "EDGEFC_FAMILY": "hermes", "EDGEFC_N_THREADS": "1"}  # fmt: skip
    client = ServerProcess()
    client.host, client.port = "127.0.0.1", port
    client.process = subprocess.Popen(
        [sys.executable, "-c", SCRIPT, str(port)], env={**os.environ, **settings}, stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL, text=True,
    )  # fmt: skip
    with client.process, nothing_left(client.process.pid):
        assert client.process.stdout is not None
        assert client.process.stdout.readline() == "ready\n"
        yield client


def metrics(server: ServerProcess, name: str) -> dict[str, float]:
    """Return a gauge of each replica that responds."""
    text = server.request("GET", "/metrics").body.decode()
    return {
        replica: float(value)
        for replica, value in re.findall(rf'^{name}{{replica="(\w+)"}} (\S+)$', text, re.MULTILINE)
    }


def wait_for(condition: Callable[[], bool], what: str) -> None:
    for _ in range(1200):
        if condition():
            return
        time.sleep(0.05)
    pytest.fail(f"never: {what}")


def body_of(number: int, **fields: Any) -> dict[str, Any]:
    """Ask for a long answer; requests of the same number go to the same replica."""
    messages = [{"role": "system", "content": f"number {number}"}, *ENDLESS["messages"]]
    return {**ENDLESS, "messages": messages, "max_tokens": LONG, **fields}


def begin(server: ServerProcess, number: int) -> tuple[socket.socket, str]:
    """Begin a stream; returns its connection and the replica that computes it."""
    connection = server.send_chat(body_of(number))
    head = read_until(connection, b"data: {").decode()
    return connection, head.partition(f"{REPLICA}: ")[2].partition("\r\n")[0]


def end_of(connection: socket.socket) -> bytes:
    """Read a stream to its end."""
    data = b""
    with connection:
        while b"data: [DONE]" not in data and (chunk := connection.recv(1 << 16)):
            data = data[-4096:] + chunk
            if b"replica_lost" in data:
                break
    return data


def test_a_lost_replica_costs_its_own_requests_and_nothing_else(tiny_model: Path) -> None:
    with serve_run(tiny_model) as server, ThreadPoolExecutor(2) as clients:
        check_disconnects(server)
        streams: dict[str, socket.socket] = {}
        numbers: dict[str, int] = {}
        for number in range(40):
            connection, name = begin(server, number)
            if name in streams:
                connection.close()
            streams.setdefault(name, connection)
            numbers.setdefault(name, number)
            if len(streams) == 2:
                break
        whole = {name: clients.submit(server.post, CHAT, body_of(numbers[name], stream=False)) for name in streams}
        wait_for(lambda: sum(metrics(server, "edgefc_running").values()) == 4, "four requests run")

        wait_for_replicas(server.process.pid, 2)[0].kill()
        ends = {name: end_of(connection) for name, connection in streams.items()}
        (lost,) = [name for name, end in ends.items() if b"replica_lost" in end]
        (other,) = streams.keys() - {lost}
        assert b"data: [DONE]" in ends[other]
        answer = whole[lost].result()
        assert (answer.status, answer.error["code"], answer.headers["retry-after"]) == (503, "replica_lost", "1")
        assert whole[other].result().status == 200

        wait_for(lambda: len(metrics(server, "edgefc_running").keys() - {lost}) == 2, "two replicas respond")
        for number in range(10):
            assert server.post(CHAT, body_of(number, stream=False, max_tokens=4)).status == 200


def check_disconnects(server: ServerProcess) -> None:
    connections = [server.send_chat(body_of(0, stream=stream)) for stream in (True, False)]
    wait_for(lambda: sum(metrics(server, "edgefc_running").values()) == 2, "two requests run")
    for connection in connections:
        connection.close()
    wait_for(lambda: sum(metrics(server, "edgefc_running").values()) == 0, "nothing runs")
