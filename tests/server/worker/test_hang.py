"""A worker process that hangs instead of ending is noticed, killed and restarted."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

from edgefc.errors import ModelLoadError
from edgefc.server import Settings, WorkerSupervisor
from edgefc.server.worker import supervisor
from tests.server.server_process import CHAT, HttpResponse, ServerProcess

SMALL: dict[str, Any] = {"messages": [{"role": "user", "content": "Hello!"}], "max_tokens": 2}
pytestmark = pytest.mark.skipif(os.name == "nt", reason="needs POSIX signals")


def wait_for_health(server: ServerProcess, status: int) -> HttpResponse:
    for _ in range(1200):
        answer = server.request("GET", "/health")
        if answer.status == status:
            return answer
        time.sleep(0.05)
    pytest.fail(f"/health never returned {status}")


def test_a_process_that_hangs_is_restarted_and_its_requests_get_an_error() -> None:
    with ServerProcess(("--worker",)) as server:
        process = server.worker_process()
        process.suspend()
        answers: list[HttpResponse] = []
        thread = threading.Thread(target=lambda: answers.append(server.post(CHAT, SMALL)))
        thread.start()
        assert wait_for_health(server, 503).error["code"] == "not_responding"
        assert server.request("GET", "/metrics").status == 200
        assert server.metric("edgefc_worker_up") == 0
        thread.join(60)
        assert (answers[0].status, answers[0].error["code"]) == (503, "model_crashed")
        wait_for_health(server, 200)
        assert server.post(CHAT, SMALL).status == 200
        assert server.metric("edgefc_worker_restarts") == 1
        assert server.metric("edgefc_worker_up") == 1
        assert not process.is_running()
    assert any("does not respond" in line for line in server.lines)


def test_a_process_that_hangs_while_it_loads_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mark = tmp_path / "mark"
    (tmp_path / "sitecustomize.py").write_text(
        f"""
import os, signal
from pathlib import Path

mark = Path({str(mark)!r})
if not mark.exists():
    mark.touch()
    os.kill(os.getpid(), signal.SIGSTOP)
""",
        encoding="utf-8",
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))

    async def start_twice() -> None:
        worker = WorkerSupervisor(["demo"], {"n_ctx": 256}, Settings(), None)
        try:
            monkeypatch.setattr(supervisor, "SILENCE_S", 0.2)
            with pytest.raises(ModelLoadError, match="hung"):
                await worker.start()
            process = worker._process
            assert process is not None
            assert process.returncode == -signal.SIGKILL
            assert mark.exists()
            monkeypatch.setattr(supervisor, "SILENCE_S", 60.0)
            assert (await worker.start()).n_ctx == 256
        finally:
            await worker.close()

    asyncio.run(start_twice())


def test_a_signal_ends_a_server_whose_process_hangs() -> None:
    with ServerProcess(("--worker", "--drain", "600")) as server:
        process = server.worker_process()
        process.suspend()
        thread = threading.Thread(target=lambda: server.post(CHAT, SMALL))
        thread.start()
        time.sleep(0.2)
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(60) == 0
        thread.join(60)
        assert not process.is_running()


@pytest.mark.skipif(sys.platform != "linux", reason="a process dies with its parent on Linux alone")
def test_a_process_that_hangs_does_not_outlive_its_parent() -> None:
    with ServerProcess(("--worker",)) as server:
        process = server.worker_process()
        process.suspend()
        server.process.kill()
        try:
            process.wait(30)
        except psutil.TimeoutExpired:
            process.kill()
            raise
