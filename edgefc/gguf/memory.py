"""Predicts the memory that a model will need from its header, before llama.cpp is given the file.

The KV cache is computed as the llama.cpp release that pyproject.toml pins computes it. The rest is estimated; compared
with loaded models, the estimates lie above what they take:

weights     size of the tensors in the file: llama.cpp maps them, or copies them into its own layout and no longer
            needs the mapped pages
kv_cache    exact (llama_kv_cache, llama_hparams::n_embd_k_gqa): for each cell and layer, KV heads · (key + value
            length) · bytes of the type. Sliding windows save nothing: docs/decisions.md tells why.
            Recurrent layers have a state for each sequence (llama_hparams::n_embd_r and n_embd_s, 32-bit), and one
            for each row that they can drop again (`rollback`).
compute     logits of a whole batch, or the rows of one layer if those take more; the logits of the outputs
adapters    of LoRA: their tensors, and the rows of a batch that they add
vocabulary  tables of llama.cpp and llguidance: BYTES_PER_TOKEN and BYTES_PER_MERGE as measured; threads and the rest
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

from edgefc import hardware
from edgefc.errors import ModelLoadError
from edgefc.gguf.header import ArrayLength, Header

DEFAULT_CONTEXT = 8192
SMALLEST_CONTEXT = 512
# Up to this many rows per batch, ggml's CPU attention computes each row independently of the others; from 64 on it
# switches to tiles, with differences in the second digit of a logit. See docs/decisions.md.
SAFE_ROWS = 63
TILE = SAFE_ROWS + 1
BATCH = 512  # rows of a batch
CELLS = 256  # llama.cpp allocates the KV cache in blocks of this many cells
BYTES_PER_TOKEN, BYTES_PER_MERGE = 700, 120
OVERHEAD = 24 << 20
# `ulimit -v` limits mapped memory: this includes the file's weights even when they are copied, and the threads' stacks
# and arenas.
RESERVED, RESERVED_PER_CORE = 192 << 20, 80 << 20
# Every so many layers of these one has attention, and the others a gated delta net, unless the file says otherwise.
DELTA_NET_INTERVAL, DELTA_NETS = 4, {"qwen3next", "qwen35", "qwen35moe"}
# ggml's Q4_0, Q4_K and IQ4_NL, of which four rows take the time of one: on x86 with AVX2 and on ARM.
REPACKED_TYPES = {2, 12, 20}
# Architectures whose recurrent layers can drop the last rows of a batch (llm_arch_supports_rs_rollback in llama.cpp),
# how many rows, and the most memory that it may take, as a share of the weights.
ROLLBACK_MODELS = {"lfm2", "lfm2moe", "qwen35", "qwen35moe", "nemotron_h", "nemotron_h_moe"}
ROLLBACK, ROLLBACK_SHARE = 3, 8
# KV cache type → bytes per element.
_KV_BYTES = {"f32": 4.0, "f16": 2.0, "bf16": 2.0, "q8_0": 34 / 32, "q5_1": 24 / 32, "q5_0": 22 / 32, "q4_1": 20 / 32,
             "q4_0": 18 / 32, "iq4_nl": 18 / 32}  # fmt: skip


@dataclass(frozen=True, slots=True)
class MemoryNeed:
    """Bytes of main memory that a model and its context take; the module's docstring defines the parts."""

    weights: int
    kv_cache: int
    compute: int
    vocabulary: int
    adapters: int = 0

    @property
    def total(self) -> int:
        return self.weights + self.kv_cache + self.compute + self.vocabulary + self.adapters


