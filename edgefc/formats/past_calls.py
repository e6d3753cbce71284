"""Calls and results of a conversation, as the clients of several APIs write them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from edgefc.errors import FieldPath, RequestError
from edgefc.formats.content import content_of, encodable
from edgefc.formats.cut_json import read_cut_object
from edgefc.tools.schemas import list_of

CODE_TOOL = "python"  # the name of the code interpreter
NO_RESULT = "(no result)"  # of a call whose result is not in the conversation
UNKNOWN_TOOL = "unknown"  # called by results without a call
# Names of fields, OpenAI's first; then Ollama's, LangChain's, the AI SDK's and Anthropic's.
_NAMES = ("name", "toolName", "tool_name")
_ARGUMENTS = ("arguments", "args", "input", "parameters")
_CALL_IDS = ("id", "call_id", "toolCallId", "tool_call_id")
_RESULT_IDS = ("tool_call_id", "call_id", "toolCallId", "tool_use_id", "id")
_RESULT_CONTENTS = ("content", "output", "result")


@dataclass(slots=True)
class Result:
    """A tool's result before its call is found; `call_id` and `name` are "" where they are unknown."""

    call_id: str
    name: str
    content: str


@dataclass(slots=True)
class OpenCalls:
    """The calls of one answer, and the results that follow it, up to the next answer."""

    calls: list[dict[str, Any]]
    results: list[Result] = field(default_factory=list)

    def messages(self) -> Iterator[dict[str, Any]]:
        """Yield the result of each call, in the order of the calls.

        Results belong to the call with their id, else to one with their name, else to the first without a result; what
        remains is added to the one with its id, or to the last.
        """
        found: list[list[str]] = [[] for _ in self.calls]
        rest = self._assign(self.results, found, lambda call, result: call["original_id"] == result.call_id != "")
        rest = self._assign(rest, found, lambda call, result: call["name"] == result.name)
        rest = self._assign(rest, found, lambda *_: True)
        for result in rest:
            numbers = [n for n, call in enumerate(self.calls) if call["original_id"] == result.call_id]
            found[numbers[0] if numbers else -1].append(result.content)
        for call, contents in zip(self.calls, found, strict=True):
            del call["original_id"]
            content = "\n".join(contents) if contents else NO_RESULT
            yield {"role": "tool", "name": call["name"], "content": content, "id": call["id"]}

    def _assign(self, results: Sequence[Result], found: list[list[str]], fits: Any) -> list[Result]:
        """Give each result to the first call without one that it fits; return the others."""
        rest: list[Result] = []
        for result in results:
            numbers = [n for n, call in enumerate(self.calls) if not found[n] and fits(call, result)]
            if numbers:
                found[numbers[0]].append(result.content)
            else:
                rest.append(result)
        return rest


def read_calls(message: Mapping[str, Any], path: FieldPath) -> list[dict[str, Any]]:
    """Return the calls of an answer in canonical form, each with the id that results may refer to.

    Calls without a name, which streams that were cut may leave, are none. Raises RequestError.
    """
    listed = list_of(message.get("tool_calls", ()))
    if listed is None:
        raise RequestError((*path, "tool_calls"), "must be an array")
    calls: list[dict[str, Any]] = []
    taken: set[str] = set()
    for number, item in enumerate(listed):
        call_path = (*path, "tool_calls", number)
        if item is None:
            continue
        if not isinstance(item, Mapping):
            raise RequestError(call_path, "must have a function with a name")
        function = next((item[key] for key in ("function", "custom") if isinstance(item.get(key), Mapping)), item)
        name = _first(function, _NAMES)
        if not isinstance(name, str) or not name:
            continue
        original = _text(_first(item, _CALL_IDS))
        call_id = _unique(original or _new_id(path, number), taken)
        arguments_path = (*call_path, "function", "arguments")
        name = encodable(name, (*call_path, "function", "name"))
        call = {"id": encodable(call_id, (*call_path, "id")), "original_id": original}
        calls.append({**call, **_call(name, _first(function, _ARGUMENTS), arguments_path)})
    return calls


def read_result(message: Mapping[str, Any], path: FieldPath) -> Result:
    """Return a tool's result, whatever its fields are called."""
    key = next((key for key in _RESULT_CONTENTS if message.get(key) is not None), "content")
    content = content_of(message.get(key), (*path, key), role="tool")
    return Result(_text(_first(message, _RESULT_IDS)), _text(_first(message, _NAMES)), content)


def unknown_call(result: Result, path: FieldPath) -> dict[str, Any]:
    """Return a call for a result that has none, because the beginning of the conversation is missing."""
    name = encodable(result.name or UNKNOWN_TOOL, path)
    call_id = encodable(result.call_id or _new_id(path), path)
    return {"id": call_id, "original_id": result.call_id, **_call(name, {}, path)}


def _first(fields: Mapping[str, Any], names: Sequence[str]) -> Any:
    """Return the value of the first of these fields that is there."""
    return next((fields[name] for name in names if fields.get(name) is not None), None)


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _new_id(path: FieldPath, number: int = 0) -> str:
    """Return an id for a call of the message at this path, always the same one: prompts are cached by their text."""
    return f"call_{path[1]}_{number}"


def _unique(call_id: str, taken: set[str]) -> str:
    """Return the id, or a similar one if another call has it; it is taken from now on."""
    unique, number = call_id, 2
    while unique in taken:
        unique, number = f"{call_id}_{number}", number + 1
    taken.add(unique)
    return unique


def _call(name: str, raw: Any, path: FieldPath) -> dict[str, Any]:
    """Return a call's name and arguments; `path` is that of the arguments."""
    if name == CODE_TOOL and isinstance(raw, str) and not raw.lstrip().startswith("{"):
        raw = {"code": raw}  # other servers pass a program as plain text
    arguments, is_whole = _arguments(raw, path)
    text = raw if isinstance(raw, str) and raw and is_whole else json.dumps(arguments, ensure_ascii=False)
    is_code = name == CODE_TOOL and arguments.keys() == {"code"} and isinstance(arguments["code"], str)
    return {"name": name, "arguments": arguments, "arguments_text": text, "is_code": is_code}


def _arguments(raw: Any, path: FieldPath) -> tuple[dict[str, Any], bool]:
    """Return arguments as an object, and whether the text they came from is that object.

    Of text that was cut off, the part before the cut is read; what is no object becomes the value of `input`.
    """
    value, is_whole = raw, True
    if isinstance(raw, str):
        encodable(raw, path)
        value, is_whole = _parsed(raw)
    if value is None or value == "" or (isinstance(value, list) and not value):  # PHP writes an empty object as []
        value, is_whole = {}, False
    elif not isinstance(value, Mapping):
        value, is_whole = {"input": value}, False
    try:
        # A template must write valid JSON again: no Infinity, no keys that are not strings, no half characters.
        text = encodable(json.dumps(value, ensure_ascii=False, allow_nan=False, default=dict), path)
        plain: dict[str, Any] = json.loads(text)
    except (TypeError, ValueError, RecursionError) as error:
        raise RequestError(path, f"invalid JSON: {error}") from None
    return plain, is_whole


def _parsed(text: str) -> tuple[Any, bool]:
    """Parse arguments as text, also if they were written twice; return whether the text was one whole object."""
    value: Any = text
    for level in range(2):
        try:
            value = json.loads(value, parse_constant=lambda _: None)
        except (ValueError, RecursionError):
            if value.lstrip().startswith("{"):
                return read_cut_object(value), False
            return value, False
        if not isinstance(value, str):
            return value, level == 0
    return value, False
