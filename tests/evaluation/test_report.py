"""Rates, intervals, tables and the chart."""

from __future__ import annotations

import itertools
import json
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest

from edgefc.chat.confidence import auroc
from edgefc.evaluation import report
from edgefc.evaluation.measures import measure, risk_coverage
from edgefc.evaluation.plot import svg
from edgefc.evaluation.report import Rate
from edgefc.evaluation.results import CaseResult, EvalRun, EvalSetting


@pytest.mark.parametrize(
    ("right", "cases", "low", "high"),
    # From published tables of Wilson's interval (1927).
    [(0, 10, 0.0, 0.2775), (10, 10, 0.7225, 1.0), (5, 10, 0.2366, 0.7634), (81, 263, 0.2553, 0.3662)],
)
def test_intervals_are_wilsons(right: int, cases: int, low: float, high: float) -> None:
    assert Rate(right, cases).interval == pytest.approx((low, high), abs=5e-5)


def result(number: int, category: str, kind: str = "") -> CaseResult:
    return CaseResult(str(number), "digest", category, kind, kind, "call", "Where?", "[]")


def run(grammar: bool = True, family: str = "demo", model: str = "demo") -> EvalRun:
    setting = EvalSetting(model, "hash", family, "demo", grammar, 512, 2048)
    kinds = ("", "", "value", "") if grammar else ("", "value", "value", "count")
    return EvalRun(
        Path("x.jsonl"), setting, [result(n, "single" if n < 3 else "parallel", k) for n, k in enumerate(kinds)]
    )


def test_runs_stand_side_by_side() -> None:
    rows = report.comparison([run(), run(grammar=False)])
    assert rows[0] == ("category", "cases", "demo, grammar", "demo, no grammar, any spelling")
    assert [row[:2] for row in rows[1:]] == [("single", "3"), ("parallel", "1"), ("all", "4")]
    assert rows[3][2].startswith("75.0% (")
    assert rows[3][3].startswith("25.0% (")
    assert report.markdown(rows).splitlines()[1] == "|---|--:|--:|--:|"
    assert report.mistake_kinds(run(grammar=False)) == [("value", 2), ("count", 1)]


def test_a_category_that_a_run_lacks_is_left_blank() -> None:
    other = run(grammar=False)
    del other.results["3"]
    rows = report.comparison([run(), other])
    assert rows[2] == ("parallel", "1", rows[2][2], "–")
    assert rows[3][1] == "3 / 4"


def test_labels_are_unique() -> None:
    assert report.labels([run(), run(family="hermes")]) == ["demo, grammar, demo", "demo, grammar, hermes"]
    assert report.labels([run(), run()]) == ["demo, grammar, demo", "demo, grammar, demo (2)"]
    required = EvalRun(Path("x.jsonl"), replace(run().setting, tool_choice="required"))
    assert report.labels([run(), required]) == ["demo, grammar, auto", "demo, grammar, required"]
    peer = EvalRun(Path("x.jsonl"), replace(run().setting, runtime="llama-server"))
    assert report.labels([run(), peer]) == ["demo, grammar", "demo, llama-server"]


def test_the_chart_says_what_it_shows() -> None:
    assert "share of right answers; lines are 95 % confidence intervals" in svg([of_bfcl(RESULTS)])


def test_the_chart_is_an_svg_with_a_bar_for_each_rate() -> None:
    runs = [run(), run(grammar=False, model="<b>&")]
    root = ET.fromstring(svg(runs))
    space = "{http://www.w3.org/2000/svg}"
    titles = [bar.findtext(f"{space}title") for bar in root.iter(f"{space}rect")]
    rates = [title for title in titles if title]
    assert len(rates) == 6
    assert rates[0].startswith("single: 66.7% (")
    texts = [element.text for element in root.iter(f"{space}text")]
    assert {"single", "parallel", "all", "<b>&, no grammar, any spelling"} <= set(texts)


NUMBERS = itertools.count()


def measured(kind: str, calls: int, category: str = "simple_python", **others: Any) -> CaseResult:
    """A result of BFCL with its measures: valid calls unless told otherwise, 20 tokens, 6 steps, half a second."""
    fields = {"valid": calls > 0, "completion_tokens": 20, "model_steps": 6, "seconds": 0.5} | others
    return CaseResult(str(next(NUMBERS)), "digest", category, kind, kind, "call", "Where?", "[]", calls=calls, **fields)


