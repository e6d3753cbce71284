"""`edgefc mcp`: the servers whose tools `--mcp` offers, and edgefc as a server."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.text import Text
from typer import Argument, Option

from edgefc.cli.console import count_of, err, out, print_json, print_table
from edgefc.cli.help import HelpfulCommand
from edgefc.cli.mcp_serve import serve
from edgefc.cli.mcp_tools import DEFAULT, file_of
from edgefc.cli.options import FamilyOption, JsonOption
from edgefc.errors import RequestError
from edgefc.terminal import single_line

if TYPE_CHECKING:
    from edgefc.lint import ToolReport
    from edgefc.mcp import McpTool, McpTools
    from edgefc.tools import ToolSet

app = typer.Typer(
    help="Servers whose tools a model may call: add, list, test, remove. And a server of its own: serve.",
    no_args_is_help=True,
)
ADD_EXAMPLES = """Examples:
  edgefc mcp add files -- npx -y @modelcontextprotocol/server-filesystem .
  edgefc mcp add wiki --url https://example.org/mcp"""

NameArgument = Annotated[str, Argument(metavar="NAME", help="The server's name.")]
OneNameArgument = Annotated[str | None, Argument(metavar="NAME", help="One server. Default: all.")]
FileOption = Annotated[
    Path, Option("--mcp", metavar="FILE", help="Another file than mcp.json of the configuration folder.")
]
CommandArgument = Annotated[list[str] | None, Argument(metavar="-- COMMAND …", help="The program and its arguments.")]
ServerUrlOption = Annotated[str | None, Option("--url", help="Streamable HTTP endpoint, instead of a command.")]
TokenizerOption = Annotated[
    str | None, Option("--model", "-m", help="Count prompt tokens with this model's tokenizer.")
]
PairsOption = Annotated[list[str] | None, Option("--env", metavar="NAME=VALUE", help="Variable of the program.")]
HeadersOption = Annotated[list[str] | None, Option("--header", metavar="NAME=VALUE", help="Header of each request.")]
AllowOption = Annotated[list[str] | None, Option("--allow", metavar="TOOL", help="Offer these tools only.")]
ForceOption = Annotated[bool, Option("--force", help="Replace a server of the same name.")]

app.command(cls=HelpfulCommand, epilog="Example:\n  edgefc mcp serve qwen2.5-1.5b")(serve)


@app.command(cls=HelpfulCommand, epilog=ADD_EXAMPLES)
def add(
    name: NameArgument,
    command: CommandArgument = None,
    url: ServerUrlOption = None,
    env: PairsOption = None,
    header: HeadersOption = None,
    allow: AllowOption = None,
    mcp: FileOption = DEFAULT,
    force: ForceOption = False,
) -> None:
    """Add a server to the file."""
    from edgefc.mcp.config import add_server

    server: dict[str, Any] = {}
    if command:
        server = {"command": command[0], "args": command[1:]}
    if url is not None:
        server["url"] = url
    for key, pairs in (("env", env), ("headers", header)):
        if pairs:
            server[key] = dict(map(_pair, pairs))
    if allow:
        server["allow"] = allow
    add_server(file_of(mcp), name, server, replace=force)
    err.print(single_line(f"{name} is in {file_of(mcp)}; `edgefc mcp test {name}` starts it"))


def _pair(text: str) -> tuple[str, str]:
    name, sign, value = text.partition("=")
    if not sign or not name:
        raise RequestError("mcp", f"must be NAME=VALUE, not {text!r}")
    return name, value


@app.command(cls=HelpfulCommand, epilog="Example:\n  edgefc mcp remove files")
def remove(name: NameArgument, mcp: FileOption = DEFAULT) -> None:
    """Remove a server from the file, and forget what you decided about its tools."""
    from edgefc.mcp import Approvals
    from edgefc.mcp.config import remove_server

    remove_server(file_of(mcp), name)
    forgotten = Approvals().forget(name)
    err.print(single_line(f"{name} is removed") + (f", with {count_of(forgotten, 'decision')}" if forgotten else ""))


