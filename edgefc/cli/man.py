"""`edgefc man`: the manual as a man page, made from the help texts of all commands."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from typing import Any

import typer

from edgefc._version import __version__

_ESCAPES = {"\\": r"\e", "-": r"\-", "`": r"\(ga", "'": r"\(aq", "^": r"\(ha"}


def man(context: typer.Context) -> None:
    """Print the manual as a man page, made from the help of all commands."""
    typer.echo("\n".join(page_lines(context.find_root())))


def page_lines(root: Any) -> Iterator[str]:
    """Yield the lines of the page, in the language of man(7). `root` is the context of the program."""
    program = root.command
    yield f'.TH EDGEFC 1 "" "edgefc {__version__}" "edgefc"'
    yield ".SH NAME"
    yield rf"edgefc \- {_escaped(_first_line(program.help))}"
    yield ".SH SYNOPSIS"
    yield r"\fBedgefc\fR [\fIOPTIONS\fR] \fICOMMAND\fR [\fIARGUMENTS\fR]"
    yield ".SH DESCRIPTION"
    yield _escaped(_first_line(program.help))
    yield from _literal(program.epilog or "")
    yield ".SH OPTIONS"
    yield from _parameters(root)
    yield ".SH COMMANDS"
    yield from _commands(root, "edgefc")


def _commands(context: Any, name: str) -> Iterator[str]:
    for key in context.command.list_commands(context):
        command = context.command.get_command(context, key)
        if command is None or command.hidden:
            continue
        own = type(context)(command, info_name=key, parent=context)
        words = " ".join(command.collect_usage_pieces(own))
        yield f".SS {_escaped(f'{name} {key} {words}')}"
        for paragraph in inspect.cleandoc(command.help or "").split("\n\n"):
            yield ".PP"
            yield _escaped(" ".join(paragraph.split()))
        yield from _parameters(own)
        yield from _literal(command.epilog or "")
        if hasattr(command, "list_commands"):
            yield from _commands(own, f"{name} {key}")


def _parameters(context: Any) -> Iterator[str]:
    for parameter in context.command.get_params(context):
        record = parameter.get_help_record(context)
        if record is not None and record[1]:
            names, text = record
            yield ".TP"
            yield rf"\fB{_escaped(names.strip())}\fR"
            yield _escaped(" ".join(text.split()))


def _literal(text: str) -> Iterator[str]:
    """Yield a text line by line, as it is."""
    if text.strip():
        yield from (".PP", ".nf", *map(_escaped, text.strip().splitlines()), ".fi")


def _first_line(text: str | None) -> str:
    return (text or "").strip().partition("\n")[0]


def _escaped(text: str) -> str:
    r"""Return text without meaning for roff. A hyphen alone would become a typographic one, which no shell knows."""
    text = "".join(_ESCAPES.get(each, each if each.isascii() else rf"\[u{ord(each):04X}]") for each in text)
    return rf"\&{text}" if text.startswith(".") else text
