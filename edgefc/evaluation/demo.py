"""Rules for answers to held-back cases of the demo model, and of others in the same form.

`expected` has one key, which selects the rule:

    {"calls": [{"name", "arguments"}]}   exactly these calls, in any order
    {"clarify": [tool names]}            asks back about the arguments of these tools
    {"no_tool": true}                    says that no tool fits
    {"figures": ["17", …]}               answers in words, with every one of these figures

Only some families have ways to ask back and to say that no tool fits. Of an answer in words, a question asks back, and
anything else says that no tool fits.
"""

from __future__ import annotations

import json
import re
from typing import Any

from edgefc.evaluation.cases import Case, Mistake, ModelAnswer

CATEGORIES = (
    "examples", "paraphrases", "hand_written", "made_up", "parallel", "clarify", "no_tool", "grounded", "multi_turn",
)  # fmt: skip
WITHOUT_CALL = ("clarify", "no_tool", "grounded")
_FORMS: dict[str, type] = {"calls": list, "clarify": list, "no_tool": bool, "figures": list}
_FIGURE = re.compile(r"(?:(?<![\w.,:-])-)?\d+(?:[.,:-]\d+)*")


def figures(text: str) -> list[str]:
    """List the numbers, times and dates in a text, as they are written."""
    return list(dict.fromkeys(_FIGURE.findall(text)))


def check_expected(case: Case) -> str:
    """Return the mistake in a case's `ground_truth`, "" if there is none."""
    expected = case.expected
    form = next(iter(expected), None) if isinstance(expected, dict) and len(expected) == 1 else None
    if form not in _FORMS or type(expected[form]) is not _FORMS[form] or not expected[form]:
        return f"ground_truth must be an object with one of {', '.join(_FORMS)}"
    if form == "calls" and not all(isinstance(c, dict) and c.keys() == {"name", "arguments"} for c in expected[form]):
        return "ground_truth: each call must have a name and arguments"
    return ""


def due_tools(case: Case) -> set[str]:
    """Return the names of the tools that the right answer calls or asks back about."""
    calls, missing = case.expected.get("calls", ()), case.expected.get("clarify", ())
    return {call["name"] for call in calls} | set(missing)


def judge(case: Case, answer: ModelAnswer) -> Mistake | None:
    """Return the mistake in an answer, None if it is right."""
    ((form, expected),) = case.expected.items()
    if form == "calls":
        return _judge_calls(expected, answer)
    outcome = {"clarify": "clarify", "no_tool": "no_tool", "figures": "answer"}[form]
    meant = answer.outcome
    if meant == "answer" and form != "figures":
        meant = "clarify" if answer.content.rstrip().endswith("?") else "no_tool"
    if meant != outcome:
        return Mistake("outcome", f"the outcome is {answer.outcome}; expected {outcome}")
    if form == "clarify" and answer.outcome == "clarify" and list(answer.missing) != expected:
        return Mistake("clarify", f"asks about {', '.join(answer.missing)}; expected {', '.join(expected)}")
    if form == "figures" and (absent := [figure for figure in expected if figure not in figures(answer.content)]):
        return Mistake("figures", f"does not mention {', '.join(absent)}")
    return None


def _judge_calls(expected_calls: list[dict[str, Any]], answer: ModelAnswer) -> Mistake | None:
    if not answer.calls:
        return Mistake("no call", f"the outcome is {answer.outcome}; expected {_names(expected_calls)}")
    actual = sorted(_call_text(call.name, call.arguments) for call in answer.calls)
    expected = sorted(_call_text(call["name"], call["arguments"]) for call in expected_calls)
    if actual == expected:
        return None
    if len(actual) != len(expected):
        return Mistake("count", f"{len(actual)} calls; expected {len(expected)}: {_names(expected_calls)}")
    if sorted(call.name for call in answer.calls) != sorted(call["name"] for call in expected_calls):
        names = ", ".join(call.name for call in answer.calls)
        return Mistake("name", f"calls {names}; expected {_names(expected_calls)}")
    missing = next(call for call in expected if call not in actual)
    return Mistake("value", f"expected {missing}")


def _names(calls: list[dict[str, Any]]) -> str:
    return ", ".join(call["name"] for call in calls)


def _call_text(name: str, arguments: dict[str, Any]) -> str:
    """Write a call so that equal calls have equal texts: 20 and 20.0 are one number."""
    return f"{name}({json.dumps(_normalize(arguments), ensure_ascii=False, sort_keys=True)})"


def _normalize(value: Any) -> Any:
    """Turn whole floats into integers, at any depth."""
    if isinstance(value, dict):
        return {key: _normalize(entry) for key, entry in value.items()}
    if isinstance(value, list):
        return [_normalize(entry) for entry in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value
