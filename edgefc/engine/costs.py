"""Cost of a batch by its number of rows; the engine weighs forced tokens, drafts and padding with it."""

from __future__ import annotations

import bisect
from collections.abc import Mapping
from dataclasses import dataclass, field

from edgefc.gguf import Header
from edgefc.gguf.memory import REPACKED_TYPES

# Batch sizes that calibration measures; costs between them are interpolated linearly.
MEASURED_ROWS = (1, 2, 3, 4, 5, 6, 7, 8, 12, 16, 24, 32, 48, 63)
# Relative to one row, on two cores (benchmarks/costs.py). With AVX-512 llama.cpp repacks some quantizations and then
# computes four rows in the time of one; with the others every row costs time. Without, every row does in any case: four
# models in Q4_0, Q4_1 and Q4_K on a Zen core.
REPACKED = {1: 1.0, 2: 1.15, 3: 1.35, 4: 1.0, 5: 1.3, 6: 1.5, 7: 1.7, 8: 1.6, 12: 2.1, 16: 2.2, 24: 3.4, 32: 4.1,
            48: 6.1, 63: 8.4}  # fmt: skip
K_QUANTS = range(10, 16)  # ggml's types of these; rows of theirs round differently by the number of rows in a batch
NARROW = {1: 1.0, 2: 1.5, 4: 2.0, 8: 3.6, 12: 5.1, 16: 5.8, 32: 11.0, 63: 22.0}
PLAIN = {1: 1.0, 2: 1.1, 4: 1.4, 8: 2.4, 16: 4.4, 32: 8.6, 63: 17.0}
# Milliseconds on two cores: to read a byte of weights; of attention for one row, one earlier token and one head (18 ns,
# whatever the head's size); of the engine's own work for a batch.
BYTE_MS, ATTENTION_MS, STEP_MS = 0.09e-6, 18e-6, 0.25
SMALL_MODEL = 64 << 20  # bytes of weights; below, the engine's own work is a large part of a step


@dataclass(frozen=True, slots=True)
class Costs:
    """Costs of batches, in any unit.

    by_rows     cost of a batch without earlier tokens, at least for one row; interpolated and extrapolated linearly
    per_token   added for each row and each token before it
    per_batch   added for each batch
    """

    by_rows: Mapping[int, float]
    per_token: float = 0.0
    per_batch: float = 0.0
    _sizes: list[int] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_sizes", sorted(self.by_rows))

    def of(self, rows: int) -> float:
        """Cost of a batch of `rows` rows without tokens before them."""
        return self.per_batch + self._interpolate(rows)

    def _interpolate(self, rows: int) -> float:
        sizes = self._sizes
        if rows in self.by_rows:
            return self.by_rows[rows]
        if len(sizes) == 1:
            return self.by_rows[sizes[0]] * rows / sizes[0]
        index = min(max(bisect.bisect(sizes, rows), 1), len(sizes) - 1)
        low, high = sizes[index - 1], sizes[index]
        share = (rows - low) / (high - low)
        return self.by_rows[low] + share * (self.by_rows[high] - self.by_rows[low])


def estimate_costs(header: Header, *, is_narrow: bool = False) -> Costs:
    """Estimate the costs of a model that was not measured on this machine, relative to one row.

    is_narrow  whether the processor has AVX2 and no AVX-512
    """
    by_rows = REPACKED if header.main_type in REPACKED_TYPES else PLAIN
    if is_narrow and header.tensor_bytes >= SMALL_MODEL:
        by_rows = NARROW
    heads, one_row = sum(header.per_layer("attention.head_count") or []), BYTE_MS * max(header.tensor_bytes, 1)
    return Costs(by_rows, ATTENTION_MS * heads / one_row, STEP_MS / one_row)
