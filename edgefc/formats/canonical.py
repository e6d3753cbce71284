"""Conversations in one canonical form, whichever client wrote them.

In the canonical form, content is a string, calls are `{"id", "name", "arguments"}` with arguments as an object, and
tool results carry the name of their tool and follow their calls, in their order. A call also has `arguments_text`, the
arguments as the caller wrote them, and `is_code` when they are a program for the code interpreter.

A conversation is data: whatever was answered can be sent back. What no model can read, such as images, is refused;
calls that were cut off keep what they have, and results find their calls as well as possible.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from edgefc.errors import FieldPath, RequestError
from edgefc.formats.content import content_of, encodable, type_of
from edgefc.formats.past_calls import CODE_TOOL, OpenCalls, read_calls, read_result, unknown_call
from edgefc.limits import MAX_MESSAGES
from edgefc.tools.schemas import list_of, without_nulls
from edgefc.types import Message

__all__ = ["CODE_TOOL", "ROLES", "canonicalize"]

ROLES = ("system", "developer", "user", "assistant", "tool")
_SAME_ROLE = {"developer": "system", "human": "user", "ai": "assistant", "model": "assistant", "function": "tool"}
# Parts of contents that are calls or results: Anthropic's and the AI SDK's.
_CALL_PARTS, _RESULT_PARTS = {"tool_use", "tool-call", "tool_call"}, {"tool_result", "tool-result"}
_THOUGHTS = ("reasoning_content", "reasoning", "thinking")  # other servers' names: DeepSeek, OpenRouter, Ollama


def canonicalize(messages: Sequence[Message]) -> list[dict[str, Any]]:
    """Return the conversation as chat templates see it. Raises RequestError with the path of the first mistake."""
    listed = list_of(messages)
    if listed is None:
        raise RequestError("messages", "must be a list of messages", 'Such as [{"role": "user", "content": "Hi"}].')
    if not listed:
        raise RequestError("messages", "must not be empty", "Send at least one message.")
    if len(listed) > MAX_MESSAGES:
        raise RequestError("messages", f"{len(listed)} messages exceed the limit of {MAX_MESSAGES}", "Send fewer.")
    builder = _Conversation()
    for number, message in enumerate(listed):
        builder.add(message, ("messages", number))
    return builder.finish()


class _Conversation:
    """Collects messages in canonical form."""

    def __init__(self) -> None:
        self._messages: list[dict[str, Any]] = []
        self._open: OpenCalls | None = None
        self._later: list[dict[str, Any]] = []  # messages between calls and the next answer

    def add(self, raw: Any, path: FieldPath) -> None:
        """Add one message. Raises RequestError."""
        if not isinstance(raw, Mapping):
            raise RequestError(path, "must be an object with role and content")
        message = without_nulls(raw)
        role = _role(message, path)
        if role == "tool":
            self._add_results(message, path)
        elif role == "assistant":
            self._add_answer(message, path)
        else:
            message = self._without_results(message, path)
            if role == "system" and "content" not in message:
                return
            if message.get("content") != []:
                content = content_of(message.get("content"), (*path, "content"), role=role)
                self._current.append({"role": role, "content": content})

    def finish(self) -> list[dict[str, Any]]:
        """Return all messages. Raises RequestError if the conversation ends with calls that were not run."""
        if self._open is not None and not self._open.results and not self._later:
            ids = ", ".join(call["id"] for call in self._open.calls)
            reason = f"the last tool calls have no result yet: {ids}"
            raise RequestError("messages", reason, "Add the result of each.")
        self._close()
        if not self._messages:
            raise RequestError("messages", "must not be empty", "Send at least one message.")
        return self._messages

    @property
    def _current(self) -> list[dict[str, Any]]:
        return self._messages if self._open is None else self._later

    def _close(self) -> None:
        """Put the results of the last calls behind them, and what was said meanwhile behind the results."""
        if self._open is not None:
            self._messages += [*self._open.messages(), *self._later]
            self._open, self._later = None, []

    def _add_answer(self, message: dict[str, Any], path: FieldPath) -> None:
        self._close()
        message = _upgrade_calls(message, path)
        entry = _answer(message, path)
        self._messages.append(entry)
        self._open_calls(entry, read_calls(message, path))

    def _open_calls(self, entry: dict[str, Any], calls: list[dict[str, Any]]) -> None:
        if calls:
            entry["tool_calls"] = calls
            self._open = OpenCalls(calls)

    def _add_results(self, message: dict[str, Any], path: FieldPath) -> None:
        """Add a tool's result; the AI SDK puts several into one message."""
        content = message.get("content")
        parts = content if isinstance(content, list) else []
        if not any(type_of(part) in _RESULT_PARTS for part in parts):
            self._add_result(message, path)
            return
        for number, part in enumerate(parts):
            self._add_result(part, (*path, "content", number))

    def _without_results(self, message: dict[str, Any], path: FieldPath) -> dict[str, Any]:
        """Add the results among the parts of a user's message, and return the message without them."""
        content = message.get("content")
        parts = content if isinstance(content, list) else []
        if not any(type_of(part) in _RESULT_PARTS for part in parts):
            return message
        for number, part in enumerate(parts):
            if type_of(part) in _RESULT_PARTS:
                self._add_result(part, (*path, "content", number))
        return {**message, "content": [part for part in parts if type_of(part) not in _RESULT_PARTS]}

    def _add_result(self, message: Mapping[str, Any], path: FieldPath) -> None:
        result = read_result(message, path)
        if self._open is None:
            if not self._messages or self._messages[-1]["role"] != "assistant":
                self._messages.append({"role": "assistant", "content": ""})
            self._open_calls(self._messages[-1], [unknown_call(result, path)])
        assert self._open is not None
        self._open.results.append(result)


