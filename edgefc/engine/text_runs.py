r"""Cuts runs of one kind of characters that are too long for a tokenizer's regular expressions.

llama.cpp splits the texts of many models with std::regex, which recurses for each character of a match: a run of 20,000
letters overflows the stack and ends the process. Patterns such as `\s+$` take the square of a run of white space.
Tokens may differ where a run is cut; no published text has such runs.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

MAX_RUN = 4096  # characters; with a stack of 8 MB, 16,000 are read
MAX_BLANK = 512
_RUNS = re.compile(r"\w+|[^\w\s]+|\s+")
_BLANKS = re.compile(r"\s+")


def cut_runs(text: str) -> Iterator[str]:
    """Yield the text in pieces without longer runs of letters and digits, of signs, or of white space."""
    return _cut(text, _RUNS, MAX_RUN)


def cut_blanks(text: str) -> Iterator[str]:
    """Yield the text in pieces without longer runs of white space."""
    return _cut(text, _BLANKS, MAX_BLANK)


def _cut(text: str, runs: re.Pattern[str], limit: int) -> Iterator[str]:
    begin = 0
    if len(text) > limit:
        for match in runs.finditer(text):
            for position in range(match.start() + limit, match.end(), limit):
                yield text[begin:position]
                begin = position
    yield text[begin:]
