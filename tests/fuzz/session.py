"""The parent of the fuzzer: makes cases, has children run them, and keeps what they find."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import queue
import re
import signal
import subprocess
import sys
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from random import Random
from typing import Any, Self

import psutil

from tests.fuzz.targets import Case, Target, create

CORPUS = Path(__file__).with_name("corpus")
START_S = 120.0
SILENCE_S = 120.0  # of a process that waits for something; one that computes is killed much earlier
POLL_S = 0.05
WARM_UP = 50  # cases after which the level of memory is taken
KEEP = 20  # cases before a finding that are written with it where it needs them


def corpus(name: str) -> list[Case]:
    """Read the cases that the repository has for a target."""
    path = CORPUS / f"{name}.json"
    return list(json.loads(path.read_text(encoding="utf-8")).values()) if path.exists() else []


@dataclass
class Finding:
    """A fault: its `kind` is crash, hang, growth, untyped or promise.

    number   of the case in its target's sequence for this seed
    before   cases that ran before in the same process; empty if the case alone shows the fault
    """

    target: str
    kind: str
    message: str
    case: Case
    seed: int = 0
    number: int = 0
    before: list[Case] = field(default_factory=list)

    @property
    def signature(self) -> str:
        """Name of the fault: equal for cases that fail at the same place."""
        frames = re.findall(r'File "[^"]*/(edgefc/[^"]+)", line \d+,? in (\w+)', self.message)
        lines = [line for line in self.message.strip().splitlines() if line.strip()] or [""]
        where = "/".join(frames[0 if self.kind in {"crash", "hang"} else -1]) if frames else ""
        last = re.sub(r"\d+|'[^']*'|\"[^\"]*\"", "#", lines[0] if self.kind in {"crash", "hang"} else lines[-1])
        return f"{self.target} {self.kind} {where} {last[:80]}"

    def write(self, folder: Path) -> Path:
        folder.mkdir(parents=True, exist_ok=True)
        digest = hashlib.sha256(self.signature.encode()).hexdigest()[:8]
        path = folder / f"{self.target}-{self.kind}-{digest}.json"
        path.write_text(json.dumps(asdict(self), indent=1))
        return path


class ChildDeathError(Exception):
    """The child ended or was killed while it ran a case."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind, self.message = kind, message


