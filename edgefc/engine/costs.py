"""What a batch costs by its rows: what the engine weighs forced tokens, drafts and padding with."""

from __future__ import annotations

import bisect
from collections.abc import Mapping
from dataclasses import dataclass, field

from edgefc.gguf import Header

# Rows that calibration measures; between them costs are taken as straight lines.
MEASURED = (1, 2, 3, 4, 5, 6, 7, 8, 12, 16, 24, 32, 48, 63)
# Relative to one row, on two cores (benchmarks/costs.py). llama.cpp repacks some quantizations and then computes four
# rows in the time of one; of the others each row costs.
REPACKED = {1: 1.0, 2: 1.15, 3: 1.35, 4: 1.0, 5: 1.3, 6: 1.5, 7: 1.7, 8: 1.6, 12: 2.1, 16: 2.2, 24: 3.4, 32: 4.1,
            48: 6.1, 63: 8.4}  # fmt: skip
REPACKED_TYPES = {2, 12, 20}  # ggml's Q4_0, Q4_K and IQ4_NL: on x86 with AVX2 and on ARM
PLAIN = {1: 1.0, 2: 1.1, 4: 1.4, 8: 2.4, 16: 4.4, 32: 8.6, 63: 17.0}


# Milliseconds, on two cores: to read a byte of weights; of attention, for a row, a token before it and a head (18 ns,
# whatever the size of the head); and of the engine's own work for a batch.
BYTE, ATTENTION, STEP = 0.09e-6, 18e-6, 0.25


@dataclass(frozen=True, slots=True)
class Costs:
    """What batches cost, in any unit.

    by_rows     of batches without tokens before them, at least for one row; between and beyond them they are lines
    per_token   added for each row and each token before it
    per_batch   added for each batch
    """

    by_rows: Mapping[int, float]
    per_token: float = 0.0
    per_batch: float = 0.0
    _rows: list[int] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_rows", sorted(self.by_rows))

    def of(self, rows: int) -> float:
        """The cost of a batch of so many rows without tokens before them."""
        return self.per_batch + self._computed(rows)

    def _computed(self, rows: int) -> float:
        known = self._rows
        if rows in self.by_rows:
            return self.by_rows[rows]
        if len(known) == 1:
            return self.by_rows[known[0]] * rows / known[0]
        place = min(max(bisect.bisect(known, rows), 1), len(known) - 1)
        low, high = known[place - 1], known[place]
        share = (rows - low) / (high - low)
        return self.by_rows[low] + share * (self.by_rows[high] - self.by_rows[low])


def assumed(header: Header) -> Costs:
    """Costs of a model that was not measured here, relative to one row."""
    by_rows = REPACKED if header.main_type in REPACKED_TYPES else PLAIN
    heads, one_row = sum(header.per_layer("attention.head_count") or []), BYTE * max(header.tensor_bytes, 1)
    return Costs(by_rows, ATTENTION * heads / one_row, STEP / one_row)
