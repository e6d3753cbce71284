"""The server as a user starts it: a process of its own, asked over its socket."""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import pytest
from openai import OpenAI


@dataclass
class Answered:
    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def error(self) -> dict[str, Any]:
        found: dict[str, Any] = self.json["error"]
        assert found.keys() >= {"message", "type", "param", "code"}
        return found


@dataclass
class Serving:
    """`edgefc serve` with these options, from `with` to its end."""

    options: tuple[str, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    models: tuple[str, ...] = ("demo",)

    def __enter__(self) -> Self:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "edgefc", "serve", *self.models, "--port", "0", *self.options],
            stderr=subprocess.PIPE, text=True, env={**os.environ, **self.environment},
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )  # fmt: skip
        self.lines: list[str] = []
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.lines.append(line)
            if found := re.search(r"at http://(\S+):(\d+)/v1", line):
                self.host, self.port = found[1].strip("[]"), int(found[2])
                break
        else:
            pytest.fail(f"it did not start: {''.join(self.lines)}")
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        return self

    def _read(self) -> None:
        assert self.process.stderr is not None
        self.lines += self.process.stderr

    def __exit__(self, *_: object) -> None:
        self.process.terminate()
        try:
            self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self._reader.join()
        assert self.process.stderr is not None
        self.process.stderr.close()

    def ask(
        self,
        method: str,
        path: str,
        body: Any = None,
        headers: Mapping[str, str] | None = None,
        *,
        raw: bytes | None = None,
    ) -> Answered:
        connection = http.client.HTTPConnection(self.host, self.port, timeout=120)
        data = raw if raw is not None else None if body is None else json.dumps(body).encode()
        sent = {"Content-Type": "application/json", **(headers or {})}
        try:
            connection.request(method, path, data, sent)
            answer = connection.getresponse()
            return Answered(answer.status, dict(answer.headers), answer.read())
        finally:
            connection.close()

    def post(self, path: str, body: Any, **headers: str) -> Answered:
        return self.ask("POST", path, body, headers)

    def socket(self) -> socket.socket:
        return socket.create_connection((self.host, self.port), timeout=60)

    def metric(self, name: str) -> float:
        text = self.ask("GET", "/metrics").body.decode()
        found = re.search(rf"^{re.escape(name)} (\S+)$", text, re.MULTILINE)
        return float(found[1]) if found else 0.0

    def wait_until_idle(self) -> None:
        for _ in range(600):
            if not self.metric("edgefc_running"):
                return
            time.sleep(0.05)
        pytest.fail("requests go on running")

    @property
    def url(self) -> str:
        return f"http://{self.host}:{self.port}/v1"

    def client(self, **options: Any) -> OpenAI:
        return OpenAI(base_url=self.url, **{"api_key": "none", "max_retries": 0, **options})


@pytest.fixture(scope="session")
def server(demo_path: Path) -> Iterator[Serving]:
    with Serving() as serving:
        yield serving


@pytest.fixture(scope="session")
def client(server: Serving) -> OpenAI:
    return server.client()
