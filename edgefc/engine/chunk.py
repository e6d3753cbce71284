"""The part of a request's tokens that one batch computes."""

from __future__ import annotations

from typing import NamedTuple, Self

from edgefc.engine.sequence import Sequence


class Chunk(NamedTuple):
    """Part of a batch: the first `n_pending` pending tokens of a sequence, and drafted tokens after them."""

    sequence: Sequence
    n_pending: int
    draft: list[int]

    @classmethod
    def of(cls, sequence: Sequence, count: int, n_rows: int, room: int) -> Self:
        """Take the first `count` pending tokens; if they are all, and drafts up to `n_rows` rows, at most `room`."""
        n_draft = max(min(n_rows - count, room), 0) if count == len(sequence.pending) else 0
        return cls(sequence, count, sequence.draft[:n_draft])
