"""Transcripts as datasets for fine-tuning. A record that a format cannot express is skipped with the reason.

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
FILTERS = ("called", *OUTCOMES)
# Between the results of several calls, as LLaMA-Factory itself writes it when it reads OpenAI's messages.
RESULT_SEPARATOR = "\n</tool_response>\n<tool_response>\n"


class InexpressibleError(Exception):
    """A part of a conversation that a format cannot express."""


@dataclass
class Dataset:
    """Entries, and counts of the records that have no entry of their own.

    merged        records that a later one continues or repeats
    skipped       records that the format cannot express, with the reason
    filtered_out  records that `only` excludes
    """

    entries: list[Entry] = field(default_factory=list)
    merged: int = 0
    skipped: list[tuple[Record, str]] = field(default_factory=list)
    filtered_out: int = 0


def export(records: Iterable[Record], to: str, *, only: str | None = None, reasoning: bool = True) -> Dataset:
    """Convert records to a dataset.

    to         one of FORMATS
    only       "called": conversations with a call in them; or an outcome: conversations whose last answer has it
    reasoning  False: without the models' reasoning

    Raises RequestError for an unknown format or filter.
    """
    if to not in FORMATS:
        raise RequestError("to", f"unknown format {to!r}", f"Formats are {', '.join(FORMATS)}.")
    if only is not None and only not in FILTERS:
        raise RequestError("only", f"unknown filter {only!r}", f"Filters are {', '.join(FILTERS)}.")
    dataset = Dataset()
    # In xLAM's format every question with its calls is an entry, however the conversation continues.
    candidates = [(record, record.is_cut) for record in records] if to == "xlam" else _merge(records, dataset)
    for record, is_cut_off in candidates:
        if only is not None and not _passes(record, only):
            dataset.filtered_out += 1
            continue
        try:
            if is_cut_off:
                raise InexpressibleError("an answer was cut off")
            messages = _messages(record, reasoning=reasoning)
            dataset.entries.append(FORMATS[to](messages, _functions(record), len(dataset.entries)))
        except InexpressibleError as error:
            dataset.skipped.append((record, str(error)))
    return dataset


def _merge(records: Iterable[Record], dataset: Dataset) -> list[tuple[Record, bool]]:
    """Return the records that no other one continues, and whether any answer in them was cut off."""
    last: dict[bytes, Record] = {}  # by the digest of the whole conversation
    prefixes: set[bytes] = set()  # digests of all that comes before an answer
    cut_off: set[bytes] = set()
    digests: dict[bytes, list[bytes]] = {}
    for record in records:
        *before, end = _digests(record)
        prefixes.update(before)
        if record.is_cut:
            cut_off.add(end)
        if end in last:
            dataset.merged += 1
        last[end], digests[end] = record, [*before, end]
    dataset.merged += sum(end in prefixes for end in last)
    return [(record, not cut_off.isdisjoint(digests[end])) for end, record in last.items() if end not in prefixes]


def _digests(record: Record) -> list[bytes]:
    """Return a digest of the conversation up to each message.

    It covers texts and calls without their ids: that is what all clients send back unchanged.
    """
    tools = None if record.tools is None else list(record.tools)
    digest = hashlib.sha256(json.dumps(tools, sort_keys=True).encode())
    digests = []
    for message in record.conversation:
        texts = [message["role"], message["content"], message.get("reasoning_content", "")]
        calls = [_name_and_arguments(call) for call in message.get("tool_calls", ())]
        digest.update(json.dumps([texts, calls], sort_keys=True).encode() + b"\n")
        digests.append(digest.digest())
    return digests


def _passes(record: Record, only: str) -> bool:
    if only == "called":
        return any(message.get("tool_calls") for message in record.conversation)
    return record.outcome == only


def _messages(record: Record, *, reasoning: bool) -> Messages:
    """Return the conversation; every answer in it must have text or calls."""
    messages = []
    for message in record.conversation:
        if message["role"] == "assistant" and not message["content"] and not message.get("tool_calls"):
            raise InexpressibleError("an answer has neither text nor calls")
        messages.append({k: v for k, v in message.items() if reasoning or k != "reasoning_content"})
    return messages


def _functions(record: Record) -> list[Function]:
    """Return the tools' functions, each with `properties`, because LLaMA-Factory requires them."""
    functions = []
    for tool in record.tools or ():
        if tool["type"] != "function":
            raise InexpressibleError(f"a tool has the type {tool['type']}")
        parameters = {"type": "object", "properties": {}, **tool["function"].get("parameters", {})}
        functions.append({**tool["function"], "parameters": parameters})
    return functions


