"""Compares edgefc's rules for BFCL with BFCL's own checker, answer by answer.

    pip install --no-deps bfcl-eval
    python -m benchmarks.checker DATA [--calls calls.jsonl.gz] [--write FILE.jsonl.gz]

DATA is a BFCL checkout, or a folder of cases. Only bfcl-eval's checker is used; its list of models, which would import
every vendor's package, is replaced by the one attribute that the checker reads. `--write` saves some of the answers
with the reference's verdicts, as in `tests/evaluation/verdicts.jsonl.gz`.
"""

from __future__ import annotations

import argparse
import collections
import gzip
import itertools
import json
import random
import sys
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from benchmarks.answers import SOURCE, Calls, answers
from edgefc.evaluation import literals
from edgefc.evaluation.bfcl import WITHOUT_EXPECTED, check_calls
from edgefc.evaluation.cases import Case
from edgefc.evaluation.suites import read_bfcl
from edgefc.types import Call

CASES_WRITTEN = {"simple_java": 20, "simple_javascript": 20}  # by category, with `--write`
CASES_WRITTEN_ELSE = 8  # of each other category
ANSWERS_WRITTEN = 14  # of a case, besides the first two

# case, kind of answer, calls, BFCL's verdict, edgefc's problem
Disagreement = tuple[Case, str, Calls, bool | None, Any]


def reference() -> Callable[[Case, Calls], bool | None]:
    """Load BFCL's checker: a function that returns its verdict, or None if it raises an exception."""
    models = types.ModuleType("bfcl_eval.constants.model_config")
    dots = types.SimpleNamespace(underscore_to_dot=True)  # as for every model that takes OpenAI's tools
    models.MODEL_CONFIG_MAPPING = collections.defaultdict(lambda: dots)  # type: ignore[attr-defined]
    sys.modules["bfcl_eval.constants.model_config"] = models
    from bfcl_eval.constants.enums import Language
    from bfcl_eval.eval_checker.ast_eval.ast_checker import ast_checker

    languages = {"simple_java": Language.JAVA, "simple_javascript": Language.JAVASCRIPT}

    def verdict(case: Case, calls: Calls) -> bool | None:
        output = [{call["name"]: call["arguments"]} for call in calls]
        language = languages.get(case.category, Language.PYTHON)
        try:
            return bool(ast_checker(case.functions, output, case.expected, language, case.category, "any")["valid"])
        except Exception:  # noqa: BLE001 - an exception of any kind is not a verdict
            return None

    return verdict


def compare_literals() -> int:
    """Compare BFCL's converters of source text with edgefc's; returns the number of differences."""
    from bfcl_eval.eval_checker.ast_eval.type_convertor import java_type_converter, js_type_converter

    compared = differ = 0
    for language, theirs, ours, kinds in (
        ("java", java_type_converter.java_type_converter, literals.java, literals.JAVA),
        ("javascript", js_type_converter.js_type_converter, literals.javascript, literals.JAVASCRIPT),
    ):
        for text in itertools.chain(*SOURCE.values()):
            for kind in kinds:
                for item in [None, *kinds] if kinds[kind] is list else [None]:
                    compared += 1
                    if repr(theirs(text, kind, item)) != repr(ours(text, kind, item)):
                        differ += 1
                        print(f"{language} {kind} of {item}: {text!r}: {theirs(text, kind, item)!r}")
                        print(f"    edgefc {ours(text, kind, item)!r}")
    print(f"source text: {compared - differ:,} of {compared:,} values are the same")
    return differ


