"""Servers to measure: one in a thread of this process, on a model that is here; one as `edgefc serve` starts it."""

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
from edgefc.server.http_protocol import HttpProtocol


@contextmanager
def serving(model: edgefc.Model) -> Iterator[int]:
    """The server as `edgefc serve` runs it, in a thread; its port."""
    config = uvicorn.Config(create_app(model), port=0, log_config=None, access_log=False, http=HttpProtocol, ws="none")
    server = uvicorn.Server(config)
    running = threading.Thread(target=server.run)
    running.start()
    while not server.started:
        time.sleep(0.01)
    try:
        yield server.servers[0].sockets[0].getsockname()[1]
    finally:
        server.should_exit = True
        running.join()


def started(model: str) -> tuple[subprocess.Popen[str], int]:
    """`edgefc serve` in a process, which is the caller's to end, and its port."""
    command = [sys.executable, "-m", "edgefc", "serve", model, "--port", "0"]
    server = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    assert server.stderr is not None
    port = next(int(found[1]) for line in server.stderr if (found := re.search(r"at http://\S+:(\d+)/v1", line)))
    threading.Thread(target=lambda: [None for _ in server.stderr or ()], daemon=True).start()
    return server, port
