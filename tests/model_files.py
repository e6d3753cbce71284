"""Small GGUFs with random weights: enough for tokens and grammars, useless for language."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import gguf
import numpy as np
from gguf import GGUFValueType

from tests.vocabularies import CHAT_TEMPLATE, CONTROL, KINDS, SCORES, TOKENS, read_fields

# Llama 3.1's names for two of Llama 3's reserved tokens.
LLAMA31 = {"<|reserved_special_token_4|>": "<|eom_id|>", "<|reserved_special_token_5|>": "<|python_tag|>"}
V1 = tuple(f"<|{name}|>" for name in ("START_OF_FUNCTION_CALL", "END_OF_SYSTEM", "END_OF_USER", "END_OF_ASSISTANT",
                                      "END_OF_FUNCTION_RESULT", "END_OF_FUNCTION_CALL"))  # fmt: skip
V2 = ("<|from|>", "<|recipient|>", "<|content|>", "<|stop|>")
MISTRAL = ("[INST]", "[/INST]", "[TOOL_CALLS]", "[AVAILABLE_TOOLS]", "[/AVAILABLE_TOOLS]", "[TOOL_RESULTS]",
           "[/TOOL_RESULTS]")  # fmt: skip
LFM2 = tuple(f"<|{name}_{end}|>" for name in ("tool_list", "tool_call", "tool_response") for end in ("start", "end"))
GEMMA4 = ("<|turn>", "<turn|>", "<|think|>", "<|tool>", "<tool|>", "<|tool_call>", "<tool_call|>", "<|tool_response>",
          "<tool_response|>", "<|channel>", "<channel|>", '<|"|>')  # fmt: skip
FUNCTIONGEMMA = ("<start_of_turn>", "<end_of_turn>", "<escape>",
                 *(f"<{end}_function_{name}>" for name in ("declaration", "call", "response") for end in ("start", "end")))  # fmt: skip
GRANITE4 = ("<|start_of_role|>", "<|end_of_role|>", "<|end_of_text|>")
PHI4 = (
    "<|system|>",
    "<|user|>",
    "<|assistant|>",
    "<|end|>",
    "<|tool|>",
    "<|/tool|>",
    "<|tool_call|>",
    "<|/tool_call|>",
)
MINISTRAL3 = (*MISTRAL, "[SYSTEM_PROMPT]", "[/SYSTEM_PROMPT]", "[ARGS]", "[THINK]", "[/THINK]")
MISTRAL_SMALL = (*MISTRAL, "[SYSTEM_PROMPT]", "[/SYSTEM_PROMPT]", "[CALL_ID]", "[ARGS]", "[TOOL_CONTENT]")
HARMONY = ("<|start|>", "<|end|>", "<|message|>", "<|channel|>", "<|constrain|>", "<|return|>", "<|call|>")
# llama.cpp keeps the beginnings of tags together, so that they may be control tokens.
MINICPM5 = ("<function", "</function>", "<param", "</param>", "<think>", "</think>")
# Vocabulary, renamed tokens, added tokens.
VOCABULARIES: dict[str, tuple[str, dict[str, str], tuple[str, ...]]] = {
    "qwen2": ("qwen2", {}, ()),
    "llama3": ("llama-bpe", LLAMA31, ()),
    "deepseek": ("deepseek-coder", {}, ()),
    "functionary-v1": ("llama-spm", {}, V1),
    "functionary-v2": ("llama-spm", {}, V2),
    "mistral": ("llama-spm", {}, MISTRAL),
    "lfm2": ("qwen2", {}, LFM2),
    "gemma4": ("qwen2", {}, GEMMA4),
    "functiongemma": ("qwen2", {}, FUNCTIONGEMMA),
    "granite4": ("qwen2", {}, GRANITE4),
    "phi4": ("qwen2", {}, PHI4),
    "harmony": ("qwen2", {}, HARMONY),
    "minicpm5": ("qwen2", {}, MINICPM5),
    "ministral3": ("llama-spm", {}, MINISTRAL3),
    "mistral-small-3.2": ("llama-spm", {}, MISTRAL_SMALL),
}
OF_FAMILY = {
    "functionary-v1": "functionary-v1", "functionary-v2": "functionary-v2", "functionary-v2.llama3": "llama3",
    "functionary-v3.llama3": "llama3", "functionary-v3.1": "llama3", "xlam-fc-v1": "deepseek", "xlam-r": "mistral",
    "mistral": "mistral", "xlam2-llama": "llama3", "apigen-fc": "llama3", "llama3-json": "llama3",
    "hermes-2-pro": "qwen2", "lfm2": "lfm2", "lfm2.5": "lfm2", "gemma4": "gemma4", "functiongemma": "functiongemma",
    "llama-pythonic": "llama3", "granite4": "granite4", "phi4-mini": "phi4", "ministral3": "ministral3",
    "bitagent-bounty": "llama3", "gpt-oss": "harmony", "minicpm5": "minicpm5",
    "mistral-small-3.2": "mistral-small-3.2",
}  # fmt: skip


@dataclass(frozen=True)
class Shape:
    """Sizes of a Qwen2 model, and the standard deviation of its weights."""

    layers: int = 2
    embedding: int = 64
    heads: int = 2
    kv_heads: int = 1
    forward: int = 128
    deviation: float = 0.05


SMALLEST = Shape()
# Heads of 64, as in Qwen2.5 0.5B: ggml has vector kernels for them.
TINY = Shape(layers=4, embedding=256, heads=4, kv_heads=2, forward=768, deviation=0.02)


def write_model(
    vocabulary: Path,
    out: Path,
    *,
    shape: Shape = SMALLEST,
    renamed: Mapping[str, str] | None = None,
    added: tuple[str, ...] = (),
    metadata: Mapping[str, str] | None = None,
    chat_template: bool = False,
) -> Path:
    """Write a Qwen2 model with the vocabulary of another GGUF.

    renamed        control tokens by their text, with the text they have in a later model of the same vocabulary
    added          control tokens to append
    metadata       keys to set
    chat_template  keep the chat template of the vocabulary's file
    """
    writer = gguf.GGUFWriter(out, "qwen2")
    n_vocab = copy_vocabulary(writer, vocabulary, renamed or {}, added, chat_template=chat_template)
    for key, text in (metadata or {}).items():
        writer.add_string(key, text)
    writer.add_context_length(32768)
    writer.add_embedding_length(shape.embedding)
    writer.add_block_count(shape.layers)
    writer.add_feed_forward_length(shape.forward)
    writer.add_head_count(shape.heads)
    writer.add_head_count_kv(shape.kv_heads)
    writer.add_rope_freq_base(1e6)
    writer.add_layer_norm_rms_eps(1e-6)
    _add_tensors(writer, n_vocab, shape)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return out


def copy_vocabulary(
    writer: gguf.GGUFWriter,
    vocabulary: Path,
    renamed: Mapping[str, str],
    added: tuple[str, ...],
    *,
    chat_template: bool = False,
) -> int:
    """Copy the vocabulary of another GGUF, as `write_model` does; return its size."""
    fields = {key: field for key, field in read_fields(vocabulary).items() if key.startswith("tokenizer.")}
    if not chat_template:
        fields.pop(CHAT_TEMPLATE, None)
    tokens, kinds = fields[TOKENS][1], fields[KINDS][1]
    for before, after in renamed.items():
        token = tokens.index(before)
        tokens[token], kinds[token] = after, CONTROL
    tokens += added
    kinds += [CONTROL] * len(added)
    if SCORES in fields:
        fields[SCORES][1].extend([-1000.0] * len(added))
    for key, (types, value) in fields.items():
        if types[0] == GGUFValueType.ARRAY:
            writer.add_array(key, value)
        else:
            writer.add_key_value(key, value, types[0])
    return len(tokens)


def _add_tensors(writer: gguf.GGUFWriter, n_vocab: int, shape: Shape) -> None:
    rng = np.random.default_rng(0)
    quantized = gguf.GGMLQuantizationType.Q8_0
    size = shape.embedding

    def weight(name: str, rows: int, columns: int) -> None:
        data = rng.standard_normal((rows, columns), dtype=np.float32) * shape.deviation
        writer.add_tensor(name, gguf.quants.quantize(data, quantized), raw_dtype=quantized)

    def vector(name: str, length: int, value: float) -> None:
        writer.add_tensor(name, np.full(length, value, dtype=np.float32))

    weight("token_embd.weight", n_vocab, size)
    vector("output_norm.weight", size, 1.0)
    keys = size // shape.heads * shape.kv_heads
    for layer in range(shape.layers):
        prefix = f"blk.{layer}."
        vector(prefix + "attn_norm.weight", size, 1.0)
        vector(prefix + "ffn_norm.weight", size, 1.0)
        for name, rows in (("q", size), ("k", keys), ("v", keys)):
            weight(prefix + f"attn_{name}.weight", rows, size)
            vector(prefix + f"attn_{name}.bias", rows, 0.0)
        weight(prefix + "attn_output.weight", size, size)
        weight(prefix + "ffn_gate.weight", shape.forward, size)
        weight(prefix + "ffn_up.weight", shape.forward, size)
        weight(prefix + "ffn_down.weight", size, shape.forward)


def copy_metadata(reader: gguf.GGUFReader, writer: gguf.GGUFWriter) -> None:
    """Copy all keys of a file but those that the writer sets itself."""
    for key, entry in reader.fields.items():
        if key.startswith("GGUF.") or key == "general.architecture":
            continue
        if entry.types[0] == gguf.GGUFValueType.ARRAY:
            writer.add_array(key, entry.contents())
        else:
            writer.add_key_value(key, entry.contents(), entry.types[0])


def split_model(source: Path, folder: Path, tensors: int) -> list[Path]:
    """Write a model in parts of `tensors` tensors each, named as llama.cpp expects."""
    reader = gguf.GGUFReader(source)
    name = folder / "split-Q8_0.gguf"
    writer = gguf.GGUFWriter(name, "qwen2", split_max_tensors=tensors)
    copy_metadata(reader, writer)
    for tensor in reader.tensors:
        writer.add_tensor(tensor.name, tensor.data, raw_dtype=tensor.tensor_type)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return sorted(folder.glob("split-Q8_0-*.gguf"))


def write_mamba(out: Path) -> Path:
    """Write a recurrent model of two layers: its memory of a text is a state that cannot be truncated."""
    layers, embedding, inner, state, rank, tokens = 2, 64, 128, 16, 4, 259
    writer = gguf.GGUFWriter(out, "mamba")
    writer.add_context_length(4096)
    writer.add_embedding_length(embedding)
    writer.add_feed_forward_length(0)
    writer.add_head_count(0)
    writer.add_block_count(layers)
    writer.add_ssm_conv_kernel(4)
    writer.add_ssm_inner_size(inner)
    writer.add_ssm_state_size(state)
    writer.add_ssm_time_step_rank(rank)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_tokenizer_model("llama")
    bytes_ = [f"<0x{number:02X}>" for number in range(256)]
    writer.add_token_list(["<unk>", "<s>", "</s>", *bytes_])
    writer.add_token_scores([0.0] * tokens)
    writer.add_token_types([2, 3, 3, *[6] * 256])
    rng = np.random.default_rng(0)

    def add(name: str, *shape: int, offset: float = 0.0) -> None:
        writer.add_tensor(name, rng.standard_normal(shape, dtype=np.float32) * 0.1 + np.float32(offset))

    add("token_embd.weight", tokens, embedding)
    add("output_norm.weight", embedding, offset=1.0)
    for layer in range(layers):
        prefix = f"blk.{layer}."
        add(prefix + "attn_norm.weight", embedding, offset=1.0)
        add(prefix + "ssm_in.weight", 2 * inner, embedding)
        add(prefix + "ssm_conv1d.weight", inner, 4)
        add(prefix + "ssm_conv1d.bias", inner)
        add(prefix + "ssm_x.weight", rank + 2 * state, inner)
        add(prefix + "ssm_dt.weight", inner, rank)
        add(prefix + "ssm_dt.bias", inner)
        add(prefix + "ssm_a", inner, state, offset=-1.0)
        add(prefix + "ssm_d", inner)
        add(prefix + "ssm_out.weight", embedding, inner)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return out
