"""Asks a model every case of a suite, several at a time, and judges the answers."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple, Protocol

from edgefc.chat.options import sampling_options
from edgefc.chat.reply import Reply
from edgefc.engine.prefix_store import model_identity
from edgefc.errors import CancelledError, EdgefcError, EngineClosedError, RequestError
from edgefc.evaluation.cases import Case, Mistake, ModelAnswer
from edgefc.evaluation.results import CaseResult, EvalRun, EvalSetting
from edgefc.evaluation.suites import SUITES
from edgefc.formats import ParsedReply
from edgefc.model import Model
from edgefc.types import Call, Delta, Message

AHEAD = 2  # waiting requests per running one, so that the engine is never idle


def setting_of(model: Model, suite: str, *, grammar: bool, max_tokens: int) -> EvalSetting:
    """Return the setting of a run of this model."""
    return EvalSetting(
        model=model.name,
        file=model_identity([model.path])[:16],
        family=model.family.name,
        suite=suite,
        grammar=grammar,
        max_tokens=max_tokens,
        n_ctx=model.n_ctx,
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


class _Completed(NamedTuple):
    """A complete answer, as the model wrote it and as it was read."""

    answer: ModelAnswer
    text: str
    prompt_tokens: int
    completion_tokens: int


class _PendingAnswer(Protocol):
    """An answer that is being generated."""

    def wait(self) -> _Completed:
        """Return the complete answer. Raises EdgefcError."""

    def cancel(self) -> None: ...


class _Refused:
    """A request that was refused."""

    def __init__(self, error: EdgefcError) -> None:
        self._error = error

    def wait(self) -> _Completed:
        raise self._error

    def cancel(self) -> None:
        return


class _Constrained:
    """An answer under the grammar."""

    def __init__(self, model: Model, case: Case, max_tokens: int) -> None:
        self._stream = model.chat(case.messages, tools=case.tools, stream=True, temperature=0.0, max_tokens=max_tokens)

    def wait(self) -> _Completed:
        streamed = "".join(map(_delta_text, self._stream))
        reply = self._stream.reply
        answer = read_answer(reply)
        calls = json.dumps([{"name": c.name, "arguments": c.arguments} for c in answer.calls], ensure_ascii=False)
        return _Completed(
            answer,
            calls if answer.calls else streamed,
            reply.usage["prompt_tokens"],
            reply.usage["completion_tokens"],
        )

    def cancel(self) -> None:
        self._stream.close()


class _Unconstrained:
    """An answer without a grammar, with the same prompt and parser."""

    def __init__(self, model: Model, case: Case, max_tokens: int) -> None:
        self._family, self._tools = model.family, case.tools
        self._generation = model.engine.submit(
            model.prompt(case.messages, case.tools).ids,
            max_tokens=max_tokens,
            sampling=sampling_options({"temperature": 0.0}, model.family),
            stop=model.family.stop,
        )

    def wait(self) -> _Completed:
        result = self._generation.result()
        reply = self._parse(result.text, cut_off=result.finish_reason == "length")
        return _Completed(read_answer(reply), result.text, result.stats.prompt_tokens, result.stats.completion_tokens)

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
        return (_Constrained if setting.grammar else _Unconstrained)(model, case, setting.max_tokens)
    except EngineClosedError:
        raise
    except EdgefcError as error:
        return _Refused(error)


def judge_case(model: Model, case: Case, pending: _PendingAnswer, setting: EvalSetting) -> CaseResult:
    """Wait for the answer to a case and judge it. Raises EngineClosedError or CancelledError."""
    mistake: Mistake | None
    try:
        answer, text, prompt_tokens, completion_tokens = pending.wait()
        mistake = SUITES[setting.suite].judge(case, answer)
        outcome: str = answer.outcome
    except (EngineClosedError, CancelledError):
        raise
    except EdgefcError as error:
        outcome, text, prompt_tokens, completion_tokens = "refused", "", 0, 0
        mistake = Mistake("refused", f"{error.code}: {error}")
    if mistake is not None and outcome == "length":
        mistake = Mistake("incomplete", f"the answer is not complete after {completion_tokens} tokens")
    prompt = ""
    if mistake is not None:
        with suppress(EdgefcError):  # the prompt itself may be the reason for the refusal
            prompt = model.prompt(case.messages, case.tools).text
    return CaseResult(
        id=case.id,
        case=case.digest,
        category=case.category,
        kind=mistake.kind if mistake else "",
        reason=mistake.reason if mistake else "",
        outcome=outcome,
        question=question_of(case.messages),
        output=text,
        prompt=prompt,
        prompt_tokens=prompt_tokens,
        completion_tokens=completion_tokens,
    )


def question_of(messages: Sequence[Message]) -> str:
    """Return the last message of the user."""
    return next((str(m.get("content")) for m in reversed(messages) if m["role"] == "user"), "")


def _delta_text(delta: Delta) -> str:
    """Return the text of a delta, calls too: the message of an answer that is cut off has none."""
    functions = (call.get("function", {}) for call in delta.get("tool_calls", ()))
    calls = [f"{function.get('name', '')}{function.get('arguments', '')}" for function in functions]
    return delta.get("content", "") + "".join(calls)


def read_answer(reply: Reply | ParsedReply) -> ModelAnswer:
    """Return the answer in a reply. A reply with arguments that are not a JSON object is an answer in plain text."""
    calls: list[Call] = []
    for tool_call in reply.message.get("tool_calls") or ():
        function = tool_call["function"]
        try:
            arguments = json.loads(function["arguments"])
        except ValueError:
            arguments = None
        if not isinstance(arguments, dict):
            return ModelAnswer("answer", (), function["arguments"])
        calls.append(Call(tool_call["id"], function["name"], arguments))
    return ModelAnswer(reply.outcome, tuple(calls), reply.message.get("content") or "", reply.missing)
