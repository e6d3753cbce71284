"""The key of a request: requests with the same key share the beginning of their prompt, and go to the same replica."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from pydantic_core import from_json

from edgefc.server.bodies import MAX_PARSED, parsed_size

TOOLS = ("tools", "functions")
SYSTEM = ("system", "instructions")  # of Anthropic's and OpenAI's Responses API
SYSTEM_ROLES = {"system", "developer"}
LONGEST_PROMPT = 1024  # characters of a raw prompt that count


def routing_key(body: bytes) -> str:
    """Return the hash of a body's tools and system message, else of its first user message, in every API's fields.

    A body without any of them, or one that is not JSON, has "": any replica may answer.
    """
    if not body or parsed_size(body) > MAX_PARSED:
        return ""
    try:
        value = from_json(body)
    except ValueError:
        return ""
    prefix = _prefix(value) if isinstance(value, dict) else None
    if not prefix:
        return ""
    return hashlib.sha256(json.dumps(prefix, sort_keys=True).encode()).hexdigest()[:32]


def _prefix(body: dict[str, Any]) -> list[Any]:
    tools = next((body[name] for name in TOOLS if body.get(name)), None)
    messages = body.get("messages") or body.get("input")
    messages = messages if isinstance(messages, list) else []
    system = next((body[name] for name in SYSTEM if body.get(name)), None)
    if system is None:
        system = [_content(message) for message in messages if _role(message) in SYSTEM_ROLES] or None
    if tools or system:
        return [tools, system]
    if questions := [_content(message) for message in messages if _role(message) == "user"]:
        return [questions[0]]
    prompt = next((body[name] for name in ("input", "prompt") if body.get(name)), None)
    return [] if prompt is None else [prompt[:LONGEST_PROMPT] if isinstance(prompt, str | list) else prompt]


def _role(message: Any) -> Any:
    return message.get("role") if isinstance(message, dict) else None


def _content(message: Any) -> Any:
    """Return a message's content; a single part of text is that text."""
    content = message.get("content")
    match content:
        case [{"text": str(text)}]:
            return text
    return content