RESULTS = [
    measured("", 1, p_call=0.9, confidence=0.8),
    measured("", 1, p_call=0.5, confidence=0.4),
    measured("value", 1, p_call=0.8, confidence=0.5),
    measured("name", 1, valid=False, p_call=0.3, confidence=0.3),
    measured("no call", 0, p_call=0.3, confidence=0.7, text_call=True),
    measured("incomplete", 0, cut=True, completion_tokens=100),
    measured("count", 3, repeated=2, cut=True),
    measured("refused", 0, completion_tokens=0, model_steps=0, seconds=0),
    measured("", 0, "irrelevance", p_call=0.3, confidence=0.7),
    measured("call", 1, "irrelevance", p_call=0.6, confidence=0.6),
]


def test_answers_fail_in_different_ways() -> None:
    measures = measure(RESULTS, ["irrelevance"])
    assert measures is not None
    assert (measures.cases, measures.valid_but_wrong, measures.no_call, measures.cut_without_call) == (10, 3, 1, 1)
    assert (measures.repeated, measures.text_calls) == (1, 1)
    assert measures.tokens_per_right_call == (6 * 20 + 100) / 2
    assert measures.seconds_per_right_call == 7 * 0.5 / 2
    assert measures.steps == 9 * 6 / 10
    assert measure([result(0, "simple_python")], []) is None
    assert measure([], []) is None


def test_auroc_counts_pairs_in_the_right_order_and_ties_half() -> None:
    # Against 0.3 and 0.6: 0.9 and 0.8 beat both, 0.5 beats one, each 0.3 ties with one.
    assert auroc([0.9, 0.5, 0.8, 0.3, 0.3], [0.3, 0.6]) == (2 + 2 + 1 + 0.5 + 0.5) / 10
    assert auroc([1.0], [0.0]) == 1
    assert auroc([1.0], []) is None
    measures = measure(RESULTS, ["irrelevance"])
    assert measures is not None
    assert measures.auroc == 0.6


def test_the_surest_answers_come_first_and_equal_ones_together() -> None:
    pairs = [(0.8, ""), (0.7, "value"), (0.7, ""), (0.6, "call")]
    curve = risk_coverage([measured(kind, 1, confidence=value) for value, kind in pairs])
    assert curve == [(0.25, 0), (0.75, 1 / 3), (1, 0.5)]
    assert risk_coverage([measured("", 1)]) == []


def of_bfcl(results: list[CaseResult]) -> EvalRun:
    return EvalRun(Path("x.jsonl"), replace(run().setting, suite="bfcl"), results)


def test_measures_follow_the_rates() -> None:
    rows = {row[0]: row[1:] for row in report.comparison([of_bfcl(RESULTS), of_bfcl([result(0, "multiple")])])}
    assert rows["valid but wrong"] == ("", "30.0%", "–")
    assert rows["AUROC of P(call)"] == ("", "0.600", "–")
    assert rows["steps per answer"] == ("", "5.4", "–")
    data = json.loads(json.dumps(report.as_data(of_bfcl(RESULTS))))
    assert (data["tool_choice"], data["runtime"], data["measures"]["valid_but_wrong"]) == ("auto", "edgefc", 3)
    assert data["risk_coverage"][-1] == [1, 4 / 7]
    assert report.as_data(run())["measures"] is None


def test_measures_are_stored_with_the_results(tmp_path: Path) -> None:
    results = [*RESULTS, measured("no call", 0, p_call=0.0, confidence=1.0)]
    stored = EvalRun(tmp_path / "run.jsonl", run().setting, results)
    stored.write()
    assert list(EvalRun.read(stored.path).results.values()) == results


def test_results_of_an_earlier_version_are_read(tmp_path: Path) -> None:
    """Their rates are shown, and nothing is claimed of what was not recorded."""
    path = tmp_path / "run.jsonl"
    setting = {"format": 1, "model": "demo", "file": "f", "family": "demo", "suite": "demo", "grammar": True}
    setting |= {"max_tokens": 512, "n_ctx": 2048, "version": "0.1.0"}
    entry = {"id": "1", "case": "d", "category": "parallel", "kind": "", "reason": "", "outcome": "call"}
    lines = [setting, entry | {"question": "Where?", "output": "[]"}]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    old = EvalRun.read(path)
    assert old.setting.tool_choice == "auto"
    assert report.comparison([old])[1:] == [("parallel", "1", str(Rate(1, 1))), ("all", "1", str(Rate(1, 1)))]


def test_the_chart_shows_risk_by_coverage_where_confidence_is_known() -> None:
    space = "{http://www.w3.org/2000/svg}"
    root = ET.fromstring(svg([of_bfcl(RESULTS), run()]))
    (line,) = root.iter(f"{space}polyline")
    assert len((line.get("points") or "").split()) == 6
    assert "coverage" in [element.text for element in root.iter(f"{space}text")]
    assert not list(ET.fromstring(svg([run()])).iter(f"{space}polyline"))
