"""A call costs an error result at most, whatever the tool does."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import edgefc
from edgefc.errors import ToolError
from edgefc.terminal.interrupts import raise_outside_imports
from edgefc.tools import PythonTool, load_tools, run_tool


class UnprintableError(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no text")


class OddError(BaseException):
    pass


def raising(error: BaseException) -> Callable[[], Any]:
    def fail() -> None:
        raise error

    return fail


def cycle() -> Any:
    loop: list[Any] = []
    loop.append({"loop": loop})
    return loop


def deep() -> Any:
    value: Any = 1
    for _ in range(100_000):
        value = [value]
    return value


def endless_recursion() -> Any:
    return endless_recursion()


async def coroutine() -> str:
    return "never"


def endless() -> Any:
    return iter(int, 1)


FAULTS: dict[str, tuple[Callable[[], Any], str]] = {
    "SystemExit": (raising(SystemExit(3)), "SystemExit: 3"),
    "KeyboardInterrupt": (raising(KeyboardInterrupt()), "KeyboardInterrupt"),
    "GeneratorExit": (raising(GeneratorExit()), "GeneratorExit"),
    "another BaseException": (raising(OddError("x")), "OddError: x"),
    "MemoryError": (raising(MemoryError()), "MemoryError"),
    "an exception without text": (raising(UnprintableError()), "UnprintableError"),
    "a long exception": (raising(ValueError("x" * 50_000_000)), "ValueError: xxx"),
    "endless recursion": (endless_recursion, "RecursionError"),
    "bytes": (lambda: b"\xff", "bytes"),
    "bytes inside": (lambda: {"a": [bytearray(2)]}, "bytes"),
    "NaN": (lambda: float("nan"), "not JSON compliant"),
    "infinity inside": (lambda: {"a": [1e999]}, "not JSON compliant"),
    "a cycle": (cycle, "Circular"),
    "deep nesting": (deep, "RecursionError"),
    "50 MB": (lambda: "x" * 50_000_000, "50,000,000 characters"),
    "50 MB inside": (lambda: ["x" * 1000] * 50_000, "characters"),
    "a huge number": (lambda: 10**5000, "ValueError"),
    "keys that are no text": (lambda: {(1, 2): 3}, "TypeError"),
    "a set of everything": (lambda: {1, "a"}, "TypeError"),
    "a coroutine inside": (lambda: [coroutine()], "of the type coroutine"),
    "an object without text": (lambda: {"a": object()}, "of the type object"),
    "an endless generator": (endless, "more than"),
}


@pytest.mark.parametrize("timeout", [None, 30.0])
@pytest.mark.parametrize(("function", "reason"), FAULTS.values(), ids=FAULTS.keys())
def test_a_fault_costs_its_call_an_error_result(
    function: Callable[[], Any], reason: str, timeout: float | None
) -> None:
    def fault() -> Any:
        return function()

    result = run_tool(PythonTool(fault, timeout=timeout), {})
    assert len(result) < 2000
    assert reason in json.loads(result)["error"]


def test_half_a_character_is_replaced() -> None:
    def names() -> list[str]:
        return ["a\udcff", "b"]

    assert json.loads(run_tool(PythonTool(names), "{}")) == ["a?", "b"]


def sleep() -> None:
    time.sleep(600)


def stubborn() -> None:
    while True:
        try:
            time.sleep(600)
        except BaseException:
            continue


@pytest.mark.parametrize("function", [sleep, stubborn])
def test_a_call_that_never_returns_is_given_up(function: Callable[[], None]) -> None:
    assert json.loads(run_tool(PythonTool(function, timeout=0.2), {})) == {"error": "no result within 0.2 s"}
    assert run_tool(PythonTool(lambda: "next", name="next", timeout=30), {}) == "next"


def test_templates_render_while_a_call_blocks() -> None:
    """In a process of its own: an exception pending in the blocked thread would make the first template hang."""
    code = (
        "import time\nfrom edgefc.formats import load_family\nfrom edgefc.tools import PythonTool, run_tool\n"
        "def sleep() -> None:\n    time.sleep(600)\n"
        "print(run_tool(PythonTool(sleep, timeout=0.1), {}))\n"
        "for _ in range(100):\n    load_family('demo').render([{'role': 'user', 'content': 'Hi'}])\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=True)
    assert "no result within 0.1 s" in done.stdout


def test_a_file_and_its_calls_share_a_thread(tmp_path: Path) -> None:
    """SQLite's connections work in the thread that made them alone."""
    path = tmp_path / "mine.py"
    path.write_text(
        "import sqlite3\nconnection = sqlite3.connect(':memory:')\n"
        "def count() -> list:\n    return connection.execute('select 1').fetchone()\n",
        encoding="utf-8",
    )
    for timeout in (None, 30.0):
        (runner,) = load_tools(path, timeout=timeout).runners.values()
        assert (runner.timeout, run_tool(runner, {})) == (timeout, "[1]")


@pytest.mark.parametrize("timeout", [None, 30.0])
@pytest.mark.parametrize("handler", [signal.default_int_handler, raise_outside_imports])
def test_ctrl_c_reaches_the_caller(handler: Callable[..., None], timeout: float | None) -> None:
    def wait() -> None:
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(600)

    before = signal.signal(signal.SIGINT, handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            run_tool(PythonTool(wait, timeout=timeout), {})
        assert signal.getsignal(signal.SIGINT) is handler
    finally:
        signal.signal(signal.SIGINT, before)


def test_a_tool_may_raise_an_interrupt_where_ctrl_c_is_ignored() -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        assert "KeyboardInterrupt" in run_tool(PythonTool(raising(KeyboardInterrupt()), timeout=None), {})
    finally:
        signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize("timeout", [0, -1.0, float("nan"), float("inf")])
def test_an_impossible_time_limit_is_refused(timeout: float) -> None:
    with pytest.raises(ToolError, match="timeout"):
        edgefc.tool(timeout=timeout)(sleep)


def test_a_file_that_exits_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "mine.py"
    path.write_text("import sys\nsys.exit(0)\n", encoding="utf-8")
    for timeout in (None, 30.0):
        with pytest.raises(ToolError, match="line 2: SystemExit"):
            load_tools(path, timeout=timeout)
