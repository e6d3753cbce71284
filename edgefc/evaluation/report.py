"""Reports on runs: rates with confidence intervals and other measures, side by side."""

from __future__ import annotations

import collections
import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from edgefc.evaluation.measures import Measures, measure, risk_coverage
from edgefc.evaluation.results import CaseResult, EvalRun
from edgefc.evaluation.suites import SUITES

ALL = "all"
_Z = 1.959963984540054  # two-sided, 95 %


@dataclass(frozen=True, slots=True)
class Rate:
    """The share of right answers, with Wilson's 95 % interval."""

    right: int
    cases: int

    @property
    def share(self) -> float:
        return self.right / self.cases

    @property
    def interval(self) -> tuple[float, float]:
        """Wilson's score interval, which is sensible at 0 and 100 % and for few cases."""
        n, p, z2 = self.cases, self.share, _Z * _Z
        middle = (p + z2 / (2 * n)) / (1 + z2 / n)
        half = _Z / (1 + z2 / n) * math.sqrt(p * (1 - p) / n + z2 / (4 * n * n))
        return max(0.0, middle - half), min(1.0, middle + half)

    def __str__(self) -> str:
        low, high = self.interval
        return f"{self.share:.1%} ({low:.1%} to {high:.1%})"


def rates(results: Iterable[CaseResult]) -> dict[str, Rate]:
    """Return the rate of each category, and under ALL that of all cases together."""
    counted: dict[str, list[bool]] = {}
    everything: list[bool] = []
    for result in results:
        counted.setdefault(result.category, []).append(result.right)
        everything.append(result.right)
    if everything:
        counted[ALL] = everything
    return {name: Rate(sum(right), len(right)) for name, right in counted.items()}


def labels(runs: Sequence[EvalRun]) -> list[str]:
    """Return a unique label per run, with the tool choice and the family where names alone are ambiguous."""
    names = [run.setting.name for run in runs]
    if any(run.setting.tool_choice != "auto" for run in runs):
        names = [f"{name}, {run.setting.tool_choice}" for name, run in zip(names, runs, strict=True)]
    if len(set(names)) < len(names):
        names = [f"{name}, {run.setting.family}" for name, run in zip(names, runs, strict=True)]
    counts: collections.Counter[str] = collections.Counter()
    unique = []
    for name in names:
        counts[name] += 1
        unique.append(name if counts[name] == 1 else f"{name} ({counts[name]})")
    return unique


def comparison(runs: Sequence[EvalRun]) -> list[tuple[str, ...]]:
    """Return a table with a row per category and measure, and a column per run; the first row holds the headings."""
    columns = [rates(run.results.values()) for run in runs]
    categories = [name for name in dict.fromkeys(name for column in columns for name in column) if name != ALL]
    rows: list[tuple[str, ...]] = [("category", "cases", *labels(runs))]
    for category in [*categories, ALL]:
        found = [column.get(category) for column in columns]
        counts = sorted({rate.cases for rate in found if rate})
        rows.append((category, " / ".join(map(str, counts)), *(str(rate) if rate else "–" for rate in found)))
    measured = [measures_of(run) for run in runs]
    texts = [measure_texts(measures) if measures else {} for measures in measured]
    names = dict.fromkeys(name for column in texts for name in column)
    return rows + [(name, "", *(column.get(name, "–") for column in texts)) for name in names]


def measures_of(run: EvalRun) -> Measures | None:
    """Return the measures of a run; None if an earlier version of edgefc, which recorded less, made it."""
    return measure(run.results.values(), SUITES[run.setting.suite].without_call)


def measure_texts(measures: Measures) -> dict[str, str]:
    """Return the known measures by their names in tables."""

    def share(count: int) -> str:
        return f"{count / measures.cases:.1%}"

    numbers = {
        "tokens per right call": (measures.tokens_per_right_call, ".0f"),
        "seconds per right call": (measures.seconds_per_right_call, ".2f"),
        "steps per answer": (measures.steps, ".1f"),
        "AUROC of P(call)": (measures.auroc, ".3f"),
        "risk, mean over coverage": (measures.aurc, ".1%"),
        "right tool shown": (measures.recall, ".1%"),
    }
    return {
        "valid but wrong": share(measures.valid_but_wrong),
        "no call": share(measures.no_call),
        "cut without a call": share(measures.cut_without_call),
        "a call repeated": share(measures.repeated),
        "calls only as text": share(measures.text_calls),
        **{name: format(value, form) for name, (value, form) in numbers.items() if value is not None},
    }


def markdown(rows: Sequence[Sequence[str]]) -> str:
    """Format a table for a document."""
    lines = [f"| {' | '.join(row)} |" for row in rows]
    lines.insert(1, f"|---|{'--:|' * (len(rows[0]) - 1)}")
    return "\n".join(lines)


def mistake_kinds(run: EvalRun) -> list[tuple[str, int]]:
    """Count the mistakes of each kind, most frequent first."""
    return collections.Counter(result.kind for result in run.results.values() if result.kind).most_common()


def as_data(run: EvalRun) -> dict[str, Any]:
    """Return a run as JSON, for programs."""
    categories = {}
    for name, rate in rates(run.results.values()).items():
        low, high = rate.interval
        categories[name] = {"right": rate.right, "cases": rate.cases, "share": rate.share, "low": low, "high": high}
    setting, measures = run.setting, measures_of(run)
    return {
        "model": setting.model,
        "family": setting.family,
        "suite": setting.suite,
        "grammar": setting.grammar,
        "tool_choice": setting.tool_choice,
        "runtime": setting.runtime,
        "call_bias": setting.call_bias,
        "min_confidence": setting.min_confidence,
        "tool_budget": setting.tool_budget,
        "distractors": setting.distractors,
        "max_tokens": setting.max_tokens,
        "file": str(run.path),
        "prompt_tokens": sum(result.prompt_tokens for result in run.results.values()),
        "completion_tokens": sum(result.completion_tokens for result in run.results.values()),
        "categories": categories,
        "kinds": dict(mistake_kinds(run)),
        "measures": asdict(measures) if measures else None,
        "risk_coverage": risk_coverage(run.results.values()),
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
