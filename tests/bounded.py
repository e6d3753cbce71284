"""Runs an attack in a child process of limited time and memory, so that a failure of edgefc costs only that process."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

SECONDS, MEMORY, FILE_SIZE = 60, 4 << 30, 1 << 28


def run_bounded(
    arguments: Sequence[str | Path], folder: Path, *, seconds: float = SECONDS, memory: int = MEMORY
) -> subprocess.CompletedProcess[str]:
    """Run Python with these arguments. Raises subprocess.TimeoutExpired.

    memory  bytes of address space
    """
    environment = {**os.environ, "EDGEFC_CONFIG_DIR": str(folder / "config")}
    return subprocess.run(
        [sys.executable, *map(str, arguments)],
        env=environment, capture_output=True, text=True, timeout=seconds, preexec_fn=limits(memory), check=False,
    )  # fmt: skip


def run_edgefc(*arguments: str | Path, folder: Path, memory: int = MEMORY) -> str:
    """Run a command and return its output: it ends in time, without a traceback, by itself."""
    result = run_bounded(["-m", "edgefc", *arguments], folder, memory=memory)
    text = result.stdout + result.stderr
    assert result.returncode in {0, 1, 2}, (result.returncode, text[-2000:])
    assert "Traceback" not in text, text[-2000:]
    return text


def limits(memory: int) -> Callable[[], None] | None:
    """Return a function that limits the process that calls it; None where there is no such limit."""
    with contextlib.suppress(ImportError):
        import resource

        def set_limits() -> None:
            resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
            resource.setrlimit(resource.RLIMIT_FSIZE, (FILE_SIZE, FILE_SIZE))

        return set_limits
    return None
