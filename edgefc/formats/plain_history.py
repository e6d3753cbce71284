"""Calls and results of a conversation as plain text, for models that go on calling once they see calls.

Small models that see earlier calls in the prompt write more of them, whatever they were asked. As facts below the
question, results are answered from: Qwen2.5-Coder 0.5B answers four of four questions that way, and none otherwise.
With tools in the prompt it then repeats a call whose result it has where nothing is left to do, which can be told.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from edgefc.formats.canonical import canonicalize
from edgefc.types import Message


def results_as_text(conversation: Sequence[Mapping[str, Any]], instructions: str = "") -> list[dict[str, Any]]:
    """Return a canonical conversation without calls: each result is a line below the question that led to it.

    instructions  stand first in the system message of a conversation that ends with results
    """
    messages: list[dict[str, Any]] = []
    calls: list[Mapping[str, Any]] = []
    has_results = False
    for message in conversation:
        if message["role"] == "tool":
            call = calls.pop(0) if calls else {"name": message["name"], "arguments_text": ""}
            line = f"{call['name']}({call['arguments_text']}): {message['content']}"
            if not messages or messages[-1]["role"] != "user":
                messages.append({"role": "user", "content": ""})
            before = messages[-1]["content"]
            messages[-1]["content"] = f"{before}\n{line}" if has_results else f"{before}\n\nResults:\n{line}".lstrip()
            has_results = True
            continue
        calls = list(message.get("tool_calls") or ())
        if calls:
            continue
        has_results = False
        messages.append(dict(message))
    if instructions and has_results:
        own = messages.pop(0)["content"] if messages[0]["role"] == "system" else ""
        messages.insert(0, {"role": "system", "content": f"{instructions}\n\n{own}".rstrip()})
    return messages


def calls_since_question(messages: Sequence[Message]) -> list[tuple[str, str]]:
    """Return name and arguments, as text, of the calls that follow the last question. Raises RequestError."""
    calls: list[tuple[str, str]] = []
    for message in canonicalize(messages):
        if message["role"] == "user":
            calls.clear()
        calls += ((call["name"], call["arguments_text"]) for call in message.get("tool_calls") or ())
    return calls
