"""The shape of a decoding batch: how many rows of each request, and which slots it spans.

llama.cpp computes slots that are neighbours, with equally many rows each. Rows differ in price: those of one slot all
read its KV cache, those of an empty slot read nothing. So a request that is far along is padded with rows of empty
slots beside it, and one at its beginning with drafts.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

FREE = 4  # so many rows may take less time than two, see edgefc.engine.costs


class Due(NamedTuple):
    """What a request would have computed: `rows` that are due, and how likely each drafted row behind them is right."""

    slot: int
    rows: int
    hopes: Sequence[float]


class Shape(NamedTuple):
    height: int  # rows of each slot
    span: range  # slots


def shape(requests: Sequence[Due], lengths: Sequence[int], costs: Sequence[float], per_token: float) -> Shape:
    """The shape with the most tokens for what it costs.

    `lengths`: tokens that each slot has in the KV cache; `costs` of batches by their rows; `per_token` is added
    for each row and token before it (see edgefc.engine.costs).
    """
    most = max(request.rows + len(request.hopes) for request in requests)
    heights = range(1, max(most, FREE) + 1)
    worth = [0.0] * len(heights)
    for request in requests:
        tokens, likely = 0.0, 1.0
        for height in heights:
            if height > request.rows:
                place = height - request.rows - 1
                likely *= request.hopes[place] if place < len(request.hopes) else 0.0
            tokens += likely
            worth[height - 1] += tokens
    best, most_worth = Shape(1, range(0)), 0.0
    for span in _spans(requests, lengths):
        width, read = len(span), per_token * sum(lengths[span.start : span.stop])
        for height in heights:
            # A single row is padded, see Context.decode.
            rows = max(height * width, 2)
            if rows >= len(costs):
                break
            rate = worth[height - 1] / (costs[rows] + read * rows / width)
            if rate > most_worth:
                best, most_worth = Shape(height, span), rate
    return best


def _spans(requests: Sequence[Due], lengths: Sequence[int]) -> list[range]:
    """The slots that the requests span, and with neighbours of few tokens, up to FREE slots in all."""
    begin, end = min(request.slot for request in requests), max(request.slot for request in requests) + 1
    spans = [range(begin, end)]
    while end - begin < min(FREE, len(lengths)):
        left = lengths[begin - 1] if begin else None
        right = lengths[end] if end < len(lengths) else None
        if right is not None and (left is None or right <= left):
            end += 1
        else:
            begin -= 1
        spans.append(range(begin, end))
    return spans
