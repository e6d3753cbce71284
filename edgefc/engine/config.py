"""Chooses how a model is computed on this machine: threads, batches and their costs, and whether it fits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from edgefc import gguf, hardware
from edgefc.engine import calibration, llama, selftest
from edgefc.engine.costs import K_QUANTS, Costs, estimate_costs
from edgefc.engine.setup import Setup
from edgefc.errors import RequestError
from edgefc.gguf import memory
from edgefc.gguf.adapter import Adapter, Lora

ALL_LAYERS = 999
# Cost of two rows, relative to one, up to which a single row is padded with a second. Between the 1.2 of a Xeon with
# AVX-512 and the 1.5 to 1.6 of a Zen core without: docs/decisions.md.
MAX_PADDING_COST = 1.3
LIMITS = {
    "n_ctx": (32, 1 << 24),
    "n_seq_max": (1, 64),
    "n_batch": (32, 8192),
    "n_threads": (1, 1024),
    "n_threads_batch": (1, 1024),
    "n_gpu_layers": (0, 100_000),
    "prefix_memory": (0, 1 << 50),
    "prefix_disk": (0, 1 << 50),
}


@dataclass(frozen=True, slots=True)
class EngineOptions:
    """Options of an engine. None: chosen for the model and this machine.

    n_ctx      context of one request, in tokens
    n_seq_max  requests computed at the same time, each with a KV cache of n_ctx tokens
    n_batch    most tokens computed at once
    n_threads, n_threads_batch   for decoding and for prefill
    n_gpu_layers   layers on the GPU
    prefix_memory, prefix_disk   bytes for KV caches of prompts to reuse; 0: none
    adapters   LoRA adapters to load with the model, see `gguf.adapter.loras_of`
    """

    n_ctx: int | None = None
    n_seq_max: int = 4
    n_batch: int | None = None
    n_threads: int | None = None
    n_threads_batch: int | None = None
    n_gpu_layers: int | None = None
    prefix_memory: int | None = None
    prefix_disk: int | None = None
    adapters: tuple[Lora, ...] = ()

    def __post_init__(self) -> None:
        for name, (low, high) in LIMITS.items():
            value = getattr(self, name)
            if value is None:
                continue
            if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
                raise RequestError(name, f"must be an integer from {low} to {high}, not {value!r}")


def choose_setup(path: Path, header: gguf.Header, options: EngineOptions, adapters: Sequence[Adapter] = ()) -> Setup:
    """Choose the setup for a model file, with these adapters of its options.

    Raises ModelLoadError when llama.cpp would crash, or memory is too small.
    """
    extra_buffers = selftest.extra_buffers()
    n_gpu_layers = options.n_gpu_layers
    if n_gpu_layers is None:
        n_gpu_layers = ALL_LAYERS if llama.supports_gpu() else 0
    on_cpu = not n_gpu_layers or not llama.supports_gpu()
    n_batch = options.n_batch or memory.BATCH
    n_ctx = options.n_ctx or memory.default_context(header, options.n_seq_max)
    if on_cpu:
        need = memory.predict(
            header,
            n_ctx=n_ctx,
            n_seq_max=options.n_seq_max,
            n_batch=n_batch,
            adapters=sum(adapter.memory for adapter in adapters),
        )
        memory.check_fits(need, path)
    measured = calibration.load(path, adapters) if on_cpu else None
    default = hardware.default_threads()
    n_threads = options.n_threads or (measured.n_threads if measured else default)
    setup = Setup(
        n_ctx=n_ctx,
        n_batch=n_batch,
        n_seq_max=options.n_seq_max,
        n_gpu_layers=n_gpu_layers,
        on_cpu=on_cpu,
        extra_buffers=extra_buffers,
        n_threads=n_threads,
        n_threads_batch=options.n_threads_batch or (measured.n_threads_batch if measured else max(n_threads, default)),
        costs=measured.costs if measured else estimate_costs(header, is_narrow=llama.lacks_avx512()),
        calibrated=measured is not None,
        is_exact=on_cpu and header.main_type not in K_QUANTS,
        rollback=memory.rollback(header, options.n_seq_max) if on_cpu else 0,
    )
    return with_costs(setup, setup.costs)


def with_costs(setup: Setup, costs: Costs) -> Setup:
    """Return a setup with other costs of batches, and what follows from them.

    Two rows have the same bits in any batch, one alone has others. So where several requests may be computed
    together, a single row is padded with a second, unless that costs much.
    """
    is_padded = setup.is_exact and setup.n_seq_max > 1 and costs.of(2) <= MAX_PADDING_COST * costs.of(1)
    return replace(setup, costs=costs, min_rows=2 if is_padded else 1)
