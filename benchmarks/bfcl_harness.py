"""Compares BFCL's own harness, run against edgefc's server, with `edgefc eval` on the same model, case by case.

    python -m benchmarks.bfcl_harness DATA [--bfcl COMMAND] [--limit N] [--category C1,C2,…]
        [--model GGUF --tokenizer FOLDER --harness-model NAME --family FAMILY]

DATA is a checkout of BFCL, or bfcl_eval/data of the installed package. COMMAND is the package's `bfcl`, in a separate
environment. The default model is a scripted one (benchmarks/bfcl_scripts.py). docs/eval.md describes the columns.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import edgefc
from benchmarks import bfcl_scripts
from benchmarks.serving import serve_in_thread
from edgefc.evaluation import bfcl
from edgefc.evaluation.cases import Case, Mistake, ModelAnswer
from edgefc.evaluation.judging import read_answer
from edgefc.evaluation.results import CaseResult
from edgefc.evaluation.run import evaluate, open_run, setting_of
from edgefc.evaluation.suites import load_cases
from edgefc.formats import Family, load_family
from edgefc.types import Call

CATEGORIES = "simple_*,multiple,parallel,parallel_multiple,irrelevance,live_simple,live_relevance"


@dataclass(frozen=True, slots=True)
class HarnessResult:
    """The harness's record of a case: the output received over HTTP, the prompt it sent, and its verdict."""

    output: Any
    prompt: str
    right: bool


