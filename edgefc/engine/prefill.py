"""Divides a prompt into segments by the attention kernel that computes them, and segments into batches.

ggml's CPU attention has two kernels. One computes row by row; the other, for 64 and more rows of a sequence in a batch,
computes tiles of rows, 2 to 4 times as fast. Either gives a row the same bits whatever else is in the batch, but the
two differ. So the kernel of a token must follow from the prompt alone, never from what is in the KV cache or in the
same batch. Earlier answers are computed row by row, as they were when they were generated, and so is a prompt's last
token; the text between them goes through tiles if it is long enough. Figures: docs/decisions.md.

A single row has other bits than two and more. Where the memory can be cut, a batch of one is padded, unless that costs
much (`config.with_costs`). Where it cannot (recurrent layers), a prompt is computed two rows or more at a time, and a
token computed alone is not reused.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from edgefc.gguf.memory import TILE

_TOKEN_BITS = 21  # of a key: a token and its kernel
# A prompt's last tokens, behind a checkpoint: the beginning of an answer, which an empty thought makes 7 tokens long in
# Qwen3's prompts. A later prompt may have another text there.
TAIL = 8
MIN_ROWS = 2  # that have the same bits in any batch
SET_BITS = 63 - _TOKEN_BITS  # for adapters; together they are a signed 64-bit number


class Segment(NamedTuple):
    """Tokens before position `end` that one kernel computes."""

    end: int
    tiled: bool


# Length of a prompt, length of its prefix, spans of earlier answers in it → its segments.
Split = Callable[[int, int, Sequence[tuple[int, int]]], list[Segment]]


def whole_tiles(length: int, window: int) -> int:
    """Shorten a text that is to be saved, so that tiles of the KV cache have the same tokens when it is restored.

    window  of layers with sliding windows, 0: none. llama.cpp saves only their last window, and restores it to the
            first cells.
    """
    return length - (length - window) % TILE if 0 < window < length else length


def split_prompt(length: int, prefix: int = 0, answer_spans: Sequence[tuple[int, int]] = ()) -> list[Segment]:
    """Divide a prompt of `length` tokens into segments, in order.

    prefix        one segment ends here, so that the KV cache can be saved at this point
    answer_spans  (begin, end) of earlier answers of the model
    """
    last = length - 1
    spans = [(max(begin, 0), min(end, last)) for begin, end in answer_spans]
    borders = {prefix, last, *(border for span in spans for border in span)}
    segments: list[Segment] = []
    begin = 0
    for end in [*sorted(border for border in borders if 0 < border <= last), length]:
        row_by_row = end == length or any(low <= begin and end <= high for low, high in spans)
        segment = Segment(end, tiled=not row_by_row and end - begin >= TILE)
        if segments and begin != prefix and not (segment.tiled or segments[-1].tiled):
            segments.pop()  # this segment continues it
        segments.append(segment)
        begin = end
    return segments


def split_at_prefix(length: int, prefix: int = 0, _answer_spans: Sequence[tuple[int, int]] = ()) -> list[Segment]:
    """Divide a prompt at the end of its prefix, without tiles."""
    return [Segment(end, tiled=False) for end in (prefix, length) if end]


def split_at_checkpoints(length: int, prefix: int = 0, answer_spans: Sequence[tuple[int, int]] = ()) -> list[Segment]:
    """Divide a prompt where other prompts may go on differently, without tiles.

    That is behind its prefix, before its last message, and where the answer begins; at least two tokens apart.
    """
    last_answer = max((end for _, end in answer_spans), default=0)
    ends = [prefix] if prefix else []
    for end in sorted([last_answer, length - TAIL]):
        if end - (ends[-1] if ends else 0) >= MIN_ROWS and length - end >= MIN_ROWS:
            ends.append(end)
    return [Segment(end, tiled=False) for end in [*ends, length]]


def chunk_size(remaining: int, *, tiled: bool, limit: int, n_batch: int) -> int:
    """Number of a segment's `remaining` tokens to compute at once: about `limit`, and at most `n_batch`.

    Leaves no rest of a tiled segment that is too short for tiles, if possible: it would have to be padded. Of others,
    no single row is left.
    """
    if remaining <= limit:
        return remaining
    if not tiled:
        return limit - int(remaining - limit < MIN_ROWS)
    if remaining - limit >= TILE:
        return limit
    return remaining if remaining <= n_batch else max(remaining - TILE, TILE)


def min_rows(*, tiled: bool) -> int:
    """Number of rows to pad a batch to, so that the right kernel computes it."""
    return TILE if tiled else MIN_ROWS


def kv_key(token: int, *, tiled: bool, adapters: int = 0) -> int:
    """Integer that stands for a token and its kernel when KV caches are compared; saved prefixes contain it.

    adapters  of the first token of a sequence: `AdapterSet.key`, so that sequences with other adapters share nothing
    """
    return adapters << _TOKEN_BITS | 2 * token + int(tiled)


def single_row_key(key: int) -> int:
    """Return the key of a token that was computed alone, in memory that no tiles are used for."""
    return key | 1


def token_of_key(key: int) -> int:
    return (key & (1 << _TOKEN_BITS) - 1) // 2
