"""The benchmarks run; their figures are not tested."""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import shutil
from pathlib import Path

import pytest

from benchmarks import (
    bfcl_harness,
    bfcl_scripts,
    cases,
    child,
    masks,
    peer,
    pull,
    report,
    schema_compile,
    scripted,
    server,
    setting,
    stock,
    workloads,
)
from benchmarks.scripted_layers import SHAPES
from benchmarks.sides import Answer, RequestBuilder, ask_edgefc, is_valid, same
from edgefc import load
from edgefc.engine import Tokenizer, llama
from edgefc.engine.constraint import guidance_tokenizer
from edgefc.evaluation.suites import load_cases
from edgefc.formats import load_family
from tests.evaluation.checkout import write_checkout
from tests.vocabularies import find_vocabulary


@pytest.fixture
def small() -> setting.Setting:
    """The demo model with two prompts and one round."""
    parser = argparse.ArgumentParser()
    setting.add_options(parser)
    return setting.prepare(parser.parse_args(["--prompts", "2", "--rounds", "1"]), None, free=40)


@pytest.fixture
def llama_server() -> Path:
    binary = peer.find()
    if binary is None:
        pytest.skip("needs llama-server: `python benchmarks/peer.py` builds one, EDGEFC_LLAMA_SERVER names it")
    return binary


@pytest.fixture
def large_vocabulary() -> Path:
    """Qwen2's vocabulary, in which the words that mark a case are rare."""
    path = find_vocabulary("qwen2")
    if path is None:
        pytest.skip("needs Qwen2's own vocabulary: EDGEFC_VOCABULARIES names its folder (tests/vocabularies.py)")
    return path


def test_masks_measures_both_executors(demo_path: Path) -> None:
    rows = masks.main([str(demo_path), "--tools", "1", "3", "--json"])
    assert [(row["tools"], row["mode"]) for row in rows] == [(n, mode) for n in (1, 3) for mode in ("required", "auto")]
    for row in rows:
        assert row["answers_refused"] == 0
        assert row["tokens"] > 100
        assert row["llama_cpp_tokens"] >= masks.LLAMA_TOKENS
        assert row["mask_us_p50"] > 0


