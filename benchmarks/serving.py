"""Starts servers to measure: in a thread of this process, on a loaded model, or as `edgefc serve` does."""

from __future__ import annotations

import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import uvicorn

import edgefc
from edgefc.server import create_app
from edgefc.server.connections import ConnectionTable
from edgefc.server.http_protocol import protocol_with
from edgefc.server.run import LOCK_INTERVAL_S


@contextmanager
def serve_in_thread(model: edgefc.Model) -> Iterator[int]:
    """Run the server of `edgefc serve` in a thread; yields its port."""
    sys.setswitchinterval(LOCK_INTERVAL_S)
    protocol = protocol_with(ConnectionTable())
    config = uvicorn.Config(create_app(model), port=0, log_config=None, access_log=False, http=protocol, ws="none")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    try:
        yield server.servers[0].sockets[0].getsockname()[1]
    finally:
        server.should_exit = True
        thread.join()


def start_server(*arguments: str) -> tuple[subprocess.Popen[str], int]:
    """Start `edgefc serve` with models and options; returns its process, which the caller must end, and its port."""
    command = [sys.executable, "-m", "edgefc", "serve", *arguments, "--port", "0"]
    server = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    assert server.stderr is not None
    port = next(int(match[1]) for line in server.stderr if (match := re.search(r"at http://\S+:(\d+)/v1", line)))
    threading.Thread(target=lambda: [None for _ in server.stderr or ()], daemon=True).start()
    return server, port
