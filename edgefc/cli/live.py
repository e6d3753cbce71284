"""A line at the bottom of the terminal while an answer is generated, and the text of the answer above it.

The line is on stderr, and only if that is a terminal: it says which tool and which argument is being written, how many
tokens there are and how fast they come. It goes away before anything else is printed.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from rich.console import Console, ConsoleOptions, RenderResult
from rich.text import Text

from edgefc.cli.console import err, has_terminal, out
from edgefc.cli.partial_json import open_path
from edgefc.errors import format_path
from edgefc.terminal import WordWrap, single_line

if TYPE_CHECKING:
    from rich.live import Live

    from edgefc.types import Delta

REFRESHES_PER_SECOND = 8
LONGEST_TAIL = 2000  # characters of a call that are looked at for each picture of the line


class ProgressSource(Protocol):
    """An answer that is being generated."""

    @property
    def tokens_read(self) -> int:
        """Number of tokens so far; 0 if nobody counts them."""

    @property
    def withheld(self) -> Sequence[Delta]:
        """Deltas of calls that are not delivered before they are checked."""


@dataclass(slots=True)
class Progress:
    """Facts about the answer that is being generated."""

    source: ProgressSource | None = None
    start: float = field(default_factory=time.monotonic)
    first_delta: float | None = None
    is_thinking: bool = False
    _calls: dict[int, tuple[str, str]] = field(default_factory=dict)

    def add(self, delta: Delta) -> None:
        if delta.keys() - {"role"} and self.first_delta is None:
            self.first_delta = time.monotonic()
        self.is_thinking = "reasoning_content" in delta
        _add_calls(self._calls, delta)

    @property
    def calls(self) -> dict[int, tuple[str, str]]:
        """Name and arguments of the calls so far."""
        if self.source is None or not self.source.withheld:
            return self._calls
        calls: dict[int, tuple[str, str]] = {}
        for delta in list(self.source.withheld):
            _add_calls(calls, delta)
        return calls

    @property
    def open_location(self) -> str:
        """Location of the argument that is being written, as tool.argument; "" if none is."""
        if not (calls := self.calls):
            return ""
        name, arguments = calls[max(calls)]
        path = open_path(arguments)
        return "" if path is None else single_line(format_path((name, *path)), limit=200)

    def describe(self, width: int) -> str:
        """Return the line, at most `width` columns of it."""
        figures = f"  {self._figures()}"
        if calls := self.calls:
            name, arguments = calls[max(calls)]
            whole = single_line(f"  → {name}({arguments[-LONGEST_TAIL:]}")
            if len(whole) + len(figures) >= width or len(arguments) > LONGEST_TAIL:
                room = max(width - len(figures) - len(self.open_location) - 9, 0)
                tail = single_line(arguments[-room:])[-room:] if room else ""
                whole = f"  → {self.open_location or single_line(name)} … {tail}"
        else:
            whole = "  thinking" if self.is_thinking else "  reading the prompt" if not self.first_delta else "  …"
        return f"{whole[: max(width - len(figures) - 1, 0)]}{figures}"

    def _figures(self) -> str:
        now = time.monotonic()
        tokens = self.source.tokens_read if self.source is not None else 0
        if not tokens:
            return f"{now - self.start:.1f} s"
        if self.first_delta is None:
            self.first_delta = now
        seconds = now - self.first_delta
        speed = f", {tokens / seconds:.0f} tok/s" if seconds > 0.5 else ""
        return f"{tokens:,} token{'' if tokens == 1 else 's'}{speed}"


def _add_calls(calls: dict[int, tuple[str, str]], delta: Delta) -> None:
    for part in delta.get("tool_calls", ()):
        name, arguments = calls.get(part["index"], ("", ""))
        function = part.get("function", {})
        calls[part["index"]] = name + function.get("name", ""), arguments + function.get("arguments", "")


class _Line:
    """Draws the progress as it is when the line is refreshed."""

    def __init__(self, progress: Progress) -> None:
        self.progress = progress

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        del console
        yield Text(self.progress.describe(options.max_width), style="dim", no_wrap=True, overflow="crop")


class AnswerView:
    """Shows answers while they are generated.

    has_text  print the text of answers on stdout
    has_line  show the line; not beside other output on the terminal
    """

    def __init__(self, *, has_text: bool = True, has_line: bool = True) -> None:
        self._has_text = has_text
        self._has_line = has_line and has_terminal(err) and os.environ.get("TERM") != "dumb"
        self._wrap = WordWrap(out.width if has_terminal(out) else 0)
        self._is_mid_line = False
        self._live: Live | None = None
        self.progress = Progress()
        self.text = ""  # of the current answer

    def begin(self, source: ProgressSource | None) -> None:
        """Show the line of a new answer."""
        self.progress, self.text = Progress(source), ""
        self._show_line()

    def on_delta(self, delta: Delta) -> None:
        """Print the text of a delta, or show its call in the line. All text of models reaches the terminal here."""
        self.progress.add(delta)
        text = delta.get("content")
        if text:
            self.text += text
        if text and self._has_text:
            self._hide_line()
            self._print(self._wrap.feed(text))
        elif "tool_calls" in delta and self._live is None:
            self.end_line()
            self._show_line()

    def end_line(self) -> None:
        """Remove the line, and end the line of text if one was begun."""
        self._hide_line()
        self._print(self._wrap.flush())
        if self._is_mid_line:
            self._print("\n")
        self._wrap = WordWrap(out.width if has_terminal(out) else 0)

    def _print(self, text: str) -> None:
        if text:
            out.print(text, end="", soft_wrap=True)
            self._is_mid_line = not text.endswith("\n")

    def _show_line(self) -> None:
        if self._has_line and self._live is None and not self._is_mid_line:
            from rich.live import Live

            self._live = Live(
                _Line(self.progress),
                console=err,
                transient=True,
                refresh_per_second=REFRESHES_PER_SECOND,
                redirect_stdout=False,
                redirect_stderr=False,
            )
            self._live.start()

    def _hide_line(self) -> None:
        live, self._live = self._live, None
        if live is not None:
            live.stop()


def read_deltas(view: AnswerView, deltas: Iterator[Delta], source: ProgressSource) -> Iterator[Delta]:
    """Yield deltas, and show the progress of their answer meanwhile."""
    view.begin(source)
    try:
        for delta in deltas:
            view.on_delta(delta)
            yield delta
    finally:
        view.end_line()
