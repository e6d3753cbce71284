"""Calls with a time limit, in a thread that is given up when the time is over.

A thread of Python cannot be stopped from outside, so a call that never returns keeps its thread; the next call gets
another. All calls of one caller use the same thread while they return, because objects such as SQLite's connections
work in the thread that made them alone.
"""

from __future__ import annotations

import contextvars
import queue
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar

T = TypeVar("T")


class LimitError(Exception):
    """An asynchronous tool took more time than it may."""


@dataclass(eq=False, slots=True)
class _Call:
    function: Callable[[], Any]
    on_done: Callable[[], None] | None = None
    context: contextvars.Context = field(default_factory=contextvars.copy_context)
    done: threading.Event = field(default_factory=threading.Event)
    result: Any = None
    error: BaseException | None = None

    def run(self) -> None:
        try:
            self.result = self.context.run(self.function)
        except BaseException as error:  # noqa: BLE001 - raised again in the caller's thread
            self.error = error
        finally:
            self.done.set()
            if self.on_done is not None:
                self.on_done()


class CallThread:
    """A thread that runs calls one after the other, until this object is deleted."""

    def __init__(self) -> None:
        self._calls: queue.SimpleQueue[_Call | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=_run_calls, args=(self._calls,), name="edgefc-tool", daemon=True)
        self._thread.start()

    def start(self, function: Callable[[], Any], on_done: Callable[[], None] | None = None) -> _Call:
        """Run a function after those before it; `on_done` is called in the thread when it has returned."""
        call = _Call(function, on_done)
        self._calls.put(call)
        return call

    def stop(self) -> None:
        """Let the thread end once its call returns.

        An exception sent into it would end a loop of Python code, too. But while a call blocks, the exception stays
        pending for the whole interpreter, and CPython 3.11 then never leaves the first line of a traced function in
        any other thread: the next chat template would hang for ever.
        """
        self._calls.put(None)

    def __del__(self) -> None:
        self._calls.put(None)


def _run_calls(calls: queue.SimpleQueue[_Call | None]) -> None:
    while (call := calls.get()) is not None:
        call.run()


_threads = threading.local()  # each caller's thread has its own


def call_with_timeout(function: Callable[[], T], timeout: float | None) -> T:
    """Call a function in the thread of this caller's tools and return its result.

    Raises what the function raises, and TimeoutError after `timeout` seconds. Ctrl-C interrupts the wait.
    """
    thread: CallThread | None = getattr(_threads, "current", None)
    if thread is None:
        thread = _threads.current = CallThread()
    call = thread.start(function)
    try:
        if not call.done.wait(timeout):
            raise TimeoutError
    except BaseException:
        _threads.current = None
        thread.stop()
        raise
    if call.error is not None:
        raise call.error
    result: T = call.result
    return result
