"""The program as a user runs it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

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
