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
    """The cases of FILES in this folder; `only` are those that pytest's -k chooses, `fast` those not marked slow."""

    def __init__(self, python: Path, tests: Path, *, only: str = "", fast: bool = False) -> None:
        self._tests, self._fast = tests, fast
        self._command = [str(python), "-m", "pytest", "-p", "no:cacheprovider", "-p", "reporter"]
        self._command += ["-qq", "--tb=no", "--no-header", "--no-summary"]
        self._chosen = [*(("-k", only) if only else ()), *(("-m", "not slow") if fast else ())]
        self._chosen += [f"unit/{name}" for name in FILES]

    def names(self) -> list[str]:
        """The cases that are chosen, each as `file::function[parameters]`."""
        return [told["name"] for told in self._run("names", "--collect-only", *self._chosen)]

    def bodies(self, names: Sequence[str]) -> dict[str, Any]:
        """The body of the first request of each of these cases; nothing is asked."""
        return {told["name"]: told["body"] for told in self._run("bodies", *(f"unit/{name}" for name in names))}

    def outcomes(self, servers: Sequence[tuple[str, int]]) -> list[dict[str, Any]]:
        """How the chosen cases end; `servers` are patterns of their names, and ports."""
        return self._run("outcomes", *self._chosen, servers=servers)

    def _run(self, wanted: str, *arguments: str, servers: Sequence[tuple[str, int]] = ()) -> list[dict[str, Any]]:
        report = self._tests / f"{wanted}.report"
        report.touch()
        environment = {
            **os.environ, "PYTHONPATH": str(HERE), "DEBUG_EXTERNAL": "1", "SLOW_TESTS": "0" if self._fast else "1",
            "EDGEFC_REPORTER": json.dumps({"wanted": wanted, "report": str(report), "servers": servers}),
        }  # fmt: skip
        shown = wanted == "outcomes"  # as progress
        done = subprocess.run(
            [*self._command, *arguments], cwd=self._tests, env=environment, timeout=TIMEOUT_S, text=True, check=False,
            stdout=sys.stderr if shown else subprocess.PIPE, stderr=None if shown else subprocess.STDOUT,
        )  # fmt: skip
        if done.returncode == pytest.ExitCode.NO_TESTS_COLLECTED:
            sys.exit("no case of llama-server's tests is chosen by this name")
        if done.returncode not in {0, 1 if shown else 0}:
            sys.exit(f"{done.stdout or ''}\nllama-server's tests did not run: pytest ended with {done.returncode}")
        return [json.loads(line) for line in report.read_text(encoding="utf-8").splitlines()]
