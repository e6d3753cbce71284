"""LoRA adapters of a loaded model: which of them a request uses, and which a context computes with.

llama.cpp has one set of adapters per context, so the requests of a batch share theirs. KV caches of different sets
never mix: the key of a prompt's first token contains the set.
"""

from __future__ import annotations

import contextlib
import ctypes
import hashlib
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol, TypeVar

from edgefc.engine.handles import Handle
from edgefc.engine.identity import model_identity
from edgefc.engine.prefill import SET_BITS
from edgefc.errors import ModelLoadError, RequestError
from edgefc.gguf.adapter import Adapter, check_scale

if TYPE_CHECKING:
    from edgefc.engine import llama


@dataclass(frozen=True, slots=True)
class AdapterSet:
    """The adapters that a request is computed with: (number, scale) of each, in order, none with the scale 0.

    key  number that stands for files and scales, the same in all processes; 0 for no adapter
    """

    scales: tuple[tuple[int, float], ...] = ()
    key: int = 0

    @property
    def is_reproducible(self) -> bool:
        """False if another process may add up the adapters in another order, and so round in another way."""
        return len(self.scales) < 2


BASE = AdapterSet()


@dataclass(frozen=True, slots=True)
class UsualAdapters:
    """The adapters of requests that choose none.

    key    number that stands for them; 0 for none
    label  their names and scales
    scales the scale of every adapter that was loaded, by its name: 0 if only a request turns it on
    """

    key: int = 0
    label: str = ""
    scales: Mapping[str, float] = field(default_factory=dict, compare=False)

    @property
    def choices(self) -> tuple[str, ...]:
        """The names of the adapters, if there is a choice: a single one that is on belongs to the model."""
        return () if len(self.scales) == 1 and all(self.scales.values()) else tuple(self.scales)


TURN = 16  # batches after which other adapters have their turn


class _Computed(Protocol):
    """A request in the engine."""

    adapters: AdapterSet


T = TypeVar("T", bound=_Computed)


class Turns:
    """Lets requests with different adapters compute in turns: llama.cpp has one set of adapters for a whole batch."""

    def __init__(self) -> None:
        self._served: dict[AdapterSet, int] = {}  # the number of each set's last turn, of those that have requests
        self._current: AdapterSet | None = None
        self._steps = self._turn = 0

    def next(self, active: Sequence[T]) -> list[T]:
        """Return the requests to compute now: those of one set, of which none waits longer than the others' turns."""
        sets = dict.fromkeys(sequence.adapters for sequence in active)
        if self._current not in sets or (self._steps >= TURN and len(sets) > 1):
            self._served = {chosen: turn for chosen, turn in self._served.items() if chosen in sets}
            self._current = min(sets, key=lambda chosen: self._served.get(chosen, 0))
            self._turn += 1
            self._served[self._current], self._steps = self._turn, 0
        self._steps += 1
        return [sequence for sequence in active if sequence.adapters == self._current]


class Adapters:
    """The adapters that were loaded with a model; `usual` are those of requests that choose none."""

    def __init__(self, model: llama.Model, adapters: Sequence[Adapter]) -> None:
        """Load the adapters, before the model gets a context. Raises ModelLoadError."""
        self._handles: list[Handle] = []
        self._numbers = {adapter.name: number for number, adapter in enumerate(adapters)}
        self._identities = [model_identity((adapter.path,)) for adapter in adapters]
        for adapter in adapters:
            self._handles.append(_load(model, adapter))
        self.usual = self.choose({adapter.name: adapter.scale for adapter in adapters})

    def describe(self) -> UsualAdapters:
        """Return what tells this model from the same one with other adapters."""
        names = list(self._numbers)
        texts = [names[number] + ("" if scale == 1 else f":{scale:g}") for number, scale in self.usual.scales]
        used = dict(self.usual.scales)
        scales = {name: used.get(number, 0.0) for name, number in self._numbers.items()}
        return UsualAdapters(self.usual.key, "+".join(texts), scales)

    def choose(self, scales: Mapping[str, float] | None) -> AdapterSet:
        """Return the set of these adapters, and no others; None: the usual one. Raises RequestError."""
        if scales is None:
            return self.usual
        if not isinstance(scales, Mapping):
            raise RequestError("lora", f"must map names of adapters to scales, not be {type(scales).__name__}")
        chosen: list[tuple[int, float]] = []
        for name, scale in scales.items():
            if name not in self._numbers:
                here = f"Loaded are {', '.join(self._numbers)}." if self._numbers else "None is loaded: see --lora."
                raise RequestError("lora", f"unknown adapter {str(name)[:80]!r}", here)
            if rounded := ctypes.c_float(check_scale(scale)).value:
                chosen.append((self._numbers[name], rounded))
        chosen.sort()
        return AdapterSet(tuple(chosen), self._key(chosen)) if chosen else BASE

    def apply(self, context: Handle, adapters: AdapterSet) -> None:
        """Let a context compute with these adapters from now on."""
        from edgefc.engine.llama import api

        count = len(adapters.scales)
        with contextlib.ExitStack() as leases:
            pointers = [leases.enter_context(self._handles[number]) for number, _ in adapters.scales]
            array = (api.llama_adapter_lora_p_ctypes * count)(*pointers)
            scales = (ctypes.c_float * count)(*(scale for _, scale in adapters.scales))
            api.llama_set_adapters_lora(leases.enter_context(context), array, count, scales)

    def close(self) -> None:
        """Free the adapters, once no thread uses them; their contexts come first."""
        for handle in self._handles:
            handle.close()

    def _key(self, chosen: Sequence[tuple[int, float]]) -> int:
        parts = sorted(struct.pack("<f", scale) + self._identities[number].encode() for number, scale in chosen)
        digest = hashlib.sha256(b"".join(parts)).digest()
        return int.from_bytes(digest[:8], "little") % ((1 << SET_BITS) - 1) + 1


def _load(model: llama.Model, adapter: Adapter) -> Handle:
    from edgefc.engine import llama  # not needed where another machine computes

    api = llama.api
    llama.clear_log_tail()
    with model.handle as weights:
        pointer = api.llama_adapter_lora_init(weights, str(adapter.path).encode())
        if not pointer:
            raise ModelLoadError(f"llama.cpp could not load the adapter {adapter.path}: {llama.log_tail()}")
        return Handle(pointer, api.llama_adapter_lora_free, parent=model.handle)
