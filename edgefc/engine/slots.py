"""Assigns sequences to slots of the KV cache, and finds the part of a prompt that is in a slot or saved already."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from edgefc.engine.checkpoints import Checkpoints
from edgefc.engine.context import Context
from edgefc.engine.generation import CacheSource
from edgefc.engine.prefill import single_row_key, token_of_key, whole_tiles
from edgefc.engine.prefix_store import MIN_TOKENS, Match, PrefixStore, common_prefix
from edgefc.engine.sequence import Sequence
from edgefc.engine.setup import Setup

log = logging.getLogger("edgefc.prefix")
MIN_COPY_GAIN = 8  # tokens to gain by copying or restoring; a copy takes as long as computing a few
MIN_SAVED_TOKENS = 256  # tokens that make a conversation worth saving before another takes its slot


@dataclass(slots=True)
class Slot:
    """One sequence id of the context.

    keys       `kv_key`s of the tokens in its KV cache, which stay there when its request has ended
    floor      fewest tokens it can be cut to: of those before, layers with sliding windows lack some
    used       time of its last assignment, in assignments
    """

    number: int
    keys: list[int] = field(default_factory=list)
    floor: int = 0
    sequence: Sequence | None = None
    used: int = 0


class Slots:
    """Gives every request a slot, with as much of its prompt as is saved anywhere."""

    def __init__(self, context: Context, prefixes: PrefixStore, setup: Setup) -> None:
        self._context, self._prefixes = context, prefixes
        # Tokens whose row was computed alone, and has other bits than in a prompt, are not reused: of models whose rows
        # are never padded. Where others' are not, because that costs much, reuse counts more.
        never_pads = context.rollback == 0 or setup.n_seq_max == 1
        self._marks_single_rows = setup.is_exact and not context.can_truncate and never_pads
        self._checkpoints = Checkpoints(context, prefixes.checkpoint_bytes)
        self._slots = [Slot(number) for number in range(context.n_seq_max)]
        self._clock = 0

    @property
    def active(self) -> list[Sequence]:
        return [slot.sequence for slot in self._slots if slot.sequence is not None]

    @property
    def lengths(self) -> list[int]:
        """Tokens in the KV cache of each slot."""
        return [len(slot.keys) for slot in self._slots]

    @property
    def bytes_in_memory(self) -> int:
        """Bytes of saved prompts and checkpoints."""
        return self._prefixes.bytes_in_memory + self._checkpoints.bytes_in_memory

    def admit(self, sequence: Sequence) -> bool:
        """Give the request a slot; False when it must wait for one."""
        free = [slot for slot in self._slots if slot.sequence is None]
        if not free:
            return False
        try:
            self._admit(sequence, free)
        except BaseException:
            for slot in free:  # one of them may have been overwritten
                self._clear(slot)
            raise
        return True

    def _admit(self, sequence: Sequence, free: list[Slot]) -> None:
        # The last prompt token is always computed: its logits are needed.
        limit = len(sequence.prompt) - 1
        usable = {slot.number: self._usable_length(slot, sequence, limit) for slot in self._slots}
        target = max(free, key=lambda slot: (usable[slot.number], -len(slot.keys), -slot.used))
        length = usable[target.number]
        source: CacheSource = "slot"
        other = max(self._slots, key=lambda slot: usable[slot.number])
        prefix = sequence.prefix if sequence.adapters.is_reproducible else 0
        match = self._find(sequence.keys[:limit], prefix)
        if match and self._leaves_single_row(sequence, match.length):
            match = None
        elsewhere = max(usable[other.number], match.length if match else 0)
        if elsewhere > length + MIN_COPY_GAIN:
            # Copy it to the slot that was used longest ago, whose own tokens are dropped.
            target = min(free, key=lambda slot: (len(slot.keys) > 0, slot.used))
            self._save_conversation(target, usable[target.number])
            self._checkpoints.drop(target.number)
            length, saved = 0, None
            if usable[other.number] == elsewhere and self._copy(other, target, elsewhere):
                length, source = elsewhere, "copy"
                target.floor = other.floor
            elif match and (saved := self._restore(target, match, sequence)) is not None:
                length, source = match.length, match.source
                target.floor = length if 0 < self._context.window < length else 0
            if length and self._context.truncate(target.number, length):  # there may be more in a snapshot
                self._checkpoints.save(target.number, length, saved)
            else:
                self._context.truncate(target.number)
                length = 0
        else:
            self._save_conversation(target, length)
            length = self._cut(target, length)
        self._assign(target, sequence, length, source if length else "")

    def advance(self, sequence: Sequence, tokens: list[int]) -> None:
        """Record that these tokens are in the KV cache now."""
        keys = self._slots[sequence.slot].keys
        is_alone = len(tokens) == 1 and self._marks_single_rows
        for token in tokens:
            key = sequence.key_at(sequence.position, token)
            keys.append(single_row_key(key) if is_alone else key)
            sequence.position += 1
        saved = None
        if sequence.position == sequence.prefix >= MIN_TOKENS:
            saved = self._save(sequence.slot, keys, on_disk=sequence.adapters.is_reproducible)
        if not self._context.can_truncate and any(sequence.position == s.end for s in sequence.segments[:-1]):
            self._checkpoints.save(sequence.slot, sequence.position, saved)

    def release(self, sequence: Sequence) -> None:
        """Free the slot of a request that has ended; its computed tokens stay for the next one."""
        if sequence.slot < 0:
            return
        self._slots[sequence.slot].sequence = None
        self.truncate(sequence)
        sequence.slot = -1

    def clear(self, sequence: Sequence) -> None:
        """Free the slot of a request, if it has one, and drop all that is in it."""
        if sequence.slot < 0:
            return
        slot, sequence.slot = self._slots[sequence.slot], -1
        slot.sequence = None
        self._clear(slot)

    def truncate(self, sequence: Sequence) -> None:
        """Drop what was computed beyond the sequence's position."""
        if not self._context.truncate(sequence.slot, sequence.position):
            self.rewind(sequence)

    def rewind(self, sequence: Sequence) -> None:
        """Drop what a failed batch may have left behind; where the memory cannot be cut, go back to a checkpoint."""
        slot, position = self._slots[sequence.slot], sequence.position
        keys = slot.keys
        limit = position if self._context.can_truncate else self._longest(slot, sequence, position)
        sequence.position = self._go_back(slot, limit)
        sequence.pending = [*(token_of_key(key) for key in keys[sequence.position : position]), *sequence.pending]

    def _cut(self, slot: Slot, length: int) -> int:
        """Drop a slot's tokens from `length` on, or from an earlier checkpoint; return how many are left."""
        if length and length == len(slot.keys) and not self._context.can_truncate:
            return length
        return self._go_back(slot, length)

    def _go_back(self, slot: Slot, length: int) -> int:
        """Drop a slot's tokens from `length` on, as `_cut` does, where there may be others than its keys tell."""
        if not self._context.can_truncate or not self._context.truncate(slot.number, length):
            length = self._checkpoints.restore(slot.number, length)
        if not length:
            self._context.truncate(slot.number)
            slot.floor = 0
        slot.keys = slot.keys[:length]
        self._checkpoints.drop(slot.number, length)
        return length

    def _copy(self, source: Slot, target: Slot, length: int) -> bool:
        """Copy the first `length` tokens of another slot."""
        if self._context.copy(source.number, target.number, length):
            return True
        return self._checkpoints.restore(source.number, length, target.number) == length

    # A snapshot is never worth a request: whatever goes wrong with one, such as a lack of memory, costs only its use.

    def _find(self, keys: list[int], prefix: int) -> Match | None:
        try:
            return self._prefixes.find(keys, prefix)
        except Exception:
            log.exception("cannot look for a saved prompt")
            return None

    def _save(self, slot: int, keys: list[int], *, on_disk: bool) -> NDArray[np.uint8] | None:
        """Save a slot's state, and return it, unless that of a prompt `on_disk` is saved already."""
        try:
            if not (on_disk and self._prefixes.renew(keys)):
                data = self._context.save(slot)
                self._prefixes.add(keys, data, on_disk=on_disk)
                return data
        except MemoryError:
            log.warning("no memory to save a prompt of %d tokens", len(keys))
        except Exception:
            log.exception("cannot save a prompt")
        return None

    def _restore(self, slot: Slot, match: Match, sequence: Sequence) -> NDArray[np.uint8] | None:
        """Restore what was found to a slot, and return the state; None if it is not usable."""
        try:
            snapshot = self._prefixes.load(match, sequence.keys)
            if snapshot is not None and self._context.restore(slot.number, snapshot.data, len(snapshot.keys)):
                return snapshot.data
        except MemoryError:
            log.warning("no memory to use a saved prompt of %d tokens", match.length)
        except Exception:
            log.exception("cannot use a saved prompt")
        return None

    def _assign(self, slot: Slot, sequence: Sequence, length: int, source: CacheSource) -> None:
        slot.keys = sequence.keys[:length]
        slot.sequence, sequence.slot = sequence, slot.number
        sequence.position = sequence.stats.cached_tokens = length
        sequence.stats.cached_from = source
        sequence.pending = [*sequence.prompt[length:], *sequence.pending]
        self._clock += 1
        slot.used = self._clock

    def _usable_length(self, slot: Slot, sequence: Sequence, limit: int) -> int:
        """Number of a slot's tokens that the prompt begins with and that the slot can go back to."""
        length = min(common_prefix(slot.keys, sequence.keys), limit)
        if self._context.can_truncate:
            return length if length >= slot.floor else 0
        if length == len(slot.keys) and not self._leaves_single_row(sequence, length):
            return length
        return self._longest(slot, sequence, length)

    def _longest(self, slot: Slot, sequence: Sequence, limit: int) -> int:
        """Length of the longest checkpoint of at most `limit` tokens that is of use for a prompt; 0: there is none."""
        length = self._checkpoints.longest(slot.number, limit)
        while length and self._leaves_single_row(sequence, length):
            length = self._checkpoints.longest(slot.number, length - 1)
        return length

    def _leaves_single_row(self, sequence: Sequence, length: int) -> bool:
        """Return True if a row of the prompt would be computed alone because its first `length` tokens are cached."""
        ends = {segment.end for segment in sequence.segments} if self._marks_single_rows else set()
        return length + 1 in ends and length not in ends

    def _save_conversation(self, slot: Slot, length: int) -> None:
        """Save a long conversation to memory before another one takes its slot and keeps `length` tokens of it."""
        if len(slot.keys) - length < MIN_SAVED_TOKENS:
            return
        checkpoint = self._checkpoints.longest(slot.number, len(slot.keys))
        if checkpoint:  # what follows it ends in an answer, and is of no use as a whole
            if checkpoint <= length:
                return
            self._cut(slot, checkpoint)
        elif self._context.window:
            self._cut(slot, max(whole_tiles(len(slot.keys), self._context.window), slot.floor))
        match = self._find(slot.keys, 0)
        if len(slot.keys) - (match.length if match else 0) >= MIN_SAVED_TOKENS:
            self._save(slot.number, slot.keys, on_disk=False)

    def _clear(self, slot: Slot) -> None:
        self._context.truncate(slot.number)
        self._checkpoints.drop(slot.number)
        slot.keys, slot.floor = [], 0
