"""Asks a model every case of a suite, several at a time, and judges the answers."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from edgefc.chat.tool_budget import budget_of
from edgefc.engine.identity import model_identity
from edgefc.errors import RequestError
from edgefc.evaluation.answering import AskedCase
from edgefc.evaluation.cases import Case
from edgefc.evaluation.results import CaseResult, EvalRun, EvalSetting
from edgefc.model import Model

AHEAD = 2  # waiting requests per running one, so that the engine is never idle


class PendingResult(Protocol):
    """The result of a case that is being asked."""

    def wait(self) -> CaseResult:
        """Return the result. Raises EngineClosedError or CancelledError."""

    def cancel(self) -> None:
        """Stop generating."""


class CaseRunner(Protocol):
    """Asks cases of a model, which may be in other processes, `parallel` at the same time."""

    @property
    def parallel(self) -> int: ...

    def setting(self, suite: str, **options: Any) -> EvalSetting:
        """Return what `setting_of` returns for the model. Raises EngineClosedError."""

    def ask(self, case: Case, setting: EvalSetting) -> PendingResult:
        """Begin a case. Raises EngineClosedError."""


def setting_of(
    model: Model,
    suite: str,
    *,
    grammar: bool,
    max_tokens: int,
    tool_choice: str = "auto",
    call_bias: float | None = None,
    min_confidence: float | None = None,
    tool_budget: int | None = 0,
    distractors: int = 0,
) -> EvalSetting:
    """Return the setting of a run of this model. Without the grammar, bias and confidence have no effect.

    Raises RequestError for an invalid tool budget.
    """
    adapters = model.engine.adapters
    return EvalSetting(
        model="+".join(filter(None, (model.name, adapters.label))),
        file=model_identity([model.path], *([adapters.key] if adapters.key else ()))[:16],
        family=model.family.name,
        suite=suite,
        grammar=grammar,
        max_tokens=max_tokens,
        n_ctx=model.n_ctx,
        tool_choice=tool_choice,
        call_bias=call_bias if grammar else None,
        min_confidence=min_confidence if grammar else None,
        tool_budget=budget_of({"tool_budget": tool_budget}, model.engine),
        distractors=distractors,
    )


def open_run(folder: Path, setting: EvalSetting, *, resume: bool) -> EvalRun:
    """Create a run, or with `resume` open the newest of this setting. Raises SuiteError."""
    return (EvalRun.latest(folder, setting) if resume else None) or EvalRun.new(folder, setting)


def evaluate(model: Model, cases: Sequence[Case], run: EvalRun, *, parallel: int = 4) -> Iterator[CaseResult]:
    """Ask the cases without a result, in their order, and add each result to the run.

    Sampling is greedy, so that a run can be repeated. A case whose tools or messages are refused counts as wrong, with
    a mistake of the kind "refused". Leaving the loop early cancels the requests in progress.

    Raises RequestError for a duplicate id, SuiteError, or EngineClosedError.
    """
    return evaluate_with(ModelRunner(model, parallel), cases, run)


def evaluate_with(runner: CaseRunner, cases: Sequence[Case], run: EvalRun) -> Iterator[CaseResult]:
    """Ask cases as `evaluate` does, wherever the model is."""
    _check_ids(cases)
    remaining = deque(run.keep(cases))
    submitted: deque[PendingResult] = deque()
    try:
        while remaining or submitted:
            while remaining and len(submitted) < (1 + AHEAD) * runner.parallel:
                submitted.append(runner.ask(remaining.popleft(), run.setting))
            result = submitted[0].wait()
            run.add(result)
            submitted.popleft()
            yield result
    finally:
        for pending in submitted:
            pending.cancel()


def _check_ids(cases: Sequence[Case]) -> None:
    ids: set[str] = set()
    for case in cases:
        if case.id in ids:
            raise RequestError("data", f"duplicate case id {case.id!r}")
        ids.add(case.id)


@dataclass(frozen=True, slots=True)
class ModelRunner:
    """Asks cases of a model of this process."""

    model: Model
    parallel: int

    def setting(self, suite: str, **options: Any) -> EvalSetting:
        """Return the setting of a run. Raises RequestError."""
        return setting_of(self.model, suite, **options)

    def ask(self, case: Case, setting: EvalSetting) -> PendingResult:
        """Begin a case. Raises EngineClosedError."""
        return AskedCase(self.model, case, setting)
