"""The program as a user runs it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Self

import pytest

Edgefc = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def edgefc(tmp_path: Path) -> Edgefc:
    def run(*words: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "edgefc", *words],
            input=stdin, capture_output=True, text=True, timeout=180, cwd=tmp_path, check=False,
        )  # fmt: skip

    return run


class Terminal:
    """The program on a terminal of its own (Unix): what it shows is waited for, keys are typed."""

    def __init__(self, *words: str, cwd: Path | None = None, env: Mapping[str, str] = os.environ) -> None:
        import pty

        self._main, child = pty.openpty()
        self.process = subprocess.Popen(
            [sys.executable, "-m", "edgefc", *words],
            stdin=child, stdout=child, stderr=child, cwd=cwd, start_new_session=True, env={**env, "TERM": "dumb"},
            # Where the tests run in the background, children inherit that SIGINT is ignored.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )  # fmt: skip
        os.close(child)
        os.set_blocking(self._main, False)
        self._seen = ""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self._main)

    def wait_for(self, text: str) -> None:
        for _ in range(1200):
            try:
                self._seen += os.read(self._main, 65536).decode("utf-8", "replace")
            except BlockingIOError:
                time.sleep(0.05)
            if text in self._seen:
                self._seen = self._seen.partition(text)[2]
                return
        raise AssertionError(f"{text!r} did not come: {self._seen[-500:]!r}")

    def type(self, text: str) -> None:
        os.write(self._main, f"{text}\r".encode())
