"""What runs come to: rates with confidence intervals, side by side."""

from __future__ import annotations

import collections
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from edgefc.evaluation.results import Result, Run

ALL = "all"
_Z = 1.959963984540054  # two-sided, 95 %


@dataclass(frozen=True, slots=True)
class Rate:
    """How many of how many were right, and Wilson's 95 % interval of the share."""

    right: int
    cases: int

    @property
    def share(self) -> float:
        return self.right / self.cases

    @property
    def interval(self) -> tuple[float, float]:
        """Wilson's score interval: sensible at 0 and 100 %, and for few cases."""
        n, p, z2 = self.cases, self.share, _Z * _Z
        middle = (p + z2 / (2 * n)) / (1 + z2 / n)
        half = _Z / (1 + z2 / n) * math.sqrt(p * (1 - p) / n + z2 / (4 * n * n))
        return max(0.0, middle - half), min(1.0, middle + half)

    def __str__(self) -> str:
        low, high = self.interval
        return f"{self.share:.1%} ({low:.1%} to {high:.1%})"


def rates(results: Iterable[Result]) -> dict[str, Rate]:
    """Of each category, and of all cases together."""
    counted: dict[str, list[bool]] = {}
    everything: list[bool] = []
    for result in results:
        counted.setdefault(result.category, []).append(result.right)
        everything.append(result.right)
    if everything:
        counted[ALL] = everything
    return {name: Rate(sum(right), len(right)) for name, right in counted.items()}


def labels(runs: Sequence[Run]) -> list[str]:
    """What tells the runs apart: the family too, where models are of several."""
    names = [run.setting.name for run in runs]
    if len(set(names)) < len(names):
        names = [f"{run.setting.name}, {run.setting.family}" for run in runs]
    seen: collections.Counter[str] = collections.Counter()
    told = []
    for name in names:
        seen[name] += 1
        told.append(name if seen[name] == 1 else f"{name} ({seen[name]})")
    return told


def comparison(runs: Sequence[Run]) -> list[tuple[str, ...]]:
    """A table: a row for each category, a column for each run; the first row is the heads."""
    columns = [rates(run.results.values()) for run in runs]
    categories = [name for name in dict.fromkeys(name for column in columns for name in column) if name != ALL]
    rows: list[tuple[str, ...]] = [("category", "cases", *labels(runs))]
    for category in [*categories, ALL]:
        found = [column.get(category) for column in columns]
        counts = sorted({rate.cases for rate in found if rate})
        rows.append((category, " / ".join(map(str, counts)), *(str(rate) if rate else "–" for rate in found)))
    return rows


def markdown(rows: Sequence[Sequence[str]]) -> str:
    """A table for a document."""
    lines = [f"| {' | '.join(row)} |" for row in rows]
    lines.insert(1, f"|---|{'--:|' * (len(rows[0]) - 1)}")
    return "\n".join(lines)


def kinds(run: Run) -> list[tuple[str, int]]:
    """What was wrong, and how often."""
    return collections.Counter(result.kind for result in run.results.values() if result.kind).most_common()


def as_data(run: Run) -> dict[str, Any]:
    """A run for programs."""
    told = {}
    for name, rate in rates(run.results.values()).items():
        low, high = rate.interval
        told[name] = {"right": rate.right, "cases": rate.cases, "share": rate.share, "low": low, "high": high}
    setting = run.setting
    return {
        "model": setting.model,
        "family": setting.family,
        "suite": setting.suite,
        "grammar": setting.grammar,
        "max_tokens": setting.max_tokens,
        "file": str(run.path),
        "prompt_tokens": sum(result.prompt_tokens for result in run.results.values()),
        "completion_tokens": sum(result.completion_tokens for result in run.results.values()),
        "categories": told,
        "kinds": dict(kinds(run)),
        "failures": [
            {
                "id": result.id,
                "category": result.category,
                "kind": result.kind,
                "reason": result.reason,
                "outcome": result.outcome,
                "prompt": result.prompt,
                "output": result.output,
            }
            for result in run.results.values()
            if result.kind
        ],
    }
