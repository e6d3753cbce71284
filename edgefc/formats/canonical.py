"""Conversations in one canonical form, whatever spelling of OpenAI's they came in.

Every error names the message. In the canonical form content is a string, calls are `{"id", "name", "arguments"}` with
arguments as an object, and tool results carry their tool's name and stand in the order of their calls. A call also has
`arguments_text`, the arguments as they came, and `is_code` when they are a program for the code interpreter.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from edgefc.errors import RequestError
from edgefc.types import Message

ROLES = ("system", "developer", "user", "assistant", "tool")
MAX_MESSAGES = 4096
CODE_TOOL = "python"  # the name of the code interpreter


def canonical(messages: Sequence[Message]) -> list[dict[str, Any]]:
    """The conversation as chat templates see it. Raises RequestError with the place of what is wrong."""
    if not isinstance(messages, list | tuple):
        raise RequestError("messages", "must be a list of messages", 'Such as [{"role": "user", "content": "Hi"}].')
    if not messages:
        raise RequestError("messages", "is empty; there is nothing to answer")
    if len(messages) > MAX_MESSAGES:
        raise RequestError("messages", f"{len(messages)} messages; at most {MAX_MESSAGES} are allowed")
    result: list[dict[str, Any]] = []
    waiting: dict[str, str] = {}  # ids of calls without a result → name of the tool
    order: list[str] = []
    for number, given in enumerate(messages):
        place = f"messages[{number}]"
        if not isinstance(given, Mapping):
            raise RequestError(place, "must be an object with role and content")
        message = _renewed(given, place, waiting)
        role = message.get("role")
        if role not in ROLES:
            raise RequestError(f"{place}.role", f"unknown role {role!r}", f"Roles are {', '.join(ROLES)}.")
        if role != "tool" and waiting:
            missing = ", ".join(waiting)
            raise RequestError(
                place, f"the tool calls before it have no result yet: {missing}", "Add the result of each call."
            )
        if role == "tool":
            result.append(_tool_result(message, place, waiting))
            if not waiting:
                _reorder(result, order)
        elif role == "assistant":
            entry, calls = _assistant(message, place)
            waiting = dict(calls)
            order = list(waiting)
            result.append(entry)
        else:
            role = "system" if role == "developer" else role
            result.append({"role": role, "content": _content(message, place)})
    if waiting:
        missing = ", ".join(waiting)
        raise RequestError("messages", f"the last tool calls have no result yet: {missing}", "Add the result of each.")
    return result


def _renewed(message: Mapping[str, Any], place: str, waiting: Mapping[str, str]) -> Mapping[str, Any]:
    """The message as it is spelled since there are tools: functions were called one at a time, and without ids."""
    if message.get("role") == "function":
        name = message.get("name")
        called = next((call_id for call_id, tool in waiting.items() if tool == name), None)
        if called is None:
            raise RequestError(f"{place}.name", f"{name!r} is no function that the message before called")
        return {**message, "role": "tool", "tool_call_id": called}
    function = message.get("function_call")
    if message.get("role") != "assistant" or function is None or message.get("tool_calls"):
        return message
    if not isinstance(function, Mapping):
        raise RequestError(f"{place}.function_call", "must be an object with a name")
    return {**message, "tool_calls": [{"id": f"{place}.function_call", "function": function}]}


def _assistant(message: Mapping[str, Any], place: str) -> tuple[dict[str, Any], list[tuple[str, str]]]:
    """The message, and (id, name) of its calls."""
    entry: dict[str, Any] = {"role": "assistant", "content": ""}
    calls = message.get("tool_calls") or []
    if not isinstance(calls, list):
        raise RequestError(f"{place}.tool_calls", "must be an array")
    if message.get("content") is not None or not calls:
        entry["content"] = _content(message, place)
    ids: list[tuple[str, str]] = []
    parsed = []
    for index, call in enumerate(calls):
        where = f"{place}.tool_calls[{index}]"
        function = call.get("function") if isinstance(call, Mapping) else None
        if not isinstance(function, Mapping) or not isinstance(function.get("name"), str):
            raise RequestError(where, "must have a function with a name")
        call_id = call.get("id")
        if not isinstance(call_id, str) or not call_id or call_id in dict(ids):
            raise RequestError(f"{where}.id", "must be a string of its own, so that the result can refer to it")
        ids.append((call_id, _clean(function["name"], f"{where}.function.name")))
        parsed.append({"id": call_id, **_call(function, f"{where}.function.arguments")})
    if parsed:
        entry["tool_calls"] = parsed
    if required := message.get("required_functions"):
        if not isinstance(required, list) or not all(isinstance(name, str) for name in required):
            raise RequestError(f"{place}.required_functions", "must be a list of tool names")
        entry["required_functions"] = [_clean(name, f"{place}.required_functions") for name in required]
    if message.get("no_tool"):
        entry["no_tool"] = True
    if thoughts := message.get("reasoning_content"):
        if not isinstance(thoughts, str):
            raise RequestError(f"{place}.reasoning_content", "must be a string")
        entry["reasoning_content"] = _clean(thoughts, f"{place}.reasoning_content")
    return entry, ids


def _call(function: Mapping[str, Any], place: str) -> dict[str, Any]:
    """Name and arguments of a call."""
    name, given = function["name"], function.get("arguments", "{}")
    if name == CODE_TOOL and isinstance(given, str) and not given.lstrip().startswith("{"):
        given = {"code": given}  # other servers pass a program on as it is
    arguments = _arguments(given, place)
    text = given if isinstance(given, str) and given else json.dumps(arguments, ensure_ascii=False)
    is_code = name == CODE_TOOL and arguments.keys() == {"code"} and isinstance(arguments["code"], str)
    return {"name": name, "arguments": arguments, "arguments_text": text, "is_code": is_code}


def _arguments(arguments: Any, place: str) -> dict[str, Any]:
    if isinstance(arguments, str):
        _clean(arguments, place)
        try:
            arguments = json.loads(arguments or "{}")
        except (ValueError, RecursionError) as error:
            raise RequestError(place, f"is not JSON: {error}") from None
    if not isinstance(arguments, dict):
        raise RequestError(place, "must be a JSON object")
    try:  # what a template writes must be JSON again: no Infinity, no keys that are not strings, no half characters
        plain: dict[str, Any] = json.loads(_clean(json.dumps(arguments, ensure_ascii=False, allow_nan=False), place))
    except (TypeError, ValueError, RecursionError) as error:
        raise RequestError(place, f"is not JSON: {error}") from None
    return plain


def _tool_result(message: Mapping[str, Any], place: str, waiting: dict[str, str]) -> dict[str, Any]:
    call_id = message.get("tool_call_id")
    if not isinstance(call_id, str) or call_id not in waiting:
        known = f"; waiting are {', '.join(waiting)}" if waiting else ""
        raise RequestError(f"{place}.tool_call_id", f"{call_id!r} is no call of the message before{known}")
    name = waiting.pop(str(call_id))
    return {"role": "tool", "name": name, "content": _content(message, place), "id": str(call_id)}


def _reorder(result: list[dict[str, Any]], order: list[str]) -> None:
    """Put the results at the end of the list into the order of their calls."""
    tail = {entry["id"]: entry for entry in result[-len(order) :]}
    result[-len(order) :] = [tail[call_id] for call_id in order]


def _content(message: Mapping[str, Any], place: str) -> str:
    content = message.get("content")
    if isinstance(content, str):
        return _clean(content, f"{place}.content")
    if not isinstance(content, list):
        raise RequestError(f"{place}.content", "must be a string or a list of text parts")
    texts: list[str] = []
    for index, part in enumerate(content):
        if not isinstance(part, Mapping) or part.get("type") != "text" or not isinstance(part.get("text"), str):
            raise RequestError(f"{place}.content[{index}]", "only parts of type text are supported")
        texts.append(_clean(part["text"], f"{place}.content[{index}].text"))
    return "".join(texts)


def _clean(text: str, place: str) -> str:
    """The text, if it can be written as UTF-8."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise RequestError(place, f"has half a surrogate pair at character {error.start}, which is no text") from None
    return text
