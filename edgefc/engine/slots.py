"""Where sequences live in the KV cache, and what of a prompt is there already."""

from __future__ import annotations

from dataclasses import dataclass, field

from edgefc.engine.llama import Context
from edgefc.engine.sequence import Sequence


@dataclass(slots=True)
class Slot:
    """One sequence id of the context. `tokens` are in the KV cache; it stays when its request has ended."""

    number: int
    tokens: list[int] = field(default_factory=list)
    sequence: Sequence | None = None
    used: int = 0


class Slots:
    """Gives requests a slot each, reusing the longest prefix any slot holds."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._slots = [Slot(number) for number in range(context.n_seq_max)]
        self._clock = 0

    @property
    def active(self) -> list[Sequence]:
        return [slot.sequence for slot in self._slots if slot.sequence is not None]

    def admit(self, sequence: Sequence) -> bool:
        """Give the request a slot; False when it must wait for one."""
        free = [slot for slot in self._slots if slot.sequence is None]
        if not free:
            return False
        # The last prompt token is always computed anew: its logits are needed.
        most = len(sequence.prompt) - 1
        common = {slot.number: min(_common(slot.tokens, sequence.prompt), most) for slot in self._slots}
        best = max(self._slots, key=lambda slot: common[slot.number])
        # Another slot's longer prefix is worth copying; a slot's own is kept, and of equals the oldest goes.
        target = max(free, key=lambda slot: (common[slot.number], -len(slot.tokens), -slot.used))
        length = common[best.number]
        if length > common[target.number]:
            target = min(free, key=lambda slot: (len(slot.tokens) > 0, slot.used))
            kept = self._context.share(best.number, target.number, length)
        else:
            kept = self._context.forget(target.number, length)
        if not kept:  # a memory that cannot be cut, as recurrent models have
            self._clear(target)
            length = 0
        target.tokens = sequence.prompt[:length]
        target.sequence, sequence.slot = sequence, target.number
        sequence.position = sequence.stats.cached_tokens = length
        sequence.pending = [*sequence.prompt[length:], *sequence.pending]
        self._clock += 1
        target.used = self._clock
        return True

    def advance(self, sequence: Sequence, tokens: list[int]) -> None:
        """These tokens are in the KV cache now."""
        self._slots[sequence.slot].tokens += tokens
        sequence.position += len(tokens)

    def release(self, sequence: Sequence) -> None:
        """The request has ended; what it computed stays for the next one. Half-done work is dropped."""
        slot = self._slots[sequence.slot]
        slot.sequence = None
        if not self._context.forget(slot.number, sequence.position):
            self._clear(slot)

    def rewind(self, sequence: Sequence) -> None:
        """Drop what a failed batch may have left behind; begin anew where a memory cannot be cut."""
        if self._context.forget(sequence.slot, sequence.position):
            return
        slot = self._slots[sequence.slot]
        sequence.pending = [*slot.tokens, *sequence.pending]
        sequence.position = 0
        self._clear(slot)

    def _clear(self, slot: Slot) -> None:
        self._context.forget(slot.number)
        slot.tokens = []


def _common(a: list[int], b: list[int]) -> int:
    """Length of the longest common prefix."""
    for place, (x, y) in enumerate(zip(a, b, strict=False)):
        if x != y:
            return place
    return min(len(a), len(b))
