"""Checks for models that would make llama.cpp end the process instead of refusing them.

llama.cpp refuses most bad files by itself. Here are the cases that reach a GGML_ASSERT, or an exception that leaves a
C function; names refer to the release that pyproject.toml pins.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping

from edgefc.gguf.header import F32, MAX_LAYERS, Header, TensorInfo
from edgefc.gguf.memory import DELTA_NETS, kv_heads

MAX_EXPERTS = 1024  # LLAMA_MAX_EXPERTS
# Tokenizers of models that do not generate text, and llama.cpp's own for tests; it ends the process when such a
# vocabulary is not what it expects.
_UNUSABLE_TOKENIZERS = frozenset({"bert", "no_vocab", "none", "rwkv", "test", "whitespace"})
_ROPE_SCALING = frozenset({"none", "linear", "yarn", "longrope"})
# Architectures for which llama.cpp asserts that keys, values and rotated dimensions of a head are equally many:
# "GGML_ASSERT(n_embd_head == n_rot)" in src/models.
_FULL_ROTATION = frozenset(
    "apertus arcee arctic baichuan chameleon codeshell cogvlm cohere2moe dbrx deci deepseek dots1 dream ernie4_5 "
    "ernie4_5-moe exaone exaone-moe exaone4 falcon granite granite_swa graniteswitch grok grovemoe hunyuan-moe "
    "hunyuan_vl hy_v3 internlm2 jais2 llada llada-moe llama llama4 maincoder mellum mistral3 olmo olmo2 olmoe orion "
    "paddleocr pangu-embedded plamo pockettts qwen2 qwen2moe qwen2vl qwen3 qwen3moe qwen3vl qwen3vlmoe rnd1 seed_oss "
    "smallthinker smollm3 starcoder2 talkie xverse".split()
)
_UNIFORM_HEADS = _FULL_ROTATION | {"gemma", "gemma2", "gemma3", "phi3"}
# Hybrids whose KV cache llama.cpp takes to have at least one layer.
_HYBRIDS = DELTA_NETS | {"lfm2", "lfm2moe", "granitehybrid"}
_NO_MATMUL = frozenset({9, 15, 24, 25, 26, 27, 28})  # Q8_1, Q8_K, integers, F64
_F32_ONLY = re.compile(r"norm(_\d)?\.weight$|\.bias$|\brope_\w+\.weight$|_sinks\.weight$")
_LOOKUP_TABLE = re.compile(r"tid2eid|d2t")


def vocabulary_problem(metadata: Mapping[str, object], tokens: set[bytes] | None) -> str:
    """Return a reason why llama.cpp would abort on a vocabulary, when loading or at the first text; "" if none.

    tokens  the texts of the vocabulary; None when the file has none
    """
    model, pre_tokenizer = (metadata.get(f"tokenizer.ggml.{key}") for key in ("model", "pre"))
    for name in (model, pre_tokenizer):
        if isinstance(name, str) and name in _UNUSABLE_TOKENIZERS:
            return f"a model with the tokenizer {name!r} cannot be run"
    if model == "llama" and tokens is not None:
        missing = [byte for byte in range(256) if not {b"<0x%02X>" % byte, bytes([byte])} & tokens]
        if missing:
            return f"its vocabulary has no token for the byte {missing[0]}, nor for {len(missing) - 1} more"
    return ""


def model_problem(header: Header, tensors: Mapping[str, TensorInfo]) -> str:
    """Return a reason why llama.cpp would abort on a model; "" when none is known."""
    layers = header.number("block_count")
    if layers is not None and not 1 <= layers <= MAX_LAYERS:
        return f"it claims {layers} layers"
    extra = header.number("nextn_predict_layers") or 0
    if layers is not None and extra > layers:
        return f"it claims {extra} layers for multi-token prediction, but {layers} in all"
    for key, value in header.metadata.items():
        if key.endswith("epsilon") and isinstance(value, float) and not 0 <= value < math.inf:
            return f"{key} is {value}"
    scaling = header.value("rope.scaling.type")
    if isinstance(scaling, str) and scaling not in _ROPE_SCALING:
        return f"unknown RoPE scaling type {scaling!r}"
    if header.architecture in _HYBRIDS and layers is not None and not any(kv_heads(header)):
        return "none of its layers has attention"
    return _expert_problem(header) or _attention_problem(header, tensors) or _type_problem(tensors)


def _expert_problem(header: Header) -> str:
    experts, groups = header.number("expert_count") or 0, header.number("expert_group_count") or 0
    used = max(header.per_layer("expert_used_count") or [0])
    groups_used = header.number("expert_group_used_count") or 0
    if experts <= 1 and header.architecture in {"hunyuan-dense", "hunyuan_vl"}:
        return ""  # written by the converter of their siblings with experts; llama.cpp ignores it
    if experts:
        is_valid = 0 < used <= experts <= MAX_EXPERTS and groups < experts
        if groups >= 2:
            is_valid = is_valid and experts % groups == 0 and 0 < groups_used < groups
    else:
        is_valid = used == 0 and groups == 0
    return "" if is_valid else f"it claims {experts} experts in {groups} groups, {used} of them used"


def _attention_problem(header: Header, tensors: Mapping[str, TensorInfo]) -> str:
    """Compare head counts with the tensors: llama.cpp asserts that they agree when it builds the graph."""
    heads = header.per_layer("attention.head_count")
    if header.architecture not in _UNIFORM_HEADS or not heads:
        return ""
    width = (header.number("embedding_length") or 0) // heads[0] if heads[0] > 0 else 0
    keys = _number_or(header, "attention.key_length", width)
    values = _number_or(header, "attention.value_length", width)
    rotated = _number_or(header, "rope.dimension_count", keys)
    if header.architecture in _FULL_ROTATION and not keys == values == rotated:
        return f"its heads have {keys} keys, {values} values and {rotated} rotated dimensions: they must be equal"
    if not 0 < rotated <= keys or rotated % 2:
        return f"its heads have {keys} dimensions, of which it claims to rotate {rotated}"
    groups = header.per_layer("attention.head_count_kv") or heads
    for layer, (queries, group) in enumerate(zip(heads, groups, strict=False)):
        rows = {"q": queries * keys, "k": group * keys, "v": group * values}
        rows["qkv"] = sum(rows.values())
        for part, expected in rows.items():
            tensor = tensors.get(f"blk.{layer}.attn_{part}.weight")
            if tensor is not None and tensor.shape[-1] != expected:
                return f"layer {layer} claims {queries} heads and {group} KV heads, which its tensors do not have"
    return ""


def _type_problem(tensors: Mapping[str, TensorInfo]) -> str:
    for name, tensor in tensors.items():
        if tensor.type != F32 and _F32_ONLY.search(name):
            return f"the tensor {name!r} has the type {tensor.type}, but llama.cpp needs 32-bit floats there"
        if tensor.type in _NO_MATMUL and name.endswith(".weight") and not _LOOKUP_TABLE.search(name):
            return f"the tensor {name!r} has the type {tensor.type}, with which llama.cpp cannot compute"
    return ""


def _number_or(header: Header, key: str, default: int) -> int:
    value = header.number(key)
    return default if value is None else value
