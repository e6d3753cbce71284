"""Run llama-server's own tests against `edgefc serve`: passed, failed and not applicable cases.

    python -m tests.conformance.llama_server [--only tool_call] [--fast] [--json]

The tests come from the source package of the pinned llama-cpp-python (77 MB, downloaded once) and run unchanged, except
that commented-out cases for required calls run too. llama_server.toml lists the server for each case, and the cases that
are not applicable, each with the reason and with the place where it fails. A listed case that fails elsewhere counts as
failed, and one that passes is reported. The exit code is 1 if a case fails.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import tempfile
import tomllib
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import edgefc
from tests.conformance import scripted_model, upstream
from tests.conformance.runner import FILES, HERE, Runner
from tests.server.server_process import ServerProcess

Status = Literal["passed", "failed", "not applicable"]


@dataclass(frozen=True, slots=True)
class Case:
    """The result of a case: pytest's outcome, and the line and error of a failure."""

    name: str
    outcome: str
    line: str = ""
    error: str = ""


@dataclass(frozen=True, slots=True)
class NotApplicable:
    """Cases that do not apply; `at` is a pattern for the line or the error of their failure."""

    cases: str
    at: str
    reason: str

    def covers(self, case: Case) -> bool:
        return re.match(self.cases, case.name) is not None

    def explains(self, case: Case) -> bool:
        return re.search(self.at, f"{case.line}\n{case.error}") is not None


@dataclass(frozen=True, slots=True)
class Verdict:
    """The status of a case; `note` is the reason or the failure."""

    name: str
    status: Status
    note: str = ""


def judge(case: Case, table: Sequence[NotApplicable]) -> Verdict:
    """Return the verdict on a case."""
    listed = next((entry for entry in table if entry.covers(case)), None)
    if case.outcome == "passed":
        return Verdict(case.name, "passed", "passes: remove it from the list" if listed else "")
    if listed and listed.explains(case):
        return Verdict(case.name, "not applicable", listed.reason)
    failure = f"{case.outcome} at: {case.line}\n{case.error}"
    return Verdict(case.name, "failed", f"{failure}\n(expected to fail at: {listed.at})" if listed else failure)


@dataclass(frozen=True, slots=True)
class Server:
    """An `edgefc serve` for some cases, with the demo model or a scripted one.

    answers  the scripted answer to the first request of each test function: a `call` or a `text`
    """

    cases: str
    family: str = "demo"
    options: Sequence[str] = ()
    answers: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    def start(self, folder: Path, runner: Runner, names: Sequence[str]) -> ServerProcess:
        model = "demo"
        if self.answers:
            bodies = {name.partition("[")[0]: body for name, body in runner.bodies(names).items()}
            answers = [(body, self.answers[function.partition("::")[2]]) for function, body in bodies.items()]
            model = str(scripted_model.write(folder / "scripted.gguf", self.family, answers))
        environment = {"EDGEFC_CACHE_DIR": str(folder / "cache")}
        return ServerProcess(("--family", self.family, *self.options), environment, (model,))


def read_table() -> tuple[list[Server], list[NotApplicable]]:
    """Read the servers, and the cases that are not applicable."""
    table = tomllib.loads((HERE / "llama_server.toml").read_text(encoding="utf-8"))
    return [Server(**entry) for entry in table["server"]], [NotApplicable(**entry) for entry in table["not_applicable"]]


def run(archive: Path | None = None, *, only: str = "", fast: bool = False) -> list[Case]:
    """Run all cases, or a selection (see Runner)."""
    servers, _ = read_table()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        tests = upstream.copy(upstream.source(archive), folder / "llama.cpp")
        runner = Runner(upstream.python(), tests, only=only, fast=fast)
        names, ports = runner.names(), []
        for server in servers:
            users = [name for name in names if next(s for s in servers if re.match(s.cases, name)) is server]
            if users:
                process = stack.enter_context(server.start(folder, runner, users))
                ports.append((server.cases, process.port))
        return [Case(**outcome) for outcome in runner.outcomes(ports)]


def print_report(verdicts: Sequence[Verdict]) -> None:
    """Print a table of counts, then reasons and failures."""
    print(f"llama-server's tests of llama-cpp-python {upstream.VERSION} against edgefc {edgefc.__version__}\n")
    counts = Counter((verdict.name.partition("::")[0], verdict.status) for verdict in verdicts)
    statuses: tuple[Status, ...] = ("passed", "failed", "not applicable")
    print(f"{'':32}" + "".join(f"{status:>16}" for status in statuses))
    for name in (*FILES, "total"):
        row = [
            sum(n for (file, s), n in counts.items() if s == status and name in {file, "total"}) for status in statuses
        ]
        print(f"{name:32}" + "".join(f"{count:16}" for count in row))
    reasons: dict[str, Counter[str]] = {}
    for verdict in verdicts:
        if verdict.status == "not applicable":
            reasons.setdefault(verdict.note, Counter())[verdict.name.partition("[")[0]] += 1
    if reasons:
        print("\nnot applicable:")
    for reason, names in reasons.items():
        print(f"  {reason}")
        for name, count in names.items():
            print(f"      {name}{f', {count} cases' if count > 1 else ''}")
    for verdict in verdicts:
        if verdict.status != "not applicable" and verdict.note:
            print(f"\n{verdict.name}\n    " + verdict.note.replace("\n", "\n    "))


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.conformance.llama_server", description=__doc__.partition("\n")[0]
    )
    parser.add_argument(
        "--sdist", type=Path, help="llama-cpp-python's source package. Default: the pinned one, downloaded"
    )
    parser.add_argument("--only", default="", help="part of a case's name, or an expression as for pytest's -k")
    parser.add_argument("--fast", action="store_true", help="skip the cases that llama-server marks as slow")
    parser.add_argument("--json", action="store_true", help="print the verdict on each case as JSON")
    options = parser.parse_args(arguments)
    if options.sdist and not options.sdist.is_file():
        parser.error(f"--sdist: file not found: {options.sdist}")
    cases = run(options.sdist, only=options.only, fast=options.fast)
    _, table = read_table()
    unused = [entry.cases for entry in table if not any(entry.covers(case) for case in cases)]
    if unused and not options.only and not options.fast:
        sys.exit(f"llama_server.toml has entries for unknown cases: {', '.join(unused)}")
    verdicts = [judge(case, table) for case in cases]
    if options.json:
        print(json.dumps({"llama_cpp_python": upstream.VERSION, "cases": [asdict(verdict) for verdict in verdicts]}))
    else:
        print_report(verdicts)
    return int(any(verdict.status == "failed" for verdict in verdicts))


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
