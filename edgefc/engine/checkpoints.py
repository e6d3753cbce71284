"""Keeps checkpoints of slots whose memory cannot be cut: the recurrent part alone, at a few positions of a prompt.

A recurrent state cannot be undone, so a prompt that goes on differently needs the state from before it does. The
attention layers of a hybrid model keep their KV cache in the slot, where it can be cut: a checkpoint has the size of
the recurrent state, however long the text before it. One that cannot be saved or restored costs the time to compute its
tokens again.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgefc.engine.context import Context

log = logging.getLogger("edgefc.prefix")
MAX_CHECKPOINTS = 4  # of a slot: the tools, and where the last turns begin and end


@dataclass(eq=False, slots=True)
class Checkpoint:
    """A slot's state after its first `length` tokens.

    data   from `Context.save_recurrent`, or from `Context.save` until it is needed
    size   bytes of its recurrent part
    used   time of its last use
    """

    slot: int
    length: int
    data: NDArray[np.uint8]
    size: int
    used: int


class Checkpoints:
    """The checkpoints of all slots, within a number of bytes; none where the memory can be cut anywhere."""

    def __init__(self, context: Context, memory_bytes: int) -> None:
        self._context, self._memory_bytes = context, 0 if context.can_truncate else memory_bytes
        self._checkpoints: list[Checkpoint] = []  # in the order in which they were saved
        self._clock = 0

    @property
    def bytes_in_memory(self) -> int:
        return sum({id(checkpoint.data): checkpoint.data.nbytes for checkpoint in self._checkpoints}.values())

    def save(self, slot: int, length: int, saved: NDArray[np.uint8] | None = None) -> None:
        """Save the state of a slot that holds `length` tokens.

        saved  from `Context.save` at this point. If it is not too large, its part is copied only when it is needed
        """
        if not self._memory_bytes:
            return
        if saved is not None and saved.nbytes <= self._memory_bytes // MAX_CHECKPOINTS:
            size = self._context.recurrent_bytes(slot)
        else:
            try:
                saved = self._context.save_recurrent(slot)
            except MemoryError:
                log.warning("no memory for a checkpoint after %d tokens", length)
                return
            size = saved.nbytes
        if not 0 < size <= self._memory_bytes:  # every state of a model has the same size
            self._memory_bytes = 0
            return
        mine = [c for c in self._checkpoints if c.slot == slot and c.length != length]
        # The first one is that of the tools, which other conversations begin with as well.
        if len(mine) >= MAX_CHECKPOINTS:
            del mine[1]
        self._clock += 1
        others = [c for c in self._checkpoints if c.slot != slot]
        self._checkpoints = [*others, *mine, Checkpoint(slot, length, saved, size, self._clock)]
        while self.bytes_in_memory > self._memory_bytes:
            self._checkpoints.remove(min(self._checkpoints, key=lambda c: c.used))

    def longest(self, slot: int, limit: int) -> int:
        """Return the length of a slot's longest checkpoint of at most `limit` tokens; 0 if there is none."""
        return max((c.length for c in self._checkpoints if c.slot == slot and c.length <= limit), default=0)

    def restore(self, slot: int, limit: int, target: int | None = None) -> int:
        """Go back to a slot's longest checkpoint of at most `limit` tokens; return its length.

        target  another slot, with a copy of this one's memory, that goes back instead

        Returns 0 if there is none or it is not usable.
        """
        target = slot if target is None else target
        length = self.longest(slot, limit)
        for checkpoint in self._checkpoints:
            if length and checkpoint.slot == slot and checkpoint.length == length:
                self._clock += 1
                checkpoint.used = self._clock
                return length if self._restore(checkpoint, target) else 0
        return 0

    def _restore(self, checkpoint: Checkpoint, target: int) -> bool:
        if checkpoint.data.nbytes > checkpoint.size:
            try:
                checkpoint.data = self._context.recurrent_part(checkpoint.data, checkpoint.size)
            except MemoryError:
                log.warning("no memory to go back to a checkpoint after %d tokens", checkpoint.length)
                return False
        return self._context.restore_recurrent(target, checkpoint.data, checkpoint.length)

    def drop(self, slot: int, length: int = 0) -> None:
        """Drop a slot's checkpoints of more than `length` tokens."""
        self._checkpoints = [c for c in self._checkpoints if c.slot != slot or c.length <= length]
