"""Reads calls that do not follow their family's syntax, as models write them without a grammar.

Only finished answers are read this way, and only text that is plainly a call of an existing tool; the rest stays text.
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
    """Return calls of the named tools, `{"name", "arguments"}`, in tags, fences, bare JSON or Python's spelling of it.

    Empty when there is none, or when one of the candidates is not a call.
    """
    if len(text) > MAX_TEXT:
        return []
    for candidates in _readings(text.strip()):
        if calls := _all_calls(candidates, names):
            return calls
    return []


def _readings(text: str) -> Iterator[list[str]]:
    """Yield, for each way of writing calls, the texts that may each be a call or a list of calls."""
    for pattern in (_TAGGED, _FENCE):
        if found := pattern.findall(text):
            yield found
    body = text.rpartition("</think>")[2].strip()
    for mark in ("[TOOL_CALLS]", "<|python_tag|>", "```json", "```"):
        body = body.removeprefix(mark).removesuffix("```").strip()
    yield [body]
    if ";" in body:
        yield [part for part in re.split(r"(?<=\})\s*;\s*(?=\{)", body) if part]


def _all_calls(candidates: list[str], names: Collection[str]) -> list[dict[str, Any]]:
    """Return the calls of all candidates; empty when one of them is not a call."""
    calls: list[dict[str, Any]] = []
    for candidate in candidates:
        value = _parse_value(candidate)
        items = [_parse_call(item, names) for item in (value if isinstance(value, list) else [value])]
        if not items or None in items:
            return []
        calls += [call for call in items if call is not None]
    return calls


def _parse_value(text: str) -> Any:
    """Parse JSON, or Python's literals; None for anything else."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        try:
            value = ast.literal_eval(text)
        except (ValueError, SyntaxError, RecursionError, MemoryError, TypeError):
            return None
    return value["tool_calls"] if isinstance(value, dict) and isinstance(value.get("tool_calls"), list) else value


def _parse_call(item: Any, names: Collection[str]) -> dict[str, Any] | None:
    if isinstance(item, dict) and isinstance(item.get("function"), dict):
        item = item["function"]
    if not isinstance(item, dict) or not isinstance(item.get("name"), str) or item["name"] not in names:
        return None
    arguments = item.get("arguments", item.get("parameters", {}))
    if isinstance(arguments, str):
        arguments = _parse_value(arguments)
    if not isinstance(arguments, dict):
        return None
    try:
        json.dumps(arguments, allow_nan=False)
    except (TypeError, ValueError):
        return None
    return {"name": item["name"], "arguments": arguments}
