"""Sizes of a model's caches: prompts' KV caches in memory and on disk, and started grammars."""

from __future__ import annotations

from edgefc import gguf, hardware, paths
from edgefc.engine import llama
from edgefc.engine.config import EngineOptions
from edgefc.engine.context import Context
from edgefc.engine.identity import model_identity
from edgefc.engine.prefix_store import PrefixStore
from edgefc.engine.setup import Setup

# Bytes of prompts' KV caches and started grammars together: twice the model's, at least MIN_CACHES, at most MAX_CACHES
# and this fraction of the free memory. Grammars get a quarter of them.
MIN_CACHES, MAX_CACHES, MEMORY_SHARE, GRAMMAR_SHARE, MAX_GRAMMARS = 160 << 20, 1 << 30, 8, 4, 64 << 20
DISK_BYTES = 2 << 30
CHECKPOINT_SHARE = 4  # of the bytes for prompts, where memory cannot be cut


def cache_bytes(header: gguf.Header) -> tuple[int, int]:
    """Return the bytes for the caches of prompts and of grammars."""
    model = sum(file.stat().st_size for file in header.files)
    total = min(max(2 * model, MIN_CACHES), MAX_CACHES, hardware.free_memory() // MEMORY_SHARE)
    grammars = min(total // GRAMMAR_SHARE, MAX_GRAMMARS)
    return total - grammars, grammars


def open_store(
    header: gguf.Header, setup: Setup, options: EngineOptions, context: Context, prompt_bytes: int
) -> PrefixStore:
    """Open the snapshots of a model's prompts, of which `prompt_bytes` stay in memory unless the options say so."""
    memory_bytes, disk_bytes = options.prefix_memory, options.prefix_disk
    if memory_bytes is None:
        memory_bytes = prompt_bytes
    checkpoint_bytes = 0 if context.can_truncate else memory_bytes // CHECKPOINT_SHARE
    # With scaled positions, keys in the KV cache depend on the context's size.
    n_ctx = setup.n_ctx if any(".rope.scaling" in key for key in header.metadata) else 0
    build = (llama.VERSION, llama.system_info())
    identity = model_identity(header.files, *build, context.tiles, context.streams, setup.n_gpu_layers, n_ctx)
    return PrefixStore(
        identity,
        paths.cache_dir() / "prefixes",
        memory_bytes=memory_bytes - checkpoint_bytes,
        disk_bytes=DISK_BYTES if disk_bytes is None else disk_bytes,
        can_truncate=context.can_truncate and not context.window,
        checkpoint_bytes=checkpoint_bytes,
    )
