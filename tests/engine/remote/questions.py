"""Questions with tools, and what counts of an answer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import edgefc
from edgefc import Reply
from edgefc.types import Message, Tool

FAMILIES = ("demo", "hammer2.1", "llama3-json", "functionary-v3.llama3", "xlam2-qwen", "mistral", "granite4")
TOOLS: list[Tool] = [
    {
        "type": "function",
        "function": {
            "name": "get_weather",
            "description": "Get the weather of a city",
            "parameters": {
                "type": "object",
                "properties": {
                    "city": {"type": "string", "maxLength": 40},
                    "unit": {"type": "string", "enum": ["celsius", "fahrenheit"]},
                    "days": {"type": "integer", "minimum": 1, "maximum": 14},
                },
                "required": ["city"],
            },
        },
    },
    {
        "type": "function",
        "function": {
            "name": "send_email",
            "description": "Send an email",
            "parameters": {
                "type": "object",
                "properties": {
                    "to": {"type": "string", "format": "email"},
                    "subject": {"type": "string", "pattern": "^[A-Z]"},
                },
                "required": ["to"],
            },
        },
    },
]
QUESTIONS = ("What is the weather in Paris?", "Weather in Paris and in Zürich 🎉, please", "Hello!")


def messages(question: str) -> list[Message]:
    return [{"role": "user", "content": question}]


def facts(reply: Reply) -> dict[str, Any]:
    """Return everything of a reply that does not depend on who computed it."""
    return {
        "outcome": reply.outcome,
        "finish_reason": reply.finish_reason,
        "end_reason": reply.end_reason,
        "content": reply.message.get("content"),
        "calls": [(call.name, call.arguments) for call in reply.calls],
        "completion_tokens": reply.usage["completion_tokens"],
    }


def first_control_tokens(path: Path, family: str, engine: str, n_ctx: int) -> list[int]:
    """Return the first control token of a call, computed here and by an engine with the same random weights."""
    options = {"tools": TOOLS, "tool_choice": "required", "max_tokens": 30, "logprobs": 0}
    with (
        edgefc.load(path, family=family, n_ctx=n_ctx, n_threads=1) as local,
        edgefc.load(path, family=family, engine=engine) as remote,
    ):
        control = local.engine.tokenizer.control.values()
        replies = [model.chat(messages(QUESTIONS[0]), **options) for model in (local, remote)]
        # Later ones depend on the arguments, in which roundings show.
        return [next(item.token for item in reply.logprobs if item.token in control) for reply in replies]