class Child:
    """A process that runs the cases of one target."""

    def __init__(self, name: str, model: Path, folder: Path, seconds: float | None) -> None:
        self._seconds = seconds
        folder.mkdir(parents=True, exist_ok=True)
        self._errors = (folder / "stderr.txt").open("w+b")
        command = [sys.executable, "-m", "tests.fuzz.child", name, str(model), str(folder)]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._errors, start_new_session=True
        )
        self._answers: queue.SimpleQueue[bytes] = queue.SimpleQueue()
        self._reader = threading.Thread(target=self._read_answers, daemon=True)
        self._reader.start()
        self._wait_for_answer(START_S, START_S)

    def run(self, case: Case) -> dict[str, Any]:
        """Run a case. Raises ChildDeathError."""
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.write(json.dumps(case).encode() + b"\n")
            self._process.stdin.flush()
        return self._wait_for_answer(self._seconds, SILENCE_S)

    def close(self) -> None:
        """End the process and what it started."""
        assert self._process.stdin is not None
        with contextlib.suppress(OSError):
            self._process.stdin.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(10)
        self._kill()

    def _wait_for_answer(self, seconds: float | None, silence: float) -> dict[str, Any]:
        began, computed = time.monotonic(), self._computed()
        while True:
            with contextlib.suppress(queue.Empty):
                if line := self._answers.get(timeout=POLL_S):
                    return dict(json.loads(line))
                status = self._process.wait()
                name = signal.Signals(-status).name if status < 0 else f"status {status}"
                errors = self._last_errors()
                self._kill()
                raise ChildDeathError("crash", f"the process ended with {name}\n{errors}")
            used = self._computed() - computed
            if seconds is not None and used > seconds:
                self._die(f"{used:.1f} s of processor time, and no end")
            if time.monotonic() - began > silence:
                self._die(f"no answer within {silence:.0f} s")

    def _die(self, reason: str) -> None:
        """Write down the stack, kill the process, and raise."""
        with contextlib.suppress(OSError, AttributeError):
            self._process.send_signal(signal.SIGUSR1)
            time.sleep(0.5)
        errors = self._last_errors()
        self._kill()
        raise ChildDeathError("hang", f"{reason}\n{errors}")

    def _kill(self) -> None:
        with contextlib.suppress(OSError, AttributeError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.kill()
        self._process.wait()
        self._reader.join()
        for stream in (self._process.stdin, self._process.stdout, self._errors):
            with contextlib.suppress(OSError):  # what could not be sent is of no use
                if stream is not None:
                    stream.close()

    def _computed(self) -> float:
        """Processor time of the process and all that it started, in seconds."""
        total = 0.0
        with contextlib.suppress(psutil.Error):
            process = psutil.Process(self._process.pid)
            for one in (process, *process.children(recursive=True)):
                with contextlib.suppress(psutil.Error):
                    times = one.cpu_times()
                    total += times.user + times.system + times.children_user + times.children_system
        return total

    def _last_errors(self) -> str:
        self._errors.flush()
        size = self._errors.seek(0, os.SEEK_END)
        self._errors.seek(max(0, size - 6000))
        return self._errors.read().decode("utf-8", "replace")

    def _read_answers(self) -> None:
        assert self._process.stdout is not None
        with contextlib.suppress(OSError, ValueError):
            for line in self._process.stdout:
                self._answers.put(line)
        self._answers.put(b"")


class Runner:
    """Runs the cases of one target, in the order of their numbers."""

    def __init__(self, name: str, model: Path, folder: Path, seed: int) -> None:
        self.name, self._model, self._folder, self._seed = name, model, folder, seed
        self._target: Target = create(name, model)
        self._seeds = corpus(name)
        self._child: Child | None = None
        self._recent: deque[Case] = deque(maxlen=KEEP)
        self._base, self._n_in_child, self._n_children = 0, 0, 0
        self.seconds, self.n_cases = 0.0, 0
        self.outcomes: Counter[str] = Counter()

    def run_next(self) -> Finding | None:
        """Run the next case; returns what it found."""
        began = time.monotonic()
        case = self.make(self.n_cases)
        finding = self.run(case)
        if finding is not None:
            finding.seed, finding.number = self._seed, self.n_cases
        self.n_cases += 1
        self.seconds += time.monotonic() - began
        return finding

    def make(self, number: int) -> Case:
        """Make a case; at first, every second one is from the corpus as it is."""
        if number % 2 == 0 and number // 2 < len(self._seeds):
            return self._seeds[number // 2]
        return self._target.make(Random(f"{self._seed}:{self.name}:{number}"), self._seeds)

    def run(self, case: Case) -> Finding | None:
        """Run a case in the child, a new one if there is none."""
        try:
            if self._child is None:
                self._n_children += 1
                folder = self._folder / str(self._n_children)
                self._child = Child(self.name, self._model, folder, self._target.seconds)
                self._base = self._n_in_child = 0
            answer = self._child.run(case)
        except ChildDeathError as error:
            self._child = None
            self.outcomes[error.kind] += 1
            return Finding(self.name, error.kind, error.message, case)
        self.outcomes[answer["outcome"]] += 1
        if "kind" in answer:
            return Finding(self.name, answer["kind"], answer["message"], case)
        return self._check_level(case, answer["resident"])

    def close(self) -> None:
        if self._child is not None:
            self._child.close()
            self._child = None

    def _check_level(self, case: Case, resident: int) -> Finding | None:
        """Compare the memory with what it was after the first cases."""
        self._recent.append(case)
        self._n_in_child += 1
        if self._n_in_child == WARM_UP:
            self._base = resident
        growth = resident - self._base
        if not self._base or growth <= self._target.level_growth:
            return None
        message = f"{growth >> 20} MiB more than after {WARM_UP} cases, after {self._n_in_child} cases"
        self.close()
        return Finding(self.name, "growth", message, case, before=list(self._recent))

    def confirm(self, finding: Finding) -> None:
        """Run the case again in a new process: if it shows no fault alone, the cases before it become part of it."""
        if finding.before:
            return
        self.close()
        recent = list(self._recent)
        if self.run(finding.case) is None:
            finding.before = recent
        self.close()


@contextlib.contextmanager
def runners(names: Sequence[str], model: Path, folder: Path, seed: int) -> Iterator[list[Runner]]:
    """Open a runner for each target."""
    with contextlib.ExitStack() as stack:
        opened = [Runner(name, model, folder / name, seed) for name in names]
        for runner in opened:
            stack.callback(runner.close)
        yield opened


@dataclass
class Session:
    """A run over several targets: the one that has had the least time runs next.

    cases    for each target; None: no limit
    seconds  for all together; None: no limit
    """

    runners: Sequence[Runner]
    cases: int | None = None
    seconds: float | None = None
    report: Callable[[Self], None] = lambda _: None
    findings: list[Finding] = field(default_factory=list)
    repeats: Counter[str] = field(default_factory=Counter)
    began: float = 0.0

    def run(self) -> list[Finding]:
        """Run until time or cases are used up; returns findings at different places."""
        self.began = time.monotonic()
        while (self.seconds is None or time.monotonic() - self.began < self.seconds) and (open_runners := self._open()):
            runner = min(open_runners, key=lambda runner: runner.seconds)
            if (finding := runner.run_next()) is not None:
                self.repeats[finding.signature] += 1
                if self.repeats[finding.signature] == 1:
                    runner.confirm(finding)
                    self.findings.append(finding)
            self.report(self)
        return self.findings

    def _open(self) -> list[Runner]:
        return [runner for runner in self.runners if self.cases is None or runner.n_cases < self.cases]


def replay(path: Path, model: Path, folder: Path) -> Finding | None:
    """Run the case of a finding's file again, in a new process."""
    fields = json.loads(path.read_text())
    runner = Runner(fields["target"], model, folder / fields["target"], 0)
    try:
        for case in fields["before"]:
            if (finding := runner.run(case)) is not None:
                return finding
        return runner.run(fields["case"])
    finally:
        runner.close()
