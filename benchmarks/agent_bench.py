"""Local Agent Bench: twelve questions that ask whether a model knows when to call a tool, and which.

The questions, tools and expected tools are read from `lib/bench_config.py` of the user's checkout of
MikeVeerman/tool-calling-benchmark, without running it; none of them is here. Scores are computed as the benchmark
describes them:

    action      questions that need a tool: it is called with arguments that are JSON. Any tool counts, except where the
                benchmark expects a certain one. Only the first call of an answer counts
    restraint   questions that need none: nothing is called
    wrong tool  questions with a tool that would be worse than none, and which is called
    agent       0.4 · action + 0.3 · restraint + 0.3 · (share of the questions with a wrong tool that avoid it)
    multi-tool  share of the two tools that the eighth question asks for

The benchmark takes the majority of three sampled answers; here one is asked for, greedily.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.accuracy_report import aligned
from benchmarks.runtimes import RefusedError, Runtime
from edgefc.errors import SuiteError
from edgefc.evaluation import report
from edgefc.evaluation.cases import Case
from edgefc.tools import ToolSet

CONFIG = Path("lib") / "bench_config.py"
TWO_TOOLS = 7  # the index of the question that asks for two tools
_NAMES = ("TOOLS", "TEST_PROMPTS", "RESTRAINT_INDICES", "TOOL_CALL_INDICES", "EXPECTED_TOOLS", "WRONG_TOOL_MAP",
          "P8_REQUIRED_TOOLS")  # fmt: skip


@dataclass(frozen=True, slots=True)
class AgentBench:
    """The benchmark's questions by their number from zero.

    action, restraint  those that need a tool, and those that need none
    expected           the only right tool, where there is one
    wrong              tools that are worse than none
    two                the tools that question TWO_TOOLS asks for
    """

    cases: Sequence[Case]
    action: frozenset[int]
    restraint: frozenset[int]
    expected: Mapping[int, str]
    wrong: Mapping[int, frozenset[str]]
    two: frozenset[str]


@dataclass(frozen=True, slots=True)
class Score:
    action: float
    restraint: float
    wrong_tool: int
    agent: float
    multi_tool: float


def read(checkout: Path) -> AgentBench:
    """Read the benchmark from a checkout. Raises SuiteError."""
    path = checkout / CONFIG
    try:
        tree = ast.parse(path.read_text(encoding="utf-8"))
    except (OSError, SyntaxError) as error:
        raise SuiteError(
            f"{path}: {error}", "Point --data at a checkout of MikeVeerman/tool-calling-benchmark."
        ) from None
    found: dict[str, Any] = {}
    for statement in tree.body:
        target = statement.targets[0] if isinstance(statement, ast.Assign) else None
        if isinstance(statement, ast.Assign) and isinstance(target, ast.Name) and target.id in _NAMES:
            try:
                found[target.id] = ast.literal_eval(statement.value)
            except ValueError:
                raise SuiteError(f"{path}: {target.id} is not a plain value") from None
    if missing := [name for name in _NAMES if name not in found]:
        raise SuiteError(f"{path}: {missing[0]} is missing", "This needs the benchmark as of February 2026.")
    tools = ToolSet.of(found["TOOLS"])
    cases = [
        Case(f"P{number}", "local-agent-bench", [{"role": "user", "content": prompt}], tools, None)
        for number, prompt in enumerate(found["TEST_PROMPTS"], 1)
    ]
    return AgentBench(
        cases,
        frozenset(found["TOOL_CALL_INDICES"]),
        frozenset(found["RESTRAINT_INDICES"]),
        found["EXPECTED_TOOLS"],
        {number: frozenset(names) for number, names in found["WRONG_TOOL_MAP"].items()},
        frozenset(found["P8_REQUIRED_TOOLS"]),
    )


def score(bench: AgentBench, called: Sequence[Sequence[str]]) -> Score:
    """Return the scores of the tools called in answer to each question, in their order."""
    first = [names[0] if names else None for names in called]
    action = sum(
        first[number] is not None and bench.expected.get(number, first[number]) == first[number]
        for number in bench.action
    )
    restraint = sum(first[number] is None for number in bench.restraint)
    wrong = sum(first[number] in names for number, names in bench.wrong.items())
    shares = action / len(bench.action), restraint / len(bench.restraint), 1 - wrong / len(bench.wrong)
    agent = 0.4 * shares[0] + 0.3 * shares[1] + 0.3 * shares[2]
    two = len(bench.two.intersection(called[TWO_TOOLS])) / len(bench.two)
    return Score(shares[0], shares[1], wrong, agent, two)


def ask(bench: AgentBench, runtime: Runtime) -> tuple[list[list[str]], float]:
    """Ask all questions; returns the names of the tools called for each, and the mean seconds of an answer."""
    called, seconds = [], 0.0
    for case in bench.cases:
        try:
            answered = runtime.ask(case, "auto")
        except RefusedError as error:
            print(f"{runtime.name}, {case.id}: {error}", file=sys.stderr)
            called.append(list[str]())
            continue
        called.append([call.name for call in answered.answer.calls])
        seconds += answered.seconds
    return called, seconds / len(bench.cases)


def table(bench: AgentBench, runtimes: Sequence[Runtime], *, markdown: bool) -> str:
    """Ask every runtime and return the table of scores, with the tools called for each question."""
    rows = [("runtime", "action", "restraint", "wrong tool", "agent score", "multi-tool", "seconds")]
    questions = [("question", *(runtime.name for runtime in runtimes))]
    columns = []
    for runtime in runtimes:
        called, seconds = ask(bench, runtime)
        found = score(bench, called)
        rows.append((
            runtime.name, f"{found.action:.3f}", f"{found.restraint:.3f}", str(found.wrong_tool), f"{found.agent:.3f}",
            f"{found.multi_tool:.3f}", f"{seconds:.2f}",
        ))  # fmt: skip
        columns.append([", ".join(names) or "–" for names in called])
    questions += [(case.id, *(column[n] for column in columns)) for n, case in enumerate(bench.cases)]
    form = report.markdown if markdown else aligned
    return f"{form(rows)}\n\n{form(questions)}"
