"""`edgefc openapi`: the operations that `--openapi` offers."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any

from rich.text import Text
from typer import Argument, Option

from edgefc.cli.console import count_of, err, out, print_json, print_table
from edgefc.cli.mcp import TokenizerOption
from edgefc.cli.mcp_tools import left_out
from edgefc.cli.options import AllowHostOption, AllowWritesOption, FamilyOption, JsonOption
from edgefc.terminal import single_line

if TYPE_CHECKING:
    from edgefc.lint import ToolReport
    from edgefc.openapi import OpenApiTool
    from edgefc.tools import ToolSet

ForgetOption = Annotated[bool, Option("--forget", help="Forget what you decided about its operations.")]
SourceArgument = Annotated[str, Argument(metavar="FILE|URL[#TAG]", help="An OpenAPI document, JSON or YAML.")]


def openapi(
    source: SourceArgument,
    allow_writes: AllowWritesOption = False,
    allow_host: AllowHostOption = None,
    model: TokenizerOption = None,
    family: FamilyOption = None,
    as_json: JsonOption = False,
    forget: ForgetOption = False,
) -> None:
    """List the operations of an OpenAPI document as tools: whether they ask, their keys, findings, prompt tokens."""
    from edgefc.lint import lint_tools
    from edgefc.openapi import connect
    from edgefc.tools.approval import Approvals

    counter: Callable[[ToolSet], int] | None = None
    if model:
        from edgefc.inspection import prompt_counter

        counter = prompt_counter(model, family)
    tools = connect(source, allow_writes=allow_writes, allow_hosts=allow_host or ())
    if forget:
        err.print(f"{count_of(Approvals().forget(tools.title), 'decision')} forgotten")
        return
    reports = lint_tools([tool.schema for tool in tools], counter)
    if as_json:
        listed = [_tool_data(tool, report) for tool, report in zip(tools, reports, strict=True)]
        omitted = [dataclasses.asdict(one) for one in tools.omitted]
        print_json({"title": tools.title, "tools": listed, "omitted": omitted})
        return
    approvals = Approvals()
    rows: list[tuple[str, ...]] = [("tool", "operation", "", "runs", "prompt", "findings")]
    rows += [_row(tool, report, approvals) for tool, report in zip(tools, reports, strict=True)]
    if tools:
        print_table(rows)
    for report in reports:
        for problem in (*report.problems, *report.unenforced):
            out.print(single_line(f"{report.name}: {problem['path']}: {problem['message']}"))
    for tool in tools:
        for variable in tool.missing_keys:
            out.print(Text(single_line(f"{tool.name} needs a key: export {variable}=…"), "yellow"))
    for line in left_out(tools):
        out.print(Text(single_line(line), "yellow"))


def _row(tool: OpenApiTool, report: ToolReport, approvals: Any) -> tuple[str, ...]:
    tokens = "" if report.prompt_tokens is None else f"{report.prompt_tokens:,} tokens"
    findings = str(len(report.problems) + len(report.unenforced) or "")
    runs = approvals.decision(tool.source) or "asks"
    return tool.name, f"{tool.method} {tool.address}", tool.source.badge, runs, tokens, findings


def _tool_data(tool: OpenApiTool, report: ToolReport) -> dict[str, Any]:
    return {
        "method": tool.method,
        "address": tool.address,
        "description": tool.source.description,
        "parameters": tool.source.schema,
        "read_only": tool.source.is_read_only,
        "destructive": tool.source.is_destructive,
        "keys": list(tool.keys),
        "missing_keys": list(tool.missing_keys),
        "fingerprint": tool.source.fingerprint,
        **dataclasses.asdict(report),
    }
