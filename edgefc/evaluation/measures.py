"""Measures beyond right and wrong: how answers fail, what a right call costs, how well a model knows what it knows."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from edgefc.chat.confidence import auroc
from edgefc.evaluation.results import CaseResult


@dataclass(frozen=True, slots=True)
class Measures:
    """Measures of some answers. Counts are numbers of answers.

    valid_but_wrong         with calls of existing tools that fit their schemas, and yet wrong
    no_call                 complete, without the call that was due
    cut_without_call        cut off before a call was complete
    repeated                that make the same call more than once
    text_calls              whose text can be read as calls, although nothing was called
    tokens_per_right_call, seconds_per_right_call
                            of all cases where a call is due, divided by those answered right; None: there is none
    steps                   batches computed for an answer, on average
    auroc                   probability that P(call) is higher where a call is due than where none is; None: unknown
    aurc                    area under the risk-coverage curve; None: unknown
    recall                  share of cases whose right tools were among the selected ones; None: nothing was selected
    """

    cases: int
    valid_but_wrong: int
    no_call: int
    cut_without_call: int
    repeated: int
    text_calls: int
    tokens_per_right_call: float | None
    seconds_per_right_call: float | None
    steps: float
    auroc: float | None
    aurc: float | None
    recall: float | None = None


def measure(results: Iterable[CaseResult], without_call: Sequence[str]) -> Measures | None:
    """Return the measures of results; None if an earlier version of edgefc, which recorded less, wrote one of them.

    without_call  the categories in which the right answer calls nothing
    """
    everything = list(results)
    if not everything or any(result.calls is None for result in everything):
        return None
    due = [result for result in everything if result.category not in without_call]
    idle = [result for result in everything if result.category in without_call]
    right = sum(result.right for result in due)
    silent = [result for result in due if not result.calls and not result.cut and result.kind != "refused"]
    curve = risk_coverage(everything)
    found = [result.found for result in everything if result.found is not None]
    return Measures(
        cases=len(everything),
        valid_but_wrong=sum(result.valid and not result.right for result in everything),
        no_call=len(silent),
        cut_without_call=sum(result.cut and not result.calls for result in due),
        repeated=sum(result.repeated > 0 for result in everything),
        text_calls=sum(result.text_call for result in everything),
        tokens_per_right_call=sum(result.completion_tokens for result in due) / right if right else None,
        seconds_per_right_call=sum(result.seconds for result in due) / right if right else None,
        steps=sum(result.model_steps for result in everything) / len(everything),
        auroc=auroc(_p_calls(due), _p_calls(idle)),
        aurc=sum(risk for _, risk in curve) / len(curve) if curve else None,
        recall=sum(found) / len(found) if found else None,
    )


def _p_calls(results: Iterable[CaseResult]) -> list[float]:
    return [result.p_call for result in results if result.p_call is not None]


def risk_coverage(results: Iterable[CaseResult]) -> list[tuple[float, float]]:
    """Return the curve as points (coverage, risk): the share of wrong answers among the surest ones, and their share.

    Answers of equal confidence enter together. Empty if no answer has a confidence.
    """
    sure = [(result.confidence, not result.right) for result in results if result.confidence is not None]
    sure.sort(key=lambda pair: -pair[0])
    points: list[tuple[float, float]] = []
    wrong = 0
    for number, (confidence, is_wrong) in enumerate(sure, 1):
        wrong += is_wrong
        if number == len(sure) or sure[number][0] != confidence:
            points.append((number / len(sure), wrong / number))
    return points
