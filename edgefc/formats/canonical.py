"""Conversations in one canonical form, whichever of OpenAI's spellings they use.

In the canonical form, content is a string, calls are `{"id", "name", "arguments"}` with arguments as an object, and
tool results carry the name of their tool and stand in the order of their calls. A call also has `arguments_text`, the
arguments as the caller wrote them, and `is_code` when they are a program for the code interpreter.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from edgefc.errors import FieldPath, RequestError, format_path
from edgefc.limits import MAX_MESSAGES
from edgefc.types import Message

ROLES = ("system", "developer", "user", "assistant", "tool")
CODE_TOOL = "python"  # the name of the code interpreter


def canonicalize(messages: Sequence[Message]) -> list[dict[str, Any]]:
    """Return the conversation as chat templates see it. Raises RequestError with the path of the first mistake."""
    if not isinstance(messages, list | tuple):
        raise RequestError("messages", "must be a list of messages", 'Such as [{"role": "user", "content": "Hi"}].')
    if not messages:
        raise RequestError("messages", "must not be empty", "Send at least one message.")
    if len(messages) > MAX_MESSAGES:
        raise RequestError("messages", f"{len(messages)} messages exceed the limit of {MAX_MESSAGES}", "Send fewer.")
    result: list[dict[str, Any]] = []
    pending: dict[str, str] = {}  # ids of calls without a result → name of the tool
    order: list[str] = []
    for number, raw in enumerate(messages):
        path = ("messages", number)
        if not isinstance(raw, Mapping):
            raise RequestError(path, "must be an object with role and content")
        message = _upgrade_legacy(raw, path, pending)
        role = message.get("role")
        if role not in ROLES:
            raise RequestError((*path, "role"), f"unknown role {role!r}", f"Roles are {', '.join(ROLES)}.")
        if role != "tool" and pending:
            missing = ", ".join(pending)
            raise RequestError(
                path, f"the tool calls before it have no result yet: {missing}", "Add the result of each call."
            )
        if role == "tool":
            result.append(_tool_result(message, path, pending))
            if not pending:
                _reorder_results(result, order)
        elif role == "assistant":
            entry, calls = _assistant(message, path)
            pending = dict(calls)
            order = list(pending)
            result.append(entry)
        else:
            role = "system" if role == "developer" else role
            result.append({"role": role, "content": _content(message, path)})
    if pending:
        missing = ", ".join(pending)
        raise RequestError("messages", f"the last tool calls have no result yet: {missing}", "Add the result of each.")
    return result


def _upgrade_legacy(message: Mapping[str, Any], path: FieldPath, pending: Mapping[str, str]) -> Mapping[str, Any]:
    """Rewrite a message of OpenAI's older API, where functions were called one at a time and calls had no ids."""
    if message.get("role") == "function":
        name = message.get("name")
        call_id = next((pending_id for pending_id, tool in pending.items() if tool == name), None)
        if call_id is None:
            raise RequestError((*path, "name"), f"function {name!r} was not called by the message before")
        return {**message, "role": "tool", "tool_call_id": call_id}
    function = message.get("function_call")
    if message.get("role") != "assistant" or function is None or message.get("tool_calls"):
        return message
    if not isinstance(function, Mapping):
        raise RequestError((*path, "function_call"), "must be an object with a name")
    return {**message, "tool_calls": [{"id": format_path((*path, "function_call")), "function": function}]}


