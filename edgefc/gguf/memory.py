"""How much memory a model will need, told from its header before llama.cpp is given the file.

What follows llama.cpp's source follows the release that pyproject.toml pins; what is estimated was compared with
loaded models and lies above what they take:

weights     the tensors as they are in the file: llama.cpp maps them, or copies them into a layout of its own and
            needs their pages no more
kv_cache    exact (llama_kv_cache, llama_hparams::n_embd_k_gqa): for each cell and layer, KV heads · (key + value
            length) · bytes of the type. Windows of attention save nothing, since llama.cpp's swa_full is on by default.
            Recurrent layers keep a state for each sequence (llama_hparams::n_embd_r and n_embd_s, 32-bit).
compute     logits of a whole batch, or the rows of one layer if those are more; the logits that are handed out
vocabulary  tables of llama.cpp and llguidance: BYTES_PER_TOKEN and BYTES_PER_MERGE as measured; threads and the rest
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

import psutil

from edgefc import hardware
from edgefc.errors import ModelLoadError
from edgefc.gguf import ArrayLength, Header

DEFAULT_CONTEXT = 8192
SMALLEST_CONTEXT = 512
# Up to this many rows a batch, ggml's CPU attention computes each row the same way whatever the others are; from 64
# on it switches to tiles, with differences in the second digit of a logit. See docs/decisions.md.
SAFE_ROWS = 63
TILE = SAFE_ROWS + 1
BATCH = 512  # rows of a batch
CELLS = 256  # llama.cpp's KV cache comes in blocks of so many cells
BYTES_PER_TOKEN, BYTES_PER_MERGE = 700, 120
OVERHEAD = 24 << 20
# Under `ulimit -v` what is mapped counts: weights also when they are copied, stacks and arenas of the threads.
RESERVED, RESERVED_PER_CORE = 192 << 20, 80 << 20
# Bytes per element of a KV cache's type.
_KV_BYTES = {"f32": 4.0, "f16": 2.0, "bf16": 2.0, "q8_0": 34 / 32, "q5_1": 24 / 32, "q5_0": 22 / 32, "q4_1": 20 / 32,
             "q4_0": 18 / 32, "iq4_nl": 18 / 32}  # fmt: skip


@dataclass(frozen=True, slots=True)
class MemoryNeed:
    """Bytes in main memory that a model will take with a context; see the module."""

    weights: int
    kv_cache: int
    compute: int
    vocabulary: int

    @property
    def total(self) -> int:
        return self.weights + self.kv_cache + self.compute + self.vocabulary


def predict(
    header: Header, *, n_ctx: int, n_seq_max: int, n_batch: int = BATCH, kv_type: str = "f16", gpu_layers: int = 0
) -> MemoryNeed:
    """What `header`'s model will take, a little too much rather than too little; what it does not tell counts nothing.

    With layers on a GPU only the others' share is counted, which is a rough guess: who loads onto a GPU has
    llama.cpp find out.
    """
    layers = _layers(header)
    share = max(0, layers + 1 - gpu_layers) / (layers + 1)
    cells = kv_cells(n_ctx)
    kv_cache = n_seq_max * (cells * _kv_elements(header) * _KV_BYTES[kv_type] + _state_bytes(header))
    rows = -(-max(n_batch, n_seq_max) // n_seq_max) * n_seq_max
    return MemoryNeed(
        weights=round(header.tensor_bytes * share),
        kv_cache=round(kv_cache * share),
        compute=_compute_bytes(header, rows, cells, n_seq_max),
        vocabulary=(
            _length(header, "tokens") * BYTES_PER_TOKEN + _length(header, "merges") * BYTES_PER_MERGE + OVERHEAD
        ),
    )


def kv_cells(n_ctx: int) -> int:
    """KV cells of one sequence: room for rows of padding behind a full one, in whole blocks."""
    return -(-(n_ctx + SAFE_ROWS) // CELLS) * CELLS


def outputs(n_seq_max: int) -> int:
    """Rows of a batch whose logits are handed out: each sequence's last, and those after drafted tokens."""
    return max(32, 2 * n_seq_max)


def check_fits(need: MemoryNeed, path: Path) -> None:
    """Raise ModelLoadError when there is less memory than a model needs, with the figures and what to do."""
    free = min(hardware.free_memory(), _address_space() - need.weights)
    if need.total <= free:
        return
    if need.total - need.kv_cache > free:
        hint = "Take a smaller quantization or a smaller model, or close other programs."
    else:
        hint = "Load it with a smaller n_ctx or n_parallel (requests at the same time), or take a smaller quantization."
    raise ModelLoadError(
        f"{path} needs {_text(need.total)} of memory and {_text(max(free, 0))} are free: {_text(need.weights)} for the "
        f"weights, {_text(need.kv_cache)} for the KV cache, {_text(need.compute + need.vocabulary)} for the rest",
        hint,
    )


