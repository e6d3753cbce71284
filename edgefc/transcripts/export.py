"""Transcripts as datasets for fine-tuning. What a format cannot say is refused with its reason, never left out.

sharegpt  LLaMA-Factory's: {"conversations": [{"from", "value"}], "system", "tools"}
xlam      xlam-function-calling-60k's: {"id", "query", "tools", "answers"}; one question and its calls
trl       TRL's: {"messages", "tools"}, OpenAI's messages with arguments as objects
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from edgefc.errors import RequestError
from edgefc.transcripts.records import OUTCOMES, Record

Entry = dict[str, Any]
Messages = list[dict[str, Any]]  # in canonical form
Function = dict[str, Any]  # of a tool
ONLY = ("called", *OUTCOMES)
# Between the results of several calls; LLaMA-Factory's own, when it reads OpenAI's messages.
BETWEEN_RESULTS = "\n</tool_response>\n<tool_response>\n"


class InexpressibleError(Exception):
    """Something of a conversation that a format has no place for."""


@dataclass
class Exported:
    """What became of records.

    entries   of the dataset
    joined    records that are the beginning of a later one, or the same once more, and need no entry of their own
    skipped   other records without one, with the reason
    unwanted  records that were not asked for
    """

    entries: list[Entry] = field(default_factory=list)
    joined: int = 0
    skipped: list[tuple[Record, str]] = field(default_factory=list)
    unwanted: int = 0


def export(records: Iterable[Record], to: str, *, only: str | None = None, reasoning: bool = True) -> Exported:
    """A dataset of records.

    to         one of FORMATS
    only       "called": conversations with a call in them; or an outcome: those whose last answer has it
    reasoning  False: without what models thought before they answered

    Raises RequestError for a format or choice there is not.
    """
    if to not in FORMATS:
        raise RequestError("to", f"there is no format {to!r}", f"Formats are {', '.join(FORMATS)}.")
    if only is not None and only not in ONLY:
        raise RequestError("only", f"there is no {only!r}", f"It is one of {', '.join(ONLY)}.")
    made = Exported()
    # A question with its calls is an entry of xLAM's, however the conversation goes on.
    wanted = [(r, r.outcome == "length") for r in records] if to == "xlam" else _joined(records, made)
    for record, cut_off in wanted:
        if only is not None and not _asked_for(record, only):
            made.unwanted += 1
            continue
        try:
            if cut_off:
                raise InexpressibleError("an answer was cut off")
            messages = _messages(record, reasoning=reasoning)
            made.entries.append(FORMATS[to](messages, _tools(record), len(made.entries)))
        except InexpressibleError as error:
            made.skipped.append((record, str(error)))
    return made


def _joined(records: Iterable[Record], made: Exported) -> list[tuple[Record, bool]]:
    """Records that no later one begins with, and whether an answer in them was cut off."""
    ends: dict[bytes, Record] = {}
    inner: set[bytes] = set()
    cut_off: set[bytes] = set()
    through: dict[bytes, list[bytes]] = {}
    for record in records:
        *before, end = _digests(record)
        inner.update(before)
        if record.outcome == "length":
            cut_off.add(end)
        if end in ends:
            made.joined += 1
        ends[end], through[end] = record, [*before, end]
    made.joined += sum(end in inner for end in ends)
    return [(record, not cut_off.isdisjoint(through[end])) for end, record in ends.items() if end not in inner]


def _digests(record: Record) -> list[bytes]:
    """Digests of the conversation up to each message: of what was said and called, since that alone all clients send
    back as they got it.
    """
    digest = hashlib.sha256(json.dumps(record.tools, sort_keys=True).encode())
    digests = []
    for message in record.conversation:
        said = [message["role"], message["content"], message.get("reasoning_content", "")]
        called = [_plain_call(call) for call in message.get("tool_calls", ())]
        digest.update(json.dumps([said, called], sort_keys=True).encode() + b"\n")
        digests.append(digest.digest())
    return digests


def _asked_for(record: Record, only: str) -> bool:
    if only == "called":
        return any(message.get("tool_calls") for message in record.conversation)
    return record.outcome == only


def _messages(record: Record, *, reasoning: bool) -> Messages:
    """The conversation, if every answer in it says something."""
    messages = []
    for message in record.conversation:
        if message["role"] == "assistant" and not message["content"] and not message.get("tool_calls"):
            raise InexpressibleError("an answer has neither text nor calls")
        messages.append({k: v for k, v in message.items() if reasoning or k != "reasoning_content"})
    return messages


def _tools(record: Record) -> list[Function]:
    """The tools' functions, with `properties`, which LLaMA-Factory looks for in every one."""
    functions = []
    for tool in record.tools or ():
        if tool["type"] != "function":
            raise InexpressibleError(f"a tool is of the type {tool['type']}")
        parameters = {"type": "object", "properties": {}, **tool["function"].get("parameters", {})}
        functions.append({**tool["function"], "parameters": parameters})
    return functions


