"""The location at which a JSON document breaks off."""

from __future__ import annotations

import json
from dataclasses import dataclass

from edgefc.errors import FieldPath


@dataclass(slots=True)
class _Container:
    """An object or array that is not closed; `key` is the key or index of its current value."""

    is_object: bool
    key: str | int | None
    expects_key: bool


def open_path(text: str) -> FieldPath | None:
    """Return the path of the value that an incomplete JSON text breaks off in; None for a complete one."""
    stack: list[_Container] = []
    at, is_complete = 0, False
    while at < len(text):
        character = text[at]
        if character == '"':
            end = _string_end(text, at)
            if end is None:
                break
            if stack and stack[-1].is_object and stack[-1].expects_key:
                stack[-1].key, stack[-1].expects_key = _decoded(text[at:end]), False
            at = end
            continue
        if character == "{":
            stack.append(_Container(is_object=True, key=None, expects_key=True))
        elif character == "[":
            stack.append(_Container(is_object=False, key=0, expects_key=False))
        elif character in "}]" and stack:
            stack.pop()
            is_complete = not stack
        elif character == "," and stack:
            top = stack[-1]
            if top.is_object:
                top.key, top.expects_key = None, True
            elif isinstance(top.key, int):
                top.key += 1
        at += 1
    return None if is_complete else tuple(container.key for container in stack if container.key is not None)


def _string_end(text: str, start: int) -> int | None:
    """Return the offset after a string, or None if it breaks off."""
    at = start + 1
    while at < len(text):
        if text[at] == "\\":
            at += 2
        elif text[at] == '"':
            return at + 1
        else:
            at += 1
    return None


def _decoded(text: str) -> str:
    try:
        return str(json.loads(text, strict=False))
    except ValueError:
        return text[1:-1]
