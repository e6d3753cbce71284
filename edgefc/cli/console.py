"""Everything the program prints and asks: results on stdout, messages and questions on stderr.

All text passes `edgefc.terminal.printable`, because much of it comes from files, tools and models: through `out` and
`err`, through `print_json`, and through the streams that `guard_stderr` and `guard_stdout` put before everybody else.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
from collections import deque
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, NoReturn, TextIO, cast

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.text import Text

from edgefc.errors import EdgefcError
from edgefc.terminal import PrintableStream, escape_json, has_all_characters, printable, single_line

if TYPE_CHECKING:
    from edgefc.chat.reply import Reply


class AnswerCutError(EdgefcError):
    """An answer that was cut off; the hint names the option that moves the limit."""

    code = "answer_cut"


LONGEST_RESULT = 300  # characters of a tool's result that are printed
LONGEST_CELL = 1000  # characters of a table's cell, or of a fact


class _SafeConsole(Console):
    """Prints text without control sequences but its own, and takes no markup from text.

    Lines are wrapped at words on a terminal, and nowhere else.
    """

    def __init__(self, *, stderr: bool = False) -> None:
        super().__init__(stderr=stderr, highlight=False, emoji=False, markup=False)

    def print(self, *objects: Any, soft_wrap: bool | None = None, **options: Any) -> None:
        super().print(*objects, soft_wrap=not self.file.isatty() if soft_wrap is None else soft_wrap, **options)

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        for segment in super().render(renderable, options):
            yield segment if segment.control else segment._replace(text=printable(segment.text))


out = _SafeConsole()
err = _SafeConsole(stderr=True)


def has_terminal(console: Console) -> bool:
    """Return True if a console prints to a terminal, whatever the environment says about colours."""
    return console.file.isatty()


def guard_stderr() -> None:
    """Make control characters visible in what libraries write to stderr; `err` writes to it directly."""
    if not isinstance(sys.stderr, PrintableStream):
        err.file = sys.stderr
        sys.stderr = PrintableStream(sys.stderr)


def guard_stdout() -> None:
    """Keep stdout for `out` and `write`: what a tool, a library or a child process writes there goes to stderr."""
    if isinstance(sys.stdout, PrintableStream):
        return
    sys.stdout.flush()
    stdout: TextIO = sys.stdout
    own = stdout  # if it is not a file, as in a program that embeds this one
    with contextlib.suppress(OSError, ValueError):
        descriptor = stdout.fileno()
        own = open(os.dup(descriptor), "w", encoding=stdout.encoding, errors=stdout.errors)  # noqa: SIM115, PTH123
        os.dup2(err.file.fileno(), descriptor)
    out.file = own
    sys.stdout = PrintableStream(stdout if own is not stdout else sys.stderr)


def close_output() -> None:
    """Close stdout after an error: what could not be written is not tried again when the program ends."""
    for file in (out.file, sys.__stdout__):
        with contextlib.suppress(OSError):
            if file is not None:
                file.close()


def print_error(error: EdgefcError) -> None:
    """Print an error and its hint."""
    reason = str(error).removesuffix(f"\n{error.hint}") if error.hint else str(error)
    err.print(Text(f"error: {single_line(reason)}", style="red"))
    if error.hint:
        err.print(error.hint)


def fail(error: EdgefcError) -> NoReturn:
    """Print an error and exit with 2."""
    print_error(error)
    sys.exit(2)


def print_json(value: Any) -> None:
    """Print a value as JSON, indented on a terminal."""
    _print_json(value, indent=2 if has_terminal(out) else None)


def print_json_line(value: Any) -> None:
    """Print a value as one line of JSON."""
    _print_json(value, indent=None)


def _print_json(value: Any, *, indent: int | None) -> None:
    is_ascii = not has_all_characters(cast("TextIO", out.file))
    _write(escape_json(json.dumps(value, ensure_ascii=is_ascii, indent=indent)) + "\n")


def write(text: str) -> None:
    """Write text to stdout without wrapping or styles: as it is to a file, made printable on a terminal."""
    _write(printable(text) if has_terminal(out) else text)


def _write(text: str) -> None:
    out.file.write(text)
    out.file.flush()


def count_of(number: int, noun: str, plural: str = "") -> str:
    """Write a number with its noun, such as "1 tool" or "2 tools"."""
    return f"{number} {noun if number == 1 else plural or f'{noun}s'}"


def print_table(rows: Sequence[tuple[str, ...]]) -> None:
    """Print rows in aligned columns; the first row is the header."""
    lines = [tuple(single_line(cell, limit=LONGEST_CELL) for cell in row) for row in rows]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        out.print("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())


def print_call(name: str, arguments: dict[str, Any], probability: float | None = None) -> None:
    """Print a tool call as Python would write it, and the probability of the model's choice of it."""
    written = ", ".join(
        f"{single_line(key)}={escape_json(json.dumps(value, ensure_ascii=False))}" for key, value in arguments.items()
    )
    mark = "" if probability is None else f"  {100 * probability:.0f} %"
    out.print(Text.assemble((f"  → {single_line(name)}({written})", "cyan"), (mark, "dim")))