def _sharegpt(messages: Messages, tools: list[Function], _: int) -> Entry:
    """Convert to turns that alternate between human or observation and gpt or function_call."""
    turns: list[dict[str, str]] = []
    system = ""
    results: list[str] = []
    for number, message in enumerate(messages):
        role = message["role"]
        if role == "tool":
            results.append(message["content"])
            continue
        if results:
            turns.append({"from": "observation", "value": _observation(results)})
            results = []
        if role == "system" and number:
            raise InexpressibleError("a system message is not the first message")
        if role == "system":
            system = message["content"]
        else:
            turns.append(_turn(message))
    for number, turn in enumerate(turns):
        if (turn["from"] in {"human", "observation"}) != (number % 2 == 0):
            raise InexpressibleError("user and model do not alternate in turns")
    return {"conversations": turns, "system": system, "tools": _to_json(tools)}


def _turn(message: Mapping[str, Any]) -> dict[str, str]:
    if message.get("reasoning_content"):
        raise InexpressibleError("an answer has reasoning (--no-reasoning leaves it out)")
    calls = [_name_and_arguments(call) for call in message.get("tool_calls") or ()]
    if not calls:
        return {"from": "human" if message["role"] == "user" else "gpt", "value": message["content"]}
    if message["content"]:
        raise InexpressibleError("an answer has text beside its calls")
    return {"from": "function_call", "value": _to_json(calls[0] if len(calls) == 1 else calls)}


def _observation(results: list[str]) -> str:
    if len(results) > 1 and any(RESULT_SEPARATOR.strip() in text for text in results):
        raise InexpressibleError("a tool's result contains the text that separates results")
    return RESULT_SEPARATOR.join(results)


def _xlam(messages: Messages, tools: list[Function], number: int) -> Entry:
    """Convert a question and its calls."""
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
        "tools": _to_json([_flatten(function) for function in tools]),
        "answers": _to_json([_name_and_arguments(call) for call in answer["tool_calls"]]),
    }


# Names of JSON's types in xlam-function-calling-60k.
_PYTHON_TYPES = {
    "string": "str", "integer": "int", "number": "float", "boolean": "bool", "array": "list", "object": "dict",
}  # fmt: skip
_ANNOTATIONS = {"title", "$schema", "$comment"}


def _flatten(function: Function) -> Function:
    """Replace a function's parameters by their properties, with Python types that also say what is optional."""
    name, schema = function["name"], function["parameters"]
    properties, required = schema["properties"], schema.get("required", [])
    keywords = schema.keys() - _ANNOTATIONS - {"type", "properties", "required"}
    if schema.get("additionalProperties") is False:
        keywords -= {"additionalProperties"}
    if keywords:
        raise InexpressibleError(f"{name}: parameters have {min(keywords)}")
    if schema["type"] not in {"object", "dict"} or not isinstance(properties, Mapping):
        raise InexpressibleError(f"{name}: parameters are not an object with properties")
    if not isinstance(required, list) or not all(isinstance(key, str) and key in properties for key in required):
        raise InexpressibleError(f"{name}: a required parameter has no schema")
    flat = {key: _parameter(f"{name}.{key}", value, key in required) for key, value in properties.items()}
    return {**function, "description": function.get("description", ""), "parameters": flat}


def _parameter(path: str, schema: Any, required: bool) -> dict[str, Any]:
    json_type = schema.get("type") if isinstance(schema, Mapping) else None
    if isinstance(json_type, str):
        python_type = _PYTHON_TYPES.get(json_type, json_type)
        if not required and not python_type.endswith(", optional"):
            python_type += ", optional"
        return {**schema, "type": python_type}
    if not isinstance(schema, Mapping) or not required:
        raise InexpressibleError(f"{path}: is optional, but has no single type to say so")
    return dict(schema)


def _trl(messages: Messages, tools: list[Function], _: int) -> Entry:
    """Convert to OpenAI's messages, with arguments as objects for the chat template."""
    return {
        "messages": [_trl_message(message) for message in messages],
        "tools": [{"type": "function", "function": function} for function in tools],
    }


def _trl_message(message: Mapping[str, Any]) -> dict[str, Any]:
    converted: dict[str, Any] = {"role": message["role"]}
    calls = message.get("tool_calls", ())
    if message["content"] or not calls:
        converted["content"] = message["content"]
    if message["role"] == "tool":
        converted |= {"name": message["name"], "tool_call_id": message["id"]}
    if calls:
        converted["tool_calls"] = [
            {"type": "function", "id": call["id"], "function": _name_and_arguments(call)} for call in calls
        ]
    if reasoning := message.get("reasoning_content"):
        converted["reasoning_content"] = reasoning
    return converted


def _name_and_arguments(call: Mapping[str, Any]) -> dict[str, Any]:
    return {"name": call["name"], "arguments": call["arguments"]}


def _to_json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


FORMATS: dict[str, Callable[[Messages, list[Function], int], Entry]] = {
    "sharegpt": _sharegpt,
    "xlam": _xlam,
    "trl": _trl,
}
