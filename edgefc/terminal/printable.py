r"""Control characters made visible.

A terminal obeys what it shows: a sequence in a file's metadata, in a tool's result or in a model's answer can set its
title, clear it, hide text behind a link, or reorder a line. So these characters are shown as Python escapes, such as
`\x1b` for Escape and `\u202e` for the right-to-left override.
"""

from __future__ import annotations

import re

# Control characters except the tabulator and the end of a line; invisible characters and those that reorder text,
# except the two joiners that scripts and emoji need; separators of lines and paragraphs; halves of surrogate pairs,
# which no encoding can write; the alphabet of invisible tags.
_UNSAFE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\xad\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f"
    "\ud800-\udfff\ufeff\ufff9-\ufffb\U000e0000-\U000e007f]"
)
_WIDE_SPACE = re.compile(r"\s{4,}")
_CUT = "…"


def printable(text: str) -> str:
    """Return the text with escapes for all control characters but the tabulator and the end of a line."""
    return _UNSAFE.sub(_escape, text)


def single_line(text: str, *, limit: int | None = None) -> str:
    """Return the text with escapes, as one line of at most `limit` characters.

    A run of four or more spaces becomes one, because a long run reaches the terminal's next line.
    """
    if limit is not None and len(text) > limit:
        text = text[:limit] + _CUT
    return _WIDE_SPACE.sub(" ", printable(text.replace("\n", "\\n").replace("\t", " ")))


def escape_json(text: str) -> str:
    r"""Write the control characters of a JSON document as `\u` escapes, which keep its values."""
    return _UNSAFE.sub(_escape_json_character, text)


def _escape(match: re.Match[str]) -> str:
    code = ord(match[0])
    if code == 0x0D:
        return "\\r"
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def _escape_json_character(match: re.Match[str]) -> str:
    units = match[0].encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[at]:02x}{units[at + 1]:02x}" for at in range(0, len(units), 2))
