"""`edgefc lint`: check tools before a model sees them."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from rich.text import Text
from typer import Option

from edgefc.cli.console import LONGEST_CELL, count_of, guard_stdout, out, print_json
from edgefc.cli.options import (
    AllowHostOption,
    AllowWritesOption,
    FamilyOption,
    JsonOption,
    McpOption,
    OpenApiOption,
    QuestionOptions,
    ToolsArgument,
    tools_from,
)
from edgefc.terminal import single_line

if TYPE_CHECKING:
    from edgefc.lint import Problem, ToolReport
    from edgefc.tools import ToolSet

TokenizerOption = Annotated[
    str | None, Option("--model", "-m", help="Count prompt tokens with this model's tokenizer.")
]
LintUnsupportedOption = Annotated[
    Literal["refuse", "check"],
    Option("--on-unsupported", help="Patterns that no automaton has: refuse them, or list them as checked later."),
]
StrictOption = Annotated[bool, Option("--strict", help="Fail on warnings and unenforced keywords, too.")]


def lint(
    tools: ToolsArgument = None,
    mcp: McpOption = None,
    openapi: OpenApiOption = None,
    allow_writes: AllowWritesOption = False,
    allow_host: AllowHostOption = None,
    model: TokenizerOption = None,
    family: FamilyOption = None,
    strict: StrictOption = False,
    on_unsupported: LintUnsupportedOption = "refuse",
    as_json: JsonOption = False,
) -> None:
    """Check tools without running a model: errors, keywords that no grammar enforces, and costs."""
    from edgefc.lint import lint_tools

    counter = _prompt_counter(model, family) if model else None
    if mcp is None and not openapi:
        found = _unchecked_tools(tools)
    else:
        options = QuestionOptions(
            tools=tools, mcp=mcp, openapi=openapi, allow_writes=allow_writes, allow_host=allow_host
        )
        found = options.toolset()
    reports = lint_tools(found, counter, on_unsupported=on_unsupported)
    refused = sum(report.is_refused for report in reports)
    failed = refused > 0 or (strict and not all(report.is_clean for report in reports))
    if as_json:
        print_json({"ok": not failed, "tools": [dataclasses.asdict(report) for report in reports]})
    else:
        _print_table(reports)
        for report in reports:
            _print_problems(report)
        _print_summary(reports, refused)
    if failed:
        sys.exit(1)


def _prompt_counter(model: str, family: str | None) -> Callable[[ToolSet], int]:
    """Load a tokenizer, which takes the time of importing llama.cpp."""
    from edgefc.inspection import prompt_counter

    return prompt_counter(model, family)


def _unchecked_tools(path: Path | None) -> Sequence[Any]:
    """Read tools without checking them, so that each gets its report, whatever is wrong with another."""
    from edgefc.tools import read_json_tools, read_python_tools

    if path is None or not path.is_file() or path.suffix != ".py":
        return tools_from(None) if path is None else read_json_tools(path)
    guard_stdout()  # a file may print when it is imported
    return read_python_tools(path)


def _print_table(reports: list[ToolReport]) -> None:
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for title in ("tool", "grammar", "compile", "prompt", "unenforced", "adjusted"):
        table.add_column(title, justify="left" if title == "tool" else "right")
    for report in reports:
        table.add_row(
            Text(single_line(report.name, limit=LONGEST_CELL)),
            "refused" if report.grammar_bytes is None else f"{report.grammar_bytes:,} B",
            "" if report.compile_ms is None else f"{report.compile_ms:.1f} ms",
            "" if report.prompt_tokens is None else f"{report.prompt_tokens:,} tokens",
            str(len(report.unenforced) or ""),
            str(len(report.changes) or ""),
        )
    out.print(table)


def _print_problems(report: ToolReport) -> None:
    labelled: list[tuple[str, Problem]] = [(problem["level"], problem) for problem in report.problems]
    labelled += [("unenforced", problem) for problem in report.unenforced]
    labelled += [("adjusted", problem) for problem in report.changes]
    for label, problem in labelled:
        colour = "red" if label == "error" else "yellow"
        out.print(Text.assemble((f"{label}: ", colour), single_line(f"{problem['path']}: {problem['message']}")))


def _print_summary(reports: list[ToolReport], refused: int) -> None:
    warnings = sum(problem["level"] != "error" for report in reports for problem in report.problems)
    unenforced = sum(len(report.unenforced) for report in reports)
    out.print(
        f"\n{count_of(len(reports), 'tool')}, {refused} refused, {count_of(warnings, 'warning')}, "
        f"{count_of(unenforced, 'keyword')} checked only after generation"
    )
