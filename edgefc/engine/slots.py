"""Where sequences live in the KV cache, and what of a prompt is there already, or in a snapshot."""

from __future__ import annotations

from dataclasses import dataclass, field

from edgefc.engine.context import Context
from edgefc.engine.generation import CacheSource
from edgefc.engine.prefix_store import LEAST, Found, PrefixStore, common_prefix
from edgefc.engine.sequence import Sequence

WORTH_COPYING = 8  # tokens more than a slot has itself; a copy takes as long as computing a few
WORTH_KEEPING = 256  # tokens of a conversation that makes room for another one


@dataclass(slots=True)
class Slot:
    """One sequence id of the context. `keys` stand for what is in the KV cache; it stays when its request ended."""

    number: int
    keys: list[int] = field(default_factory=list)
    sequence: Sequence | None = None
    used: int = 0


class Slots:
    """Gives requests a slot each, with the longest part of their prompts that is kept anywhere."""

    def __init__(self, context: Context, prefixes: PrefixStore) -> None:
        self._context, self._prefixes = context, prefixes
        self._slots = [Slot(number) for number in range(context.n_seq_max)]
        self._clock = 0

    @property
    def active(self) -> list[Sequence]:
        return [slot.sequence for slot in self._slots if slot.sequence is not None]

    @property
    def lengths(self) -> list[int]:
        """Tokens in the KV cache, of each slot."""
        return [len(slot.keys) for slot in self._slots]

    def admit(self, sequence: Sequence) -> bool:
        """Give the request a slot; False when it must wait for one."""
        free = [slot for slot in self._slots if slot.sequence is None]
        if not free:
            return False
        # The last prompt token is always computed anew: its logits are needed.
        most = len(sequence.prompt) - 1
        here = {slot.number: self._usable(slot.keys, sequence.keys, most) for slot in self._slots}
        target = max(free, key=lambda slot: (here[slot.number], -len(slot.keys), -slot.used))
        length = here[target.number]
        source: CacheSource = "slot" if length else ""
        other = max(self._slots, key=lambda slot: here[slot.number])
        found = self._prefixes.find(sequence.keys[:most], sequence.prefix)
        elsewhere = max(here[other.number], found.length if found else 0)
        if elsewhere > length + WORTH_COPYING:
            # Another place has more: the slot that was not used for longest takes it, its own tokens go.
            target = min(free, key=lambda slot: (len(slot.keys) > 0, slot.used))
            self._make_room(target, here[target.number])
            length, source = 0, ""
            if here[other.number] == elsewhere and self._context.share(other.number, target.number, elsewhere):
                length, source = elsewhere, "copy"
            elif found and self._restore(target, found, sequence):
                length, source = found.length, found.source
        else:
            self._make_room(target, length)
        if not length or not self._context.forget(target.number, length):
            self._context.forget(target.number)
            length, source = 0, ""
        self._take(target, sequence, length, source)
        return True

    def advance(self, sequence: Sequence, tokens: list[int]) -> None:
        """These tokens are in the KV cache now."""
        keys = self._slots[sequence.slot].keys
        for token in tokens:
            keys.append(sequence.key(sequence.position, token))
            sequence.position += 1
        if sequence.position == sequence.prefix >= LEAST and not self._prefixes.holds(keys):
            self._prefixes.keep(keys, self._context.save(sequence.slot), on_disk=True)

    def release(self, sequence: Sequence) -> None:
        """The request has ended; what it computed stays for the next one. Half-done work is dropped."""
        slot = self._slots[sequence.slot]
        slot.sequence = None
        self.cut(sequence)

    def cut(self, sequence: Sequence) -> None:
        """Drop what was computed beyond the sequence's position."""
        slot = self._slots[sequence.slot]
        if not self._context.forget(slot.number, sequence.position):
            self._clear(slot)

    def rewind(self, sequence: Sequence) -> None:
        """Drop what a failed batch may have left behind; begin anew where a memory cannot be cut."""
        if self._context.forget(sequence.slot, sequence.position):
            return
        slot = self._slots[sequence.slot]
        sequence.pending = [*(key >> 1 for key in slot.keys), *sequence.pending]
        sequence.position = 0
        self._clear(slot)

    def _restore(self, slot: Slot, found: Found, sequence: Sequence) -> bool:
        snapshot = self._prefixes.load(found, sequence.keys)
        return snapshot is not None and self._context.restore(slot.number, snapshot.data, len(snapshot.keys))

    def _take(self, slot: Slot, sequence: Sequence, length: int, source: CacheSource) -> None:
        slot.keys = sequence.keys[:length]
        slot.sequence, sequence.slot = sequence, slot.number
        sequence.position = sequence.stats.cached_tokens = length
        sequence.stats.cached_from = source
        sequence.pending = [*sequence.prompt[length:], *sequence.pending]
        self._clock += 1
        slot.used = self._clock

    def _usable(self, kept: list[int], keys: list[int], most: int) -> int:
        """How many kept tokens the prompt begins with; memory that cannot be cut is of use as a whole only."""
        length = min(common_prefix(kept, keys), most)
        return length if self._context.cuts or length == len(kept) else 0

    def _make_room(self, slot: Slot, length: int) -> None:
        """Keep a long conversation in memory before its slot is given to another one."""
        if len(slot.keys) - length < WORTH_KEEPING:
            return
        found = self._prefixes.find(slot.keys, 0)
        if len(slot.keys) - (found.length if found else 0) >= WORTH_KEEPING:
            self._prefixes.keep(slot.keys, self._context.save(slot.number), on_disk=False)

    def _clear(self, slot: Slot) -> None:
        self._context.forget(slot.number)
        slot.keys = []
