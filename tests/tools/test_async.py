"""Asynchronous tools: run in the caller's event loop, or in one of edgefc's for callers that have none."""

from __future__ import annotations

import asyncio
import contextvars
import json
import os
import signal
import threading
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from edgefc.tools import PythonTool, run_tool
from edgefc.tools.async_runner import AsyncRunner

USER: contextvars.ContextVar[str] = contextvars.ContextVar("USER")


async def double(a: int) -> int:
    await asyncio.sleep(0)
    return 2 * a


async def count(a: int) -> AsyncIterator[int]:
    for number in range(a):
        yield number


class Doubler:
    async def __call__(self, a: int) -> int:
        return 2 * a


def awaitable(a: int) -> Any:
    return double(a)


async def user(a: int) -> str:
    return f"{USER.get()} {a}"


async def fail(a: int) -> None:
    raise LookupError(f"nothing at {a}")


async def leave(a: int) -> None:
    raise SystemExit(a)


async def interrupt(a: int) -> None:
    raise KeyboardInterrupt(a)


async def give_up(a: int) -> None:
    raise asyncio.CancelledError(a)


async def late(a: int) -> None:
    raise TimeoutError(f"after {a}")


def plain(a: int) -> int:
    return a


RESULTS: list[tuple[Callable[..., Any], str]] = [
    (double, "6"),
    (count, "[0, 1, 2]"),
    (Doubler(), "6"),
    (awaitable, "6"),
    (user, "Ada 3"),
    (plain, "3"),
    (fail, "LookupError: nothing at 3"),
    (leave, "SystemExit: 3"),
    (interrupt, "KeyboardInterrupt"),
    (give_up, "CancelledError"),
    (late, "TimeoutError: after 3"),
]


def run_in_a_loop(tool: PythonTool, arguments: Any) -> str:
    return asyncio.run(AsyncRunner().run(tool, arguments))


@pytest.mark.parametrize("run", [run_tool, run_in_a_loop])
@pytest.mark.parametrize("timeout", [None, 60.0])
@pytest.mark.parametrize(("function", "text"), RESULTS)
def test_the_result_of_a_tool_is_awaited(
    run: Callable[..., str], timeout: float | None, function: Callable[..., Any], text: str
) -> None:
    USER.set("Ada")
    result = run(PythonTool(function, timeout=timeout), '{"a": 3}')
    assert text in (json.loads(result)["error"] if result.startswith('{"error"') else result)
    assert "object at 0x" not in result


@pytest.mark.parametrize("run", [run_tool, run_in_a_loop])
def test_a_tool_that_takes_too_long_is_cancelled(run: Callable[..., str]) -> None:
    ended = threading.Event()

    async def wait(a: int) -> None:
        try:
            await asyncio.sleep(600)
        finally:
            ended.set()

    assert json.loads(run(PythonTool(wait, timeout=0.1), {"a": 1})) == {"error": "no result within 0.1 s"}
    assert ended.wait(60)


@pytest.mark.parametrize("run", [run_tool, run_in_a_loop])
def test_wrong_arguments_are_reported(run: Callable[..., str]) -> None:
    assert "wrong arguments: a" in run(PythonTool(double), {"a": "x"})
    assert "JSONDecodeError" in run(PythonTool(double), "{")


def test_a_synchronous_caller_may_be_inside_an_event_loop() -> None:
    async def main() -> str:
        return run_tool(PythonTool(double), {"a": 2})

    assert asyncio.run(main()) == "4"


def test_calls_of_a_synchronous_caller_share_one_loop() -> None:
    loops = []

    async def remember() -> None:
        loops.append(asyncio.get_running_loop())

    for _ in range(2):
        run_tool(PythonTool(remember), {})
    assert loops[0] is loops[1]


def test_ctrl_c_cancels_an_asynchronous_tool() -> None:
    ended = threading.Event()

    async def wait() -> None:
        os.kill(os.getpid(), signal.SIGINT)
        try:
            await asyncio.sleep(600)
        finally:
            ended.set()

    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            run_tool(PythonTool(wait), {})
    finally:
        signal.signal(signal.SIGINT, before)
    assert ended.wait(60)


def test_functions_of_one_task_share_a_thread_and_leave_the_loop_free() -> None:
    threads, answered = [], threading.Event()

    def wait_for_the_loop() -> bool:
        threads.append(threading.current_thread())
        return answered.wait(60)

    async def main() -> list[str]:
        runner = AsyncRunner()
        first = asyncio.create_task(runner.run(PythonTool(wait_for_the_loop), {}))
        await asyncio.sleep(0)
        answered.set()
        return [await first, await runner.run(PythonTool(wait_for_the_loop), {})]

    assert asyncio.run(main()) == ["true", "true"]
    assert threads[0] is threads[1] is not threading.main_thread()


def test_cancelling_a_task_cancels_its_tool() -> None:
    ended = []

    async def wait() -> None:
        try:
            await asyncio.sleep(600)
        except asyncio.CancelledError:
            ended.append(True)
            raise

    async def main() -> None:
        task = asyncio.create_task(AsyncRunner().run(PythonTool(wait), {}))
        for _ in range(3):
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())
    assert ended == [True]
