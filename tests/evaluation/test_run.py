"""Runs on the real engine: cases are asked, results stored, and runs resumed and cancelled."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

import edgefc
from edgefc.errors import RequestError, SuiteError
from edgefc.evaluation import report
from edgefc.evaluation.cases import Case
from edgefc.evaluation.results import EvalRun
from edgefc.evaluation.run import evaluate, open_run, setting_of
from edgefc.evaluation.suites import cases_for, load_cases
from tests.evaluation.checkout import write_checkout

TOKENS = 120


@pytest.fixture(scope="module")
def model() -> Iterator[edgefc.Model]:
    with edgefc.load("demo", prefix_disk=0) as loaded:
        yield loaded


@pytest.fixture(scope="module")
def cases() -> list[Case]:
    return load_cases("demo", limit=2)


def start(
    model: edgefc.Model,
    folder: Path,
    *,
    grammar: bool = True,
    resume: bool = False,
    suite: str = "demo",
    choice: str = "auto",
) -> EvalRun:
    setting = setting_of(model, suite, grammar=grammar, max_tokens=TOKENS, tool_choice=choice)
    return open_run(folder, setting, resume=resume)


@pytest.mark.parametrize("grammar", [True, False])
def test_every_case_is_asked_and_its_result_stored(
    model: edgefc.Model, cases: list[Case], tmp_path: Path, grammar: bool
) -> None:
    run = start(model, tmp_path, grammar=grammar)
    results = list(evaluate(model, cases, run))
    assert [result.id for result in results] == [case.id for case in cases]
    stored = EvalRun.read(run.path)
    assert stored.setting == run.setting
    assert list(stored.results.values()) == results
    assert any(result.right for result in results)
    assert any(result.valid for result in results)
    assert all(result.model_steps > 0 and result.seconds > 0 for result in results)
    assert all((result.calls or 0) > 0 or not result.valid for result in results)
    for case, result in zip(cases, results, strict=True):
        assert bool(result.reason) == bool(result.prompt) == (not result.right)
        if not result.right:
            assert result.prompt == model.prompt(case.messages, case.tools).text


def test_answers_are_those_of_chat_and_complete(model: edgefc.Model, cases: list[Case], tmp_path: Path) -> None:
    results = list(evaluate(model, cases, start(model, tmp_path)))
    for case, result in zip(cases, results, strict=True):
        reply = model.chat(case.messages, tools=case.tools, temperature=0, max_tokens=TOKENS)
        assert result.outcome == reply.outcome
        if reply.calls:
            calls = [(call.name, call.arguments) for call in reply.calls]
            assert [(c["name"], c["arguments"]) for c in json.loads(result.output)] == calls
        else:
            assert result.output == reply.content
    unconstrained = list(evaluate(model, cases, start(model, tmp_path, grammar=False)))
    for case, result in zip(cases, unconstrained, strict=True):
        prompt = model.prompt(case.messages, case.tools).text
        stop = model.family.stop
        assert model.complete(prompt, temperature=0, max_tokens=TOKENS, stop=stop).completion.text == result.output


def test_a_required_call_is_made_where_one_is_due(model: edgefc.Model, cases: list[Case], tmp_path: Path) -> None:
    due = cases_for("demo", cases, "required")
    assert {case.category for case in cases} - {case.category for case in due} == {"clarify", "no_tool", "grounded"}
    assert cases_for("demo", cases, "auto") == cases
    required = start(model, tmp_path, choice="required")
    results = list(evaluate(model, due, required))
    assert all(result.calls or result.cut for result in results)
    for case, result in zip(due, results, strict=True):
        assert result.right or result.prompt == model.prompt(case.messages, case.tools, tool_choice="required").text
    assert start(model, tmp_path, resume=True).path != required.path
    assert start(model, tmp_path, choice="required", resume=True).path == required.path


def test_how_sure_the_model_was_is_stored(model: edgefc.Model, cases: list[Case], tmp_path: Path) -> None:
    results = list(evaluate(model, cases, start(model, tmp_path)))
    for case, result in zip(cases, results, strict=True):
        sure = model.chat(case.messages, tools=case.tools, temperature=0, max_tokens=TOKENS).confidence
        assert sure is not None
        assert result.p_call == sure.call
        if not result.calls:
            assert (result.p_tool, result.p_argument, result.confidence) == (None, None, sure.answer)
            continue
        assert result.p_tool == min(call.tools[call.name] for call in sure.calls)
        assert result.confidence is not None
        least = min(call.probability for call in sure.calls)
        assert 0 < result.confidence <= min(least, result.p_argument or 1)
    measures = report.measures_of(EvalRun(tmp_path / "x.jsonl", start(model, tmp_path).setting, results))
    assert measures is not None
    assert measures.auroc is not None
    assert measures.auroc > 0.8


def test_a_bias_decides_between_calls_and_text(model: edgefc.Model, cases: list[Case], tmp_path: Path) -> None:
    setting = setting_of(model, "demo", grammar=True, max_tokens=TOKENS, call_bias=-100)
    results = list(evaluate(model, cases, open_run(tmp_path, setting, resume=False)))
    assert not any(result.calls for result in results)
    assert setting.name == "demo, grammar, call bias -100"
    least = setting_of(model, "demo", grammar=True, max_tokens=TOKENS, min_confidence=1)
    results = list(evaluate(model, cases[:2], open_run(tmp_path, least, resume=False)))
    assert [result.outcome for result in results] == ["unsure", "unsure"]


def test_bfcls_cases_are_asked_and_judged(model: edgefc.Model, tmp_path: Path) -> None:
    cases = load_cases("bfcl", write_checkout(tmp_path / "gorilla"), limit=1)
    assert len(cases) == 11
    results = list(evaluate(model, cases, start(model, tmp_path, suite="bfcl")))
    assert {result.category for result in results} == {case.category for case in cases}
    assert all(result.right == (not result.reason) for result in results)


def test_a_killed_run_resumes_where_it_stopped(model: edgefc.Model, cases: list[Case], tmp_path: Path) -> None:
    whole = start(model, tmp_path)
    expected = list(evaluate(model, cases, whole))
    lines = whole.path.read_text(encoding="utf-8").splitlines(keepends=True)
    whole.path.write_text("".join(lines[:6]) + lines[6][:40], encoding="utf-8")

    run = start(model, tmp_path, resume=True)
    assert run.path == whole.path
    assert [result.id for result in run.results.values()] == [case.id for case in cases[:5]]
    assert [result.id for result in evaluate(model, cases, run)] == [case.id for case in cases[5:]]
    answers = [replace(result, seconds=0, model_steps=0) for result in EvalRun.read(run.path).results.values()]
    assert answers == [replace(result, seconds=0, model_steps=0) for result in expected]
    assert list(evaluate(model, cases, start(model, tmp_path, resume=True))) == []


def test_only_results_of_the_same_setting_and_the_same_cases_count(
    model: edgefc.Model, cases: list[Case], tmp_path: Path
) -> None:
    first = start(model, tmp_path)
    list(evaluate(model, cases[:3], first))
    assert start(model, tmp_path).path != first.path
    assert start(model, tmp_path / "elsewhere", resume=True).path != first.path
    assert start(model, tmp_path, grammar=False, resume=True).results == {}

    run = EvalRun.read(first.path)
    changed = [cases[0], replace(cases[1], messages=[{"role": "user", "content": "Hello"}])]
    assert [result.id for result in evaluate(model, changed, run)] == [cases[1].id]
    assert EvalRun.read(first.path).results.keys() == {cases[0].id, cases[1].id}


def test_a_refused_case_is_wrong_and_the_run_continues(model: edgefc.Model, cases: list[Case], tmp_path: Path) -> None:
    long = replace(cases[0], id="long", messages=[{"role": "user", "content": "word " * 3000}])
    schema = {"type": "object", "properties": {"a": {"type": "string", "pattern": r"(a)\1"}}}
    tool = {"type": "function", "function": {"name": "f", "parameters": schema}}
    refused = replace(cases[0], id="refused", tools=[tool])
    results = list(evaluate(model, [long, refused, cases[0]], start(model, tmp_path)))
    assert [result.kind for result in results[:2]] == ["refused", "refused"]
    assert results[0].reason.startswith("context_length_exceeded: ")
    assert "pattern" in results[1].reason
    assert results[2].kind != "refused"


def test_leaving_early_cancels_and_the_model_still_answers(
    model: edgefc.Model, cases: list[Case], tmp_path: Path
) -> None:
    run = start(model, tmp_path)
    results = evaluate(model, cases, run)
    first = next(results)
    results.close()
    assert EvalRun.read(run.path).results == {first.id: first}
    assert model.chat([{"role": "user", "content": "hello"}], max_tokens=8).content


def test_a_cut_off_answer_is_wrong_and_its_text_is_stored(
    model: edgefc.Model, cases: list[Case], tmp_path: Path
) -> None:
    for grammar in (True, False):
        setting = setting_of(model, "demo", grammar=grammar, max_tokens=28)
        (result,) = evaluate(model, cases[:1], open_run(tmp_path, setting, resume=False))
        assert result.kind == "incomplete"
        assert "after 28 tokens" in result.reason
        assert result.output


def test_a_duplicate_case_id_is_refused(model: edgefc.Model, cases: list[Case], tmp_path: Path) -> None:
    with pytest.raises(RequestError, match=f"duplicate case id '{cases[1].id}'"):
        next(evaluate(model, [*cases, cases[1]], start(model, tmp_path)))


@pytest.mark.parametrize(
    ("content", "reason"),
    [("", "the file is empty"), ("hello\n", "line 1"), ('{"format": 0}\n', "another version"), ("[]\n", "line 1")],
)
def test_a_file_without_a_run_is_named(tmp_path: Path, content: str, reason: str) -> None:
    path = tmp_path / "run.jsonl"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(SuiteError, match=rf"run\.jsonl.*{reason}"):
        EvalRun.read(path)


def test_a_damaged_line_in_the_middle_is_named(model: edgefc.Model, cases: list[Case], tmp_path: Path) -> None:
    run = start(model, tmp_path)
    list(evaluate(model, cases[:3], run))
    lines = run.path.read_text(encoding="utf-8").splitlines(keepends=True)
    run.path.write_text("".join([*lines[:2], lines[2][:30] + "\n", lines[3]]), encoding="utf-8")
    with pytest.raises(SuiteError, match="line 3: not a result"):
        start(model, tmp_path, resume=True)
