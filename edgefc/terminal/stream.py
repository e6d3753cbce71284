"""A text stream that makes control characters visible."""

from __future__ import annotations

import io
from typing import TextIO

from edgefc.terminal.printable import printable


class PrintableStream(io.TextIOBase):
    """Writes printable text to another stream. It is no terminal, so that no program sends it colours."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        self._stream.write(printable(text))
        return len(text)

    def flush(self) -> None:
        self._stream.flush()

    def close(self) -> None:
        """Close the other stream."""
        self._stream.close()

    def writable(self) -> bool:
        return True

    def isatty(self) -> bool:
        return False

    def fileno(self) -> int:
        return self._stream.fileno()

    @property
    def buffer(self) -> object:
        """The binary stream, for programs that write bytes."""
        return self._stream.buffer

    @property
    def encoding(self) -> str:  # type: ignore[override]
        return self._stream.encoding

    @property
    def errors(self) -> str | None:  # type: ignore[override]
        return self._stream.errors
