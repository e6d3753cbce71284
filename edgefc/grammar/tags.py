r"""Tags around parameters, such as `<parameter=NAME>\nVALUE\n</parameter>\n` and `<param name="NAME">VALUE</param>`."""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping
from dataclasses import dataclass

from edgefc.errors import FormatError
from edgefc.grammar.rules import ControlToken, Node, lexeme

CDATA_BEGIN, CDATA_END = "<![CDATA[", "]]>"


@dataclass(frozen=True, slots=True)
class Tags:
    """The text around the name and the value of a parameter.

    head      before the name
    between   between name and value
    end       after the value
    special   characters with which a string stands between the marks of CDATA; "": there are no such marks
    """

    head: str
    between: str
    end: str
    special: str = ""

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


@functools.lru_cache(maxsize=64)
def read_tags(parameter: str, special: str) -> Tags:
    """Return the tags of a template with {name} and, after it, {value}. Raises FormatError."""
    head, name, rest = parameter.partition("{name}")
    between, value, end = rest.partition("{value}")
    if not (head and name and between and value and end.strip()):
        raise FormatError("calls.parameter must contain {name} and {value} with text before, between and after them")
    return Tags(head, between, end, special)


def lexemes(text: str, control: Mapping[str, int]) -> list[Node]:
    """Split fixed text into lexemes; every control token is one of its own."""
    if not control:
        return [lexeme(text)] if text else []
    tokens = re.compile("(" + "|".join(map(re.escape, sorted(control, key=len, reverse=True))) + ")")
    return [
        ControlToken(part, control[part]) if part in control else lexeme(part) for part in tokens.split(text) if part
    ]
