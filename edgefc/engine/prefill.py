"""Which tokens of a prompt are computed through tiles, and in which batches.

ggml's CPU attention has two kernels: one computes rows one by one, the other, for 64 and more rows of a sequence in a
batch, tiles of them, 2 to 4 times as fast. Either gives a row the same bits whatever else is in the batch, but not the
same as the other. So which one computes a token follows from the prompt alone, never from what is in the KV cache or
beside it: earlier answers go row by row, since that is how they were computed when they were generated, and so does a
prompt's last token; what lies between goes through tiles where it is long enough. docs/decisions.md has figures.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from edgefc.gguf.memory import TILE


class Run(NamedTuple):
    """Tokens up to position `end` that are computed alike."""

    end: int
    tiled: bool


def runs(length: int, prefix: int = 0, answers: Sequence[tuple[int, int]] = ()) -> list[Run]:
    """The runs of a prompt, in order; one of them ends where the prefix does, so that it can be kept there."""
    last = length - 1
    inside = [(max(begin, 0), min(end, last)) for begin, end in answers]
    borders = {prefix, last, *(place for span in inside for place in span)}
    found: list[Run] = []
    begin = 0
    for end in [*sorted(place for place in borders if 0 < place <= last), length]:
        answered = end == length or any(a <= begin and end <= b for a, b in inside)
        run = Run(end, tiled=not answered and end - begin >= TILE)
        if found and begin != prefix and not (run.tiled or found[-1].tiled):
            found.pop()
        found.append(run)
        begin = end
    return found


def piece(remaining: int, *, tiled: bool, most: int, n_batch: int) -> int:
    """How many tokens of a run's rest to compute at once: about `most`, and at most `n_batch`.

    No piece of a tiled run is left too short for tiles, if that can be helped: it would have to be padded.
    """
    if remaining <= most:
        return remaining
    if not tiled or remaining - most >= TILE:
        return most
    return remaining if remaining <= n_batch else max(remaining - TILE, TILE)


def least_rows(*, tiled: bool) -> int:
    """Rows to which a batch is padded, so that the right kernel computes it."""
    return TILE if tiled else 2
