r"""Tags around parameters, such as `<parameter=NAME>\nVALUE\n</parameter>\n` and `<param name="NAME">VALUE</param>`."""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from edgefc.errors import FormatError
from edgefc.grammar.rules import ControlToken, Node, lexeme
from edgefc.types import OutputSyntax

CDATA_BEGIN, CDATA_END = "<![CDATA[", "]]>"


@dataclass(frozen=True, slots=True)
class Tags:
    """The text around the name and the value of a parameter.

    head      before the name
    between   between name and value
    end       after the value
    special   characters with which a string stands between the marks of CDATA; "": there are no such marks
    separator  between the strings of an array, each of which ends as a value does; "": such an array is JSON
    """

    head: str
    between: str
    end: str
    special: str = ""
    separator: str = ""

    @property
    def mark(self) -> str:
        """The text that ends a value, without the white space behind it."""
        return self.end.rstrip()

    @property
    def tag(self) -> str:
        """The closing tag: the mark without a line break before it, which models leave out without a grammar."""
        return self.mark.lstrip()

    def needs_cdata(self, text: str) -> bool:
        """Return whether a string stands between the marks of CDATA."""
        return any(char in text for char in self.special)

    def is_text_list(self, value: Any) -> bool:
        """Return whether an array is written as its strings, each ended as a value is. All others are JSON."""
        return bool(
            self.separator
            and isinstance(value, list)
            and value
            and all(isinstance(item, str) and self._can_be_item(item) for item in value)
        )

    def _can_be_item(self, text: str) -> bool:
        return bool(text) and self.mark not in text and not text.startswith(self.item_heads)

    @property
    def item_heads(self) -> tuple[str, str]:
        """Beginnings that a string of an array must not have: one reads like the end of a value, one like JSON."""
        return self.tag, "["


def tags_of(syntax: OutputSyntax) -> Tags:
    """Return the tags of a family's parameters. Raises FormatError."""
    return _tags(syntax.parameter, syntax.cdata, syntax.list_separator)


@functools.lru_cache(maxsize=64)
def _tags(parameter: str, special: str, separator: str) -> Tags:
    head, name, rest = parameter.partition("{name}")
    between, value, end = rest.partition("{value}")
    if not (head and name and between and value and end.strip()):
        raise FormatError("calls.parameter must contain {name} and {value} with text before, between and after them")
    if separator and (special or separator.strip() or head.startswith(separator[:1])):
        raise FormatError(
            "calls.list_separator must be white space that calls.parameter does not begin with, without calls.cdata"
        )
    return Tags(head, between, end, special, separator)


def lexemes(text: str, control: Mapping[str, int]) -> list[Node]:
    """Split fixed text into lexemes; every control token is one of its own."""
    if not control:
        return [lexeme(text)] if text else []
    tokens = re.compile("(" + "|".join(map(re.escape, sorted(control, key=len, reverse=True))) + ")")
    return [
        ControlToken(part, control[part]) if part in control else lexeme(part) for part in tokens.split(text) if part
    ]
