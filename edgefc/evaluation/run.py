"""Asks a model every case of a suite, several at a time, and judges the answers."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Protocol

from edgefc.chat.options import sampling
from edgefc.engine.prefix_store import model_identity
from edgefc.errors import CancelledError, EdgefcError, EngineClosedError, RequestError
from edgefc.evaluation.cases import Answer, Call, Case, Problem
from edgefc.evaluation.results import Result, Run, Setting
from edgefc.evaluation.suites import SUITES
from edgefc.formats import Family, ParsedReply
from edgefc.model import Model
from edgefc.types import Delta, Message

AHEAD = 2  # requests that wait, for each that is computed: the engine never has to


def setting_of(model: Model, suite: str, *, grammar: bool, max_tokens: int) -> Setting:
    """What a run of this model is told from others by."""
    return Setting(
        model=model.name,
        file=model_identity([model.path])[:16],
        family=model.family.name,
        suite=suite,
        grammar=grammar,
        max_tokens=max_tokens,
        n_ctx=model.n_ctx,
    )


def open_run(folder: Path, setting: Setting, *, resume: bool) -> Run:
    """A new run, or with `resume` the newest of this setting. Raises SuiteError."""
    return (Run.latest(folder, setting) if resume else None) or Run.new(folder, setting)


def evaluate(model: Model, cases: Sequence[Case], run: Run, *, parallel: int = 4) -> Iterator[Result]:
    """Ask the cases that the run has no result of, in their order, and add each result to the run.

    Sampling is greedy, so that a run can be repeated. A case whose tools or messages are refused is a wrong answer of
    the kind "refused". Leaving the loop early cancels what is being computed.

    Raises RequestError for an id that stands twice, SuiteError, or EngineClosedError.
    """
    if len({case.id for case in cases}) != len(cases):
        twice = next(case.id for number, case in enumerate(cases) if case.id in {c.id for c in cases[:number]})
        raise RequestError("data", f"two cases have the id {twice!r}")
    left = deque(run.keep(cases))
    asked: deque[tuple[Case, _Asked]] = deque()
    try:
        while left or asked:
            while left and len(asked) < (1 + AHEAD) * parallel:
                case = left.popleft()
                asked.append((case, _ask(model, case, run.setting)))
            case, question = asked[0]
            result = _judged(model, case, question, run.setting)
            run.add(result)
            asked.popleft()
            yield result
    finally:
        for _, question in asked:
            question.cancel()


class _Asked(Protocol):
    """An answer that is being computed."""

    def answer(self) -> tuple[Answer, str, tuple[int, int]]:
        """The answer, what the model wrote, and the tokens of prompt and answer. Raises EdgefcError."""

    def cancel(self) -> None: ...


class _Refused:
    def __init__(self, error: EdgefcError) -> None:
        self._error = error

    def answer(self) -> tuple[Answer, str, tuple[int, int]]:
        raise self._error

    def cancel(self) -> None:
        return


class _Held:
    """To the grammar."""

    def __init__(self, model: Model, case: Case, max_tokens: int) -> None:
        self._stream = model.chat(case.messages, tools=case.tools, stream=True, temperature=0.0, max_tokens=max_tokens)

    def answer(self) -> tuple[Answer, str, tuple[int, int]]:
        said = "".join(map(_text, self._stream))
        reply = self._stream.reply
        answer = read_answer(ParsedReply(reply.message, reply.outcome, reply.missing))
        written = json.dumps([{"name": c.name, "arguments": c.arguments} for c in answer.calls], ensure_ascii=False)
        usage = (reply.usage["prompt_tokens"], reply.usage["completion_tokens"])
        return answer, written if answer.calls else said, usage

    def cancel(self) -> None:
        self._stream.close()


class _Free:
    """Without a grammar: the prompt and the parser are the same."""

    def __init__(self, model: Model, case: Case, max_tokens: int) -> None:
        self._family, self._tools = model.family, case.tools
        prompt = model.prompt(case.messages, case.tools).ids
        self._generation = model.engine.submit(
            prompt,
            max_tokens=max_tokens,
            sampling=sampling({"temperature": 0.0}, model.family),
            stop=model.family.stop,
        )

    def answer(self) -> tuple[Answer, str, tuple[int, int]]:
        result = self._generation.result()
        parsed = self._parse(self._family, result.text, cut_off=result.finish_reason == "length")
        return read_answer(parsed), result.text, (result.stats.prompt_tokens, result.stats.completion_tokens)

    def cancel(self) -> None:
        self._generation.cancel()

    def _parse(self, family: Family, text: str, *, cut_off: bool) -> ParsedReply:
        if not cut_off:
            return family.parse(text, self._tools)
        parser = family.parser(self._tools)
        parser.feed(text)
        return parser.finish("length")


def _ask(model: Model, case: Case, setting: Setting) -> _Asked:
    try:
        return (_Held if setting.grammar else _Free)(model, case, setting.max_tokens)
    except EngineClosedError:
        raise
    except EdgefcError as error:
        return _Refused(error)


def _judged(model: Model, case: Case, asked: _Asked, setting: Setting) -> Result:
    try:
        answer, written, (prompt_tokens, completion_tokens) = asked.answer()
        problem = SUITES[setting.suite].judge(case, answer)
        outcome: str = answer.outcome
    except (EngineClosedError, CancelledError):
        raise
    except EdgefcError as error:
        outcome, written, prompt_tokens, completion_tokens = "refused", "", 0, 0
        problem = Problem("refused", f"{error.code}: {error}")
    if problem is not None and outcome == "length":
        problem = Problem("incomplete", f"the answer is not complete after {completion_tokens} tokens")
    prompt = ""
    if problem is not None:
        with suppress(EdgefcError):  # which is what is wrong, then
            prompt = model.prompt(case.messages, case.tools).text
    return Result(
        case.id, case.digest, case.category, problem.kind if problem else "", problem.reason if problem else "",
        outcome, question_of(case.messages), written, prompt, prompt_tokens, completion_tokens,
    )  # fmt: skip


def question_of(messages: Sequence[Message]) -> str:
    """What the user said last."""
    return next((str(m.get("content")) for m in reversed(messages) if m["role"] == "user"), "")


def _text(delta: Delta) -> str:
    """What a delta adds to the answer, calls too: of an answer that is cut off, the message has none."""
    calls = (call.get("function", {}) for call in delta.get("tool_calls", ()))
    said = [f"{call.get('name', '')}{call.get('arguments', '')}" for call in calls]
    return delta.get("content", "") + "".join(said)


def read_answer(parsed: ParsedReply) -> Answer:
    """A parsed message; calls whose arguments are no JSON object are none."""
    calls: list[Call] = []
    for call in parsed.message.get("tool_calls") or ():
        try:
            arguments = json.loads(call["function"]["arguments"])
        except ValueError:
            return Answer("answer", (), str(call["function"]["arguments"]))
        if not isinstance(arguments, dict):
            return Answer("answer", (), str(call["function"]["arguments"]))
        calls.append(Call(call["function"]["name"], arguments))
    return Answer(parsed.outcome, tuple(calls), parsed.message.get("content") or "", parsed.missing)
