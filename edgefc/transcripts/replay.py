"""Asking a model again what a transcript says it was asked, and comparing the answers."""

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
class Replayed:
    """How an answer compares with the recorded one.

    differences  a line each, recorded → now; for one that failed, the error
    reply        the answer now; None when there is none
    """

    record: Record
    status: Literal["equal", "changed", "failed"]
    differences: tuple[str, ...] = ()
    reply: Reply | None = None


def replay(model: Model, records: Iterable[Record], *, text: bool = False) -> Iterator[Replayed]:
    """Answers one after the other, with the conversation, tools and options that were recorded.

    Outcomes, and the calls' names and arguments as JSON values, are compared; with `text` also what is said.
    """
    for record in records:
        # Where no seed was recorded, sampling was greedy; another model's may not be.
        options: ChatOptions = {"seed": 0, **record.options}
        try:
            reply = model.chat(record.messages, tools=record.tools, **options)
        except EdgefcError as error:
            yield Replayed(record, "failed", (str(error),))
            continue
        differences = tuple(compare(record, reply, text=text))
        yield Replayed(record, "changed" if differences else "equal", differences, reply)


def compare(record: Record, reply: Reply, *, text: bool = False) -> Iterator[str]:
    """What differs, in words."""
    if record.outcome != reply.outcome:
        yield f"outcome: {record.outcome} → {reply.outcome}"
    missing = record.reply["missing"]
    if missing != list(reply.missing):
        yield f"missing: {_names(missing)} → {_names(reply.missing)}"
    before = [_call(call) for call in record.answer.get("tool_calls", ())]
    now = [_call(call["function"]) for call in reply.tool_calls]
    for number in range(max(len(before), len(now))):
        old, new = (calls[number] if number < len(calls) else "none" for calls in (before, now))
        if old != new:
            yield f"call {number + 1}: {old} → {new}"
    for key in ("content", "reasoning_content") if text else ():
        said, says = record.answer.get(key) or "", reply.message.get(key) or ""
        if said != says:
            yield f"{key}: {said!r} → {says!r}"


def _call(call: Mapping[str, Any]) -> str:
    """A call as text that equal ones have in common."""
    return f"{call['name']}({_canonical(call['arguments'])})"


def _canonical(arguments: str | Mapping[str, Any]) -> str:
    """JSON with sorted keys, in which 1.0 is 1."""
    text = arguments if isinstance(arguments, str) else json.dumps(arguments)
    return json.dumps(json.loads(text or "{}", parse_float=_number), ensure_ascii=False, sort_keys=True)


def _number(text: str) -> int | float:
    number = float(text)
    return int(number) if number.is_integer() else number


def _names(names: Iterable[str]) -> str:
    return ", ".join(names) or "none"
