"""The rules for answers to the demo model's held-back cases."""

from __future__ import annotations

from typing import Any

import pytest

from edgefc.evaluation.cases import Case, ModelAnswer
from edgefc.evaluation.demo import figures, judge
from edgefc.types import Call


def call(name: str, **arguments: Any) -> Call:
    return Call("", name, arguments)


OSLO, ROME = call("weather", city="Oslo", days=2), call("weather", city="Rome", days=2)
BOTH = {"calls": [{"name": c.name, "arguments": c.arguments} for c in (OSLO, ROME)]}


@pytest.mark.parametrize(
    ("expected", "answer", "kind"),
    [
        (BOTH, ModelAnswer("call", (OSLO, ROME)), None),
        (BOTH, ModelAnswer("call", (ROME, OSLO)), None),
        (BOTH, ModelAnswer("call", (call("weather", days=2.0, city="Oslo"), ROME)), None),
        (BOTH, ModelAnswer("call", (OSLO, OSLO)), "value"),
        (BOTH, ModelAnswer("call", (OSLO,)), "count"),
        (BOTH, ModelAnswer("call", (OSLO, call("time"))), "name"),
        ({"calls": [{"name": "f", "arguments": {"on": True}}]}, ModelAnswer("call", (call("f", on=1),)), "value"),
        (BOTH, ModelAnswer("answer", (), "sunny"), "no call"),
        ({"clarify": ["weather"]}, ModelAnswer("clarify", (), "Where?", ("weather",)), None),
        ({"clarify": ["weather"]}, ModelAnswer("clarify", (), "Where?", ("time",)), "clarify"),
        ({"clarify": ["weather"]}, ModelAnswer("answer", (), "Where?\n"), None),
        ({"clarify": ["weather"]}, ModelAnswer("answer", (), "I cannot do that."), "outcome"),
        ({"clarify": ["weather"]}, ModelAnswer("call", (OSLO,)), "outcome"),
        ({"no_tool": True}, ModelAnswer("answer", (), "I cannot do that."), None),
        ({"no_tool": True}, ModelAnswer("answer", (), "Where?"), "outcome"),
        ({"no_tool": True}, ModelAnswer("no_tool"), None),
        ({"no_tool": True}, ModelAnswer("call", (OSLO,)), "outcome"),
        ({"figures": ["-3", "21:05"]}, ModelAnswer("answer", (), "At 21:05 it is -3."), None),
        ({"figures": ["3"]}, ModelAnswer("answer", (), "It is 13."), "figures"),
        ({"figures": ["3"]}, ModelAnswer("answer", (), "It is -3."), "figures"),
        ({"figures": ["3"]}, ModelAnswer("no_tool", (), "3"), "outcome"),
    ],
)
def test_the_key_of_the_expected_answer_selects_the_rule(
    expected: dict[str, Any], answer: ModelAnswer, kind: str | None
) -> None:
    mistake = judge(Case("1", "single", [], [], expected), answer)
    assert (mistake.kind if mistake else None) == kind


def test_figures_are_whole_numbers_times_and_dates() -> None:
    text = "On 2024-05-01 at 21:05, AB12 costs 1,250.50, -3 or 7."
    assert figures(text) == ["2024-05-01", "21:05", "12", "1,250.50", "-3", "7"]
