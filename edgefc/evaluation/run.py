"""Asks a model every case of a suite, several at a time, and judges the answers."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Protocol

from edgefc.chat.options import sampling_options
from edgefc.chat.prompt import ModelPrompt
from edgefc.chat.reply import Reply
from edgefc.engine.identity import model_identity
from edgefc.errors import CancelledError, EdgefcError, EngineClosedError, RequestError
from edgefc.evaluation.cases import Case, ModelAnswer
from edgefc.evaluation.judging import Answered, Sureness, calls_text, judge_answer, judge_refusal, read_answer
from edgefc.evaluation.results import CaseResult, EvalRun, EvalSetting
from edgefc.formats import ParsedReply
from edgefc.model import Model
from edgefc.types import Delta

AHEAD = 2  # waiting requests per running one, so that the engine is never idle


def setting_of(
    model: Model,
    suite: str,
    *,
    grammar: bool,
    max_tokens: int,
    tool_choice: str = "auto",
    call_bias: float | None = None,
    min_confidence: float | None = None,
    tool_budget: int = 0,
    distractors: int = 0,
) -> EvalSetting:
    """Return the setting of a run of this model. Without the grammar, bias and confidence have no effect."""
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
        tool_budget=tool_budget,
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
    _check_ids(cases)
    remaining = deque(run.keep(cases))
    submitted: deque[tuple[Case, _PendingAnswer]] = deque()
    try:
        while remaining or submitted:
            while remaining and len(submitted) < (1 + AHEAD) * parallel:
                case = remaining.popleft()
                submitted.append((case, _submit(model, case, run.setting)))
            case, pending = submitted[0]
            result = judge_case(model, case, pending, run.setting)
            run.add(result)
            submitted.popleft()
            yield result
    finally:
        for _, pending in submitted:
            pending.cancel()


def _check_ids(cases: Sequence[Case]) -> None:
    ids: set[str] = set()
    for case in cases:
        if case.id in ids:
            raise RequestError("data", f"duplicate case id {case.id!r}")
        ids.add(case.id)


class _PendingAnswer(Protocol):
    """An answer that is being generated."""

    def wait(self) -> Answered:
        """Return the complete answer. Raises EdgefcError."""

    def cancel(self) -> None: ...


class _Refused:
    """A request that was refused."""

    def __init__(self, error: EdgefcError) -> None:
        self._error = error

    def wait(self) -> Answered:
        raise self._error

    def cancel(self) -> None:
        return


class _Constrained:
    """An answer under the grammar."""

    def __init__(self, model: Model, case: Case, setting: EvalSetting) -> None:
        self._stream = model.chat(
            case.messages,
            tools=case.tools,
            tool_choice=setting.tool_choice,
            stream=True,
            temperature=0.0,
            max_tokens=setting.max_tokens,
            call_bias=setting.call_bias,
            min_confidence=setting.min_confidence,
            tool_budget=setting.tool_budget,
        )

    def wait(self) -> Answered:
        streamed = "".join(map(_delta_text, self._stream))
        reply = self._stream.reply
        return answered_by(reply, streamed)

    def cancel(self) -> None:
        self._stream.close()


def answered_by(reply: Reply, text: str) -> Answered:
    """Return a reply as an answer to be judged; `text` is what it says where it calls nothing."""
    answer, stats = read_answer(reply), reply.stats
    return Answered(
        answer,
        calls_text(answer.calls) if answer.calls else text,
        stats.prompt_tokens,
        stats.completion_tokens,
        is_cut=reply.is_cut,
        model_steps=stats.model_steps,
        seconds=stats.prefill_s + stats.decode_s,
        sureness=_sureness(reply, answer),
        selected=None if reply.selection is None else reply.selection.tools,
    )


class _Unconstrained:
    """An answer without a grammar, with the same prompt and parser; calls are read in any spelling."""

    def __init__(self, model: Model, case: Case, setting: EvalSetting) -> None:
        self._family, self._tools = model.family, case.tools
        self._generation = model.engine.submit(
            _prompt(model, case, setting).ids,
            max_tokens=setting.max_tokens,
            sampling=sampling_options({"temperature": 0.0}, model.family),
            stop=model.family.stop,
        )

    def wait(self) -> Answered:
        result = self._generation.result()
        is_cut = result.finish_reason == "length"
        stats = result.stats
        return Answered(
            read_answer(self._parse(result.text, cut_off=is_cut)),
            result.text,
            stats.prompt_tokens,
            stats.completion_tokens,
            is_cut=is_cut,
            model_steps=stats.model_steps,
            seconds=stats.prefill_s + stats.decode_s,
        )

    def cancel(self) -> None:
        self._generation.cancel()

    def _parse(self, text: str, *, cut_off: bool) -> ParsedReply:
        if not cut_off:
            return self._family.parse(text, self._tools)
        parser = self._family.parser(self._tools)
        parser.feed(text)
        return parser.finish("length")


def _submit(model: Model, case: Case, setting: EvalSetting) -> _PendingAnswer:
    try:
        return (_Constrained if setting.grammar else _Unconstrained)(model, case, setting)
    except EngineClosedError:
        raise
    except EdgefcError as error:
        return _Refused(error)


def judge_case(model: Model, case: Case, pending: _PendingAnswer, setting: EvalSetting) -> CaseResult:
    """Wait for the answer to a case and judge it. Raises EngineClosedError or CancelledError."""
    try:
        answered = pending.wait()
    except (EngineClosedError, CancelledError):
        raise
    except EdgefcError as error:
        result = judge_refusal(case, f"{error.code}: {error}")
    else:
        result = judge_answer(case, setting.suite, answered)
    return result if result.right else replace(result, prompt=_prompt_of(model, case, setting))


def _prompt(model: Model, case: Case, setting: EvalSetting) -> ModelPrompt:
    return model.prompt(case.messages, case.tools, tool_choice=setting.tool_choice, tool_budget=setting.tool_budget)


def _prompt_of(model: Model, case: Case, setting: EvalSetting) -> str:
    """Return the exact prompt, "" where it is itself the reason for the refusal."""
    with suppress(EdgefcError):
        return _prompt(model, case, setting).text
    return ""


def _delta_text(delta: Delta) -> str:
    """Return the text of a delta, calls too: the message of an answer that is cut off has none."""
    functions = (call.get("function", {}) for call in delta.get("tool_calls", ()))
    calls = [f"{function.get('name', '')}{function.get('arguments', '')}" for function in functions]
    return delta.get("content", "") + "".join(calls)


def _sureness(reply: Reply, answer: ModelAnswer) -> Sureness:
    """Return how sure the model was; all None where it is unknown."""
    found = reply.confidence
    if found is None:
        return Sureness()
    if not answer.calls:
        return Sureness(p_call=found.call, confidence=None if found.call is None else 1 - found.call)
    tools = [call.tools.get(call.name, 1.0) for call in found.calls]
    arguments = [argument.probability for call in found.calls for argument in call.arguments.values()]
    decisions = [1.0 if call.call is None else call.call for call in found.calls]
    return Sureness(
        p_call=found.call,
        p_tool=min(tools, default=None),
        p_argument=min(arguments, default=None),
        confidence=math.prod([*decisions, *tools, *arguments]),
    )
