"""BFCL's own harness against edgefc's server, and `edgefc eval` on the same model and cases, case by case.

    python -m benchmarks.bfcl_harness DATA [--bfcl COMMAND] [--limit N] [--category C1,C2,…]
        [--model GGUF --tokenizer FOLDER --harness-model NAME --family FAMILY]

DATA is a checkout of BFCL, or bfcl_eval/data of the installed package. COMMAND is its `bfcl`, of an environment of its
own. Without --model a scripted model is asked (benchmarks/bfcl_scripts.py). docs/eval.md says what the columns are.
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
from benchmarks.serving import serving
from edgefc.evaluation import bfcl
from edgefc.evaluation.cases import Case, Mistake, ModelAnswer
from edgefc.evaluation.results import CaseResult
from edgefc.evaluation.run import evaluate, open_run, read_answer, setting_of
from edgefc.evaluation.suites import load_cases
from edgefc.formats import Family, load_family
from edgefc.types import Call

CATEGORIES = "simple_*,multiple,parallel,parallel_multiple,irrelevance,live_simple,live_relevance"


@dataclass(frozen=True, slots=True)
class Judged:
    """What the harness keeps of a case: what came back over HTTP, the prompt it sent, and whether it is right."""

    output: Any
    prompt: str
    right: bool


def run_harness(
    command: str, model: str, tokenizer: Path, url: str, cases: Sequence[Case], folder: Path, *, threads: int
) -> dict[str, Judged]:
    """Generate and evaluate with BFCL's own commands; by case."""
    ids: dict[str, list[str]] = {}
    for case in cases:
        ids.setdefault(case.category, []).append(case.id)
    (folder / "test_case_ids_to_generate.json").write_text(json.dumps(ids), encoding="utf-8")
    place = {"BFCL_PROJECT_ROOT": str(folder), "REMOTE_OPENAI_BASE_URL": url, "HF_HUB_OFFLINE": "1"}
    asking = ["generate", "--model", model, "--run-ids", "--skip-server-setup", "--local-model-path", str(tokenizer)]
    judging = ["evaluate", "--model", model, "--test-category", ",".join(ids), "--partial-eval"]
    for words in (
        [*asking, "--temperature", "0", "--num-threads", str(threads), "--include-input-log", "-o"],
        judging,
    ):
        done = subprocess.run(
            [command, *words], env={**os.environ, **place}, capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise SystemExit(f"bfcl {words[0]} failed:\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}")
    of_model = model.replace("/", "_")
    results = _lines(folder / "result" / of_model)
    if failed := [entry for entry in results if "traceback" in entry]:
        raise SystemExit(f"the server did not answer {failed[0]['id']}: {failed[0]['result']}")
    wrong = {entry["id"] for entry in _lines(folder / "score" / of_model) if "id" in entry}
    return {
        entry["id"]: Judged(
            entry["result"], entry["inference_log"][0]["content"]["formatted_prompt"], entry["id"] not in wrong
        )
        for entry in results
    }


def judge_output(family: Family, case: Case, output: str | list[dict[str, Any]]) -> Mistake | None:
    """What edgefc's parser and rules say of an output that the harness judged. Its tools' names have dots.

    Of some models the harness keeps calls that it has read already; then only the rules are edgefc's.
    """
    if isinstance(output, str):
        named: Any = [{"type": "function", "function": doc} for doc in case.functions]
        calls = read_answer(family.parse(output, named)).calls
    else:
        calls = tuple(Call("", name, arguments) for call in output for name, arguments in call.items())
    made = tuple(Call(call.id, bfcl.tool_name(call.name), call.arguments) for call in calls)
    return bfcl.judge(case, ModelAnswer("call" if made else "answer", made))


def same_prompt(family: Family, case: Case, prompt: str) -> bool:
    """Whether edgefc's prompt is the harness's once it shows BFCL's function docs in place of OpenAI's tools."""
    docs: list[Any] = []
    for doc, tool in zip(case.functions, case.tools, strict=True):
        told: dict[str, Any] = {**tool["function"]}  # whose descriptions name the language
        if case.category in {"simple_java", "simple_javascript"}:
            docs.append({**told, "name": doc["name"], "parameters": {**told["parameters"], "type": "dict"}})
        else:
            docs.append({**doc, "description": told["description"]})
    tools: list[Any] = [{"type": "function", "function": doc} for doc in docs]
    bare = dressed = prompt.removeprefix("<|begin_of_text|>")  # which the server adds where it is missing
    for doc, tool in zip(docs, tools, strict=True):
        dressed = dressed.replace(f"\n{json.dumps(doc)}\n", f"\n{json.dumps(tool)}\n")
    return family.render(case.messages, tools).text in {bare, dressed}


def ask_edgefc(model: edgefc.Model, cases: Sequence[Case], folder: Path, *, grammar: bool) -> Mapping[str, CaseResult]:
    """`edgefc eval`."""
    run = open_run(folder, setting_of(model, "bfcl", grammar=grammar, max_tokens=1024), resume=False)
    for _ in evaluate(model, cases, run):
        pass
    return run.results


def _lines(folder: Path) -> list[dict[str, Any]]:
    return [
        json.loads(line) for path in sorted(folder.rglob("*.json")) for line in path.read_text("utf-8").splitlines()
    ]


def main(given: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--bfcl", default="bfcl", help="the harness's command")
    parser.add_argument("--category", default=CATEGORIES)
    parser.add_argument("--limit", type=int, default=6, help="cases of each category")
    parser.add_argument("--model", type=Path, help="a GGUF; default: one that follows scripts")
    parser.add_argument("--tokenizer", type=Path, help="folder with the model's config.json and tokenizer")
    parser.add_argument("--harness-model", default="Qwen/Qwen3-0.6B-FC", help="as `bfcl models` lists it")
    parser.add_argument("--family", default="qwen3", help="its chat format")
    parser.add_argument("--out", type=Path, help="folder to keep all files in")
    options = parser.parse_args(given)
    if options.model and not options.tokenizer:
        parser.error("the harness counts tokens of --model with its --tokenizer")
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
            with serving(model) as port:
                url = f"http://127.0.0.1:{port}/v1"
                theirs = run_harness(options.bfcl, options.harness_model, tokenizer, url, cases, folder, threads=4)
            free = ask_edgefc(model, cases, folder / "edgefc", grammar=False)
            held = ask_edgefc(model, cases, folder / "edgefc", grammar=True)
            return compare(model.family, cases, theirs, free, held)


def compare(
    family: Family,
    cases: Sequence[Case],
    theirs: Mapping[str, Judged],
    free: Mapping[str, CaseResult],
    held: Mapping[str, CaseResult],
) -> int:
    """Print what agrees and what does not; how many outputs are judged otherwise by edgefc's rules."""
    rules = {case.id: judge_output(family, case, theirs[case.id].output) for case in cases}
    print(
        f"{'category':20}{'cases':>7}{'harness':>9}{'its outputs, by edgefc':>24}{'eval, free':>12}{'eval, held':>12}"
    )
    for category in [*dict.fromkeys(case.category for case in cases), ""]:
        ids = [case.id for case in cases if category in {"", case.category}]
        right = (
            sum(theirs[i].right for i in ids), sum(rules[i] is None for i in ids),
            sum(free[i].right for i in ids), sum(held[i].right for i in ids),
        )  # fmt: skip
        print(f"{category or 'all':20}{len(ids):7}{right[0]:9}{right[1]:24}{right[2]:12}{right[3]:12}")
    alike = sum(same_prompt(family, case, theirs[case.id].prompt) for case in cases)
    print(f"\nBut for the tools' form, {alike} of {len(cases)} prompts are the same.")
    otherwise, dotted = 0, list[str]()
    for case in cases:
        found = theirs[case.id]
        if found.right != (rules[case.id] is None):
            otherwise += 1
            problem = rules[case.id]
            ours = problem.reason if problem else "right"
            print(f"\n{case.id}: harness {_verdict(found.right)}, by edgefc's rules {ours}")
            print(f"  output  {found.output!r}")
        for name, results in (("free", free), ("held", held)):
            result = results[case.id]
            if result.right == found.right:
                continue
            if result.output == found.output and any("." in doc["name"] for doc in case.functions):
                dotted.append(case.id)
            else:
                print(f"\n{case.id}, {name}: harness {_verdict(found.right)}, edgefc {result.reason or 'right'}")
                print(f"  harness {found.output!r}\n  edgefc  {result.output!r}")
    if dotted:
        print(
            f"\nThe same answer, read otherwise for the dots in names, which are underscores here: {', '.join(dotted)}"
        )
    return otherwise


def _verdict(right: bool) -> str:
    return "right" if right else "wrong"


if __name__ == "__main__":
    raise SystemExit(1 if main() else 0)
