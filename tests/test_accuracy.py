"""benchmarks/accuracy.py: all runtimes are asked and judged, answers stored and compared; figures are not tested."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks import accuracy, accuracy_report, agent_bench, peer
from benchmarks.accuracy_report import Difference, Group
from benchmarks.runtimes import read_completion, server_steps
from benchmarks.serving import serve_in_thread
from edgefc import load
from edgefc.engine import selftest
from edgefc.errors import SuiteError
from edgefc.evaluation.answering import answered_by
from edgefc.evaluation.judging import judge_answer
from edgefc.evaluation.results import CaseResult, EvalRun, EvalSetting
from edgefc.evaluation.suites import load_cases
from tests.evaluation.checkout import write_checkout


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    return write_checkout(tmp_path / "gorilla")


def stored(folder: Path) -> dict[tuple[str, str], EvalRun]:
    runs = [EvalRun.read(path) for path in sorted(folder.glob("*.jsonl"))]
    return {(run.setting.runtime, run.setting.tool_choice): run for run in runs}


def test_edgefc_answers_and_a_run_resumes(checkout: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--data", str(checkout), "--runtimes", "edgefc", "--out", str(tmp_path / "out"), "--max-tokens", "60"]
    words += ["--category", "simple_python,irrelevance"]
    assert accuracy.main([*words, "--limit", "1", "--json", str(tmp_path / "a.json")]) == 0
    runs = stored(tmp_path / "out")
    assert {key: len(run.results) for key, run in runs.items()} == {("edgefc", "auto"): 2, ("edgefc", "required"): 1}
    (required,) = runs["edgefc", "required"].results.values()
    assert (required.category, required.outcome) == ("simple_python", "call")
    data = json.loads((tmp_path / "a.json").read_text(encoding="utf-8"))
    groups = [(group["choice"], group["category"], group["cases"]) for group in data["groups"]]
    assert groups == [
        ("auto", "simple_python", 1), ("auto", "irrelevance", 1), ("auto", "with a call", 1),
        ("required", "simple_python", 1), ("required", "with a call", 1),
    ]  # fmt: skip
    assert data["differences"] == []
    printed = capsys.readouterr()
    assert "3 answers to compute" in printed.err
    assert "all 9 cases of these categories" in printed.out

    assert accuracy.main([*words, "--limit", "2", "--resume", "--markdown"]) == 0
    printed = capsys.readouterr()
    assert "2 answers to compute" in printed.err
    assert printed.out.startswith("| choice | category | runtime | cases | right | valid but wrong |")
    assert {key: len(run.results) for key, run in stored(tmp_path / "out").items()} == {
        ("edgefc", "auto"): 3,
        ("edgefc", "required"): 2,
    }
    # A smaller limit keeps the answers that it does not show.
    assert accuracy.main([*words, "--limit", "1", "--resume"]) == 0
    assert "0 answers to compute" in capsys.readouterr().err
    assert len(stored(tmp_path / "out")["edgefc", "auto"].results) == 3
    # With --again, a runtime gets a new file.
    assert accuracy.main([*words, "--limit", "1", "--resume", "--again", "edgefc"]) == 0
    assert "3 answers to compute" in capsys.readouterr().err
    assert len(list((tmp_path / "out").iterdir())) == 4


def test_all_runtimes_answer_the_same_cases(checkout: Path, tiny_model: Path, tmp_path: Path) -> None:
    """With random weights, which say nothing useful."""
    if peer.find() is None:
        pytest.skip("needs llama-server: `python benchmarks/peer.py` builds one, EDGEFC_LLAMA_SERVER names it")
    if selftest.verdict() != "fine":
        pytest.skip("this build of llama.cpp crashes on this processor when a stock Llama decodes")
    words = ["--data", str(checkout), "--model", str(tiny_model), "--max-tokens", "40", "--limit", "1"]
    words += ["--category", "simple_python,multiple", "--out", str(tmp_path / "out"), "--read-text"]
    assert accuracy.main([*words, "--json", str(tmp_path / "a.json")]) == 0
    runs = stored(tmp_path / "out")
    # Stock Llama has no `required`: it is asked where it can name the only tool.
    assert {key: len(run.results) for key, run in runs.items()} == {
        ("edgefc", "auto"): 2, ("edgefc", "required"): 2,
        ("llama-server", "auto"): 2, ("llama-server", "required"): 2,
        ("llama-cpp-python", "auto"): 2, ("llama-cpp-python", "required"): 1,
    }  # fmt: skip
    for run in runs.values():
        for result in run.results.values():
            assert 0 < result.completion_tokens <= 40
            assert result.model_steps > 0
            assert result.seconds > 0
            assert result.kind != "refused"
    data = json.loads((tmp_path / "a.json").read_text(encoding="utf-8"))
    names = {(d["choice"], d["category"], d["name"]): d["cases"] for d in data["differences"]}
    assert names["auto", "with a call", "edgefc − llama-server"] == 2
    assert names["required", "with a call", "edgefc − llama-cpp-python"] == 1


def test_an_endpoint_is_asked(checkout: Path, tmp_path: Path) -> None:
    words = ["--data", str(checkout), "--category", "simple_python", "--limit", "1", "--max-tokens", "60"]
    (case,) = load_cases("bfcl", checkout, categories=["simple_python"], limit=1)
    with load("demo", prefix_disk=0) as model, serve_in_thread(model) as port:
        url = f"http://127.0.0.1:{port}/v1"
        assert accuracy.main([*words, "--url", url, "--out", str(tmp_path)]) == 0
        for choice in ("auto", "required"):
            reply = model.chat(case.messages, tools=case.tools, tool_choice=choice, temperature=0, max_tokens=60)
            expected = judge_answer(case, "bfcl", answered_by(reply, reply.content))
            (result,) = stored(tmp_path)["endpoint", choice].results.values()
            # Steps, and the tools of each call, are not on the wire in a form that the benchmark reads.
            expected = replace(expected, model_steps=0, p_tool=None, seconds=result.seconds)
            assert result == replace(expected, confidence=pytest.approx(expected.confidence))
    assert accuracy.main([*words, "--url", url, "--out", str(tmp_path / "closed")]) == 1


def test_a_completion_is_read_as_it_says() -> None:
    call = {"id": "x", "type": "function", "function": {"name": "f", "arguments": '{"a": 1}'}}
    choice = {"message": {"role": "assistant", "content": None, "tool_calls": [call]}, "finish_reason": "tool_calls"}
    read = read_completion({"choices": [choice], "usage": {"completion_tokens": 5}})
    assert (read.answer.outcome, read.answer.calls[0].arguments, read.completion_tokens) == ("call", {"a": 1}, 5)
    assert not read.is_cut
    text = {"message": {"role": "assistant", "content": "Hi"}, "finish_reason": "length"}
    read = read_completion({"choices": [text]})
    assert (read.answer.outcome, read.answer.calls, read.text, read.is_cut) == ("length", (), "Hi", True)
    # Arguments that are not JSON are no call.
    call["function"] = {"name": "f", "arguments": '{"a": '}
    assert read_completion({"choices": [choice]}).answer.calls == ()


def test_steps_of_a_server_are_batches() -> None:
    assert server_steps({"prompt_n": 2049, "predicted_n": 5}) == 2 + 4
    assert server_steps({"prompt_n": 1, "predicted_n": 0}) == 1


def test_differences_are_of_the_same_cases() -> None:
    results = [CaseResult(str(n), "", "multiple", "" if n < 3 else "value", "", "", "", "", calls=1) for n in range(4)]
    ours = Group("auto", "multiple", "edgefc", results)
    theirs = Group("auto", "multiple", "other", [replace(r, kind="value" if r.id == "0" else "") for r in results[:3]])
    elsewhere = replace(theirs, choice="required")
    (found,) = accuracy_report.differences([ours, theirs, elsewhere], "edgefc")
    assert (found.cases, found.better, found.worse) == (3, 1, 0)
    assert found.points == pytest.approx(100 / 3)


def test_the_interval_is_bonett_and_prices() -> None:
    difference = Difference("auto", "multiple", "a − b", cases=21, better=1, worse=7)
    # p12 = 2/23, p21 = 8/23: -6/23 ± 1.96 * sqrt((10/23 - 36/529) / 23)
    assert difference.interval == pytest.approx((-50.8, -1.3), abs=0.05)


def test_text_is_judged_as_calls_on_request(checkout: Path, tmp_path: Path) -> None:
    cases = load_cases("bfcl", checkout, categories=["simple_python"], limit=1)
    ((name, arguments),) = cases[0].expected[0].items()
    chosen = {key: values[0] for key, values in arguments.items() if values[0] != ""}
    text = f"```json\n{json.dumps({'name': name.replace('.', '_'), 'arguments': chosen})}\n```"
    result = CaseResult(
        cases[0].id, cases[0].digest, "simple_python", "no call", "r", "answer", "", text, calls=0, text_call=True
    )
    setting = EvalSetting("m", "", "f", "bfcl", True, 60, 2048, runtime="other")
    runs = {("other", "auto"): EvalRun(tmp_path / "x.jsonl", setting, [result])}
    found = accuracy_report.groups(runs, cases, read_text=True)
    assert [(group.category, group.runtime, group.rate.right) for group in found] == [
        ("simple_python", "other", 0), ("simple_python", "other, text read", 1),
        ("with a call", "other", 0), ("with a call", "other, text read", 1),
    ]  # fmt: skip


def write_bench(folder: Path, *, tools: str) -> Path:
    """Write a benchmark of the form of Local Agent Bench, with questions and tools of our own."""
    (folder / "lib").mkdir()
    lines = [
        "import os", "os.remove('/nothing/here')", f"TOOLS = {tools}", f"TEST_PROMPTS = {[f'Q{n}' for n in range(12)]}",
        "RESTRAINT_INDICES = {4, 8}", "TOOL_CALL_INDICES = {0, 1, 2, 3, 5, 6, 7, 9, 10, 11}",
        "EXPECTED_TOOLS = {9: 'lamp', 10: 'door', 11: 'lamp'}", "WRONG_TOOL_MAP = {9: {'door'}, 10: {'lamp'}, 11: {'door'}}",
        "P8_REQUIRED_TOOLS = {'lamp', 'door'}",
    ]  # fmt: skip
    (folder / "lib" / "bench_config.py").write_text("\n".join(lines), encoding="utf-8")
    return folder


TOOLS = [{"type": "function", "function": {"name": name, "parameters": {"type": "object", "properties": {}}}}
         for name in ("lamp", "door")]  # fmt: skip


def test_agent_bench_is_read_without_running_it_and_scored(tmp_path: Path) -> None:
    bench = agent_bench.read(write_bench(tmp_path, tools=repr(TOOLS)))
    assert [case.id for case in bench.cases][-1] == "P12"
    right = [["lamp"]] * 4 + [[]] + [["door"]] * 2 + [["lamp", "door"]] + [[]] + [["lamp"], ["door"], ["lamp"]]
    assert agent_bench.score(bench, right) == agent_bench.Score(1, 1, 0, 1, 1)
    silent: list[list[str]] = [[]] * 12
    assert agent_bench.score(bench, silent) == agent_bench.Score(0, 1, 0, pytest.approx(0.6), 0)
    # Only the first call counts: question 10 goes wrong, and 11 is neither right nor the wrong tool.
    mixed = [*right[:4], ["door"], *right[5:9], ["door", "lamp"], [], ["lamp"]]
    agent = 0.4 * 0.8 + 0.3 * 0.5 + 0.3 * 2 / 3
    assert agent_bench.score(bench, mixed) == agent_bench.Score(0.8, 0.5, 1, pytest.approx(agent), 1)


def test_a_checkout_without_the_benchmark_is_named(tmp_path: Path) -> None:
    with pytest.raises(SuiteError, match=r"bench_config\.py"):
        agent_bench.read(tmp_path)
    with pytest.raises(SuiteError, match="TOOLS is not a plain value"):
        agent_bench.read(write_bench(tmp_path, tools="make_tools()"))


def test_agent_bench_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = write_bench(tmp_path, tools=repr(TOOLS))
    words = ["--suite", "local-agent-bench", "--data", str(data), "--runtimes", "edgefc", "--max-tokens", "20"]
    assert accuracy.main([*words, "--markdown"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "| runtime | action | restraint | wrong tool | agent score | multi-tool | seconds |"
    assert lines[2].startswith("| edgefc | ")
    assert len([line for line in lines if line.startswith("| P")]) == 12