def _sharegpt(messages: Messages, tools: list[Function], _: int) -> Entry:
    """Human and observation in turns with function_call and gpt, which LLaMA-Factory insists on."""
    turns: list[dict[str, str]] = []
    system = ""
    results: list[str] = []
    for number, message in enumerate(messages):
        role = message["role"]
        if role == "system":
            if number:
                raise InexpressibleError("a system message is not the first")
            system = message["content"]
            continue
        if role == "tool":
            results.append(message["content"])
            continue
        if results:
            turns.append(_turn("observation", _observation(results)))
            results = []
        if message.get("reasoning_content"):
            raise InexpressibleError("the model thought before it answered (--no-reasoning leaves that out)")
        if calls := message.get("tool_calls"):
            if message["content"]:
                raise InexpressibleError("an answer has text beside its calls")
            said = [_plain_call(call) for call in calls]
            turns.append(_turn("function_call", _dump(said[0] if len(said) == 1 else said)))
        else:
            turns.append(_turn("human" if role == "user" else "gpt", message["content"]))
    for number, turn in enumerate(turns):
        if (turn["from"] in {"human", "observation"}) != (number % 2 == 0):
            raise InexpressibleError("users and model do not speak in turns")
    return {"conversations": turns, "system": system, "tools": _dump(tools)}


def _turn(who: str, value: str) -> dict[str, str]:
    return {"from": who, "value": value}


def _observation(results: list[str]) -> str:
    if len(results) > 1 and any(BETWEEN_RESULTS.strip() in text for text in results):
        raise InexpressibleError("a tool's result has what separates results in it")
    return BETWEEN_RESULTS.join(results)


def _xlam(messages: Messages, tools: list[Function], number: int) -> Entry:
    """A question and its calls alone."""
    roles = [message["role"] for message in messages]
    if roles != ["user", "assistant"]:
        raise InexpressibleError("has a system message" if roles[0] == "system" else "is not a single turn")
    question, answer = messages
    if "tool_calls" not in answer:
        raise InexpressibleError("calls no tool")
    if answer["content"] or answer.get("reasoning_content"):
        raise InexpressibleError("an answer has text beside its calls")
    return {
        "id": number,
        "query": question["content"],
        "tools": _dump([_flat(function) for function in tools]),
        "answers": _dump([_plain_call(call) for call in answer["tool_calls"]]),
    }


# What xlam-function-calling-60k calls JSON's types.
_PYTHON = {"string": "str", "integer": "int", "number": "float", "boolean": "bool", "array": "list", "object": "dict"}
_SAYS_NOTHING = {"title", "$schema", "$comment"}


def _flat(function: Function) -> Function:
    """A function whose parameters are its properties: types are Python's, and tell what may be left out."""
    name, schema = function["name"], function["parameters"]
    properties, required = schema["properties"], schema.get("required", [])
    said = schema.keys() - _SAYS_NOTHING - {"type", "properties", "required"}
    if schema.get("additionalProperties") is False:
        said -= {"additionalProperties"}
    if said:
        raise InexpressibleError(f"{name}: parameters have {min(said)}")
    if schema["type"] not in {"object", "dict"} or not isinstance(properties, Mapping):
        raise InexpressibleError(f"{name}: parameters are no object with properties")
    if not isinstance(required, list) or not all(isinstance(key, str) and key in properties for key in required):
        raise InexpressibleError(f"{name}: a required parameter has no schema")
    flat = {key: _parameter(f"{name}.{key}", value, key in required) for key, value in properties.items()}
    return {**function, "description": function.get("description", ""), "parameters": flat}


def _parameter(place: str, schema: Any, required: bool) -> dict[str, Any]:
    kind = schema.get("type") if isinstance(schema, Mapping) else None
    if isinstance(kind, str):
        told = _PYTHON.get(kind, kind)
        return {**schema, "type": told if required or told.endswith(", optional") else f"{told}, optional"}
    if not isinstance(schema, Mapping) or not required:
        raise InexpressibleError(f"{place}: may be left out, and has no single type to say so")
    return dict(schema)


def _trl(messages: Messages, tools: list[Function], _: int) -> Entry:
    """OpenAI's messages, with arguments as objects for the chat template."""
    return {
        "messages": [_trl_message(message) for message in messages],
        "tools": [{"type": "function", "function": function} for function in tools],
    }


def _trl_message(message: Mapping[str, Any]) -> dict[str, Any]:
    said: dict[str, Any] = {"role": message["role"]}
    calls = message.get("tool_calls", ())
    if message["content"] or not calls:
        said["content"] = message["content"]
    if message["role"] == "tool":
        said |= {"name": message["name"], "tool_call_id": message["id"]}
    if calls:
        said["tool_calls"] = [{"type": "function", "id": c["id"], "function": _plain_call(c)} for c in calls]
    if thoughts := message.get("reasoning_content"):
        said["reasoning_content"] = thoughts
    return said


def _plain_call(call: Mapping[str, Any]) -> dict[str, Any]:
    return {"name": call["name"], "arguments": call["arguments"]}


def _dump(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


FORMATS: dict[str, Callable[[Messages, list[Function], int], Entry]] = {
    "sharegpt": _sharegpt,
    "xlam": _xlam,
    "trl": _trl,
}
