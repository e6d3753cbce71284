"""Jinja filters for the chat templates of families, besides Jinja's own."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from edgefc.formats import dialects, gemma, harmony
from edgefc.formats.typescript import typescript
from edgefc.formats.write import write_assistant
from edgefc.types import OutputSyntax

_SPEECH = ("content", "reasoning_content")


def template_filters(history: OutputSyntax, prompt: Mapping[str, Any]) -> dict[str, Callable[..., Any]]:
    """Return a family's filters by name.

    history  the spelling of past answers
    prompt   the section `prompt` of the declaration
    """
    verbatim = prompt.get("arguments") == "verbatim"
    return {
        "assistant_text": lambda message: write_assistant(history, message, verbatim=verbatim),
        "tool_response": named_response if prompt.get("tool_response") == "named" else plain_response,
        "call_arguments": lambda call: call["arguments"]["code"] if call["is_code"] else call["arguments_text"],
        "one_call_a_turn": one_call_a_turn,
        "has_code": lambda tools: any(_is_interpreter(tool) for tool in tools or ()),
        "without_code": lambda tools: dialects.functions([tool for tool in tools or () if not _is_interpreter(tool)]),
        "functions": dialects.functions,
        "outline": dialects.outline,
        "typescript": typescript,
        "typescript_v1": functools.partial(typescript, v1=True),
        "concise": dialects.concise,
        "hammer": dialects.hammer,
        "hammer_flat": functools.partial(dialects.hammer, flat=True),
        "hermes_signatures": dialects.hermes_signatures,
        "gemma_tool": lambda tool: gemma.declaration(tool, history.quote),
        "gemma_tool_terse": lambda tool: gemma.declaration(tool, history.quote, is_terse=True),
        "gemma_result": lambda message: gemma.response(message["name"], message["content"], history.quote),
        "gemma_result_object": lambda message: gemma.response(
            message["name"], message["content"], history.quote, reads_json=True
        ),
        "xml_tools": dialects.xml_tools,
        "harmony": harmony.namespace,
        "history_steps": dialects.history_steps,
        "narrated": dialects.narrated,
        "transcript": lambda messages: transcript(messages, history),
    }


def plain_response(message: Mapping[str, Any]) -> str:
    """Write a tool result as its content alone."""
    content: str = message["content"]
    return content


def named_response(message: Mapping[str, Any]) -> str:
    """Write a tool result as JSON with the name of the tool."""
    return json.dumps({"name": message["name"], "result": message["content"]})


def one_call_a_turn(messages: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Split messages with several calls into one message per call, each followed by its result."""
    turns: list[Mapping[str, Any]] = []
    index = 0
    while index < len(messages):
        message = messages[index]
        calls = message.get("tool_calls") or ()
        index += 1
        if len(calls) < 2:
            turns.append(message)
            continue
        for number, call in enumerate(calls):
            # What was thought and said stands before the first call.
            speech = {} if number else {key: message[key] for key in _SPEECH if key in message}
            turns.append({"role": message["role"], "content": "", **speech, "tool_calls": [call]})
            turns += messages[index + number : index + number + 1]
        index += len(calls)
    return turns


def transcript(messages: Sequence[Mapping[str, Any]], history: OutputSyntax) -> str:
    """Write Hammer 2.0's query: one line per message, and an empty line of the user if the last is someone else's."""
    lines = [
        f"{'user' if m['role'] == 'system' else m['role']}: "
        f"{write_assistant(history, m) if m['role'] == 'assistant' else m['content']}\n"
        for m in messages
    ]
    return "".join(lines) + ("" if messages and messages[-1]["role"] == "user" else "user:  \n")


def _is_interpreter(tool: Mapping[str, Any]) -> bool:
    return tool.get("type") == "code_interpreter"