def usual_context(header: Header) -> int:
    """Context in tokens where memory is not short: what the model was trained for, at most 8192."""
    return min(_number(header, "context_length") or DEFAULT_CONTEXT, DEFAULT_CONTEXT)


def default_context(header: Header, n_seq_max: int) -> int:
    """Context in tokens: what the model was trained for, at most 8192, less where memory is short.

    Half of what is free after the weights may go to the KV cache of all sequences together.
    """
    wanted = usual_context(header)
    per_token = kv_bytes_per_token(header)
    if per_token:
        room = (hardware.free_memory() - header.tensor_bytes) // 2
        wanted = min(wanted, max(SMALLEST_CONTEXT, room // (per_token * n_seq_max)))
    return wanted


def kv_bytes_per_token(header: Header) -> int:
    """KV cache bytes of one token at f16; 0 when the header lacks the figures, or the model has no such cache."""
    return round(_kv_elements(header) * _KV_BYTES["f16"])


def _kv_elements(header: Header) -> int:
    """Elements of one KV cell in all layers."""
    heads = _per_layer(header, "attention.head_count")
    groups = _per_layer(header, "attention.head_count_kv") or heads
    width = _number(header, "embedding_length") // max(heads, default=1) if any(heads) else 0
    key = max(_number(header, "attention.key_length") or width, _number(header, "attention.key_length_swa"))
    value = max(_number(header, "attention.value_length") or width, _number(header, "attention.value_length_swa"))
    if _number(header, "attention.key_length_mla"):
        value = 0  # keys and values are one latent vector
    return sum(groups) * (key + value)


def _state_bytes(header: Header) -> int:
    """What recurrent layers keep of one sequence; all layers counted, since the header does not say which they are."""
    embedding = _number(header, "embedding_length")
    inner, state = _number(header, "ssm.inner_size"), _number(header, "ssm.state_size")
    head, heads = _number(header, "kda.head_dim"), max(_per_layer(header, "attention.head_count"), default=0)
    kernel = max(_number(header, "ssm.conv_kernel") - 1, 0)
    elements = (
        kernel * (inner + 2 * _number(header, "ssm.group_count") * state)
        + inner * state
        + embedding * max(_number(header, "shortconv.l_cache") - 1, 0)
        + head * heads * (head + 3 * kernel)
    )
    if wkv := _number(header, "wkv.head_size"):
        elements += embedding * (wkv + (_number(header, "token_shift_count") or 2))
    return 4 * _layers(header) * elements


def _compute_bytes(header: Header, rows: int, cells: int, n_seq_max: int) -> int:
    """llama.cpp's compute and output buffers for a batch of so many rows."""
    embedding, tokens = _number(header, "embedding_length"), _length(header, "tokens")
    heads = max(_per_layer(header, "attention.head_count"), default=0)
    attention = heads * _number(header, "attention.key_length") or embedding
    forward = max(_per_layer(header, "feed_forward_length"), default=0)
    experts = max(_per_layer(header, "expert_used_count"), default=0)
    forward += experts * (_number(header, "expert_feed_forward_length") + embedding)
    layer = 4 * (4 * (embedding + attention) + 2 * forward) + 2 * cells  # and the mask, 16-bit
    wanted = min(rows, outputs(n_seq_max))
    return (
        max(4 * wanted * tokens, rows * layer) + 8 * rows * embedding + 4 * wanted * tokens + 2 * _state_bytes(header)
    )


def _address_space() -> int:
    """Bytes this process may still map for a model, where `ulimit -v` bounds it."""
    if sys.platform == "win32":
        return sys.maxsize
    import resource

    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    if limit == resource.RLIM_INFINITY:
        return sys.maxsize
    mapped = int(psutil.Process().memory_info().vms)
    return limit - mapped - RESERVED - RESERVED_PER_CORE * hardware.usable_cores()


def _layers(header: Header) -> int:
    return _number(header, "block_count")


def _number(header: Header, key: str) -> int:
    return max(header.number(key) or 0, 0)


def _per_layer(header: Header, key: str) -> list[int]:
    return [max(count, 0) for count in header.per_layer(key) or []]


def _length(header: Header, key: str) -> int:
    """How many entries a list of the vocabulary has."""
    found = header.metadata.get(f"tokenizer.ggml.{key}")
    if isinstance(found, ArrayLength):
        return found.length
    return len(found) if isinstance(found, list) else 0


def _text(size: int) -> str:
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{size / 1e6:.0f} MB"
