"""Messages and tools → prompt, in which content can never become a control token."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from edgefc.errors import FormatError
from edgefc.formats.occurrences import Occurrences
from edgefc.formats.templates import Template

# Private-use characters; the first that the conversation does not contain becomes the mark.
_MARKS = [chr(code) for code in range(0xE0F0, 0xE0FF)]


@dataclass(frozen=True, slots=True)
class Prompt:
    """A rendered prompt.

    text  the exact text for the model
    cuts  positions (in characters) at which the text must be cut before it is tokenized: each lies inside content
          that reads like a special token
    """

    text: str
    cuts: tuple[int, ...] = ()

    @property
    def pieces(self) -> list[str]:
        """The text between the cuts."""
        bounds = [0, *self.cuts, len(self.text)]
        return [self.text[a:b] for a, b in pairwise(bounds) if a < b]


def render_template(
    template: Template, content: Mapping[str, Any], special_tokens: Iterable[str], **variables: Any
) -> Prompt:
    """Render a template, with a cut inside every piece of content that reads like a special token.

    content    variables with text from users, tools and schemas
    variables  all others, which need no cuts

    Each occurrence of a special token's text in `content` gets a mark after its first character before rendering; the
    marks are then removed from the result and their positions become the cuts. Whatever the template does with a
    string, the text is byte for byte the same as without marks.
    """
    occurrences = _occurrences(frozenset(special_tokens))
    starts = {text: found for text in _strings(content) if (found := occurrences.starts(text))}
    if not starts:
        return Prompt(template.render(**content, **variables))
    mark = _unused_mark(content)
    try:
        marked = _map_strings(content, lambda text: _insert(text, starts.get(text, ()), mark))
    except RecursionError:
        raise FormatError("the conversation or a tool is nested too deeply to be rendered") from None
    rendered = template.render(**marked, **variables)
    # A template that writes JSON in ASCII has written the mark as an escape.
    parts = re.split(f"{mark}|{re.escape(_ascii_escape(mark))}", rendered)
    cuts: list[int] = []
    for part in parts[:-1]:
        cuts.append((cuts[-1] if cuts else 0) + len(part))
    return Prompt("".join(parts), tuple(cuts))


@functools.lru_cache(maxsize=8)
def _occurrences(special_tokens: frozenset[str]) -> Occurrences:
    # A token of one character cannot be cut; no family has one. Runs of white space, of which Gemma has tokens as well,
    # mean nothing to a model but themselves.
    return Occurrences(text for text in special_tokens if len(text) > 1 and not text.isspace())


def _insert(text: str, starts: Sequence[int], mark: str) -> str:
    """Insert the mark after each character at one of these positions."""
    bounds = [0, *(start + 1 for start in starts), len(text)]
    return mark.join(text[a:b] for a, b in pairwise(bounds))


def _ascii_escape(mark: str) -> str:
    return f"\\u{ord(mark):04x}"


def _unused_mark(content: Any) -> str:
    for mark in _MARKS:
        if not any(mark in text or _ascii_escape(mark) in text for text in _strings(content)):
            return mark
    raise FormatError("the conversation contains every private-use character that could mark special tokens")


def _strings(value: Any) -> Iterable[str]:
    """Yield all strings of a JSON value, keys too."""
    stack = [value]
    while stack:
        item = stack.pop()
        if isinstance(item, str):
            yield item
        elif isinstance(item, Mapping):
            stack.extend(item.keys())
            stack.extend(item.values())
        elif isinstance(item, list | tuple):
            stack.extend(item)


def _map_strings(value: Any, change: Callable[[str], str]) -> Any:
    """Return a JSON value with all strings changed, keys too."""
    if isinstance(value, str):
        return change(value)
    if isinstance(value, Mapping):
        return {change(key): _map_strings(item, change) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_map_strings(item, change) for item in value]
    return value