def _role(message: Mapping[str, Any], path: FieldPath) -> str:
    """Return a message's canonical role. Raises RequestError."""
    role = message.get("role")
    known = role.lower() if isinstance(role, str) else ""
    known = _SAME_ROLE.get(known, known)
    if known not in ROLES:
        raise RequestError((*path, "role"), f"unknown role {role!r}", f"Roles are {', '.join(ROLES)}.")
    return known


def _upgrade_calls(message: dict[str, Any], path: FieldPath) -> dict[str, Any]:
    """Rewrite the calls of OpenAI's older API, one at a time and without ids, and calls that are parts of content."""
    if message.get("tool_calls"):
        return message
    content = message.get("content")
    parts = [part for part in content if type_of(part) in _CALL_PARTS] if isinstance(content, list) else []
    if parts:
        return {**message, "tool_calls": parts}
    function = message.get("function_call")
    if function is None or function == {}:
        return message
    if not isinstance(function, Mapping):
        raise RequestError((*path, "function_call"), "must be an object with a name")
    return {**message, "tool_calls": [{"function": function}]}


def _answer(message: Mapping[str, Any], path: FieldPath) -> dict[str, Any]:
    """Return an assistant's message, without its calls."""
    content = content_of(message.get("content"), (*path, "content"), role="assistant")
    refusal = message.get("refusal")
    if not content and isinstance(refusal, str):
        content = encodable(refusal, (*path, "refusal"))
    entry: dict[str, Any] = {"role": "assistant", "content": content}
    if required := message.get("required_functions"):
        path_of_names = (*path, "required_functions")
        if not isinstance(required, list) or not all(isinstance(name, str) for name in required):
            raise RequestError(path_of_names, "must be a list of tool names")
        entry["required_functions"] = [encodable(name, path_of_names) for name in required]
    if message.get("no_tool"):
        entry["no_tool"] = True
    for key in _THOUGHTS:
        if isinstance(thoughts := message.get(key), str) and thoughts:
            entry["reasoning_content"] = encodable(thoughts, (*path, key))
            break
    return entry
