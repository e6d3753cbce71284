"""The child process that checks the tools of a server's clients."""

from __future__ import annotations

import dataclasses
from typing import Any

from edgefc.errors import EdgefcError
from edgefc.grammar import compile_calls
from edgefc.lint import lint_tools
from edgefc.sandbox.process import serve
from edgefc.tools import ToolSet


def answer(question: Any) -> dict[str, Any]:
    """Return the response of /tools/lint."""
    reports = lint_tools(question["tools"], on_unsupported=question["on_unsupported"])
    is_ok = not any(report.is_refused for report in reports)
    found = {"ok": is_ok, "tools": [dataclasses.asdict(report) for report in reports]}
    if question["grammar"]:
        found["grammar"] = _grammar_of(question["tools"], question["on_unsupported"]) if is_ok else None
    return found


def _grammar_of(tools: list[Any], on_unsupported: str) -> str | None:
    """Return the GBNF of calls of all these tools, "" without tools; None if they are too much together."""
    if not tools:
        return ""
    try:
        return compile_calls(ToolSet.of(tools).as_functions(), check_patterns=on_unsupported == "check").gbnf
    except EdgefcError:
        return None


if __name__ == "__main__":
    serve(answer)