def run_harness(
    command: str, model: str, tokenizer: Path, url: str, cases: Sequence[Case], folder: Path, *, threads: int
) -> dict[str, HarnessResult]:
    """Generate and evaluate with BFCL's own commands; returns results by case."""
    ids: dict[str, list[str]] = {}
    for case in cases:
        ids.setdefault(case.category, []).append(case.id)
    (folder / "test_case_ids_to_generate.json").write_text(json.dumps(ids), encoding="utf-8")
    environment = {"BFCL_PROJECT_ROOT": str(folder), "REMOTE_OPENAI_BASE_URL": url, "HF_HUB_OFFLINE": "1"}
    generate = ["generate", "--model", model, "--run-ids", "--skip-server-setup", "--local-model-path", str(tokenizer)]
    evaluation = ["evaluate", "--model", model, "--test-category", ",".join(ids), "--partial-eval"]
    for arguments in (
        [*generate, "--temperature", "0", "--num-threads", str(threads), "--include-input-log", "-o"],
        evaluation,
    ):
        done = subprocess.run(
            [command, *arguments], env={**os.environ, **environment}, capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise SystemExit(f"bfcl {arguments[0]} failed:\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}")
    folder_name = model.replace("/", "_")
    results = _read_json_lines(folder / "result" / folder_name)
    if failed := [entry for entry in results if "traceback" in entry]:
        raise SystemExit(f"the server did not answer {failed[0]['id']}: {failed[0]['result']}")
    wrong = {entry["id"] for entry in _read_json_lines(folder / "score" / folder_name) if "id" in entry}
    return {
        entry["id"]: HarnessResult(
            entry["result"], entry["inference_log"][0]["content"]["formatted_prompt"], entry["id"] not in wrong
        )
        for entry in results
    }


def judge_output(family: Family, case: Case, output: str | list[dict[str, Any]]) -> Mistake | None:
    """Judge an output of the harness with edgefc's parser and rules; names of its tools have dots.

    For some models the harness saves parsed calls; then only the rules are edgefc's.
    """
    if isinstance(output, str):
        tools: Any = [{"type": "function", "function": doc} for doc in case.functions]
        calls = read_answer(family.parse(output, tools)).calls
    else:
        calls = tuple(Call("", name, arguments) for call in output for name, arguments in call.items())
    renamed = tuple(Call(call.id, bfcl.tool_name(call.name), call.arguments) for call in calls)
    return bfcl.judge(case, ModelAnswer("call" if renamed else "answer", renamed))


def same_prompt(family: Family, case: Case, prompt: str) -> bool:
    """Return True if both prompts are equal once BFCL's function docs are replaced by OpenAI's tools."""
    docs: list[Any] = []
    for doc, tool in zip(case.functions, case.tools, strict=True):
        function: dict[str, Any] = {**tool["function"]}  # its descriptions name the language
        if case.category in {"simple_java", "simple_javascript"}:
            docs.append({**function, "name": doc["name"], "parameters": {**function["parameters"], "type": "dict"}})
        else:
            docs.append({**doc, "description": function["description"]})
    tools: list[Any] = [{"type": "function", "function": doc} for doc in docs]
    original = converted = prompt.removeprefix("<|begin_of_text|>")  # the server adds it where it is missing
    for doc, tool in zip(docs, tools, strict=True):
        converted = converted.replace(f"\n{json.dumps(doc)}\n", f"\n{json.dumps(tool)}\n")
    return family.render(case.messages, tools).text in {original, converted}


def run_eval(model: edgefc.Model, cases: Sequence[Case], folder: Path, *, grammar: bool) -> Mapping[str, CaseResult]:
    """Run `edgefc eval`; returns results by case."""
    run = open_run(folder, setting_of(model, "bfcl", grammar=grammar, max_tokens=1024), resume=False)
    for _ in evaluate(model, cases, run):
        pass
    return run.results


def _read_json_lines(folder: Path) -> list[dict[str, Any]]:
    return [
        json.loads(line) for path in sorted(folder.rglob("*.json")) for line in path.read_text("utf-8").splitlines()
    ]


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--bfcl", default="bfcl", help="command of the harness")
    parser.add_argument("--category", default=CATEGORIES)
    parser.add_argument("--limit", type=int, default=6, help="number of cases of each category")
    parser.add_argument("--model", type=Path, help="a GGUF (default: a scripted model)")
    parser.add_argument("--tokenizer", type=Path, help="folder with the model's config.json and tokenizer")
    parser.add_argument("--harness-model", default="Qwen/Qwen3-0.6B-FC", help="the model's name in `bfcl models`")
    parser.add_argument("--family", default="qwen3", help="the model's chat format")
    parser.add_argument("--out", type=Path, help="save all files in this folder")
    options = parser.parse_args(arguments)
    if options.model and not options.tokenizer:
        parser.error("--model needs --tokenizer: the harness counts tokens with it")
    limit = options.limit if options.model else None
    cases = load_cases("bfcl", options.data, categories=options.category.split(","), limit=limit)
    with tempfile.TemporaryDirectory() as temporary:
        folder: Path = (options.out or Path(temporary)).resolve()
        folder.mkdir(parents=True, exist_ok=True)
        path, tokenizer = options.model, options.tokenizer
        if path is None:
            path, cases = bfcl_scripts.write(folder, load_family(options.family), cases, options.limit)
            tokenizer = folder
        with edgefc.load(path, family=options.family, n_ctx=bfcl_scripts.CONTEXT, prefix_disk=0) as model:
            with serve_in_thread(model) as port:
                url = f"http://127.0.0.1:{port}/v1"
                theirs = run_harness(options.bfcl, options.harness_model, tokenizer, url, cases, folder, threads=4)
            free = run_eval(model, cases, folder / "edgefc", grammar=False)
            constrained = run_eval(model, cases, folder / "edgefc", grammar=True)
            return compare(model.family, cases, theirs, free, constrained)


def compare(
    family: Family,
    cases: Sequence[Case],
    theirs: Mapping[str, HarnessResult],
    free: Mapping[str, CaseResult],
    constrained: Mapping[str, CaseResult],
) -> int:
    """Print a table and all differences; returns the number of outputs that edgefc's rules judge differently."""
    rules = {case.id: judge_output(family, case, theirs[case.id].output) for case in cases}
    print(
        f"{'category':20}{'cases':>7}{'harness':>9}{'its outputs, by edgefc':>24}{'eval, free':>12}"
        f"{'eval, constrained':>19}"
    )
    for category in [*dict.fromkeys(case.category for case in cases), ""]:
        ids = [case.id for case in cases if category in {"", case.category}]
        right = (
            sum(theirs[i].right for i in ids), sum(rules[i] is None for i in ids),
            sum(free[i].right for i in ids), sum(constrained[i].right for i in ids),
        )  # fmt: skip
        print(f"{category or 'all':20}{len(ids):7}{right[0]:9}{right[1]:24}{right[2]:12}{right[3]:19}")
    equal = sum(same_prompt(family, case, theirs[case.id].prompt) for case in cases)
    print(f"\nApart from the form of the tools, {equal} of {len(cases)} prompts are the same.")
    differences, dotted = 0, list[str]()
    for case in cases:
        harness, problem = theirs[case.id], rules[case.id]
        if harness.right != (problem is None):
            differences += 1
            print(
                f"\n{case.id}: {_verdict(harness.right)} for the harness, "
                f"{problem.reason if problem else 'right'} by edgefc's rules"
            )
            print(f"  output  {harness.output!r}")
        for name, results in (("free", free), ("constrained", constrained)):
            result = results[case.id]
            if result.right == harness.right:
                continue
            if result.output == harness.output and any("." in doc["name"] for doc in case.functions):
                dotted.append(case.id)
            else:
                print(f"\n{case.id}, {name}: harness {_verdict(harness.right)}, edgefc {result.reason or 'right'}")
                print(f"  harness {harness.output!r}\n  edgefc  {result.output!r}")
    if dotted:
        print(
            "\nThe same answer, judged differently because dots in names are underscores in edgefc: "
            + ", ".join(dotted)
        )
    return differences


def _verdict(right: bool) -> str:
    return "right" if right else "wrong"


if __name__ == "__main__":
    raise SystemExit(1 if main() else 0)
