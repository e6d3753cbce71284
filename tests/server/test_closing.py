"""Models that are closed while requests use them, and engines that cannot go on."""

from __future__ import annotations

import shutil
import signal
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from edgefc.model import needed_memory
from tests.server.server_process import CHAT, ServerProcess, endless_server

# More tokens than the grammar may force without the model.
SMALL: dict[str, Any] = {"messages": [{"role": "user", "content": "Hello!"}], "max_tokens": 20}
LONG = "Hello, this is some text to be read word by word. " * 4_000
DEBUG = {"PYTHONFAULTHANDLER": "1"}


def test_a_model_is_unloaded_while_the_text_of_a_client_that_hung_up_is_tokenized(
    tiny_model: Path, tmp_path: Path
) -> None:
    paths = [tmp_path / f"{name}.gguf" for name in "ab"]
    for path in paths:
        shutil.copy(tiny_model, path)
    limit = needed_memory(paths[0], n_ctx=256) / 2**30 + 1e-4
    options = ("--n-ctx", "256", "--memory", f"{limit:.6f}")
    with ServerProcess(options, DEBUG, models=tuple(map(str, paths))) as server:
        for number in range(4):
            name, other = ("a", "b") if number % 2 == 0 else ("b", "a")
            assert server.post(CHAT, {**SMALL, "model": name}).status == 200
            client = server.send_chat({"model": name, "messages": [{"role": "user", "content": LONG}]})
            time.sleep(0.2 + 0.1 * number)
            client.close()
            assert server.post(CHAT, {**SMALL, "model": other}).status == 200
        assert server.process.poll() is None
    assert sum("unloaded" in line for line in server.lines) >= 4


def test_a_second_signal_while_texts_are_tokenized(tiny_model: Path) -> None:
    with endless_server(tiny_model, "--drain", "600") as server:

        def send(path: str, body: dict[str, Any]) -> None:
            with suppress(OSError):  # the server may break off the connection
                server.post(path, body)

        requests = [
            (CHAT, {"messages": [{"role": "user", "content": LONG}]}),
            ("/tokenize", {"content": LONG}),
        ]
        clients = [threading.Thread(target=send, args=request) for request in 2 * requests]
        for client in clients:
            client.start()
        time.sleep(0.5)
        server.process.send_signal(signal.SIGTERM)
        time.sleep(0.02)  # before the server, idle by then, has ended: it looks for signals every 0.1 s
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(120) == 0
        for client in clients:
            client.join(60)


def broken_engine(folder: Path, argument: str) -> dict[str, str]:
    """Environment of a server: in its first process with this argument the engine cannot recover from a fault."""
    (folder / "sitecustomize.py").write_text(
        f"""
import sys
from pathlib import Path

mark = Path({str(folder / "mark")!r})
if {argument!r} in sys.orig_argv and not mark.exists():
    mark.touch()
    from edgefc.engine.context import Context
    from edgefc.engine.slots import Slots

    def fail(*_, **__):
        raise MemoryError

    Context.decode = Slots.clear = fail
""",
        encoding="utf-8",
    )
    return {"PYTHONPATH": str(folder)}


def test_health_tells_that_the_engine_has_stopped(tmp_path: Path) -> None:
    with ServerProcess((), broken_engine(tmp_path, "serve")) as server:
        assert server.request("GET", "/health").status == 200
        assert server.post(CHAT, SMALL).status >= 500
        for _ in range(600):
            if (health := server.request("GET", "/health")).status != 200:
                break
            time.sleep(0.05)
        assert (health.status, health.error["code"]) == (503, "engine_stopped")
        later = server.post(CHAT, SMALL)
        assert (later.status, later.error["code"]) == (503, "engine_closed")


def test_a_worker_whose_engine_has_stopped_is_restarted(tmp_path: Path) -> None:
    with ServerProcess(("--worker",), broken_engine(tmp_path, "edgefc.server.worker.child")) as server:
        assert server.post(CHAT, SMALL).status >= 500
        for _ in range(1200):
            if server.metric("edgefc_worker_restarts"):
                break
            time.sleep(0.05)
        else:
            pytest.fail("the worker was never restarted")
        assert server.post(CHAT, SMALL).status == 200
        assert server.request("GET", "/health").status == 200
    assert any("has stopped" in line for line in server.lines)
