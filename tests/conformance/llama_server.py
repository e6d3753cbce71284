"""llama-server's own tests against `edgefc serve`: what passes, what fails, and what means nothing here.

    python -m tests.conformance.llama_server [--only tool_call] [--fast] [--json]

The tests come from the source package of the pinned llama-cpp-python (77 MB, fetched once) and run as they are; cases of
required calls that are commented out there run too. llama_server.toml says which server a case asks, and which cases are
not applicable: each with the reason and with where it stops. One that stops elsewhere is a failure, and one that passes
is told. The exit code is 1 when a case fails.
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
from tests.server.conftest import Serving

Status = Literal["passed", "failed", "not applicable"]


@dataclass(frozen=True, slots=True)
class Case:
    """How a case ended: pytest's outcome, and where it stopped with what."""

    name: str
    outcome: str
    line: str = ""
    error: str = ""


@dataclass(frozen=True, slots=True)
class NotApplicable:
    """Cases that mean nothing here; they stop where `at` is found in the line or the error."""

    cases: str
    at: str
    reason: str

    def covers(self, case: Case) -> bool:
        return re.match(self.cases, case.name) is not None

    def explains(self, case: Case) -> bool:
        return re.search(self.at, f"{case.line}\n{case.error}") is not None


@dataclass(frozen=True, slots=True)
class Verdict:
    """`note`: why a case is not applicable, what failed, or what is to be done about one that passed."""

    name: str
    status: Status
    note: str = ""


def judge(case: Case, table: Sequence[NotApplicable]) -> Verdict:
    """What a case's end means."""
    listed = next((entry for entry in table if entry.covers(case)), None)
    if case.outcome == "passed":
        return Verdict(case.name, "passed", "passes, take it off the list" if listed else "")
    if listed and listed.explains(case):
        return Verdict(case.name, "not applicable", listed.reason)
    stopped = f"{case.outcome} at: {case.line}\n{case.error}"
    return Verdict(case.name, "failed", f"{stopped}\n(not where it may: {listed.at})" if listed else stopped)


@dataclass(frozen=True, slots=True)
class Server:
    """The `edgefc serve` that cases ask, with the demo model, or with one that is made for them.

    says   of the latter what it answers to each test function's first request: a `call` or a `text`
    """

    cases: str
    family: str = "demo"
    options: Sequence[str] = ()
    says: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    def start(self, place: Path, runner: Runner, names: Sequence[str]) -> Serving:
        model = "demo"
        if self.says:
            bodies = {name.partition("[")[0]: body for name, body in runner.bodies(names).items()}
            answers = [(body, self.says[function.partition("::")[2]]) for function, body in bodies.items()]
            model = str(scripted_model.write(place / "scripted.gguf", self.family, answers))
        own = {"EDGEFC_CACHE_DIR": str(place / "cache")}
        return Serving(("--family", self.family, *self.options), own, (model,))


def read_table() -> tuple[list[Server], list[NotApplicable]]:
    """The servers, and the cases that are not applicable."""
    table = tomllib.loads((HERE / "llama_server.toml").read_text(encoding="utf-8"))
    return [Server(**entry) for entry in table["server"]], [NotApplicable(**entry) for entry in table["not_applicable"]]


def run(archive: Path | None = None, *, only: str = "", fast: bool = False) -> list[Case]:
    """How all cases end, or those that are chosen (see Runner)."""
    servers, _ = read_table()
    with ExitStack() as stack:
        place = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        tests = upstream.copy(upstream.source(archive), place / "llama.cpp")
        runner = Runner(upstream.python(), tests, only=only, fast=fast)
        names, ports = runner.names(), []
        for server in servers:
            asking = [name for name in names if next(s for s in servers if re.match(s.cases, name)) is server]
            if asking:
                serving = stack.enter_context(server.start(place, runner, asking))
                ports.append((server.cases, serving.port))
        return [Case(**told) for told in runner.outcomes(ports)]


def show(verdicts: Sequence[Verdict]) -> None:
    """A table of counts, and what stands behind them."""
    print(f"llama-server's tests of llama-cpp-python {upstream.VERSION} against edgefc {edgefc.__version__}\n")
    counts = Counter((verdict.name.partition("::")[0], verdict.status) for verdict in verdicts)
    statuses: tuple[Status, ...] = ("passed", "failed", "not applicable")
    print(f"{'':32}" + "".join(f"{status:>16}" for status in statuses))
    for name in (*FILES, "together"):
        row = [
            sum(n for (file, s), n in counts.items() if s == status and name in {file, "together"})
            for status in statuses
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
        "--sdist", type=Path, help="llama-cpp-python's source package. Default: the pinned one, fetched"
    )
    parser.add_argument("--only", default="", help="part of cases' names, or an expression of such (pytest's -k)")
    parser.add_argument("--fast", action="store_true", help="leave out what is marked slow there")
    parser.add_argument("--json", action="store_true", help="the outcome of each case as JSON")
    asked = parser.parse_args(arguments)
    if asked.sdist and not asked.sdist.is_file():
        parser.error(f"--sdist: there is no file {asked.sdist}")
    cases = run(asked.sdist, only=asked.only, fast=asked.fast)
    _, table = read_table()
    idle = [entry.cases for entry in table if not any(entry.covers(case) for case in cases)]
    if idle and not asked.only and not asked.fast:
        sys.exit(f"llama_server.toml has entries for cases that there are not: {', '.join(idle)}")
    verdicts = [judge(case, table) for case in cases]
    if asked.json:
        print(json.dumps({"llama_cpp_python": upstream.VERSION, "cases": [asdict(verdict) for verdict in verdicts]}))
    else:
        show(verdicts)
    return int(any(verdict.status == "failed" for verdict in verdicts))


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
