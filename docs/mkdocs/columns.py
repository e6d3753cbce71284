"""A griffe extension that turns docstrings' columns of names and descriptions into Markdown lists."""

from __future__ import annotations

import re
from typing import Any

import griffe

_FIRST = re.compile(r"(?P<name>[A-Za-z_]\w*(?:, \w+)*(?: …)?) {2,}(?=\S)")
_NAME = re.compile(r"[A-Za-z_]\w*(?:, \w+)*(?: …)?")


class Columns(griffe.Extension):
    """Rewrites every docstring."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        if obj.docstring is not None:
            obj.docstring.value = with_lists(obj.docstring.value)


def with_lists(text: str) -> str:
    """Return a docstring whose columns are lists; `column` is where the descriptions of a block begin."""
    lines: list[str] = []
    column = 0
    for line in text.splitlines():
        first = _FIRST.match(line)
        if column and line[:column].strip() == "" and line.strip():
            lines.append(f"    {line.strip()}")
        elif column and line[column - 1 : column] == " " and _NAME.fullmatch(line[:column].strip()):
            lines.append(f"- `{line[:column].strip()}`: {line[column:]}")
        elif first is not None:
            column = first.end()
            lines += ["", f"- `{first['name']}`: {line[column:]}"]
        else:
            column = 0
            lines.append(line)
    return "\n".join(lines)
