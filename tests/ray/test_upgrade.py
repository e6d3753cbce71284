"""An application that is deployed anew while clients ask: every request is answered."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.ray.processes import NEEDS_RAY, nothing_left
from tests.ray.test_app import REPLICA, body_of, wait_for
from tests.server.server_process import CHAT, HttpResponse, ServerProcess

pytestmark = NEEDS_RAY
SCRIPT = """
import os, signal, sys
import ray
from ray import serve
from edgefc.ray import build_app
from edgefc.server import Settings
ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False)
serve.start(http_options={"host": "127.0.0.1", "port": int(sys.argv[1])})
signal.signal(signal.SIGTERM, lambda *_: sys.exit())  # Ray has a handler of its own, which aborts
try:
    while line := os.read(0, 64):  # a signal may not interrupt sys.stdin, which has a lock
        options = {"family": "hermes", "n_threads": 1, "n_ctx": int(line)}
        serve.run(build_app(sys.argv[2], replicas=2, settings=Settings(drain=300), **options))
        print("ready", flush=True)
finally:
    serve.shutdown()
    ray.shutdown()
"""
IMPORTS_RAY = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # its use of pydantic
LONG = 1500  # tokens; an answer of so many began before the upgrade and ends in it
CLIENTS = 4


@contextmanager
def upgradable(model: Path) -> Iterator[tuple[ServerProcess, Callable[[int], None]]]:
    """Start Ray Serve; yields a client for it, and what deploys the application with another n_ctx."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    client = ServerProcess()
    client.host, client.port = "127.0.0.1", port
    client.process = subprocess.Popen(
        [sys.executable, "-c", SCRIPT, str(port), str(model)], env=dict(os.environ), stdin=subprocess.PIPE,
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
    )  # fmt: skip

    def deploy(n_ctx: int) -> None:
        assert client.process.stdin is not None
        assert client.process.stdout is not None
        client.process.stdin.write(f"{n_ctx}\n")
        client.process.stdin.flush()
        assert client.process.stdout.readline() == "ready\n"

    with client.process, nothing_left(client.process.pid):
        yield client, deploy


class Load:
    """Clients that ask all the time, for whole answers and for streams; it counts what they got."""

    def __init__(self, server: ServerProcess) -> None:
        self._server, self._stopped = server, threading.Event()
        self.got: Counter[str] = Counter()
        self.replicas: set[str] = set()

    def run(self, client: int) -> None:
        """Ask until the load is stopped."""
        number = client
        while not self._stopped.is_set():
            self.ask(number, 8, is_stream=number % 2 == 0)
            number += 3

    def ask(self, number: int, tokens: int, *, is_stream: bool) -> None:
        answer = self._server.post(CHAT, body_of(number % 50, stream=is_stream, max_tokens=tokens))
        self.got[_summary(answer, is_stream=is_stream)] += 1
        self.replicas.add(answer.headers.get(REPLICA, ""))

    def stop(self) -> None:
        self._stopped.set()


def _summary(answer: HttpResponse, *, is_stream: bool) -> str:
    if answer.status != 200:
        return f"{answer.status} {answer.body.decode()}"
    if is_stream:
        return "complete" if answer.body.endswith(b"data: [DONE]\n\n") else f"cut: {answer.body[-300:].decode()}"
    return "complete" if answer.json["choices"] else "empty"


def context(server: ServerProcess) -> Any:
    return server.request("GET", "/v1/models").json["data"][0]["context_length"]


def test_an_upgrade_under_load_answers_every_request(tiny_model: Path) -> None:
    with upgradable(tiny_model) as (server, deploy), ThreadPoolExecutor(CLIENTS + 2) as clients:
        deploy(4096)
        load = Load(server)
        asked = [clients.submit(load.ask, number, LONG, is_stream=number == 0) for number in (0, 1)]
        asked += [clients.submit(load.run, client) for client in range(CLIENTS)]
        try:
            wait_for(lambda: sum(load.got.values()) >= 40, "40 answers")
            old, before = set(load.replicas), sum(load.got.values())
            assert context(server) == 4096
            deploy(2048)
            during = sum(load.got.values()) - before
            wait_for(lambda: len(load.replicas - old) == 2, "both new replicas answer")
        finally:
            load.stop()
        for each in asked:
            each.result()
        assert load.got.keys() == {"complete"}, load.got
        assert len(old) == 2
        assert during > 0
        load.replicas.clear()
        for number in range(10):
            load.ask(number, 4, is_stream=False)
        assert not load.replicas & old
        assert context(server) == 2048


@IMPORTS_RAY
def test_who_forwards_stays_longer_than_the_replicas(monkeypatch: pytest.MonkeyPatch) -> None:
    from edgefc.ray import application
    from edgefc.server import Settings

    seconds: dict[str, float] = {}
    deployment = application.serve.deployment

    def recorded(*target: Any, name: str, graceful_shutdown_timeout_s: float, **options: Any) -> Any:
        seconds[name] = graceful_shutdown_timeout_s
        return deployment(*target, name=name, graceful_shutdown_timeout_s=graceful_shutdown_timeout_s, **options)

    monkeypatch.setattr(application.serve, "deployment", recorded)
    application.build_app("demo", settings=Settings(drain=100))
    assert seconds["edgefc"] == 100 < seconds["front"]
