"""The child process that checks and reads the tools of a server's clients, and calls the example tools for them."""

from __future__ import annotations

import dataclasses
import re
from typing import Any

from edgefc.errors import EdgefcError, ToolError
from edgefc.grammar import compile_calls
from edgefc.lint import lint_tools
from edgefc.sandbox.process import serve
from edgefc.tools import ToolSet
from edgefc.tools.examples import EXAMPLE_TOOLS
from edgefc.tools.python_source import read_functions
from edgefc.tools.run import run_tool


def answer(question: Any) -> dict[str, Any]:
    """Return the response of /tools/lint, /tools/read or /tools/run, or its error."""
    tasks = {"lint": _lint, "read": _read, "run": _run}
    try:
        return tasks[question["task"]](question)
    except EdgefcError as error:
        return {"error": error.reason, "hint": error.hint}


def _lint(question: Any) -> dict[str, Any]:
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


def _read(question: Any) -> dict[str, Any]:
    """Return the tools in an OpenAPI document, as JSON or YAML, or in the source of Python functions."""
    text: str = question["source"]
    if not re.search(r"^\s*\{|^openapi\s*:|^swagger\s*:", text, re.MULTILINE) or re.search(
        r"^(?:async )?def ", text, re.MULTILINE
    ):
        return {"tools": [tool.schema for tool in read_functions(text)], "omitted": []}
    from edgefc.openapi.document import read_text
    from edgefc.openapi.tools import TIMEOUT, OpenApiTools
    from edgefc.tools.remote import MAX_RESULT

    document = read_text(text)
    with OpenApiTools(document, allow_writes=True, reserved=(), max_result=MAX_RESULT, timeout=TIMEOUT) as tools:
        omitted = [{"name": each.tool, "reason": each.reason} for each in tools.omitted]
        return {"tools": [tool.schema for tool in tools], "omitted": omitted}


def _run(question: Any) -> dict[str, Any]:
    """Return the result of an example tool, as a model would read it."""
    for tool in EXAMPLE_TOOLS:
        if tool.name == question["name"]:
            return {"content": run_tool(tool, question["arguments"])}
    names = ", ".join(tool.name for tool in EXAMPLE_TOOLS)
    raise ToolError(f"there is no example tool {question['name']!r}", f"There are {names}.")


if __name__ == "__main__":
    serve(answer)
