"""The handler of all log records, on stderr."""

from __future__ import annotations

import logging

from edgefc.terminal.printable import printable, single_line

LONGEST_MESSAGE = 4000  # characters


class _Formatter(logging.Formatter):
    """Writes "name: message". Further lines of the message and an exception's traceback are indented.

    So no text inside a record can look like another record.
    """

    def format(self, record: logging.LogRecord) -> str:
        lines = f"{record.name}: {record.getMessage()[:LONGEST_MESSAGE]}".rstrip().split("\n")
        first, *others = map(single_line, lines)
        if record.exc_info:
            others += printable(self.formatException(record.exc_info)).split("\n")
        return "\n  ".join([first, *others])


def send_logs_to_stderr(*, verbose: bool = False) -> None:
    """Print warnings of edgefc and of all libraries; with `verbose`, all records of edgefc and llama.cpp."""
    handler = logging.StreamHandler()
    handler.setFormatter(_Formatter())
    logging.getLogger().addHandler(handler)
    logging.captureWarnings(capture=True)
    logging.getLogger("edgefc").setLevel(logging.DEBUG if verbose else logging.WARNING)
    logging.getLogger("edgefc.llama").setLevel(logging.DEBUG if verbose else logging.CRITICAL)
