"""`edgefc serve` as a child process, and a minimal HTTP client for it."""

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
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import psutil
import pytest
from openai import OpenAI

CHAT = "/v1/chat/completions"


@dataclass
class HttpResponse:
    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def error(self) -> dict[str, Any]:
        """The error of an OpenAI error response."""
        error: dict[str, Any] = self.json["error"]
        assert error.keys() >= {"message", "type", "param", "code"}
        return error


@dataclass
class ServerProcess:
    """`edgefc serve` with these options, running inside a `with` block."""

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
            if match := re.search(r"at http://(\S+):(\d+)/v1", line):
                self.host, self.port = match[1].strip("[]"), int(match[2])
                break
        else:
            pytest.fail(f"the server did not start: {''.join(self.lines)}")
        self._reader = threading.Thread(target=self._read_stderr, daemon=True)
        self._reader.start()
        return self

    def _read_stderr(self) -> None:
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

    @property
    def url(self) -> str:
        return f"http://{self.host}:{self.port}/v1"

    def client(self, **options: Any) -> OpenAI:
        return OpenAI(base_url=self.url, **{"api_key": "none", "max_retries": 0, **options})

    def request(
        self,
        method: str,
        path: str,
        body: Any = None,
        headers: Mapping[str, str] | None = None,
        *,
        raw: bytes | None = None,
    ) -> HttpResponse:
        connection = http.client.HTTPConnection(self.host, self.port, timeout=120)
        data = raw if raw is not None else None if body is None else json.dumps(body).encode()
        try:
            connection.request(method, path, data, {"Content-Type": "application/json", **(headers or {})})
            response = connection.getresponse()
            return HttpResponse(response.status, dict(response.headers), response.read())
        finally:
            connection.close()

    def post(self, path: str, body: Any, **headers: str) -> HttpResponse:
        return self.request("POST", path, body, headers)

    def socket(self) -> socket.socket:
        return socket.create_connection((self.host, self.port), timeout=60)

    def send_chat(self, body: Any) -> socket.socket:
        """Send a chat completion request and return its socket, from which no response has been read."""
        connection = self.socket()
        data = json.dumps(body).encode()
        lines = (f"POST {CHAT} HTTP/1.1", "Host: localhost", "Content-Type: application/json",
                 f"Content-Length: {len(data)}", "", "")  # fmt: skip
        connection.sendall("\r\n".join(lines).encode() + data)
        return connection

    def metric(self, name: str) -> float:
        text = self.request("GET", "/metrics").body.decode()
        match = re.search(rf"^{re.escape(name)} (\S+)$", text, re.MULTILINE)
        return float(match[1]) if match else 0.0

    def wait_until_running(self, count: int) -> None:
        for _ in range(400):
            if self.metric("edgefc_running") >= count:
                return
            time.sleep(0.02)
        pytest.fail(f"{count} requests never ran")

    def wait_until_idle(self) -> None:
        for _ in range(600):
            if not self.metric("edgefc_running"):
                return
            time.sleep(0.05)
        pytest.fail("requests are still running")

    def worker_process(self) -> psutil.Process:
        """Wait for the child process of `--worker`."""
        for _ in range(600):
            for process in psutil.Process(self.process.pid).children():
                if "edgefc.server.worker.child" in process.cmdline():
                    return process
            time.sleep(0.05)
        pytest.fail("there is no worker process")


def endless_server(model: Path, *options: str) -> ServerProcess:
    """Serve a model with random weights, which never ends its answer."""
    return ServerProcess(("--n-ctx", "4096", "--family", "hermes", *options), models=(str(model),))


def read_until(connection: socket.socket, text: bytes) -> bytes:
    """Read until `text` has arrived; return everything that was read."""
    connection.settimeout(120)
    data = b""
    while text not in data:
        chunk = connection.recv(4096)
        if not chunk:
            pytest.fail(f"the response ended without {text!r}: {data[-500:]!r}")
        data += chunk
    return data
