"""Assigns sequences to slots of the KV cache, and finds the part of a prompt that is in a slot or saved already."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field

from edgefc.engine.context import Context
from edgefc.engine.generation import CacheSource
from edgefc.engine.prefill import token_of_key
from edgefc.engine.prefix_store import MIN_TOKENS, Match, PrefixStore, common_prefix
from edgefc.engine.sequence import Sequence

log = logging.getLogger("edgefc.prefix")
MIN_COPY_GAIN = 8  # tokens to gain by copying or restoring; a copy takes as long as computing a few
MIN_SAVED_TOKENS = 256  # tokens that make a conversation worth saving before another takes its slot


@dataclass(slots=True)
class Slot:
    """One sequence id of the context.

    keys       `kv_key`s of the tokens in its KV cache, which stay there when its request has ended
    used       time of its last assignment, in assignments
    """

    number: int
    keys: list[int] = field(default_factory=list)
    sequence: Sequence | None = None
    used: int = 0


class Slots:
    """Gives every request a slot, with as much of its prompt as is saved anywhere."""

    def __init__(self, context: Context, prefixes: PrefixStore) -> None:
        self._context, self._prefixes = context, prefixes
        self._slots = [Slot(number) for number in range(context.n_seq_max)]
        self._clock = 0

    @property
    def active(self) -> list[Sequence]:
        return [slot.sequence for slot in self._slots if slot.sequence is not None]

    @property
    def lengths(self) -> list[int]:
        """Tokens in the KV cache of each slot."""
        return [len(slot.keys) for slot in self._slots]

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
        usable = {slot.number: self._usable_length(slot.keys, sequence.keys, limit) for slot in self._slots}
        target = max(free, key=lambda slot: (usable[slot.number], -len(slot.keys), -slot.used))
        length = usable[target.number]
        source: CacheSource = "slot" if length else ""
        other = max(self._slots, key=lambda slot: usable[slot.number])
        match = self._find(sequence.keys[:limit], sequence.prefix if sequence.adapters.is_reproducible else 0)
        elsewhere = max(usable[other.number], match.length if match else 0)
        if elsewhere > length + MIN_COPY_GAIN:
            # Copy it to the slot that was used longest ago, whose own tokens are dropped.
            target = min(free, key=lambda slot: (len(slot.keys) > 0, slot.used))
            self._save_conversation(target, usable[target.number])
            length, source = 0, ""
            if usable[other.number] == elsewhere and self._context.copy(other.number, target.number, elsewhere):
                length, source = elsewhere, "copy"
            elif match and self._restore(target, match, sequence):
                length, source = match.length, match.source
        else:
            self._save_conversation(target, length)
        if not length or not self._context.truncate(target.number, length):
            self._context.truncate(target.number)
            length, source = 0, ""
        self._assign(target, sequence, length, source)

    def advance(self, sequence: Sequence, tokens: list[int]) -> None:
        """Record that these tokens are in the KV cache now."""
        keys = self._slots[sequence.slot].keys
        for token in tokens:
            keys.append(sequence.key_at(sequence.position, token))
            sequence.position += 1
        if sequence.position == sequence.prefix >= MIN_TOKENS:
            self._save(sequence.slot, keys, on_disk=sequence.adapters.is_reproducible)

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
        slot = self._slots[sequence.slot]
        if not self._context.truncate(slot.number, sequence.position):
            self._clear(slot)

    def rewind(self, sequence: Sequence) -> None:
        """Drop what a failed batch may have left behind; start over where the memory cannot be truncated."""
        if self._context.truncate(sequence.slot, sequence.position):
            return
        slot = self._slots[sequence.slot]
        sequence.pending = [*(token_of_key(key) for key in slot.keys), *sequence.pending]
        sequence.position = 0
        self._clear(slot)

    # A snapshot is never worth a request: whatever goes wrong with one, such as a lack of memory, costs only its use.

    def _find(self, keys: list[int], prefix: int) -> Match | None:
        try:
            return self._prefixes.find(keys, prefix)
        except Exception:
            log.exception("cannot look for a saved prompt")
            return None

    def _save(self, slot: int, keys: list[int], *, on_disk: bool) -> None:
        """Save a slot's state, unless that of a prompt `on_disk` is saved already."""
        try:
            if not (on_disk and self._prefixes.renew(keys)):
                self._prefixes.add(keys, self._context.save(slot), on_disk=on_disk)
        except MemoryError:
            log.warning("no memory to save a prompt of %d tokens", len(keys))
        except Exception:
            log.exception("cannot save a prompt")

    def _restore(self, slot: Slot, match: Match, sequence: Sequence) -> bool:
        try:
            snapshot = self._prefixes.load(match, sequence.keys)
            return snapshot is not None and self._context.restore(slot.number, snapshot.data, len(snapshot.keys))
        except MemoryError:
            log.warning("no memory to use a saved prompt of %d tokens", match.length)
        except Exception:
            log.exception("cannot use a saved prompt")
        return False

    def _assign(self, slot: Slot, sequence: Sequence, length: int, source: CacheSource) -> None:
        slot.keys = sequence.keys[:length]
        slot.sequence, sequence.slot = sequence, slot.number
        sequence.position = sequence.stats.cached_tokens = length
        sequence.stats.cached_from = source
        sequence.pending = [*sequence.prompt[length:], *sequence.pending]
        self._clock += 1
        slot.used = self._clock

    def _usable_length(self, saved: list[int], keys: list[int], limit: int) -> int:
        """Number of saved tokens that the prompt begins with; memory that cannot be truncated is usable as a whole."""
        length = min(common_prefix(saved, keys), limit)
        return length if self._context.can_truncate or length == len(saved) else 0

    def _save_conversation(self, slot: Slot, length: int) -> None:
        """Save a long conversation to memory before another one takes its slot and keeps `length` tokens of it."""
        if len(slot.keys) - length < MIN_SAVED_TOKENS:
            return
        match = self._find(slot.keys, 0)
        if len(slot.keys) - (match.length if match else 0) >= MIN_SAVED_TOKENS:
            self._save(slot.number, slot.keys, on_disk=False)

    def _clear(self, slot: Slot) -> None:
        self._context.truncate(slot.number)
        slot.keys = []
