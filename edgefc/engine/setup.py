"""The setup of an engine: every choice that was made for a model and its machine."""

from __future__ import annotations

from dataclasses import dataclass

from edgefc.engine.costs import Costs


@dataclass(frozen=True, slots=True)
class Setup:
    """EngineOptions after every open choice was made.

    on_cpu          whether everything is computed on the processor
    extra_buffers   whether llama.cpp may repack weights
    costs           costs of batches
    calibrated      whether costs and threads were measured on this machine
    min_rows        rows that a batch is padded to
    is_exact        whether rows have the same bits in all batches of two rows and more
    rollback        rows that recurrent memory shall be able to drop
    """

    n_ctx: int
    n_batch: int
    n_seq_max: int
    n_gpu_layers: int
    on_cpu: bool
    extra_buffers: bool
    n_threads: int
    n_threads_batch: int
    costs: Costs
    calibrated: bool
    min_rows: int = 1
    is_exact: bool = True
    rollback: int = 0
