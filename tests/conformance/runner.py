"""Runs llama-server's tests, with their own pytest and `reporter` in it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).parent
FILES = ("test_tool_call.py", "test_chat_completion.py", "test_security.py", "test_compat_oai_responses.py")
TIMEOUT_S = 1800


class Runner:
    """Runs the cases of FILES in a folder: those that match `only` (pytest's -k), without slow ones if `fast`."""

    def __init__(self, python: Path, tests: Path, *, only: str = "", fast: bool = False) -> None:
        self._tests, self._fast = tests, fast
        self._command = [str(python), "-m", "pytest", "-p", "no:cacheprovider", "-p", "reporter"]
        self._command += ["-qq", "--tb=no", "--no-header", "--no-summary"]
        self._selection = [*(("-k", only) if only else ()), *(("-m", "not slow") if fast else ())]
        self._selection += [f"unit/{name}" for name in FILES]

    def names(self) -> list[str]:
        """Return the selected cases, each as `file::function[parameters]`."""
        return [case["name"] for case in self._run("names", "--collect-only", *self._selection)]

    def bodies(self, names: Sequence[str]) -> dict[str, Any]:
        """Return the body of the first request of each case, without sending any."""
        return {case["name"]: case["body"] for case in self._run("bodies", *(f"unit/{name}" for name in names))}

    def outcomes(self, servers: Sequence[tuple[str, int]]) -> list[dict[str, Any]]:
        """Run the selected cases; `servers` are patterns of their names, and ports."""
        return self._run("outcomes", *self._selection, servers=servers)

    def _run(self, mode: str, *arguments: str, servers: Sequence[tuple[str, int]] = ()) -> list[dict[str, Any]]:
        report = self._tests / f"{mode}.report"
        report.touch()
        environment = {
            **os.environ, "PYTHONPATH": str(HERE), "DEBUG_EXTERNAL": "1", "SLOW_TESTS": "0" if self._fast else "1",
            "EDGEFC_REPORTER": json.dumps({"mode": mode, "report": str(report), "servers": servers}),
        }  # fmt: skip
        is_verbose = mode == "outcomes"  # pytest's output shows the progress
        done = subprocess.run(
            [*self._command, *arguments], cwd=self._tests, env=environment, timeout=TIMEOUT_S, text=True, check=False,
            stdout=sys.stderr if is_verbose else subprocess.PIPE, stderr=None if is_verbose else subprocess.STDOUT,
        )  # fmt: skip
        if done.returncode == pytest.ExitCode.NO_TESTS_COLLECTED:
            sys.exit("no case of llama-server's tests matches")
        if done.returncode not in {0, 1 if is_verbose else 0}:
            sys.exit(f"{done.stdout or ''}\nllama-server's tests did not run: pytest exited with {done.returncode}")
        return [json.loads(line) for line in report.read_text(encoding="utf-8").splitlines()]
