"""Tables of benchmarks/accuracy.py: per tool choice and category, each runtime's answers and edgefc's difference."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from edgefc.evaluation import bfcl
from edgefc.evaluation.cases import Case, ModelAnswer
from edgefc.evaluation.judging import Answered, calls_text, judge_answer
from edgefc.evaluation.measures import Measures, measure
from edgefc.evaluation.report import Rate
from edgefc.evaluation.results import CaseResult, EvalRun
from edgefc.formats.lenient import lenient_calls
from edgefc.types import Call

CALLS = "with a call"
_Z = 1.959963984540054  # two-sided, 95 %
Runs = Mapping[tuple[str, str], EvalRun]
HEAD = ("choice", "category", "runtime", "cases", "right", "valid but wrong", "no call", "cut", "repeated", "as text",
        "refused", "tokens", "seconds", "steps")  # fmt: skip
DIFFERENCE_HEAD = ("choice", "category", "difference", "cases", "points")


@dataclass(frozen=True, slots=True)
class Group:
    """The answers of one runtime to the cases of one category, or to all where a call is due."""

    choice: str
    category: str
    runtime: str
    results: Sequence[CaseResult]

    @property
    def rate(self) -> Rate:
        return Rate(sum(result.right for result in self.results), len(self.results))

    @property
    def measures(self) -> Measures:
        found = measure(self.results, bfcl.IRRELEVANCE)
        assert found is not None
        return found

    @property
    def refused(self) -> int:
        return sum(result.kind == "refused" for result in self.results)

    def row(self) -> tuple[str, ...]:
        measures, cases, (low, high) = self.measures, len(self.results), self.rate.interval
        counts = (measures.valid_but_wrong, measures.no_call, measures.cut_without_call, measures.repeated,
                  measures.text_calls, self.refused)  # fmt: skip
        costs = ((measures.tokens_per_right_call, ".0f"), (measures.seconds_per_right_call, ".2f"))
        return (
            self.choice, self.category, self.runtime, str(cases), f"{self.rate.share:.0%} ({low:.0%} to {high:.0%})",
            *(f"{count / cases:.0%}" for count in counts),
            *("–" if value is None else format(value, form) for value, form in costs),
            f"{measures.steps:.1f}" if measures.steps else "–",
        )  # fmt: skip

    def data(self) -> dict[str, Any]:
        low, high = self.rate.interval
        return {
            "choice": self.choice, "category": self.category, "runtime": self.runtime, "right": self.rate.right,
            "share": self.rate.share, "low": low, "high": high, "refused": self.refused, **asdict(self.measures),
        }  # fmt: skip


def groups(runs: Runs, cases: Sequence[Case], *, read_text: bool = False) -> list[Group]:
    """Return the answers by tool choice, category and runtime; groups without answers are left out.

    read_text  add to each group with text that can be read as calls one in which it is
    """
    found = []
    categories = list(dict.fromkeys(case.category for case in cases))
    for choice in dict.fromkeys(choice for _, choice in runs):
        for category in [*categories, CALLS]:
            chosen = [case for case in cases if category == case.category or _is_due(category, case)]
            for (runtime, run_choice), run in runs.items():
                results = list(answers(run, chosen).values()) if run_choice == choice else []
                if results:
                    found.append(Group(choice, category, runtime, results))
                if read_text and any(result.text_call for result in results):
                    by_id = {case.id: case for case in chosen}
                    read = [_read_text(by_id[result.id], result) for result in results]
                    found.append(Group(choice, category, f"{runtime}, text read", read))
    return found


def _read_text(case: Case, result: CaseResult) -> CaseResult:
    """Judge an answer again, with its text read as calls if it can be."""
    if not result.text_call:
        return result
    read = lenient_calls(result.output, {tool["function"]["name"] for tool in case.tools})
    calls = tuple(Call("", call["name"], call["arguments"]) for call in read)
    judged = judge_answer(case, "bfcl", Answered(ModelAnswer("call", calls), calls_text(calls)))
    return replace(
        result, kind=judged.kind, reason=judged.reason, outcome="call", calls=judged.calls, valid=judged.valid,
        repeated=judged.repeated, text_call=False,
    )  # fmt: skip


def _is_due(category: str, case: Case) -> bool:
    return category == CALLS and case.category not in bfcl.IRRELEVANCE


def answers(run: EvalRun, cases: Iterable[Case]) -> dict[str, CaseResult]:
    """Return the results of these cases by id, as far as they are there; none of a case that has changed since."""
    found = {case.id: run.results.get(case.id) for case in cases}
    digests = {case.id: case.digest for case in cases}
    return {i: result for i, result in found.items() if result is not None and result.case == digests[i]}


@dataclass(frozen=True, slots=True)
class Difference:
    """The difference in the share of right answers to the same cases, in points: one runtime minus another.

    better, worse  cases that only the one answers right, and only the other
    """

    choice: str
    category: str
    name: str
    cases: int
    better: int
    worse: int

    @property
    def points(self) -> float:
        return 100 * (self.better - self.worse) / self.cases

    @property
    def interval(self) -> tuple[float, float]:
        """Bonett and Price's 95 % interval for paired shares (2012), which is sensible for few cases, in points."""
        n = self.cases + 2
        better, worse = (self.better + 1) / n, (self.worse + 1) / n
        half = _Z * math.sqrt((better + worse - (better - worse) ** 2) / n)
        return max(-100.0, 100 * (better - worse - half)), min(100.0, 100 * (better - worse + half))

    def row(self) -> tuple[str, ...]:
        low, high = self.interval
        points = f"{self.points:+.1f} ({low:+.1f} to {high:+.1f})"
        return self.choice, self.category, self.name, str(self.cases), points


def differences(found: Sequence[Group], runtime: str) -> Iterator[Difference]:
    """Yield the differences of a runtime from each other one, over the cases that both answered."""
    for ours in found:
        if ours.runtime != runtime:
            continue
        for theirs in found:
            if (theirs.choice, theirs.category) == (ours.choice, ours.category) and theirs is not ours:
                other = {result.id: result.right for result in theirs.results}
                pairs = [(result.right, other[result.id]) for result in ours.results if result.id in other]
                if pairs:
                    name = f"{runtime} − {theirs.runtime}"
                    better, worse = pairs.count((True, False)), pairs.count((False, True))
                    yield Difference(ours.choice, ours.category, name, len(pairs), better, worse)


def tables(found: Sequence[Group], runtime: str) -> list[list[tuple[str, ...]]]:
    """Return the tables, each with its headings in the first row."""
    compared = [difference.row() for difference in differences(found, runtime)]
    return [[HEAD, *(group.row() for group in found)], *([[DIFFERENCE_HEAD, *compared]] if compared else [])]


def aligned(rows: Sequence[Sequence[str]]) -> str:
    """Format a table for a terminal."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join("  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)) for row in rows)
