"""The command: `python -m tests.fuzz --minutes 30`. Ends with 1 if there are findings, each of them in a file."""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from edgefc import paths
from tests.fuzz.session import Finding, Session, replay, runners
from tests.fuzz.targets import NAMES

REPORT_S = 30.0  # between lines of progress that do not go to a terminal


def main(arguments: Sequence[str] | None = None) -> int:
    options = parse(arguments)
    model = Path(options.model).resolve() if options.model else paths.demo_model()
    os.chdir(Path(__file__).parents[2])  # the children find the package there
    with tempfile.TemporaryDirectory(prefix="edgefc-fuzz-") as folder:
        if options.replay is not None:
            return replay_file(options.replay, model, Path(folder))
        with runners(options.target or NAMES, model, Path(folder), options.seed) as opened:
            seconds = None if options.minutes is None else 60 * options.minutes
            session = Session(opened, options.cases, seconds, report=Progress(options.out, is_silent=options.json))
            findings = session.run()
            print_summary(session, options.out, as_json=options.json)
    return 1 if findings else 0


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    limit = parser.add_mutually_exclusive_group()
    limit.add_argument("--minutes", type=float, help="time for all targets together; default: 1")
    limit.add_argument("--cases", type=int, help="number of cases for each target, whatever time they take")
    parser.add_argument("--model", metavar="GGUF", help="model that the cases are about; default: the demo model")
    parser.add_argument("--target", action="append", choices=(*NAMES, "planted"), metavar="NAME",
                        help=f"one of {', '.join(NAMES)}; may be repeated; default: all")  # fmt: skip
    parser.add_argument("--seed", type=int, default=0, help="equal seeds make equal cases; default: 0")
    parser.add_argument("--out", type=Path, default=Path("fuzz-findings").resolve(), metavar="FOLDER",
                        help="folder for the files of findings; default: fuzz-findings")  # fmt: skip
    parser.add_argument("--json", action="store_true", help="print the summary as JSON")
    parser.add_argument("--replay", type=Path, metavar="FILE", help="run the case of one finding again")
    options = parser.parse_args(arguments)
    options.out = options.out.resolve()
    if options.replay is not None:
        options.replay = options.replay.resolve()
    elif options.minutes is None and options.cases is None:
        options.minutes = 1.0
    return options


class Progress:
    """Writes findings to files at once, and a line to stderr: over and over on a terminal, else from time to time."""

    def __init__(self, folder: Path, *, is_silent: bool) -> None:
        self._folder, self._is_silent, self._is_terminal = folder, is_silent, sys.stderr.isatty()
        self._last, self._n_findings = 0.0, 0

    def __call__(self, session: Session) -> None:
        now = time.monotonic()
        if len(session.findings) > self._n_findings:
            session.findings[-1].write(self._folder)
            self._n_findings, self._last = len(session.findings), 0.0
        if self._is_silent or now - self._last < (1.0 if self._is_terminal else REPORT_S):
            return
        self._last = now
        minutes, seconds = divmod(int(now - session.began), 60)
        total = sum(runner.n_cases for runner in session.runners)
        each = "  ".join(f"{runner.name} {runner.n_cases:,}" for runner in session.runners)
        line = f"{minutes}:{seconds:02}  {total:,} cases  {len(session.findings)} findings  {each}"
        print(f"\r{line}\x1b[K" if self._is_terminal else line, end="" if self._is_terminal else "\n",
              file=sys.stderr, flush=True)  # fmt: skip


def print_summary(session: Session, folder: Path, *, as_json: bool) -> None:
    files = [(finding, finding.write(folder)) for finding in session.findings]
    if as_json:
        print(json.dumps({
            "targets": {r.name: {"cases": r.n_cases, "seconds": round(r.seconds, 1), "outcomes": dict(r.outcomes)}
                        for r in session.runners},
            "findings": [{"kind": one.kind, "target": one.target, "signature": one.signature, "file": str(path),
                          "times": session.repeats[one.signature]} for one, path in files],
        }, indent=1))  # fmt: skip
        return
    print("\n" if sys.stderr.isatty() else "", end="", file=sys.stderr)
    for runner in session.runners:
        outcomes = ", ".join(f"{count:,} {name}" for name, count in runner.outcomes.most_common(6))
        print(
            f"{runner.name:12} {runner.n_cases:7,} cases  {runner.n_cases / max(runner.seconds, 1e-3):6.0f}/s  {outcomes}"
        )
    for finding, path in files:
        print(f"\n{describe(finding)}\n  {session.repeats[finding.signature]} times; {path}")
    print(f"\n{len(files)} findings" if files else "\nno findings")


def describe(finding: Finding) -> str:
    lines = finding.message.strip().splitlines()
    shown = lines if len(lines) <= 8 else [lines[0], "…", *lines[-6:]]
    return "\n  ".join([f"{finding.kind}: {finding.target}", *shown])


def replay_file(path: Path, model: Path, folder: Path) -> int:
    finding = replay(path, model, folder)
    print("no finding" if finding is None else f"{finding.kind}: {finding.target}\n{finding.message}")
    return 0 if finding is None else 1


if __name__ == "__main__":
    sys.exit(main())
