"""Judges an answer to a case, whoever gave it: edgefc, another runtime, or a server."""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass

from edgefc.chat.reply import Reply
from edgefc.chat.validation import CallChecker
from edgefc.errors import EdgefcError
from edgefc.evaluation.cases import Case, Mistake, ModelAnswer
from edgefc.evaluation.results import CaseResult
from edgefc.evaluation.suites import SUITES, due_tools
from edgefc.formats import ParsedReply
from edgefc.formats.lenient import lenient_calls
from edgefc.grammar import Finding
from edgefc.types import Call, Message, Tools


@dataclass(frozen=True, slots=True)
class Sureness:
    """Probabilities by the model alone, before the grammar; None: unknown.

    p_call      of a call, at the point where the model decides
    p_tool      of the tool, in the least sure call
    p_argument  of the least likely choice in any argument
    confidence  of the answer: of no call, or the product of every call, its tool and the least likely choice in each of
                its arguments
    """

    p_call: float | None = None
    p_tool: float | None = None
    p_argument: float | None = None
    confidence: float | None = None


@dataclass(frozen=True, slots=True)
class Answered:
    """A complete answer with its cost.

    text         as the model wrote it, or its calls as JSON
    is_cut       it was cut off, mostly by max_tokens
    model_steps  batches computed for it, prefill included
    seconds      from the first batch to the last
    selected     names of the tools that the model was shown; None: all
    """

    answer: ModelAnswer
    text: str
    prompt_tokens: int = 0
    completion_tokens: int = 0
    is_cut: bool = False
    model_steps: int = 0
    seconds: float = 0.0
    sureness: Sureness = Sureness()
    selected: Collection[str] | None = None


def judge_answer(case: Case, suite: str, answered: Answered) -> CaseResult:
    """Return the judged answer, without its prompt."""
    answer = answered.answer
    mistake = SUITES[suite].judge(case, answer)
    if mistake is not None and answered.is_cut and not answer.calls:
        tokens = answered.completion_tokens
        mistake = Mistake("incomplete", f"the answer is not complete after {tokens} tokens")
    names = {tool["function"]["name"] for tool in case.tools}
    return CaseResult(
        id=case.id,
        case=case.digest,
        category=case.category,
        kind=mistake.kind if mistake else "",
        reason=mistake.reason if mistake else "",
        outcome=answer.outcome,
        question=question_of(case.messages),
        output=answered.text,
        prompt_tokens=answered.prompt_tokens,
        completion_tokens=answered.completion_tokens,
        calls=len(answer.calls),
        valid=bool(answer.calls) and are_valid(answer.calls, case.tools),
        repeated=len(answer.calls) - len({_call_text(call) for call in answer.calls}),
        cut=answered.is_cut,
        text_call=not answer.calls and bool(lenient_calls(answered.text, names)),
        model_steps=answered.model_steps,
        seconds=round(answered.seconds, 4),
        **asdict(answered.sureness),
        found=_is_found(case, suite, answered.selected),
    )


def _is_found(case: Case, suite: str, selected: Collection[str] | None) -> bool | None:
    due = due_tools(suite, case)
    return due <= set(selected) if due and selected is not None else None


def judge_refusal(case: Case, reason: str) -> CaseResult:
    """Return the result of a case whose request was refused, which is wrong."""
    return CaseResult(
        id=case.id,
        case=case.digest,
        category=case.category,
        kind="refused",
        reason=reason,
        outcome="refused",
        question=question_of(case.messages),
        output="",
        calls=0,
    )


def question_of(messages: Sequence[Message]) -> str:
    """Return the last message of the user."""
    return next((str(m.get("content")) for m in reversed(messages) if m["role"] == "user"), "")


def are_valid(calls: Sequence[Call], tools: Tools) -> bool:
    """Return True if every call names one of the tools and fits its schema."""
    names = {tool["function"]["name"] for tool in tools}
    everything = [Finding(("tools", number), "") for number in range(len(tools))]
    if any(call.name not in names for call in calls):
        return False
    try:
        return CallChecker(tools, everything).first_problem(calls) is None
    except EdgefcError:
        return False


def _call_text(call: Call) -> str:
    return f"{call.name}{json.dumps(call.arguments, sort_keys=True)}"


def calls_text(calls: Sequence[Call]) -> str:
    """Write calls as JSON, for results."""
    return json.dumps([{"name": call.name, "arguments": call.arguments} for call in calls], ensure_ascii=False)


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
