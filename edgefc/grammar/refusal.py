"""The reason why edgefc refuses a tool of somebody else."""

from __future__ import annotations

import json

from edgefc.cache import TextCache
from edgefc.errors import EdgefcError
from edgefc.grammar.calls import compile_calls
from edgefc.tools import ToolSet
from edgefc.types import Tool

# Reasons, "" for none, by a tool's definition as JSON: a long list is compiled once.
_reasons: TextCache[str] = TextCache(lambda reason: 256 + len(reason))


def refusal_of(tool: Tool) -> str:
    """Return the reason why edgefc refuses a tool; "" if it does not."""
    return _reasons.get(json.dumps(tool), lambda: _compile(tool))


def _compile(tool: Tool) -> str:
    try:
        compile_calls(ToolSet.of([tool]))
    except EdgefcError as error:
        located = error.at(*error.path[2:]) if isinstance(getattr(error, "path", None), tuple) else error  # type: ignore[attr-defined]
        return str(located).partition("\n")[0]
    return ""