def test_pull_measures_both_clients(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    result = pull.main(["--size", "8", "--rounds", "1", "--json"])
    assert {"edgefc", "huggingface_hub"} <= result.keys()
    assert result["rate_ratio"] > 0


def test_right_answers_are_in_the_grammar_and_are_parsed_back(large_vocabulary: Path) -> None:
    """The scripted answer to every case is parsed to its calls, and the schemas allow them."""
    tokenizer = Tokenizer(llama.Model(large_vocabulary, n_gpu_layers=0, vocab_only=True).vocabulary)
    requests = RequestBuilder(load_family("hermes"), tokenizer)
    words = setting.marker_words(tokenizer, cases.WORDS)
    all_cases = list(cases.make_plan(list(words), free=40).all_cases())
    assert len(all_cases) == len(words) == cases.WORDS
    scripts = requests.scripts(all_cases, guidance_tokenizer(tokenizer.vocabulary))
    assert len(scripts) >= len(all_cases)
    answers = {tuple(prompt): answer for prompt, answer in scripts}
    for case in all_cases:
        prompt = requests.build(case).prompt
        markers = set(words.values()).intersection(prompt)
        assert len(markers) == sum("reference " in str(message.get("content")) for message in case.messages)
        parsed = requests.family.parse(tokenizer.decode(answers[tuple(prompt)][:-1]), case.tools)
        calls = [call["function"] for call in parsed.message.get("tool_calls") or []]
        assert [(call["name"], json.loads(call["arguments"])) for call in calls] == [(n, a) for n, a in case.calls]
        assert (parsed.message.get("content") or "") == case.text
        assert is_valid(parsed.message, case)


@pytest.mark.parametrize("shape", ["tiny", "tiny-lfm2", "tiny-gemma3", "tiny-qwen3.5", "tiny-granite4-h"])
def test_a_scripted_model_follows_its_scripts(large_vocabulary: Path, tmp_path: Path, shape: str) -> None:
    tokenizer = Tokenizer(llama.Model(large_vocabulary, n_gpu_layers=0, vocab_only=True).vocabulary)
    requests = RequestBuilder(load_family("hermes"), tokenizer)
    words = setting.marker_words(tokenizer, cases.WORDS)
    plan = cases.make_plan(list(words), free=40)
    some_cases = [*plan.one_tool[:4], *plan.parallel[:4], *plan.agent[0][:4], plan.copying[0], plan.plain[0]]
    pairs = requests.scripts(some_cases, guidance_tokenizer(tokenizer.vocabulary))
    scripts = [scripted.Script(tuple(prompt), tuple(answer)) for prompt, answer in pairs]
    path = tmp_path / "scripted.gguf"
    scripted.write(large_vocabulary, path, scripts, words.values(), SHAPES[shape])
    with load(path, family="hermes", n_ctx=2048, n_parallel=1) as model:
        for script in scripts:
            result = model.engine.submit(list(script.prompt), max_tokens=len(script.answer)).result()
            assert (result.token_ids, result.finish_reason) == ([*script.answer[:-1]], "stop")
        for case in some_cases:
            answer = ask_edgefc(model, case.with_ticket(7), max_tokens=300)
            assert answer.valid
            calls = [call["function"] for call in answer.message.get("tool_calls") or []]
            assert [(call["name"], json.loads(call["arguments"])) for call in calls] == [(n, a) for n, a in case.calls]
            assert (answer.message.get("content") or "") == case.text


def test_scripts_that_contradict_one_another_are_refused(small_vocab: Path, tmp_path: Path) -> None:
    marker, end = 5_000, 2
    scripts = [scripted.Script((*range(10, 20), marker, 21), (30, 40 + number, end)) for number in range(2)]
    with pytest.raises(scripted.ConflictError, match="2 of 6 positions"):
        scripted.write(small_vocab, tmp_path / "no.gguf", scripts, [marker], SHAPES["tiny"])
    with pytest.raises(ValueError, match="must have a marker"):
        scripted.write(small_vocab, tmp_path / "no.gguf", scripts, [marker + 1], SHAPES["tiny"])


def test_edgefc_answers_the_benchmarks_cases(small: setting.Setting) -> None:
    plan = small.plan
    with small.model(n_parallel=2) as model:
        short = (*plan.one_tool[:2], *plan.many_tools[:2], *plan.agent[0][:1], *plan.thinking[:1])
        for case in (*short, *plan.copying[:2], *plan.agent[0][1:2]):
            answer = ask_edgefc(model, case, max_tokens=workloads.MAX_TOKENS)
            assert answer.stats is not None
            assert answer.stats.prompt_tokens == len(small.requests.build(case).prompt)
            assert answer.tokens > 0
            # A text that the demo model does not end is cut off, and a cut call does not count.
            assert answer.valid or (case not in short and answer.tokens == workloads.MAX_TOKENS)


def test_a_restart_is_a_process_of_its_own(small: setting.Setting) -> None:
    case = small.plan.restarting[0][0]
    done = child.run(small.path, small.family, case, n_ctx=1024, threads=2, max_tokens=workloads.MAX_TOKENS)
    assert done["valid"]
    assert 0 < done["first_s"] <= done["whole_s"]
    assert done["peak"] > small.path.stat().st_size


def test_stock_measures_both(capsys: pytest.CaptureFixture[str]) -> None:
    rows = stock.main(["--prompts", "1", "--rounds", "2"])
    assert [(row.checked, row.ours_valid, row.theirs_valid) for row in rows] == [(2, 2, 2)] * 2
    assert capsys.readouterr().out.count("against stock") == 2


@pytest.mark.usefixtures("llama_server")
def test_server_measures_both(tmp_path: Path) -> None:
    """All workloads, on the demo model."""
    out = tmp_path / "figures.json"
    rows = server.main(["--prompts", "1", "--rounds", "1", "--free", "40", "--json", str(out)])
    written = json.loads(out.read_text())
    assert [row["name"] for row in written["rows"]] == [row.name for row in rows]
    assert {row.name.split(" ")[0] for row in rows} == {*(f"W{n}" for n in range(1, 10)), "load,", "memory"}
    for row in rows:
        assert row.ours_valid == row.theirs_valid
        # A turn of the demo model may be cut off in a loop, on both sides.
        assert row.ours_valid >= row.checked - (row.name.startswith("W4"))
        assert row.ratio > 0


def test_the_server_gets_what_edgefc_computes(llama_server: Path, small: setting.Setting) -> None:
    small = dataclasses.replace(small, binary=llama_server)
    case = small.plan.one_tool[0]
    with small.both() as (ours, theirs):
        one, other = setting.in_turns(0, ours, theirs, case, max_tokens=workloads.MAX_TOKENS)
        streamed: Answer = theirs(case, max_tokens=workloads.MAX_TOKENS, stream=True)
    assert same(one.message, other.message)
    assert same(one.message, streamed.message)
    assert 0 < streamed.arrivals[0] < streamed.seconds
    assert len(streamed.arrivals) == streamed.tokens


def test_a_row_is_the_ratio_of_medians() -> None:
    row = report.Row("W0", "s", 0.6)
    for number in range(9):
        row.add(1 + number / 100, 2 + number / 100)
    low, high = row.interval()
    assert low <= row.ratio <= high
    assert row.ratio == pytest.approx(1.04 / 2.04)
    assert row.met
    assert not report.Row("W0", "s", 0.5, ours=row.ours, theirs=row.theirs).met
    assert report.Row("W0", "s", 0.5, slack=0.03, ours=row.ours, theirs=row.theirs).met
    assert not report.Row("W0", "call/s", 1.0, at_least=True, ours=row.ours, theirs=row.theirs).met
    assert "≤ 0.6 met" in report.line(row)


def test_bfcls_outputs_are_judged_as_eval_judges_them(tmp_path: Path) -> None:
    """A scripted model answers BFCL's cases right and wrong; verdicts differ only for names with dots."""
    bfcl_cases = load_cases("bfcl", write_checkout(tmp_path), categories=["simple_python", "multiple"])
    family = load_family("qwen3")
    path, scripted_cases = bfcl_scripts.write(tmp_path, family, bfcl_cases, 3)
    assert {case.category for case in scripted_cases} == {"simple_python", "multiple"}
    with load(path, family="qwen3", n_ctx=bfcl_scripts.CONTEXT, n_parallel=2) as model:
        free = bfcl_harness.run_eval(model, scripted_cases, tmp_path, grammar=False)
    right = {case.id: bfcl_harness.judge_output(family, case, free[case.id].output) is None for case in scripted_cases}
    assert set(right.values()) == {True, False}
    plain = [case.id for case in scripted_cases if not any("." in doc["name"] for doc in case.functions)]
    assert plain
    assert [free[i].right for i in plain] == [right[i] for i in plain]


def test_bfcls_harness_and_edgefcs_rules_agree(tmp_path: Path) -> None:
    """The whole comparison; needs the harness itself."""
    command = os.environ.get("EDGEFC_BFCL") or shutil.which("bfcl")
    if command is None:
        pytest.skip("needs BFCL's harness: docs/eval.md says how to install it, EDGEFC_BFCL names its command")
    data = next(Path(command).parents[1].glob("lib/*/site-packages/bfcl_eval/data"))
    assert (
        bfcl_harness.main([str(data), "--bfcl", command, "--limit", "2", "--category", "simple_python,multiple"]) == 0
    )


def test_schemas_are_timed_and_their_instances_judged(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    order = {"$ref": "#/$defs/order", "$defs": {"order": {"properties": {"b": {"type": "number"}, "a": {"enum": [1]}}}}}
    rows = [
        {"id": "order", "schema": order, "tests": [{"data": {"a": 1, "b": 1e-7}, "valid": True}, {"data": {"a": 2}, "valid": False}]},
        {"id": "unique", "schema": {"items": {"type": "string"}, "uniqueItems": True}, "tests": [{"data": ["x", "x"], "valid": False}]},
        {"id": "refused", "schema": {"$ref": "#/$defs/none"}, "tests": [{"data": 1, "valid": True}]},
    ]  # fmt: skip
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    monkeypatch.setattr("sys.argv", ["schema_compile", str(path), "--rounds", "1"])
    schema_compile.main()
    printed = capsys.readouterr().out
    assert "valid accepted: 1 of 2 (50.00 %); where every keyword is enforced, 1 of 1" in printed
    assert "invalid accepted: 1 of 2 (50.00 %); where every keyword is enforced, 0 of 1" in printed
    assert "refers to nothing" in printed
