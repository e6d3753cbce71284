"""`edgefc lint`: check tools before a model sees them."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.table import Table
from rich.text import Text

from edgefc.cli.options import out, print_json, tools_of
from edgefc.inspection import prompt_counter
from edgefc.lint import Problem, ToolReport, lint_tools
from edgefc.tools import as_tools, read_json_tools


def lint(tools: Path | None, *, model: str | None, family: str | None, strict: bool, as_json: bool) -> None:
    """Exit code 1 when a tool is refused or has another's name; with `strict` also for warnings."""
    # A file's tools are taken as they are: each gets its report, whatever is wrong with another.
    as_they_are = tools is not None and tools.suffix != ".py"
    offered: Sequence[Any] = read_json_tools(tools) if tools and as_they_are else as_tools(tools_of(tools)[0])[0]
    reports = lint_tools(offered, prompt_counter(model, family) if model else None)
    refused = sum(report.is_refused for report in reports)
    failed = refused > 0 or (strict and not all(report.is_clean for report in reports))
    if as_json:
        print_json({"ok": not failed, "tools": [dataclasses.asdict(report) for report in reports]})
    else:
        _show(reports, refused)
    if failed:
        sys.exit(1)


def _show(reports: list[ToolReport], refused: int) -> None:
    table = Table(box=None, pad_edge=False)
    for title in ("tool", "grammar", "compile", "prompt", "unenforced", "read otherwise"):
        table.add_column(title, justify="left" if title == "tool" else "right")
    for report in reports:
        table.add_row(
            Text(report.name),
            "refused" if report.grammar_bytes is None else f"{report.grammar_bytes:,} B",
            "" if report.compile_ms is None else f"{report.compile_ms:.1f} ms",
            "" if report.prompt_tokens is None else f"{report.prompt_tokens:,} tokens",
            str(len(report.unenforced) or ""),
            str(len(report.changes) or ""),
        )
    out.print(table)
    for report in reports:
        lines: list[tuple[str, Problem]] = [(p["level"], p) for p in report.problems]
        lines += [("unenforced", p) for p in report.unenforced] + [("read otherwise", p) for p in report.changes]
        for label, problem in lines:
            colour = "red" if label == "error" else "yellow"
            out.print(Text.assemble((f"{label}: ", colour), f"{problem['path']}: {problem['message']}"))
    warnings = sum(len(report.problems) for report in reports) - sum(
        problem["level"] == "error" for report in reports for problem in report.problems
    )
    listed = sum(len(report.unenforced) for report in reports)
    out.print(
        f"\n{len(reports)} tools, {refused} refused, {warnings} warnings, "
        f"{listed} keywords that are checked after decoding only."
    )
