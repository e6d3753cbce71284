"""The header of a GGUF as data: metadata, and types and shapes of the tensors."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

MAX_LAYERS = 512  # LLAMA_MAX_LAYERS
F32 = 0  # ggml's number of the type
# ggml type → (elements per block, bytes per block)
BLOCK_SIZES = {
    0: (1, 4), 1: (1, 2), 2: (32, 18), 3: (32, 20), 6: (32, 22), 7: (32, 24), 8: (32, 34), 9: (32, 40),
    10: (256, 84), 11: (256, 110), 12: (256, 144), 13: (256, 176), 14: (256, 210), 15: (256, 292), 16: (256, 66),
    17: (256, 74), 18: (256, 98), 19: (256, 50), 20: (32, 18), 21: (256, 110), 22: (256, 82), 23: (256, 136),
    24: (1, 1), 25: (1, 2), 26: (1, 4), 27: (1, 8), 28: (1, 8), 29: (256, 56), 30: (1, 2), 34: (256, 54),
    35: (256, 66), 39: (32, 17), 40: (64, 36), 41: (128, 18), 42: (64, 18),
}  # fmt: skip


class TensorInfo(NamedTuple):
    """ggml's number of a tensor's type, which is in `BLOCK_SIZES`, and its dimensions, the row length first."""

    type: int
    shape: tuple[int, ...]

    @property
    def n_bytes(self) -> int:
        elements, size = BLOCK_SIZES[self.type]
        return math.prod(self.shape) // elements * size


@dataclass(frozen=True, slots=True)
class ArrayLength:
    """Stands for a long metadata array, such as a vocabulary, whose items were not stored."""

    length: int


@dataclass(frozen=True, slots=True)
class Header:
    """The metadata of a GGUF and the size of its tensors.

    metadata      key → value; long arrays as ArrayLength
    n_tensors     number of tensors
    tensor_bytes  bytes from the first tensor to the end of the last
    main_type     ggml's number of the type that takes up the most bytes; -1 without tensors
    files         all files of the model, if `read_model` read them
    """

    metadata: Mapping[str, object]
    n_tensors: int
    tensor_bytes: int
    main_type: int = -1
    files: tuple[Path, ...] = field(default=(), compare=False)

    @property
    def architecture(self) -> str:
        """llama.cpp's name of the architecture, such as `qwen2`; "?" when the file states none."""
        name = self.metadata.get("general.architecture")
        return name if isinstance(name, str) else "?"

    def value(self, key: str) -> object:
        """Return `<architecture>.<key>`, or None when it is missing."""
        return self.metadata.get(f"{self.architecture}.{key}")

    def number(self, key: str) -> int | None:
        """Return `<architecture>.<key>` if it is an integer, else None."""
        value = self.value(key)
        return value if isinstance(value, int) and not isinstance(value, bool) else None

    def per_layer(self, key: str) -> list[int] | None:
        """Return `<architecture>.<key>` for each layer: an array of integers as it is, one integer repeated."""
        value, layers = self.value(key), self.number("block_count") or 0
        if isinstance(value, int):
            return [int(value)] * min(max(layers, 0), MAX_LAYERS)
        if isinstance(value, list) and all(isinstance(item, int) for item in value):
            return [int(item) for item in value]
        return None
