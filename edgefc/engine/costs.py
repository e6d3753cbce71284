"""What a batch costs by its rows: what the engine weighs forced tokens, drafts and padding with."""

from __future__ import annotations

import bisect
from collections.abc import Mapping
from dataclasses import dataclass, field

# Rows that calibration measures; between them costs are taken as straight lines.
MEASURED = (1, 2, 3, 4, 5, 6, 7, 8, 12, 16, 24, 32, 48, 63)
# Relative to one row, on two cores (benchmarks/costs.py). llama.cpp repacks some quantizations and then computes four
# rows in the time of one; of the others each row costs.
REPACKED = {1: 1.0, 2: 1.15, 3: 1.35, 4: 1.0, 5: 1.3, 6: 1.5, 7: 1.7, 8: 1.6, 12: 2.1, 16: 2.2, 24: 3.4, 32: 4.1,
            48: 6.1, 63: 8.4}  # fmt: skip
REPACKED_TYPES = {2, 12, 20}  # ggml's Q4_0, Q4_K and IQ4_NL: on x86 with AVX2 and on ARM
PLAIN = {1: 1.0, 2: 1.1, 4: 1.4, 8: 2.4, 16: 4.4, 32: 8.6, 63: 17.0}


@dataclass(frozen=True, slots=True)
class Costs:
    """`by_rows` are costs of batches, in any unit, at least for one row; between and beyond them they are lines."""

    by_rows: Mapping[int, float]
    _rows: list[int] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_rows", sorted(self.by_rows))

    def of(self, rows: int) -> float:
        """The cost of a batch of so many rows."""
        known = self._rows
        if rows in self.by_rows:
            return self.by_rows[rows]
        if len(known) == 1:
            return self.by_rows[known[0]] * rows / known[0]
        place = min(max(bisect.bisect(known, rows), 1), len(known) - 1)
        low, high = known[place - 1], known[place]
        share = (rows - low) / (high - low)
        return self.by_rows[low] + share * (self.by_rows[high] - self.by_rows[low])


def assumed(main_type: int) -> Costs:
    """Costs of a model that was not measured here, by the ggml type of its weights."""
    return Costs(REPACKED if main_type in REPACKED_TYPES else PLAIN)