def print_result(_name: str, _arguments: dict[str, Any], result: str) -> None:
    """Print a tool's result on one line, shortened if it is long."""
    size = f" ({len(result):,} characters)" if len(result) > LONGEST_RESULT else ""
    out.print(Text(f"  ← {single_line(result, limit=LONGEST_RESULT)}{size}", style="dim"))


def print_selection(reply: Reply) -> None:
    """Print the names of the tools that the model was shown on stderr, if it was not shown all."""
    if reply.selection is not None:
        line = single_line(reply.selection.describe(), limit=LONGEST_CELL)
        err.print(f"{line} (--tool-budget 0 shows all)", style="dim")


def cut_error(reply: Reply, location: str = "") -> AnswerCutError | None:
    """Return the error of an answer that was cut off, at `location` in a call; None for one that was not."""
    tokens = count_of(reply.usage["completion_tokens"], "token")
    where = f" inside {location}" if location else ""
    reasons = {
        "max_tokens": (f"cut off after {tokens}{where}: the limit of an answer", "--max-tokens sets another limit."),
        "context": (f"cut off after {tokens}{where}: the context is full", "--n-ctx sets a larger one."),
        "loop": (
            f"stopped after {tokens}{where}: the model repeats itself",
            "Use other words, or a larger model.",
        ),
    }
    return AnswerCutError(*reasons[reply.end_reason]) if reply.end_reason in reasons else None


def confirm(question: str) -> bool:
    """Ask a yes-or-no question on the terminal; any answer but yes is no."""
    return ask(f"{question} [y/N] ") in {"y", "yes"}


def ask(question: str) -> str:
    """Ask a question on the terminal and return the answer in lower case; "" at the end of the input (Ctrl-D)."""
    try:
        return err.input(question, markup=False, emoji=False).strip().lower()
    except EOFError:
        err.print()
        return ""


class CallApproval:
    """Prints each call, and decides whether it may run.

    ask            the user decides; without a terminal to ask on, the call is refused
    probabilities  of the next calls, one of which is taken and printed with each call
    """

    def __init__(self, *, ask: bool) -> None:
        self._ask = ask
        self._always: set[str] = set()  # tools that the user allowed for good
        self.probabilities: deque[float] = deque()

    def __call__(self, name: str, arguments: dict[str, Any]) -> bool:
        print_call(name, arguments, self.probabilities.popleft() if self.probabilities else None)
        if not self._ask or name in self._always:
            return True
        if not sys.stdin.isatty():
            err.print("  not run: no terminal to ask for approval; --yes runs tools without asking")
            return False
        answer = ask(f"  Run it? [y]es, [a]lways {single_line(name, limit=60)}, [N]o: ")
        if answer in {"a", "always"}:
            self._always.add(name)
        is_allowed = answer in {"y", "yes", "a", "always"}
        if not is_allowed:
            err.print("  not run", style="dim")
        return is_allowed
