"""Bounds on the work that one schema may cost, checked wherever work is done in small pieces.

Steps are counted where the outcome depends on the bound, so that the same schema always gives the same grammar. The
clock, which is the thread's processor time, only ends a compilation that would take too long altogether.
"""

from __future__ import annotations

import gc
import threading
import time
from collections.abc import Hashable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any


class OutOfTimeError(Exception):
    """The deadline has passed. `seconds` is the time that was allowed."""

    def __init__(self, seconds: float) -> None:
        super().__init__(seconds)
        self.seconds = seconds


class OutOfStepsError(Exception):
    """The work needs more steps than were allowed."""


class _Budget:
    def __init__(self, seconds: float) -> None:
        self.seconds, self.end, self.steps = seconds, time.thread_time() + seconds, 0
        self.max_steps: int | None = None
        self.counted: set[Hashable] = set()


_budget: ContextVar[_Budget | None] = ContextVar("budget", default=None)
_lock = threading.Lock()
_deadlines = 0  # in all threads


@contextmanager
def deadline(seconds: float) -> Iterator[None]:
    """Limit the block to this processor time: past it, `tick` raises OutOfTimeError."""
    budget = _Budget(seconds)
    token = _budget.set(budget)
    _watch_collections(1)
    try:
        yield
    finally:
        _watch_collections(-1)
        _budget.reset(token)


def _watch_collections(change: int) -> None:
    """Register `_exclude_collection` while there is a deadline in any thread.

    For as short a time as possible, as Python drops a Ctrl-C that arrives inside of it. One registration is for all:
    Python skips callbacks where another thread removes one while it calls them.
    """
    global _deadlines
    with _lock:
        before, _deadlines = _deadlines, _deadlines + change
        if not before:
            gc.callbacks.append(_exclude_collection)
        elif not _deadlines:
            gc.callbacks.remove(_exclude_collection)


def _exclude_collection(phase: str, _: Mapping[str, Any]) -> None:
    """Add the time of a garbage collection to the deadline: it grows with the program, not with the schema."""
    if (budget := _budget.get()) is not None:
        budget.end += -time.thread_time() if phase == "start" else time.thread_time()


@contextmanager
def step_limit(steps: int | None) -> Iterator[None]:
    """Limit the block to a number of steps: past it, `tick` raises OutOfStepsError. Needs a deadline around it."""
    budget = _budget.get()
    if budget is None:
        yield
        return
    before, budget.max_steps = budget.max_steps, None if steps is None else budget.steps + steps
    try:
        yield
    finally:
        budget.max_steps = before


def tick_once(work: Hashable, steps: int) -> None:
    """Count work whose result the process keeps: once in a block, also where an earlier one has done it."""
    budget = _budget.get()
    if budget is not None and work not in budget.counted:
        budget.counted.add(work)
        tick(steps)


def tick(steps: int = 1) -> None:
    """Count a piece of work; one step is about ten microseconds."""
    budget = _budget.get()
    if budget is None:
        return
    budget.steps += steps
    if budget.max_steps is not None and budget.steps > budget.max_steps:
        raise OutOfStepsError
    if time.thread_time() > budget.end:
        raise OutOfTimeError(budget.seconds)
