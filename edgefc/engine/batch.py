"""Chooses the shape of a decoding batch: the number of rows for each slot, and the slots it spans.

llama.cpp computes neighbouring slots with the same number of rows each. Rows differ in cost: each row of a slot reads
that slot's KV cache, and rows of an empty slot read nothing. So a request far into its context is padded with rows of
empty neighbouring slots, and a request near its beginning with drafts.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

ROW_GROUP = 4  # rows of repacked weights that may take less time than two, see edgefc.engine.costs


class RowDemand(NamedTuple):
    """Rows a request can use.

    due            number of tokens that must be computed
    draft_chances  for each drafted token after them, the probability that it is right if those before it are
    """

    slot: int
    due: int
    draft_chances: Sequence[float]


class BatchShape(NamedTuple):
    """`height` rows for each of the neighbouring `slots`."""

    height: int
    slots: range


def choose_shape(
    demands: Sequence[RowDemand],
    lengths: Sequence[int],
    costs: Sequence[float],
    per_token: float,
    min_rows: int = 1,
) -> BatchShape:
    """Choose the shape with the most expected tokens for its cost.

    lengths    tokens in the KV cache of each slot
    costs      cost of a batch, indexed by its number of rows
    per_token  cost added for each row and each token before it (see edgefc.engine.costs)
    min_rows   a batch of fewer rows is padded
    """
    max_height = max(ROW_GROUP, *(demand.due + len(demand.draft_chances) for demand in demands))
    tokens = _expected_tokens(demands, max_height)
    best, best_rate = BatchShape(1, range(0)), 0.0
    for slots in _slot_ranges(demands, lengths):
        width, attention = len(slots), per_token * sum(lengths[slots.start : slots.stop])
        for height in range(1, max_height + 1):
            rows = max(height * width, min_rows)
            if rows >= len(costs):
                break
            rate = tokens[height] / (costs[rows] + attention * rows / width)
            if rate > best_rate:
                best, best_rate = BatchShape(height, slots), rate
    return best


def _expected_tokens(demands: Sequence[RowDemand], max_height: int) -> list[float]:
    """Expected number of right tokens in a batch, all requests together, indexed by its height."""
    totals = [0.0] * (max_height + 1)
    for demand in demands:
        expected, chance = 0.0, 1.0
        for height in range(1, max_height + 1):
            draft = height - demand.due - 1  # index of the drafted token in this row
            if draft >= len(demand.draft_chances):
                chance = 0.0
            elif draft >= 0:
                chance *= demand.draft_chances[draft]
            expected += chance
            totals[height] += expected
    return totals


def _slot_ranges(demands: Sequence[RowDemand], lengths: Sequence[int]) -> list[range]:
    """Ranges from the slots of all requests to up to ROW_GROUP slots, each adding the neighbour with fewer tokens."""
    begin, end = min(demand.slot for demand in demands), max(demand.slot for demand in demands) + 1
    ranges = [range(begin, end)]
    while end - begin < min(ROW_GROUP, len(lengths)):
        left = lengths[begin - 1] if begin else None
        right = lengths[end] if end < len(lengths) else None
        if right is not None and (left is None or right <= left):
            end += 1
        else:
            begin -= 1
        ranges.append(range(begin, end))
    return ranges


def padded_rows(rows: int, limit: int, costs: Sequence[float]) -> int:
    """Round `rows` up to a multiple of ROW_GROUP if `limit` allows it and that is faster.

    With repacked weights, two or three rows left over take longer than four.
    """
    rounded = -(-rows // ROW_GROUP) * ROW_GROUP
    faster = costs[ROW_GROUP] < costs[2] and rows % ROW_GROUP > 1
    return rounded if faster and rounded <= limit else rows
