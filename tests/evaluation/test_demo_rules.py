"""What a right answer is to the demo model's held-back cases."""

from __future__ import annotations

from typing import Any

import pytest

from edgefc.evaluation.cases import Answer, Call, Case
from edgefc.evaluation.demo import figures, judge

OSLO, ROME = Call("weather", {"city": "Oslo", "days": 2}), Call("weather", {"city": "Rome", "days": 2})
BOTH = {"calls": [{"name": call.name, "arguments": call.arguments} for call in (OSLO, ROME)]}


@pytest.mark.parametrize(
    ("expected", "answer", "kind"),
    [
        (BOTH, Answer("call", (OSLO, ROME)), None),
        (BOTH, Answer("call", (ROME, OSLO)), None),
        (BOTH, Answer("call", (Call("weather", {"days": 2.0, "city": "Oslo"}), ROME)), None),
        (BOTH, Answer("call", (OSLO, OSLO)), "value"),
        (BOTH, Answer("call", (OSLO,)), "count"),
        (BOTH, Answer("call", (OSLO, Call("time", {}))), "name"),
        ({"calls": [{"name": "f", "arguments": {"on": True}}]}, Answer("call", (Call("f", {"on": 1}),)), "value"),
        (BOTH, Answer("answer", (), "sunny"), "no call"),
        ({"clarify": ["weather"]}, Answer("clarify", (), "Where?", ("weather",)), None),
        ({"clarify": ["weather"]}, Answer("clarify", (), "Where?", ("time",)), "clarify"),
        ({"clarify": ["weather"]}, Answer("answer", (), "Where?"), "outcome"),
        ({"no_tool": True}, Answer("no_tool"), None),
        ({"no_tool": True}, Answer("call", (OSLO,)), "outcome"),
        ({"figures": ["-3", "21:05"]}, Answer("answer", (), "At 21:05 it is -3."), None),
        ({"figures": ["3"]}, Answer("answer", (), "It is 13."), "figures"),
        ({"figures": ["3"]}, Answer("answer", (), "It is -3."), "figures"),
        ({"figures": ["3"]}, Answer("no_tool", (), "3"), "outcome"),
    ],
)
def test_the_form_of_what_is_expected_says_how_it_is_judged(
    expected: dict[str, Any], answer: Answer, kind: str | None
) -> None:
    problem = judge(Case("1", "single", [], [], expected), answer)
    assert (problem.kind if problem else None) == kind


def test_figures_are_whole_numbers_times_and_dates() -> None:
    text = "On 2024-05-01 at 21:05, AB12 costs 1,250.50, -3 or 7."
    assert figures(text) == ["2024-05-01", "21:05", "12", "1,250.50", "-3", "7"]
