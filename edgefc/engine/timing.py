"""Timing that is worth something: in turns, medians, and a look at what else the machine does meanwhile."""

from __future__ import annotations

import math
import random
import statistics
import time
from collections.abc import Callable, Iterable

import psutil

ROUNDS, MOST_ROUNDS = 5, 15  # the median of so many; more as long as they are quick
QUICK = 3.0  # seconds
NOISE = 0.03  # what medians of the same differ by


class Others:
    """What other programs compute from now on."""

    def __init__(self) -> None:
        self._began, self._busy = time.perf_counter(), self._seconds()

    def cores_left(self) -> float:
        """How many processors they left on average."""
        return (psutil.cpu_count() or 1) - (self._seconds() - self._busy) / (time.perf_counter() - self._began)

    @staticmethod
    def _seconds() -> float:
        """Processor time of all programs but this one."""
        times, own = psutil.cpu_times(), psutil.Process().cpu_times()
        busy: float = sum(times) - times.idle - getattr(times, "iowait", 0.0) - own.user - own.system
        return busy


def in_turns(
    choices: Iterable[int],
    measured: Callable[[int], float],
    told: Callable[[float], None],
    *,
    rounds: int = ROUNDS,
    hopeless: float = math.inf,
) -> dict[int, list[float]]:
    """Measurements of each choice, in turns and another order each time, so that all meet what else the machine does.

    What after two rounds takes more than `hopeless` times as long as the best is left out.
    """
    times: dict[int, list[float]] = {choice: [] for choice in choices}
    began, order = time.perf_counter(), random.Random(0)  # noqa: S311
    for number in range(MOST_ROUNDS):
        if number >= rounds and time.perf_counter() - began > QUICK:
            break
        for choice in order.sample(list(times), len(times)):
            times[choice].append(measured(choice))
        if number:  # one measurement alone may have been disturbed
            limit = hopeless * min(map(min, times.values()))
            times = {choice: spent for choice, spent in times.items() if min(spent) <= limit}
        told(min(1.0, (number + 1) / rounds))
    return times


def medians(times: dict[int, list[float]]) -> dict[int, float]:
    return {choice: statistics.median(spent) for choice, spent in times.items()}


def unsteadiness(times: dict[int, list[float]]) -> float:
    """How many times as long as at best it usually takes: near 1 where nothing else is computed, and 2 to 100 beside
    other programs, since the threads of a batch wait for one another.
    """
    return statistics.median(statistics.median(spent) / min(spent) for spent in times.values())


def fewest(times: dict[int, float]) -> int:
    """The fewest threads that are as fast as the best, but for noise: others have work to do as well."""
    best = min(times.values())
    return min(threads for threads, spent in times.items() if spent <= best * (1 + NOISE))


def without_noise(by_rows: dict[int, float]) -> dict[int, float]:
    """The same costs, where more rows are cheaper by no more than noise as cheap; where they really are, left alone."""
    smooth: dict[int, float] = {}
    before = 0.0
    for rows in sorted(by_rows):
        cost = by_rows[rows]
        before = before if before * (1 - NOISE) <= cost < before else cost
        smooth[rows] = round(before, 3)
    return smooth
