"""Bounds on the work that one schema may take, checked wherever work is done in small pieces.

Steps are counted where the outcome depends on the bound, so that the same schema always gives the same grammar; the
clock, which is the processor time of the thread, only ends what would take too long altogether.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any


class OutOfTimeError(Exception):
    """The time is up. `seconds` is how much there was."""

    def __init__(self, seconds: float) -> None:
        super().__init__(seconds)
        self.seconds = seconds


class OutOfStepsError(Exception):
    """The work is more than so many steps."""


class _Budget:
    def __init__(self, seconds: float) -> None:
        self.seconds, self.ends, self.steps = seconds, time.thread_time() + seconds, 0
        self.most: int | None = None


_budget: ContextVar[_Budget | None] = ContextVar("budget", default=None)


@contextmanager
def deadline(seconds: float) -> Iterator[None]:
    """What is done inside must be done in so many seconds, or `tick` raises OutOfTimeError."""
    budget = _Budget(seconds)
    token = _budget.set(budget)

    def collecting(phase: str, _: Mapping[str, Any]) -> None:
        """A garbage collection takes the longer the larger the program around is: it is no work of the schema's."""
        if _budget.get() is budget:
            budget.ends += -time.thread_time() if phase == "start" else time.thread_time()

    gc.callbacks.append(collecting)  # no longer than needed: Python drops a Ctrl-C that comes inside of it
    try:
        yield
    finally:
        gc.callbacks.remove(collecting)
        _budget.reset(token)


@contextmanager
def at_most(steps: int | None) -> Iterator[None]:
    """What is done inside, with a deadline around it, may take so many steps, or `tick` raises OutOfStepsError."""
    budget = _budget.get()
    if budget is None:
        yield
        return
    before, budget.most = budget.most, None if steps is None else budget.steps + steps
    try:
        yield
    finally:
        budget.most = before


def tick(steps: int = 1) -> None:
    """To be called for each piece of work; a step is some ten microseconds of it."""
    budget = _budget.get()
    if budget is None:
        return
    budget.steps += steps
    if budget.most is not None and budget.steps > budget.most:
        raise OutOfStepsError
    if time.thread_time() > budget.ends:
        raise OutOfTimeError(budget.seconds)
