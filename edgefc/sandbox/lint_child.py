"""The child process that checks the tools of a server's clients."""

from __future__ import annotations

import dataclasses
from typing import Any

from edgefc.lint import lint_tools
from edgefc.sandbox.process import serve


def answer(question: Any) -> dict[str, Any]:
    """Return the response of /tools/lint."""
    reports = lint_tools(question["tools"], on_unsupported=question["on_unsupported"])
    is_ok = not any(report.is_refused for report in reports)
    return {"ok": is_ok, "tools": [dataclasses.asdict(report) for report in reports]}


if __name__ == "__main__":
    serve(answer)