def all_answers(cases: list[Case], calls: Path | None) -> Iterator[tuple[Case, str, Calls]]:
    """Yield the answers that `benchmarks/answers.py` generates, and those of a file of calls."""
    by_id = {case.id: case for case in cases}
    for case in cases:
        shape = {"category": case.category, "raw_functions": case.functions, "ground_truth": case.expected}
        for kind, answer in answers(shape, random.Random(case.id)):
            yield case, kind, answer
    for line in gzip.decompress(calls.read_bytes()).splitlines() if calls else ():
        entry = json.loads(line)
        if (found := by_id.get(entry["id"])) is not None:
            yield found, "right", entry["correct"]
            for other in entry["accept_also"] + entry["wrong"]:
                if "calls" in other:
                    yield found, other["kind"], other["calls"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--calls", type=Path, help="a file with more answers")
    parser.add_argument("--write", type=Path, help="save answers and verdicts to this file")
    options = parser.parse_args()
    cases = [case for case in read_bfcl(options.data) if case.category not in WITHOUT_EXPECTED]
    disagreements, judged = compare(cases, options.calls)
    for case, kind, calls, theirs, problem in disagreements:
        print(f"\n{case.id}: {kind}: reference says {'right' if theirs else 'wrong'}, edgefc {problem or 'right'}")
        print(f"  answer   {json.dumps(calls)}\n  expected {json.dumps(case.expected)}")
    if options.write:
        write_verdicts(options.write, judged)
    sys.exit(1 if compare_literals() or disagreements else 0)


def compare(cases: list[Case], calls_file: Path | None) -> tuple[list[Disagreement], list[dict[str, Any]]]:
    """Compare both checkers and print a table; returns the disagreements, and all cases with their verdicts."""
    verdict = reference()
    counts: collections.Counter[tuple[str, str]] = collections.Counter()
    judged: dict[str, dict[str, Any]] = {}
    disagreements: list[Disagreement] = []
    for case, kind, calls in all_answers(cases, calls_file):
        theirs = verdict(case, calls)
        problem = check_calls(
            case.category, case.functions, [Call("", call["name"], call["arguments"]) for call in calls], case.expected
        )
        agreement = "failed" if theirs is None else "same" if theirs == (problem is None) else "other"
        counts[case.category, agreement] += 1
        counts[case.category, "right" if theirs else "wrong"] += 1
        if agreement == "other":
            disagreements.append((case, kind, calls, theirs, problem))
        if theirs is not None:
            entry = {
                "id": case.id, "category": case.category, "messages": case.messages, "functions": case.functions,
                "expected": case.expected,
            }  # fmt: skip
            judged.setdefault(case.id, {**entry, "answers": []})["answers"].append([calls, theirs])
    print_table(list(dict.fromkeys(case.category for case in cases)), counts)
    return disagreements, list(judged.values())


def print_table(categories: list[str], counts: collections.Counter[tuple[str, str]]) -> None:
    print(f"{'category':24}{'answers':>8}{'right':>8}{'wrong':>8}{'agree':>9}{'reference failed':>18}")
    for category in [*categories, ""]:
        n = {
            key: sum(count for (name, other), count in counts.items() if other == key and category in ("", name))
            for key in ("same", "other", "failed", "right", "wrong")
        }
        judged = n["same"] + n["other"]
        share = f"{n['same'] / judged:9.3%}" if judged else f"{'':9}"
        print(f"{category or 'all':24}{judged:8}{n['right']:8}{n['wrong'] - n['failed']:8}{share}{n['failed']:18}")


def write_verdicts(path: Path, judged: list[dict[str, Any]]) -> None:
    """Save some cases of each category, with some of their answers and the reference's verdicts."""
    left = {entry["category"]: CASES_WRITTEN.get(entry["category"], CASES_WRITTEN_ELSE) for entry in judged}
    lines, n_answers = [], 0
    for entry in judged:
        if left[entry["category"]] > 0 and len(json.dumps(entry["functions"])) < 4000:
            left[entry["category"]] -= 1
            rest = entry["answers"][2:]
            entry["answers"][2:] = random.Random(entry["id"]).sample(rest, min(ANSWERS_WRITTEN, len(rest)))
            n_answers += len(entry["answers"])
            lines.append(json.dumps(entry, ensure_ascii=False, separators=(",", ":")))
    path.write_bytes(gzip.compress("\n".join(lines).encode(), 9, mtime=0))
    print(f"\n{path}: {n_answers} answers")


if __name__ == "__main__":
    main()
