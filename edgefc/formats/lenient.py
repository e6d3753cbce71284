"""Calls in answers that do not follow their family's syntax, as models give them when no grammar holds them to it.

Only whole answers are read so, and only what is plainly a call of a tool that exists: text stays text.
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Collection, Iterator
from typing import Any

_FENCE = re.compile(r"```[a-z]*\n?(.*?)```", re.DOTALL)
_TAGGED = re.compile(r"<tool_call>\s*(.*?)\s*(?:</tool_call>|\Z)", re.DOTALL)
MAX_TEXT = 1 << 20


def lenient_calls(text: str, names: Collection[str]) -> list[dict[str, Any]]:
    """Calls of these tools, `{"name", "arguments"}`, found in tags, fences, bare JSON or Python's spelling of it.

    Empty when there is none, or when something among them is no call.
    """
    if len(text) > MAX_TEXT:
        return []
    for candidates in _readings(text.strip()):
        calls: list[dict[str, Any]] = []
        for candidate in candidates:
            value = _value(candidate)
            items = value if isinstance(value, list) else [value]
            found = [_call(item, names) for item in items]
            if not found or None in found:
                break
            calls += [call for call in found if call is not None]
        else:
            if calls:
                return calls
    return []


def _readings(text: str) -> Iterator[list[str]]:
    """Texts that may each be a call or a list of calls, by the ways a model may have written them."""
    for pattern in (_TAGGED, _FENCE):
        if found := pattern.findall(text):
            yield found
    body = text.rpartition("</think>")[2].strip()
    for mark in ("[TOOL_CALLS]", "<|python_tag|>", "```json", "```"):
        body = body.removeprefix(mark).removesuffix("```").strip()
    yield [body]
    if ";" in body:
        yield [part for part in re.split(r"(?<=\})\s*;\s*(?=\{)", body) if part]


def _value(text: str) -> Any:
    """JSON, or Python's own spelling; None for anything else."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        try:
            value = ast.literal_eval(text)
        except (ValueError, SyntaxError, RecursionError, MemoryError, TypeError):
            return None
    return value["tool_calls"] if isinstance(value, dict) and isinstance(value.get("tool_calls"), list) else value


def _call(item: Any, names: Collection[str]) -> dict[str, Any] | None:
    if isinstance(item, dict) and isinstance(item.get("function"), dict):
        item = item["function"]
    if not isinstance(item, dict) or item.get("name") not in names:
        return None
    arguments = item.get("arguments", item.get("parameters", {}))
    if isinstance(arguments, str):
        arguments = _value(arguments)
    if not isinstance(arguments, dict):
        return None
    try:
        json.dumps(arguments, allow_nan=False)
    except (TypeError, ValueError):
        return None
    return {"name": item["name"], "arguments": arguments}
