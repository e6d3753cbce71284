"""A model's answer to a case, with the grammar or without it, and its judgement."""

from __future__ import annotations

import math
from contextlib import suppress
from dataclasses import replace
from typing import Protocol

from edgefc.chat.options import sampling_options
from edgefc.chat.prompt import ModelPrompt
from edgefc.chat.reply import Reply
from edgefc.errors import CancelledError, EdgefcError, EngineClosedError
from edgefc.evaluation.cases import Case, ModelAnswer
from edgefc.evaluation.judging import Answered, Sureness, calls_text, judge_answer, judge_refusal, read_answer
from edgefc.evaluation.results import CaseResult, EvalSetting
from edgefc.formats import ParsedReply
from edgefc.model import Model
from edgefc.types import Delta


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
        self._stream.cancel()


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


class AskedCase:
    """A case of which a model has been asked the question."""

    def __init__(self, model: Model, case: Case, setting: EvalSetting) -> None:
        """Ask the question. Raises EngineClosedError; another error makes the result."""
        self._model, self._case, self._setting = model, case, setting
        self._pending: _PendingAnswer
        try:
            self._pending = (_Constrained if setting.grammar else _Unconstrained)(model, case, setting)
        except EngineClosedError:
            raise
        except EdgefcError as error:
            self._pending = _Refused(error)

    def wait(self) -> CaseResult:
        """Wait for the answer and judge it. Raises EngineClosedError or CancelledError."""
        case, setting = self._case, self._setting
        try:
            answered = self._pending.wait()
        except (EngineClosedError, CancelledError):
            raise
        except EdgefcError as error:
            result = judge_refusal(case, f"{error.code}: {error}")
        else:
            result = judge_answer(case, setting.suite, answered)
        return result if result.right else replace(result, prompt=_prompt_of(self._model, case, setting))

    def cancel(self) -> None:
        """Stop generating, from any thread: who waits gets CancelledError."""
        self._pending.cancel()


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
