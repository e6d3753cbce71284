"""Compares how often edgefc, llama-server and stock llama-cpp-python call the right tools: same GGUF, cases and judge.

    python benchmarks/accuracy.py --data BFCL [--model GGUF] [--limit N] [--category simple_python,irrelevance]
    python benchmarks/accuracy.py --data BFCL --url http://127.0.0.1:8080/v1              an OpenAI endpoint alone
    python benchmarks/accuracy.py --suite local-agent-bench --data CHECKOUT [--model GGUF | --url URL]

Case by case, in turns, greedily, with one thread each. Every answer is stored at once: after Ctrl-C, --resume
continues, and asks only what is new after a larger --limit; --again edgefc asks edgefc anew and keeps the other
runtimes' answers.
benchmarks/README.md describes the columns.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import logging
import signal
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

if not __package__:  # run as a script
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from benchmarks import accuracy_report, agent_bench, peer
from benchmarks.accuracy_report import Runs, answers
from benchmarks.runtimes import RUNTIMES, EndpointRuntime, RefusedError, Runtime, Setup
from edgefc import gguf, paths
from edgefc.engine import selftest
from edgefc.engine.identity import model_identity
from edgefc.errors import EdgefcError
from edgefc.evaluation import report
from edgefc.evaluation.cases import Case
from edgefc.evaluation.judging import judge_answer, judge_refusal
from edgefc.evaluation.results import CaseResult, EvalRun, EvalSetting
from edgefc.evaluation.run import open_run
from edgefc.evaluation.suites import cases_for, load_cases
from edgefc.models import registry

CATEGORIES = "simple_python,multiple,parallel,irrelevance"
CHOICES = ("auto", "required")
REPORT_INTERVAL = 30  # seconds between lines about the progress


def main(arguments: list[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    logging.getLogger("edgefc.llama").setLevel(logging.CRITICAL)
    try:
        with contextlib.ExitStack() as stack:
            setup = _setup(options)
            if options.suite == "local-agent-bench":
                suite = agent_bench.read(options.data)
                runtimes = _open(options, setup, stack)
                print(agent_bench.table(suite, runtimes, markdown=options.markdown))
                return 0
            return _compare(options, setup, stack)
    except EdgefcError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        print(f"error: {error}. Answers so far are stored: --resume continues.", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("stopped; answers so far are stored: the same command with --resume continues", file=sys.stderr)
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with BFCL's cases, or the suite's checkout")
    parser.add_argument("--suite", choices=("bfcl", "local-agent-bench"), default="bfcl")
    parser.add_argument("--model", help="a GGUF or an id of models.toml (default: demo; with --url none)")
    parser.add_argument("--family", help="edgefc's chat format (default: the model's own)")
    parser.add_argument("--url", help="an OpenAI endpoint to ask, such as http://127.0.0.1:8080/v1")
    parser.add_argument("--url-model", default="default", help="name of the endpoint's model, if it needs one")
    parser.add_argument(
        "--runtimes", help=f"of {', '.join(RUNTIMES)} (default: all that are there; none with --url alone)"
    )
    parser.add_argument("--category", default=CATEGORIES, help=f"categories of BFCL (default: {CATEGORIES})")
    parser.add_argument("--tool-choice", default="auto,required")
    parser.add_argument(
        "--limit", type=int, default=5, help="cases of a category, always the same; 0: all (default: 5)"
    )
    parser.add_argument("--max-tokens", type=int, default=512)
    parser.add_argument("--n-ctx", type=int, default=8192)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, help="folder for answers (default: accuracy in the cache folder)")
    parser.add_argument("--resume", action="store_true", help="keep the answers of the last run with this setting")
    parser.add_argument("--again", default="", help="runtimes to ask anew although --resume is given")
    parser.add_argument("--read-text", action="store_true", help="also judge text that can be read as calls as calls")
    parser.add_argument("--markdown", action="store_true", help="print the tables as Markdown")
    parser.add_argument("--json", type=Path, help="write all figures to this file")
    return parser


def _setup(options: argparse.Namespace) -> Setup:
    if options.url and not options.model:
        return Setup(Path(options.url_model), None, options.n_ctx, options.threads, options.max_tokens)
    path = registry.resolve(options.model or "demo").path
    metadata = gguf.read_metadata(path)
    trained = metadata.get(f"{metadata.get('general.architecture')}.context_length")
    n_ctx = min(options.n_ctx, trained) if isinstance(trained, int) else options.n_ctx
    return Setup(path, options.family, n_ctx, options.threads, options.max_tokens)


def _open(options: argparse.Namespace, setup: Setup, stack: contextlib.ExitStack) -> list[Runtime]:
    """Load the runtimes that the options name."""
    if options.runtimes:
        names = options.runtimes.split(",")
    elif options.url and not options.model:
        names = []
    else:
        names = list(RUNTIMES)
        if peer.find() is None:
            print("without llama-server: `python benchmarks/peer.py` builds it", file=sys.stderr)
            names.remove("llama-server")
        if selftest.verdict() != "fine":
            print("without llama-cpp-python: this build crashes on this processor", file=sys.stderr)
            names.remove("llama-cpp-python")
    if unknown := set(names) - RUNTIMES.keys():
        sys.exit(f"unknown runtime {min(unknown)!r}: choose from {', '.join(RUNTIMES)}")
    runtimes = []
    for name in names:
        try:
            runtimes.append(stack.enter_context(RUNTIMES[name](setup)))
        except peer.StartError as error:
            reason = next((line for line in str(error).splitlines() if line.startswith("Error:")), str(error))
            print(f"without {name}, which did not start: {reason}", file=sys.stderr)
    if options.url:
        runtimes.append(EndpointRuntime("endpoint", options.url, setup.max_tokens, model=options.url_model))
    if not runtimes:
        sys.exit("no runtime is left to ask")
    return runtimes


def _compare(options: argparse.Namespace, setup: Setup, stack: contextlib.ExitStack) -> int:
    choices = options.tool_choice.split(",")
    if unknown := set(choices) - set(CHOICES):
        sys.exit(f"unknown tool choice {min(unknown)!r}: choose from {', '.join(CHOICES)}")
    categories = options.category.split(",")
    everything = load_cases("bfcl", options.data, categories=categories)
    cases = load_cases("bfcl", options.data, categories=categories, limit=options.limit or None)
    runtimes = _open(options, setup, stack)
    runs = _open_runs(options, setup, runtimes, choices)
    comparison = _Comparison(runtimes, runs, cases)
    print(f"{len(cases)} cases: {len(comparison.missing())} answers to compute", file=sys.stderr, flush=True)
    comparison.run()
    found = accuracy_report.groups(runs, cases, read_text=options.read_text)
    for table in accuracy_report.tables(found, runtimes[0].name):
        print(report.markdown(table) if options.markdown else accuracy_report.aligned(table), end="\n\n")
    for runtime in runtimes:
        print(f"{runtime.name} {runtime.version}: prompts of {runtime.family}")
    for (name, choice), run in runs.items():
        measures = report.measures_of(run)
        if measures and measures.auroc is not None:
            print(f"AUROC of P(call), {name}, {choice}: {measures.auroc:.3f}")
    print(_full_cost(runs, everything))
    if options.json:
        data = {
            "model": setup.path.name, "threads": setup.threads, "max_tokens": setup.max_tokens, "n_ctx": setup.n_ctx,
            "runtimes": [{"name": r.name, "version": r.version, "family": r.family} for r in runtimes],
            "files": [str(run.path) for run in runs.values()],
            "groups": [group.data() for group in found],
            "differences": [
                {"choice": d.choice, "category": d.category, "name": d.name, "cases": d.cases, "points": d.points,
                 "interval": d.interval}
                for d in accuracy_report.differences(found, runtimes[0].name)
            ],
        }  # fmt: skip
        options.json.write_text(json.dumps(data, indent=1))
    return 0


def _open_runs(
    options: argparse.Namespace, setup: Setup, runtimes: Sequence[Runtime], choices: Sequence[str]
) -> dict[tuple[str, str], EvalRun]:
    """Open a file of answers for each runtime and tool choice."""
    folder = options.out or paths.cache_dir() / "accuracy"
    identity = model_identity([setup.path])[:16] if setup.path.is_file() else ""
    runs = {}
    for runtime in runtimes:
        for choice in choices:
            setting = EvalSetting(
                setup.path.stem, identity, runtime.family, "bfcl", True, setup.max_tokens, setup.n_ctx,
                runtime.version, choice, runtime.name,
            )  # fmt: skip
            resume = options.resume and runtime.name not in options.again.split(",")
            run = open_run(folder, setting, resume=resume)
            run.write()  # without an incomplete line at its end
            runs[runtime.name, choice] = run
    return runs


@dataclass(frozen=True, slots=True)
class _Comparison:
    """The runtimes, their answers by name and tool choice, and the cases."""

    runtimes: Sequence[Runtime]
    runs: Runs
    cases: Sequence[Case]

    def missing(self) -> list[tuple[Runtime, str, Case]]:
        """List what has to be asked, case by case; the order of the runtimes turns round with each."""
        choices = list(dict.fromkeys(choice for _, choice in self.runs))
        known = {key: answers(run, self.cases) for key, run in self.runs.items()}
        missing = []
        for number, case in enumerate(self.cases):
            for choice in choices:
                for runtime in self.runtimes if number % 2 == 0 else reversed(self.runtimes):
                    is_asked = bool(cases_for("bfcl", [case], choice)) and runtime.can(case, choice)
                    if is_asked and case.id not in known[runtime.name, choice]:
                        missing.append((runtime, choice, case))
        return missing

    def run(self) -> None:
        """Ask and judge everything that is missing, with a line now and then."""
        missing = self.missing()
        started = last = time.monotonic()
        for number, (runtime, choice, case) in enumerate(missing, 1):
            self.runs[runtime.name, choice].add(_ask(runtime, choice, case))
            now = time.monotonic()
            if now - last >= REPORT_INTERVAL:
                last = now
                left = (now - started) / number * (len(missing) - number)
                print(f"{number} of {len(missing)} answers, about {left:.0f} s left", file=sys.stderr, flush=True)


def _ask(runtime: Runtime, choice: str, case: Case) -> CaseResult:
    try:
        return judge_answer(case, "bfcl", runtime.ask(case, choice))
    except RefusedError as error:
        return judge_refusal(case, str(error))


def _full_cost(runs: Runs, cases: Sequence[Case]) -> str:
    """Estimate from the answers so far what all cases cost."""
    seconds = 0.0
    for (_, choice), run in runs.items():
        times: dict[str, list[float]] = {}
        for result in run.results.values():
            times.setdefault(result.category, []).append(result.seconds)
        for case in cases_for("bfcl", cases, choice):
            known = times.get(case.category)
            seconds += sum(known) / len(known) if known else 0
    answers_ = sum(len(cases_for("bfcl", cases, choice)) for _, choice in runs)
    return (
        f"all {len(cases)} cases of these categories (--limit 0): about {seconds / 60:.0f} minutes, {answers_} answers"
    )


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))  # so that llama-server ends, too
    sys.exit(main())
