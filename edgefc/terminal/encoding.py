"""Consoles that cannot write every character, such as cp1252 or ASCII: the nearest text that they can write."""

from __future__ import annotations

import codecs
import sys
from typing import TextIO

NAME = "edgefc_nearest"
_NEAREST = {
    "→": "->", "←": "<-", "…": "...", "·": "-", "×": "x", "–": "-", "—": "-", "‘": "'", "’": "'", "“": '"', "”": '"',
    "µ": "u", "─": "-", "│": "|", "╭": "+", "╮": "+", "╰": "+", "╯": "+", "❯": ">",
}  # fmt: skip


def _nearest(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    text = error.object[error.start : error.end]
    return "".join(_NEAREST.get(character, "?") for character in text), error.end


codecs.register_error(NAME, _nearest)


def accept_all_characters(*streams: TextIO) -> None:
    """Let these streams write the nearest text for characters that their encoding lacks, where they would fail."""
    for stream in streams:
        if not has_all_characters(stream) and hasattr(stream, "reconfigure"):
            stream.reconfigure(errors=NAME)


def has_all_characters(stream: TextIO) -> bool:
    """Return True if the stream's encoding has all of Unicode."""
    try:
        return codecs.lookup(stream.encoding or sys.getdefaultencoding()).name.startswith("utf")
    except LookupError:
        return False
