"""Reliable timing: alternate between the choices, take medians, and watch what other programs use meanwhile."""

from __future__ import annotations

import math
import random
import statistics
import time
from collections.abc import Callable, Iterable

import psutil

MIN_ROUNDS, MAX_ROUNDS = 5, 15  # more than the minimum only while a measurement takes less than QUICK altogether
QUICK = 3.0  # seconds
NOISE = 0.03  # relative difference between medians of equal things


class BackgroundLoad:
    """Processor time that other programs use from now on."""

    def __init__(self) -> None:
        self._start, self._start_busy = time.perf_counter(), self._busy_seconds()

    def cores_left(self) -> float:
        """Average number of processors that other programs left free."""
        busy = self._busy_seconds() - self._start_busy
        return (psutil.cpu_count() or 1) - busy / (time.perf_counter() - self._start)

    @staticmethod
    def _busy_seconds() -> float:
        """Processor time of all programs except this one."""
        everyone, this = psutil.cpu_times(), psutil.Process().cpu_times()
        idle = everyone.idle + getattr(everyone, "iowait", 0.0)
        busy: float = sum(everyone) - idle - this.user - this.system
        return busy


def measure_in_turns(
    choices: Iterable[int],
    measure: Callable[[int], float],
    progress: Callable[[float], None],
    *,
    rounds: int = MIN_ROUNDS,
    drop_above: float = math.inf,
) -> dict[int, list[float]]:
    """Measure every choice once a round, in a new order each time, so that disturbances hit all choices alike.

    From the second round on, a choice slower than `drop_above` times the best is dropped. `progress` receives the
    share of `rounds` that is done.
    """
    times: dict[int, list[float]] = {choice: [] for choice in choices}
    start, rng = time.perf_counter(), random.Random(0)  # noqa: S311
    for number in range(MAX_ROUNDS):
        if number >= rounds and time.perf_counter() - start > QUICK:
            break
        for choice in rng.sample(list(times), len(times)):
            times[choice].append(measure(choice))
        if number:  # a single measurement may have been disturbed
            limit = drop_above * min(map(min, times.values()))
            times = {choice: measured for choice, measured in times.items() if min(measured) <= limit}
        progress(min(1.0, (number + 1) / rounds))
    return times


def medians(times: dict[int, list[float]]) -> dict[int, float]:
    return {choice: statistics.median(measured) for choice, measured in times.items()}


def unsteadiness(times: dict[int, list[float]]) -> float:
    """Median/min ratio: 1 on an idle machine, 2 to 100 beside other programs.

    It grows so large because the threads of a batch wait for one another.
    """
    return statistics.median(statistics.median(measured) / min(measured) for measured in times.values())


def fewest_threads(times: dict[int, float]) -> int:
    """Smallest number of threads that is as fast as the best, within noise; other programs need cores as well."""
    best = min(times.values())
    return min(threads for threads, measured in times.items() if measured <= best * (1 + NOISE))


def level_noise(by_rows: dict[int, float]) -> dict[int, float]:
    """Raise costs that fall with more rows, but only by as much as noise explains; larger drops are real."""
    level: dict[int, float] = {}
    before = 0.0
    for rows in sorted(by_rows):
        cost = by_rows[rows]
        within_noise = before * (1 - NOISE) <= cost < before
        before = before if within_noise else cost
        level[rows] = round(before, 3)
    return level