@app.command("test", cls=HelpfulCommand, epilog="Example:\n  edgefc mcp test files")
def check(name: OneNameArgument = None, mcp: FileOption = DEFAULT) -> None:
    """Start servers and ask for their tools. Exits with 1 if one does not answer."""
    with _connect(mcp, name) as tools:
        found = list(tools)
        failed = {omission.server: omission.reason for omission in tools.omitted if not omission.tool}
        for server in tools.servers:
            number = sum(tool.config is server for tool in found)
            text = count_of(number, "tool") if number or server.name not in failed else failed[server.name]
            out.print(single_line(f"{server.name}: {text}"))
            if not number and server.name in failed:
                continue
            failed.pop(server.name, None)
    if failed:
        sys.exit(1)


@app.command("list", cls=HelpfulCommand, epilog="Example:\n  edgefc mcp list --model demo")
def list_tools(
    name: OneNameArgument = None,
    mcp: FileOption = DEFAULT,
    model: TokenizerOption = None,
    family: FamilyOption = None,
    as_json: JsonOption = False,
) -> None:
    """List servers and their tools: what the server says of each, findings, and tokens of the prompt."""
    from edgefc.lint import lint_tools
    from edgefc.mcp import Approvals

    counter: Callable[[ToolSet], int] | None = None
    if model:
        from edgefc.inspection import prompt_counter

        counter = prompt_counter(model, family)
    with _connect(mcp, name) as tools:
        found = list(tools)
        reports = lint_tools([tool.schema for tool in found], counter)
        if as_json:
            print_json(_list_data(tools, found, reports))
            return
        approvals = Approvals()
        rows: list[tuple[str, ...]] = [("server", "tool", "server says", "runs", "prompt", "findings")]
        rows += [_row(tool, report, approvals) for tool, report in zip(found, reports, strict=True)]
        if found:
            print_table(rows)
        for tool, report in zip(found, reports, strict=True):
            for problem in (*report.problems, *report.unenforced):
                out.print(single_line(f"{tool.name}: {problem['path']}: {problem['message']}"))
        for omission in tools.omitted:
            out.print(Text(single_line(f"{omission.tool or omission.server} is left out: {omission.reason}"), "yellow"))


def _row(tool: McpTool, report: ToolReport, approvals: Any) -> tuple[str, ...]:
    runs = approvals.decision(tool.source) or ("always" if tool.is_preapproved else "asks")
    tokens = "" if report.prompt_tokens is None else f"{report.prompt_tokens:,} tokens"
    findings = str(len(report.problems) + len(report.unenforced) or "")
    return tool.config.name, tool.name, tool.source.badge, runs, tokens, findings


def _list_data(tools: McpTools, found: list[McpTool], reports: list[ToolReport]) -> dict[str, Any]:
    """Return servers and tools as JSON values, without keys and headers."""
    listed = [
        {
            "server": tool.config.name,
            "description": tool.source.description,
            "read_only": tool.source.is_read_only,
            "destructive": tool.source.is_destructive,
            "fingerprint": tool.source.fingerprint,
            **dataclasses.asdict(report),
        }
        for tool, report in zip(found, reports, strict=True)
    ]
    servers = [{"name": server.name, "address": server.address} for server in tools.servers]
    return {"servers": servers, "tools": listed, "omitted": [dataclasses.asdict(one) for one in tools.omitted]}


def _connect(path: Path, name: str | None) -> McpTools:
    from edgefc.mcp import connect, read_config

    servers = read_config(file_of(path))
    chosen = [server for server in servers if name is None or server.name == name]
    if not chosen:
        known = ", ".join(server.name for server in servers)
        reason = f"no server {name!r} in {file_of(path)}" if name else f"no servers in {file_of(path)}"
        raise RequestError("mcp", reason, f"It has {known}." if known else "`edgefc mcp add` adds one.")
    return connect(chosen)
