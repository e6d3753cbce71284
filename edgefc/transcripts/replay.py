"""Replay of transcripts: ask a model the recorded questions again, and compare the answers."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from edgefc.chat.options import ChatOptions
from edgefc.chat.reply import Reply
from edgefc.errors import EdgefcError
from edgefc.model import Model
from edgefc.transcripts.records import Record


@dataclass(frozen=True, slots=True)
class ReplayResult:
    """A record and the model's answer to the same question.

    differences  one line each, recorded → new; for a failure, the error
    reply        the new answer; None if there is none
    """

    record: Record
    status: Literal["equal", "changed", "failed"]
    differences: tuple[str, ...] = ()
    reply: Reply | None = None


def replay(model: Model, records: Iterable[Record], *, text: bool = False) -> Iterator[ReplayResult]:
    """Ask the questions one after the other, with the recorded conversation, tools and options.

    Compares outcomes, and calls by name and arguments as JSON values; with `text`, the text too.
    """
    for record in records:
        # Without a recorded seed, sampling was greedy; another model's may not be.
        options: ChatOptions = {"seed": 0, **record.options}
        try:
            reply = model.chat(record.messages, tools=record.tools, **options)
        except EdgefcError as error:
            yield ReplayResult(record, "failed", (str(error),))
            continue
        differences = tuple(compare(record, reply, text=text))
        yield ReplayResult(record, "changed" if differences else "equal", differences, reply)


def compare(record: Record, reply: Reply, *, text: bool = False) -> Iterator[str]:
    """Yield a line for each difference."""
    if record.outcome != reply.outcome:
        yield f"outcome: {record.outcome} → {reply.outcome}"
    missing = record.reply["missing"]
    if missing != list(reply.missing):
        yield f"missing: {_join_names(missing)} → {_join_names(reply.missing)}"
    recorded = [_comparable_call(call["name"], call["arguments"]) for call in record.answer.get("tool_calls", ())]
    new = [_comparable_call(call.name, call.arguments) for call in reply.calls]
    for number in range(max(len(recorded), len(new))):
        before, after = (calls[number] if number < len(calls) else "none" for calls in (recorded, new))
        if before != after:
            yield f"call {number + 1}: {before} → {after}"
    for key in ("content", "reasoning_content") if text else ():
        old_text, new_text = record.answer.get(key) or "", reply.message.get(key) or ""
        if old_text != new_text:
            yield f"{key}: {old_text!r} → {new_text!r}"


def _comparable_call(name: str, arguments: Mapping[str, Any]) -> str:
    """Write a call so that equal calls have equal text: keys are sorted, and 1.0 is written as 1."""
    values = json.loads(json.dumps(arguments), parse_float=_plain_number)
    return f"{name}({json.dumps(values, ensure_ascii=False, sort_keys=True)})"


def _plain_number(text: str) -> int | float:
    number = float(text)
    return int(number) if number.is_integer() else number


def _join_names(names: Iterable[str]) -> str:
    return ", ".join(names) or "none"
