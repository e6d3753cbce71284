"""Conclusions from measurements; the clock plays no part."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest

from edgefc.engine import timing
from edgefc.engine.timing import BackgroundLoad, fewest_threads, level_noise, measure_in_turns, medians, unsteadiness


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time, which goes on only when a test says so."""
    now = [0.0]
    monkeypatch.setattr(timing.time, "perf_counter", lambda: now[0])
    return now


def taking(clock: list[float], seconds: float, measured: list[int]) -> Callable[[int], float]:
    def measure(choice: int) -> float:
        measured.append(choice)
        clock[0] += seconds
        return float(choice)

    return measure


def test_what_is_slow_is_measured_five_times_and_what_is_quick_more_often(clock: list[float]) -> None:
    for seconds, rounds in ((10.0, timing.MIN_ROUNDS), (0.0, timing.MAX_ROUNDS)):
        measured: list[int] = []
        shares: list[float] = []
        times = measure_in_turns((1, 2, 3), taking(clock, seconds, measured), shares.append)
        assert times == {choice: [float(choice)] * rounds for choice in (1, 2, 3)}
        assert shares[timing.MIN_ROUNDS - 1] == 1.0
        assert shares == sorted(shares)


def test_choices_take_turns_in_another_order_each_time(clock: list[float]) -> None:
    measured: list[int] = []
    measure_in_turns(range(1, 7), taking(clock, 10.0, measured), lambda _: None)
    rounds = [tuple(measured[begin : begin + 6]) for begin in range(0, len(measured), 6)]
    assert {tuple(sorted(turn)) for turn in rounds} == {tuple(range(1, 7))}
    assert len(set(rounds)) > 1


def test_what_is_far_behind_is_dropped_but_not_for_one_bad_measurement(clock: list[float]) -> None:
    seen: dict[int, int] = {}

    def measure(choice: int) -> float:
        seen[choice] = seen.get(choice, 0) + 1
        clock[0] += 10
        disturbed = choice == 2 and seen[2] == 1
        return 500.0 if disturbed else 20.0 if choice == 1 else 10.0

    times = measure_in_turns((1, 2, 3), measure, lambda _: None, drop_above=1.5)
    assert times.keys() == {2, 3}
    assert seen[1] == 2
    assert medians(times) == {2: 10.0, 3: 10.0}


@pytest.mark.parametrize(
    ("times", "threads"),
    [
        ({1: 100.0, 2: 50.0, 4: 30.0, 8: 29.5}, 4),
        ({1: 100.0, 2: 50.0, 4: 30.0, 8: 20.0}, 8),
        ({1: 10.0, 2: 10.2}, 1),
        ({1: 10.3, 2: 10.0}, 1),
        ({1: 10.4, 2: 10.0}, 2),
    ],
)
def test_the_fewest_threads_of_those_that_are_as_fast(times: dict[int, float], threads: int) -> None:
    assert fewest_threads(times) == threads


def test_dips_within_noise_are_levelled_and_real_ones_kept() -> None:
    assert level_noise({1: 100.0, 2: 98.0, 3: 99.0, 4: 105.0}) == {1: 100.0, 2: 100.0, 3: 100.0, 4: 105.0}
    assert level_noise({3: 135.0, 1: 100.0, 2: 115.0, 4: 100.0}) == {1: 100.0, 2: 115.0, 3: 135.0, 4: 100.0}
    # Many small steps down are a real dip in the end.
    assert level_noise({n: 100.0 - 2 * n for n in range(5)})[4] == 92.0


def test_steady_measurements_are_told_from_disturbed_ones() -> None:
    assert unsteadiness({1: [10.0, 10.1, 10.2], 2: [20.0, 20.0, 90.0], 3: [5.0, 5.5, 5.1]}) < 1.05
    assert unsteadiness({1: [10.0, 30.0, 31.0], 2: [20.0, 70.0, 90.0], 3: [5.0, 5.0, 5.0]}) == 3.0


def test_what_others_compute_is_what_this_program_does_not(monkeypatch: pytest.MonkeyPatch, clock: list[float]) -> None:
    used = {"all": 100.0, "own": 10.0}
    times = type("Times", (tuple,), {"idle": 1000.0, "iowait": 5.0})
    process_times = type("ProcessTimes", (), {"user": 0.0, "system": 0.0})
    monkeypatch.setattr(timing.psutil, "cpu_count", lambda: 8)
    monkeypatch.setattr(timing.psutil, "cpu_times", lambda: times([used["all"], 1000.0, 5.0]))
    process = type("Process", (), {"cpu_times": lambda _: type("Times", (process_times,), {"user": used["own"]})})
    monkeypatch.setattr(timing.psutil, "Process", process)
    load = BackgroundLoad()
    clock[0], used["all"], used["own"] = 10.0, 100.0 + 50.0, 10.0 + 20.0
    assert math.isclose(load.cores_left(), 8 - (50 - 20) / 10)
