"""Cases with tools of other cases beside their own."""

from __future__ import annotations

import json

import pytest

from edgefc.errors import RequestError
from edgefc.evaluation.distractors import recall, with_distractors
from edgefc.evaluation.suites import due_tools, load_cases
from edgefc.tools import ToolSet
from tests.cli.conftest import Edgefc
from tests.cli.conftest import edgefc as edgefc  # noqa: PLC0414 - the fixture

ALL = load_cases("demo")
CALLS = load_cases("demo", categories=["made_up"], limit=50)  # their questions have words of their tools


def test_the_right_tools_are_among_the_best_of_a_hundred() -> None:
    assert recall("demo", with_distractors("demo", CALLS, ALL, 100)).share >= 0.95


def test_a_case_gets_the_same_tools_whatever_stands_beside_it() -> None:
    cases = with_distractors("demo", CALLS, ALL, 60)
    assert with_distractors("demo", CALLS[:1], ALL, 60)[0].digest == cases[0].digest
    assert with_distractors("demo", CALLS[:1], ALL, 60, seed=1)[0].digest != cases[0].digest
    for before, case in zip(CALLS, cases, strict=True):
        names = ToolSet.of(case.tools).names
        assert len(names) == len(before.tools) + 60
        assert due_tools("demo", case) <= set(names)
        assert names[: len(before.tools)] != ToolSet.of(before.tools).names
    with pytest.raises(RequestError, match=r"distractors: must be from 0 to \d+ for the case"):
        with_distractors("demo", CALLS, ALL, 256)


def test_eval_tells_whether_the_model_was_shown_the_right_tool(edgefc: Edgefc) -> None:
    words = ("eval", "demo", "--category", "made_up,no_tool", "--limit", "3", "--max-tokens", "60", "--out", "runs")
    done = edgefc(*words, "--distractors", "40", "--tool-budget", "600", "--call-bias", "0.5", "--json")
    assert done.returncode == 0, done.stderr
    (run,) = json.loads(done.stdout)["runs"]
    assert (run["distractors"], run["tool_budget"], run["measures"]["recall"]) == (40, 600, 1.0)
    assert run["categories"]["made_up"]["cases"] == 3
    assert run["call_bias"] == 0.5
    assert "right tool shown" in edgefc("eval", run["file"]).stdout
    assert "demo, grammar, call bias 0.5, 40 distractors, tool budget 600" in edgefc("eval", run["file"]).stdout
