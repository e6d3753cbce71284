"""What a right answer is to the demo model's held-back cases.

`expected` has one key, which says how an answer is judged:

    {"calls": [{"name", "arguments"}]}   exactly these calls, in any order
    {"clarify": [tool names]}            asks back for what these tools want
    {"no_tool": true}                    says that no tool fits
    {"figures": ["17", …]}               answers in words, with every one of these figures
"""

from __future__ import annotations

import json
import re
from typing import Any

from edgefc.evaluation.cases import Answer, Case, Problem

CATEGORIES = (
    "examples", "paraphrases", "hand_written", "made_up", "parallel", "clarify", "no_tool", "grounded", "multi_turn",
)  # fmt: skip
_FORMS: dict[str, type] = {"calls": list, "clarify": list, "no_tool": bool, "figures": list}
_FIGURE = re.compile(r"(?:(?<![\w.,:-])-)?\d+(?:[.,:-]\d+)*")


def figures(text: str) -> list[str]:
    """Numbers, times and dates as they are written: what an answer from a tool's result must tell."""
    return list(dict.fromkeys(_FIGURE.findall(text)))


def check_expected(case: Case) -> str:
    """What is wrong with a case's `ground_truth`; "" when nothing is."""
    expected = case.expected
    form = next(iter(expected), None) if isinstance(expected, dict) and len(expected) == 1 else None
    if form not in _FORMS or type(expected[form]) is not _FORMS[form] or not expected[form]:
        return f"ground_truth must be an object with one of {', '.join(_FORMS)}"
    if form == "calls" and not all(isinstance(c, dict) and c.keys() == {"name", "arguments"} for c in expected[form]):
        return "ground_truth: a call has a name and arguments"
    return ""


def judge(case: Case, answer: Answer) -> Problem | None:
    """None when the answer is right."""
    ((form, wanted),) = case.expected.items()
    if form == "calls":
        return _judge_calls(wanted, answer)
    outcome = {"clarify": "clarify", "no_tool": "no_tool", "figures": "answer"}[form]
    if answer.outcome != outcome:
        return Problem("outcome", f"the outcome is {answer.outcome}; expected {outcome}")
    if form == "clarify" and list(answer.missing) != wanted:
        return Problem("clarify", f"asks about {', '.join(answer.missing)}; expected {', '.join(wanted)}")
    if form == "figures" and (absent := [figure for figure in wanted if figure not in figures(answer.content)]):
        return Problem("figures", f"does not tell {', '.join(absent)}")
    return None


def _judge_calls(wanted: list[dict[str, Any]], answer: Answer) -> Problem | None:
    if not answer.calls:
        return Problem("no call", f"the outcome is {answer.outcome}; {_named(wanted)} expected")
    given = sorted(_spelled(call.name, call.arguments) for call in answer.calls)
    expected = sorted(_spelled(call["name"], call["arguments"]) for call in wanted)
    if given == expected:
        return None
    if len(given) != len(expected):
        return Problem("count", f"{len(given)} calls; {len(expected)} expected: {_named(wanted)}")
    if sorted(call.name for call in answer.calls) != sorted(call["name"] for call in wanted):
        return Problem("name", f"calls {', '.join(call.name for call in answer.calls)}; expected {_named(wanted)}")
    lacking = next(call for call in expected if call not in given)
    return Problem("value", f"{lacking} expected")


def _named(calls: list[dict[str, Any]]) -> str:
    return ", ".join(call["name"] for call in calls)


def _spelled(name: str, arguments: dict[str, Any]) -> str:
    """A call as text that is the same for the same values: 20 and 20.0 are one number."""
    return f"{name}({json.dumps(_plain(arguments), ensure_ascii=False, sort_keys=True)})"


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(entry) for key, entry in value.items()}
    if isinstance(value, list):
        return [_plain(entry) for entry in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value
