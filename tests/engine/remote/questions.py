"""Questions with tools, and what counts of an answer."""

from __future__ import annotations

from typing import Any

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