def predict(
    header: Header,
    *,
    n_ctx: int,
    n_seq_max: int,
    n_batch: int = BATCH,
    kv_type: str = "f16",
    gpu_layers: int = 0,
    adapters: int = 0,
) -> MemoryNeed:
    """Predict the memory of a model, erring on the high side; figures that the header lacks count as 0.

    adapters  bytes that LoRA adapters take, the sum of `Adapter.memory`

    With layers on a GPU only the share of the others is counted. This is a rough estimate: when loading onto a GPU,
    let llama.cpp find out.
    """
    layers = _layers(header)
    share = max(0, layers + 1 - gpu_layers) / (layers + 1)
    cells = kv_cells(n_ctx)
    states = _state_bytes(header) * (1 + rollback(header, n_seq_max))
    kv_cache = n_seq_max * (cells * _kv_elements(header) * _KV_BYTES[kv_type] + states)
    rows = -(-max(n_batch, n_seq_max) // n_seq_max) * n_seq_max
    return MemoryNeed(
        weights=round(header.tensor_bytes * share),
        kv_cache=round(kv_cache * share),
        compute=_compute_bytes(header, rows, cells, n_seq_max),
        vocabulary=(
            _vocabulary_length(header, "tokens") * BYTES_PER_TOKEN
            + _vocabulary_length(header, "merges") * BYTES_PER_MERGE
            + OVERHEAD
        ),
        adapters=adapters,
    )


def kv_cells(n_ctx: int) -> int:
    """Return the KV cells of one sequence: `n_ctx` and room for padding rows, in whole blocks."""
    return -(-(n_ctx + SAFE_ROWS) // CELLS) * CELLS


def rollback(header: Header, n_seq_max: int) -> int:
    """Return how many rows of a batch recurrent layers shall be able to drop again; 0 where that costs much.

    With other quantizations, and where a state is large, the rows for drafts and padding take longer than they save.
    """
    memory = n_seq_max * ROLLBACK * _state_bytes(header)
    is_cheap = header.main_type in REPACKED_TYPES and memory * ROLLBACK_SHARE <= header.tensor_bytes
    return ROLLBACK if is_cheap and header.architecture in ROLLBACK_MODELS else 0


def max_outputs(n_seq_max: int) -> int:
    """Return the most rows of a batch with logits: the last of each sequence, and those after drafted tokens."""
    return max(32, 2 * n_seq_max)


def check_fits(need: MemoryNeed, path: Path) -> None:
    """Raise ModelLoadError, with the figures and a hint, when a model needs more memory than is free."""
    free = min(hardware.free_memory(), _address_space() - need.weights)
    if need.total <= free:
        return
    if need.total - need.kv_cache > free:
        hint = "Choose a smaller quantization or a smaller model, or close other programs."
    else:
        hint = "Set a smaller n_ctx or n_parallel (concurrent requests), or choose a smaller quantization."
    raise ModelLoadError(
        f"{path} needs {_format_size(need.total)} of memory and {_format_size(max(free, 0))} are free: "
        f"{_format_size(need.weights)} for the weights, {_format_size(need.kv_cache)} for the KV cache, "
        f"{_format_size(need.compute + need.vocabulary + need.adapters)} for the rest",
        hint,
    )


def usual_context(header: Header) -> int:
    """Return the default context in tokens when memory is ample: the trained context, at most 8192."""
    return min(_count(header, "context_length") or DEFAULT_CONTEXT, DEFAULT_CONTEXT)


def default_context(header: Header, n_seq_max: int) -> int:
    """Return the default context in tokens: the trained context, at most 8192, less when memory is short.

    The KV cache of all sequences together may take half of the memory that the weights leave free.
    """
    n_ctx = usual_context(header)
    per_token = kv_bytes_per_token(header)
    if per_token:
        room = (hardware.free_memory() - header.tensor_bytes) // 2
        n_ctx = min(n_ctx, max(SMALLEST_CONTEXT, room // (per_token * n_seq_max)))
    return n_ctx


def kv_bytes_per_token(header: Header) -> int:
    """Return the KV cache bytes of one token at f16; 0 when the header lacks the figures or there is no cache."""
    return round(_kv_elements(header) * _KV_BYTES["f16"])


def _kv_elements(header: Header) -> int:
    """Count the elements of one KV cell in all layers."""
    heads, groups = _per_layer(header, "attention.head_count"), kv_heads(header)
    width = _count(header, "embedding_length") // max(heads, default=1) if any(heads) else 0
    key = max(_count(header, "attention.key_length") or width, _count(header, "attention.key_length_swa"))
    value = max(_count(header, "attention.value_length") or width, _count(header, "attention.value_length_swa"))
    if _count(header, "attention.key_length_mla"):
        value = 0  # keys and values are one latent vector
    return sum(groups) * (key + value)


def kv_heads(header: Header) -> list[int]:
    """Return the KV heads of each layer, 0 for recurrent ones."""
    groups = _per_layer(header, "attention.head_count_kv") or _per_layer(header, "attention.head_count")
    recurrent = header.per_layer("attention.recurrent_layers")
    if recurrent is None:
        default = DELTA_NET_INTERVAL if header.architecture in DELTA_NETS else 1
        interval = _count(header, "full_attention_interval") or default
        recurrent = [number % interval for number in range(1, len(groups) + 1)]
    return [0 if is_recurrent else count for count, is_recurrent in zip(groups, recurrent, strict=False)]


def _state_bytes(header: Header) -> int:
    """Return the recurrent state of one sequence.

    Layers without KV heads have one. Where all layers have some, all are counted: a layer may have both.
    """
    embedding = _count(header, "embedding_length")
    inner, state = _count(header, "ssm.inner_size"), _count(header, "ssm.state_size")
    head, heads = _count(header, "kda.head_dim"), max(_per_layer(header, "attention.head_count"), default=0)
    kernel = max(_count(header, "ssm.conv_kernel") - 1, 0)
    elements = (
        kernel * (inner + 2 * _count(header, "ssm.group_count") * state)
        + inner * state
        + embedding * max(_count(header, "shortconv.l_cache") - 1, 0)
        + head * heads * (head + 3 * kernel)
    )
    if wkv := _count(header, "wkv.head_size"):
        elements += embedding * (wkv + (_count(header, "token_shift_count") or 2))
    return 4 * (kv_heads(header).count(0) or _layers(header)) * elements


def _compute_bytes(header: Header, rows: int, cells: int, n_seq_max: int) -> int:
    """Estimate llama.cpp's compute and output buffers for a batch of `rows` rows."""
    embedding, tokens = _count(header, "embedding_length"), _vocabulary_length(header, "tokens")
    heads = max(_per_layer(header, "attention.head_count"), default=0)
    attention = heads * _count(header, "attention.key_length") or embedding
    forward = max(_per_layer(header, "feed_forward_length"), default=0)
    experts = max(_per_layer(header, "expert_used_count"), default=0)
    forward += experts * (_count(header, "expert_feed_forward_length") + embedding)
    layer = 4 * (4 * (embedding + attention) + 2 * forward) + 2 * cells  # and the mask, 16-bit
    logits = 4 * min(rows, max_outputs(n_seq_max)) * tokens
    return max(logits, rows * layer) + 8 * rows * embedding + logits + 2 * _state_bytes(header)


def _address_space() -> int:
    """Return the bytes that this process may still map for a model under `ulimit -v`."""
    if sys.platform == "win32":
        return sys.maxsize
    import resource

    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    if limit == resource.RLIM_INFINITY:
        return sys.maxsize
    import psutil  # here, because predicting does not need it

    mapped = int(psutil.Process().memory_info().vms)
    return limit - mapped - RESERVED - RESERVED_PER_CORE * hardware.usable_cores()


def _layers(header: Header) -> int:
    return _count(header, "block_count")


def _count(header: Header, key: str) -> int:
    """Return `<architecture>.<key>` if it is a positive integer, else 0."""
    return max(header.number(key) or 0, 0)


def _per_layer(header: Header, key: str) -> list[int]:
    return [max(count, 0) for count in header.per_layer(key) or []]


def _vocabulary_length(header: Header, key: str) -> int:
    """Count the entries of a list of the vocabulary: `tokens` or `merges`."""
    entries = header.metadata.get(f"tokenizer.ggml.{key}")
    if isinstance(entries, ArrayLength):
        return entries.length
    return len(entries) if isinstance(entries, list) else 0


def _format_size(size: int) -> str:
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{size / 1e6:.0f} MB"
