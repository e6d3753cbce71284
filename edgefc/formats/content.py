"""Contents of messages as text: strings, parts in the spellings of several APIs, results as JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from edgefc.errors import FieldPath, RequestError
from edgefc.tools.schemas import list_of

TEXT_TYPES = {"text", "input_text", "output_text", "summary_text", "reasoning_text", "refusal"}
# Parts of past answers that say nothing in text: calls stand in fields of their own, and thoughts are dropped.
SILENT_TYPES = {
    "tool_use", "tool-call", "tool_call", "function_call", "thinking", "redacted_thinking", "reasoning",
    "redacted-reasoning", "server_tool_use", "step-start", "reasoning_content",
}  # fmt: skip
# Contents that a model of text cannot read; they are refused, not dropped.
_MEDIA = ("image", "audio", "video", "file", "document", "media")


def content_of(content: Any, path: FieldPath, *, role: str) -> str:
    """Return a message's content as text; parts are lines. Raises RequestError for media, and what is no text."""
    if isinstance(content, str):
        return encodable(content, path)
    if content is None and role != "user":
        return ""
    if role == "tool" and not _has_parts(content):
        return _json_text(content, path)
    if isinstance(content, Mapping) and list_of(content) is None:
        content = [content]
    parts = list_of(content)
    if parts is None:
        raise RequestError(path, "must be a string or a list of text parts")
    texts = [_part_text(part, (*path, number), role=role) for number, part in enumerate(parts)]
    return "\n".join(text for text in texts if text is not None)


def encodable(text: str, path: FieldPath) -> str:
    """Return the text if it can be written as UTF-8, else raise RequestError."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise RequestError(path, f"invalid text: half a surrogate pair at character {error.start}") from None
    return text


def type_of(part: Any) -> str:
    """Return the type of a content part; "text" where it has none, but text."""
    if not isinstance(part, Mapping):
        return ""
    kind = part.get("type")
    return kind if isinstance(kind, str) else "text" if kind is None and isinstance(part.get("text"), str) else ""


def _part_text(part: Any, path: FieldPath, *, role: str) -> str | None:
    """Return the text of one part; None: it has none."""
    if part is None:
        return None
    if isinstance(part, str):
        return encodable(part, path)
    kind = type_of(part)
    if role == "assistant" and kind in SILENT_TYPES:
        return None
    if kind not in TEXT_TYPES:
        raise RequestError(path, f"only parts of type text are supported, not {kind or type(part).__name__!r}")
    text = part.get("text", part.get("refusal"))
    if isinstance(text, Mapping):  # the Assistants API's
        text = text.get("value")
    if text is None:
        return None
    if not isinstance(text, str):
        raise RequestError((*path, "text"), "must be a string")
    return encodable(text, (*path, "text"))


def _has_parts(content: Any) -> bool:
    """Return whether a result is a part, or a list of them, and not just any JSON value."""
    parts = content if isinstance(content, list | tuple) else [content]
    kinds = [type_of(part) for part in parts]
    if any(kind.removeprefix("input_").startswith(_MEDIA) for kind in kinds):
        return True
    has_text = all(isinstance(part, str) or kind in TEXT_TYPES for part, kind in zip(parts, kinds, strict=True))
    return has_text and bool(parts) and any(kinds)


def _json_text(value: Any, path: FieldPath) -> str:
    """Return a result that is JSON as text; the AI SDK and MCP wrap text and values into objects."""
    if isinstance(value, Mapping):
        if value.get("type") in ("text", "json", "error-text", "error-json") and "value" in value:
            return content_of(value["value"], (*path, "value"), role="tool")
        inner = value.get("content")
        if value.keys() <= {"content", "isError", "structuredContent", "_meta"} and _has_parts(inner) and inner:
            return content_of(inner, (*path, "content"), role="tool")
    try:
        return encodable(json.dumps(value, ensure_ascii=False, allow_nan=False), path)
    except (TypeError, ValueError, RecursionError) as error:
        raise RequestError(path, f"cannot be written as JSON: {error}") from None
