r"""Patterns that no automaton has, checked on finished texts by the `regex` package.

ECMA-262's `\d`, `\w`, `\s` and `\b` know ASCII's letters and digits, `$` is the very end; the rest is spelled alike.
"""

from __future__ import annotations

import functools
import re
from typing import Any

import regex

MAX_LENGTH = 4096
MAX_SIZE = 20_000  # characters and classes of a pattern whose repetitions are written out, as the package compiles them
TIMEOUT_S = 0.2  # of one check; a pattern such as (a|aa)+ may need any time
_WORD = "0-9A-Za-z_"
_SPACE = r"\t-\r \xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000\ufeff"
_CLASSES = {"d": "0-9", "w": _WORD, "s": _SPACE}
_BOUNDARY = f"(?:(?<=[{_WORD}])(?![{_WORD}])|(?<![{_WORD}])(?=[{_WORD}]))"
_NO_BOUNDARY = f"(?:(?<=[{_WORD}])(?=[{_WORD}])|(?<![{_WORD}])(?![{_WORD}]))"
_ESCAPE = re.compile(r"\\u\{([0-9A-Fa-f]{1,6})\}|\\k<(\w+)>|\\(.)", re.DOTALL)


class NotCheckableError(Exception):
    """A pattern that the regex package does not have either, or a text for which it takes too long."""


def is_valid(pattern: str) -> bool:
    """Return whether texts can be checked against a pattern."""
    try:
        _compile(pattern)
    except NotCheckableError:
        return False
    return True


def matches(pattern: str, text: str) -> bool:
    """Return whether a text contains a match of an ECMA-262 pattern. Raises NotCheckableError."""
    try:
        return _compile(pattern).search(text, timeout=TIMEOUT_S, concurrent=True) is not None
    except TimeoutError:
        raise NotCheckableError(f"matching takes more than {TIMEOUT_S} s") from None


@functools.lru_cache(maxsize=256)
def _compile(pattern: str) -> Any:
    if len(pattern) > MAX_LENGTH:
        raise NotCheckableError(f"longer than {MAX_LENGTH} characters")
    if _size(pattern) > MAX_SIZE:
        raise NotCheckableError("its counts are too large")
    try:
        return regex.compile(_translated(pattern), regex.V0 | regex.UNICODE)
    except (regex.error, RecursionError, OverflowError, ValueError, MemoryError) as error:
        raise NotCheckableError(str(error)) from None


_PART = re.compile(r"\\.|\[\^?\]?(?:\\.|[^\]\\])*\]|\{(\d+)(?:,(\d*))?\}|.", re.DOTALL)


def _size(pattern: str) -> int:
    """Return about how many characters and classes a pattern has once its counted repetitions are written out."""
    sizes, last = [0], 0
    for part in _PART.finditer(pattern):
        if part[1] is not None:
            count = max(int(part[1]), int(part[2] or 0), 1)
            sizes[-1] += last * (count - 1)
            last *= count
        elif part[0] == "(":
            sizes.append(0)
        elif part[0] == ")" and len(sizes) > 1:
            last = sizes.pop()
            sizes[-1] += last
        else:
            last = 1
            sizes[-1] += 1
    return sum(sizes)


def _translated(pattern: str) -> str:
    """Return the pattern in the regex package's spelling."""
    parts: list[str] = []
    position, in_class = 0, False
    while position < len(pattern):
        if match := _ESCAPE.match(pattern, position):
            parts.append(_escape(match, in_class=in_class))
            position = match.end()
            continue
        character = pattern[position]
        if not in_class and character == "$":
            character = r"\Z"
        elif not in_class and character == "[":
            in_class = True
            if (empty := pattern[position : position + 3]) == "[^]" or empty[:2] == "[]":
                in_class, position = False, position + (2 if empty == "[^]" else 1)
                character = r"(?s:.)" if empty == "[^]" else "(?!)"
        elif in_class and character == "[":
            character = r"\["
        elif character == "]":
            in_class = False
        parts.append(character)
        position += 1
    return "".join(parts)


def _escape(match: re.Match[str], *, in_class: bool) -> str:
    code, group, letter = match.groups()
    if code is not None:
        return re.escape(chr(int(code, 16))) if int(code, 16) <= 0x10FFFF else match[0]
    if group is not None:
        return f"(?P={group})"
    if letter.lower() in _CLASSES:
        inner = _CLASSES[letter.lower()]
        if letter.islower():
            return inner if in_class else f"[{inner}]"
        return match[0] if in_class else f"[^{inner}]"
    if letter in "bB" and not in_class:
        return _BOUNDARY if letter == "b" else _NO_BOUNDARY
    if letter in "AZzGhHmMKLRXgyYe":  # have a meaning here, but none in ECMA-262
        return re.escape(letter)
    return match[0]
