"""The lines typed in `edgefc chat`, for the arrow keys: in a file that nobody else can read, and of limited size."""

from __future__ import annotations

import contextlib
import stat
from collections.abc import Iterable
from pathlib import Path

from prompt_toolkit.history import History

from edgefc.chat.recorder import PRIVATE
from edgefc.files import read_small, write_file

MAX_LINES = 500
LONGEST_LINE = 1000  # characters; longer lines are pastes
MAX_BYTES = 4 << 20  # of a file that is read: 500 lines of 1000 characters, with four bytes each, have 2 MB
MARK = "+"  # before each line, as prompt_toolkit writes it


class ChatHistory(History):
    """Stores the last MAX_LINES lines, except pastes (several lines, or a long one) and lines that begin with a space.

    A file that cannot be read or written ends the history, not the chat.
    """

    def __init__(self, path: Path) -> None:
        super().__init__()
        self._path = path
        with contextlib.suppress(OSError):  # older versions wrote everything, readable by all users of the machine
            if stat.S_ISREG(path.lstat().st_mode):
                path.chmod(PRIVATE)

    def load_history_strings(self) -> Iterable[str]:
        """Return the lines of the file, the latest first."""
        return reversed(self._read())

    def store_string(self, string: str) -> None:
        """Add a line to the file."""
        if len(string) > LONGEST_LINE or not string.isprintable() or string[:1].isspace():
            return
        lines = [*self._read(), string][-MAX_LINES:]
        with contextlib.suppress(OSError):
            self._path.parent.mkdir(parents=True, exist_ok=True)
            write_file(self._path, "".join(f"{MARK}{line}\n" for line in lines).encode(), mode=PRIVATE)

    def _read(self) -> list[str]:
        try:
            text = read_small(self._path, MAX_BYTES).decode("utf-8", "replace")
        except OSError:
            return []
        lines = [line.removeprefix(MARK) for line in text.split("\n") if line.startswith(MARK)]
        return [line for line in lines if len(line) <= LONGEST_LINE][-MAX_LINES:]