def _assistant(message: Mapping[str, Any], path: FieldPath) -> tuple[dict[str, Any], list[tuple[str, str]]]:
    """Return the message, and (id, name) of its calls."""
    entry: dict[str, Any] = {"role": "assistant", "content": ""}
    calls = message.get("tool_calls") or []
    if not isinstance(calls, list):
        raise RequestError((*path, "tool_calls"), "must be an array")
    if message.get("content") is not None or not calls:
        entry["content"] = _content(message, path)
    ids: list[tuple[str, str]] = []
    parsed = []
    for index, call in enumerate(calls):
        call_path = (*path, "tool_calls", index)
        function = call.get("function") if isinstance(call, Mapping) else None
        if not isinstance(function, Mapping) or not isinstance(function.get("name"), str):
            raise RequestError(call_path, "must have a function with a name")
        call_id = call.get("id")
        if not isinstance(call_id, str) or not call_id or call_id in dict(ids):
            raise RequestError((*call_path, "id"), "must be a unique string, so that the result can refer to it")
        ids.append((call_id, _encodable(function["name"], (*call_path, "function", "name"))))
        parsed.append({"id": call_id, **_call(function, (*call_path, "function", "arguments"))})
    if parsed:
        entry["tool_calls"] = parsed
    if required := message.get("required_functions"):
        path_of_names = (*path, "required_functions")
        if not isinstance(required, list) or not all(isinstance(name, str) for name in required):
            raise RequestError(path_of_names, "must be a list of tool names")
        entry["required_functions"] = [_encodable(name, path_of_names) for name in required]
    if message.get("no_tool"):
        entry["no_tool"] = True
    if thoughts := message.get("reasoning_content"):
        if not isinstance(thoughts, str):
            raise RequestError((*path, "reasoning_content"), "must be a string")
        entry["reasoning_content"] = _encodable(thoughts, (*path, "reasoning_content"))
    return entry, ids


def _call(function: Mapping[str, Any], path: FieldPath) -> dict[str, Any]:
    """Return a call's name and arguments; `path` is that of the arguments."""
    name, raw = function["name"], function.get("arguments", "{}")
    if name == CODE_TOOL and isinstance(raw, str) and not raw.lstrip().startswith("{"):
        raw = {"code": raw}  # other servers pass a program as plain text
    arguments = _arguments(raw, path)
    text = raw if isinstance(raw, str) and raw else json.dumps(arguments, ensure_ascii=False)
    is_code = name == CODE_TOOL and arguments.keys() == {"code"} and isinstance(arguments["code"], str)
    return {"name": name, "arguments": arguments, "arguments_text": text, "is_code": is_code}


def _arguments(arguments: Any, path: FieldPath) -> dict[str, Any]:
    if isinstance(arguments, str):
        _encodable(arguments, path)
        try:
            arguments = json.loads(arguments or "{}")
        except (ValueError, RecursionError) as error:
            raise RequestError(path, f"invalid JSON: {error}") from None
    if not isinstance(arguments, dict):
        raise RequestError(path, "must be a JSON object")
    try:
        # A template must write valid JSON again: no Infinity, no keys that are not strings, no half characters.
        plain: dict[str, Any] = json.loads(_encodable(json.dumps(arguments, ensure_ascii=False, allow_nan=False), path))
    except (TypeError, ValueError, RecursionError) as error:
        raise RequestError(path, f"invalid JSON: {error}") from None
    return plain


def _tool_result(message: Mapping[str, Any], path: FieldPath, pending: dict[str, str]) -> dict[str, Any]:
    call_id = message.get("tool_call_id")
    if not isinstance(call_id, str) or call_id not in pending:
        hint = f"Calls without a result: {', '.join(pending)}." if pending else "No call before it waits for a result."
        raise RequestError((*path, "tool_call_id"), f"unknown tool call {call_id!r}", hint)
    name = pending.pop(call_id)
    return {"role": "tool", "name": name, "content": _content(message, path), "id": call_id}


def _reorder_results(result: list[dict[str, Any]], order: list[str]) -> None:
    """Put the tool results at the end of the list into the order of their calls."""
    tail = {entry["id"]: entry for entry in result[-len(order) :]}
    result[-len(order) :] = [tail[call_id] for call_id in order]


def _content(message: Mapping[str, Any], path: FieldPath) -> str:
    content = message.get("content")
    if isinstance(content, str):
        return _encodable(content, (*path, "content"))
    if not isinstance(content, list):
        raise RequestError((*path, "content"), "must be a string or a list of text parts")
    texts: list[str] = []
    for index, part in enumerate(content):
        part_path = (*path, "content", index)
        if not isinstance(part, Mapping) or part.get("type") != "text" or not isinstance(part.get("text"), str):
            raise RequestError(part_path, "only parts of type text are supported")
        texts.append(_encodable(part["text"], (*part_path, "text")))
    return "".join(texts)


def _encodable(text: str, path: FieldPath) -> str:
    """Return the text if it can be written as UTF-8, else raise RequestError."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise RequestError(path, f"invalid text: half a surrogate pair at character {error.start}") from None
    return text
