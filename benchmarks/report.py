"""Rows of paired measurements: the ratio of medians, its confidence interval, and the comparison with the target."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Any

import numpy as np

DRAWS = 4000


@dataclass
class Row:
    """One line of the table.

    unit      of `ours` and `theirs`, which are measured in turns
    bar       target of the ratio ours / theirs; None: only reported
    at_least  the ratio must be at least `bar`; else at most
    slack     tolerance added to the target, in `unit`
    checked   number of pairs of answers; of them ours_valid, theirs_valid and equal
    """

    name: str
    unit: str
    bar: float | None = None
    at_least: bool = False
    slack: float = 0.0
    ours: list[float] = field(default_factory=list)
    theirs: list[float] = field(default_factory=list)
    checked: int = 0
    ours_valid: int = 0
    theirs_valid: int = 0
    equal: int = 0
    note: str = ""

    @property
    def ratio(self) -> float:
        return float(np.median(self.ours) / np.median(self.theirs))

    def interval(self) -> tuple[float, float]:
        """Return the ratio's 95 % confidence interval (bootstrap over pairs)."""
        pairs = np.array([self.ours, self.theirs])
        samples = np.random.default_rng(0).integers(0, pairs.shape[1], (DRAWS, pairs.shape[1]))
        ours, theirs = np.median(pairs[:, samples], axis=2)
        low, high = np.percentile(ours / theirs, [2.5, 97.5])
        return float(low), float(high)

    @property
    def met(self) -> bool | None:
        if self.bar is None:
            return None
        ours, allowed = float(np.median(self.ours)), self.bar * float(np.median(self.theirs))
        return ours >= allowed - self.slack if self.at_least else ours <= allowed + self.slack

    def add(self, ours: float, theirs: float) -> None:
        self.ours.append(ours)
        self.theirs.append(theirs)

    def check(self, ours_valid: bool, theirs_valid: bool, equal: bool) -> None:
        self.checked += 1
        self.ours_valid += ours_valid
        self.theirs_valid += theirs_valid
        self.equal += equal

    def data(self) -> dict[str, Any]:
        return dataclasses.asdict(self) | {"ratio": self.ratio, "interval": self.interval(), "met": self.met}


HEAD = f"{'workload':<38}{'edgefc':>11}{'peer':>11}{'':>7}{'ratio [95 %]':>20}  {'bar':<14}{'valid, equal':<22}"


def line(row: Row) -> str:
    low, high = row.interval()
    bar = ""
    if row.bar is not None:
        bar = f"{'≥' if row.at_least else '≤'} {row.bar:g}{f'+{row.slack:g}' if row.slack else ''} "
        bar += "met" if row.met else "NOT"
    checked = ""
    if row.checked:
        checked = f"{row.ours_valid}/{row.theirs_valid} of {row.checked}, {row.equal}"
    ratio = f"{row.ratio:.3f} [{low:.3f} {high:.3f}]"
    figures = f"{_figure(np.median(row.ours)):>11}{_figure(np.median(row.theirs)):>11}"
    return f"{row.name:<38}{figures} {row.unit:<6}{ratio:>20}  {bar:<14}{checked:<22}{row.note}".rstrip()


def _figure(value: Any) -> str:
    return f"{value:.1f}" if value >= 100 else f"{value:.3g}"
