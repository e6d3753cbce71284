"""Rates, intervals, tables and the chart."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from edgefc.evaluation import report
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
    assert rows[0] == ("category", "cases", "demo, grammar", "demo, no grammar")
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


def test_the_chart_is_an_svg_with_a_bar_for_each_rate() -> None:
    runs = [run(), run(grammar=False, model="<b>&")]
    root = ET.fromstring(svg(runs))
    space = "{http://www.w3.org/2000/svg}"
    titles = [bar.findtext(f"{space}title") for bar in root.iter(f"{space}rect")]
    rates = [title for title in titles if title]
    assert len(rates) == 6
    assert rates[0].startswith("single: 66.7% (")
    texts = [element.text for element in root.iter(f"{space}text")]
    assert {"single", "parallel", "all", "<b>&, no grammar"} <= set(texts)
