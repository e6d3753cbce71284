"""Everything the program prints and asks: results on stdout, messages and questions on stderr."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NoReturn

from rich.console import Console
from rich.text import Text

from edgefc.errors import EdgefcError

if TYPE_CHECKING:
    from edgefc.types import Delta

LONGEST_RESULT = 300  # characters of a tool's result that are printed

out = Console(highlight=False, soft_wrap=True, emoji=False)
err = Console(stderr=True, highlight=False, soft_wrap=True, emoji=False)


def print_error(error: EdgefcError) -> None:
    """Print an error and its hint."""
    first, _, hint = str(error).partition("\n")
    err.print(Text(f"error: {first}", style="red"))
    if hint:
        err.print(hint, markup=False)


def fail(error: EdgefcError) -> NoReturn:
    """Print an error and exit with 2."""
    print_error(error)
    sys.exit(2)


def print_json(value: Any) -> None:
    """Print a value as JSON, indented on a terminal."""
    write(json.dumps(value, ensure_ascii=False, indent=2 if sys.stdout.isatty() else None) + "\n")


def print_json_line(value: Any) -> None:
    """Print a value as one line of JSON."""
    write(json.dumps(value, ensure_ascii=False) + "\n")


def write(text: str) -> None:
    """Write text to stdout as it is, without wrapping or styles."""
    sys.stdout.write(text)
    sys.stdout.flush()


def count_of(number: int, noun: str, plural: str = "") -> str:
    """Write a number with its noun, such as "1 tool" or "2 tools"."""
    return f"{number} {noun if number == 1 else plural or f'{noun}s'}"


def print_table(rows: Sequence[tuple[str, ...]]) -> None:
    """Print rows in aligned columns; the first row is the header."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        out.print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip(), markup=False)


def print_delta(delta: Delta) -> None:
    """Print the text of a streamed delta. Every word of a model reaches the terminal through this function."""
    if text := delta.get("content"):
        out.print(text, end="", markup=False)


def print_call(name: str, arguments: dict[str, Any]) -> None:
    """Print a tool call as Python would write it."""
    written = ", ".join(f"{key}={json.dumps(value, ensure_ascii=False)}" for key, value in arguments.items())
    out.print(Text(f"  → {name}({written})", style="cyan"))


def print_result(_name: str, _arguments: dict[str, Any], result: str) -> None:
    """Print a tool's result, shortened if it is long."""
    short = result if len(result) <= LONGEST_RESULT else f"{result[:LONGEST_RESULT]}… ({len(result):,} characters)"
    out.print(Text(f"  ← {short}", style="dim"))


def confirm(question: str) -> bool:
    """Ask a yes-or-no question on the terminal; any answer but yes is no."""
    return err.input(f"{question} [y/N] ", markup=False).strip().lower() in {"y", "yes"}


def call_approval(*, ask: bool) -> Callable[[str, dict[str, Any]], bool]:
    """Return a callback that prints a call and decides whether it may run.

    With `ask` the user decides; without a terminal to ask on, the call is refused.
    """

    def approve(name: str, arguments: dict[str, Any]) -> bool:
        print_call(name, arguments)
        if not ask:
            return True
        if not sys.stdin.isatty():
            err.print("  not run: no terminal to ask for approval; --yes runs tools without asking")
            return False
        return confirm("  Run it?")

    return approve
