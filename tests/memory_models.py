"""Small GGUFs with random weights whose memory is more than a plain KV cache: hybrid and sliding-window models."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import gguf
import numpy as np

from tests.model_files import LFM2, copy_vocabulary

TOKENS = 259
WINDOW = 64  # of the model with sliding windows


@dataclass(frozen=True)
class Sizes:
    """Sizes of a model. `head`: width of a head; `net_heads`, `net_width`: those of a delta net."""

    layers: int = 4
    embedding: int = 128
    forward: int = 256
    heads: int = 2
    kv_heads: int = 1
    head: int = 64
    net_heads: int = 2
    net_width: int = 64


TINY = Sizes()


class Writer:
    """Writes the fields and tensors that these models share.

    Their tokens are the 256 bytes and three others, or those of a `vocabulary`, as `model_files.write_model` copies them,
    and LFM2's control tokens.
    """

    def __init__(
        self, out: Path, architecture: str, sizes: Sizes, quantization: str, vocabulary: Path | None = None
    ) -> None:
        self.gguf, self._sizes = gguf.GGUFWriter(out, architecture), sizes
        self._kind = gguf.GGMLQuantizationType[quantization]
        self._rng = np.random.default_rng(0)
        self.gguf.add_context_length(4096)
        self.gguf.add_embedding_length(sizes.embedding)
        self.gguf.add_feed_forward_length(sizes.forward)
        self.gguf.add_block_count(sizes.layers)
        self.gguf.add_head_count(sizes.heads)
        self.gguf.add_key_length(sizes.head)
        self.gguf.add_value_length(sizes.head)
        self.gguf.add_layer_norm_rms_eps(1e-5)
        if vocabulary is not None:
            n_vocab = copy_vocabulary(self.gguf, vocabulary, {}, LFM2)
        else:
            n_vocab = TOKENS
            self.gguf.add_tokenizer_model("llama")
            self.gguf.add_token_list(["<unk>", "<s>", "</s>", *(f"<0x{number:02X}>" for number in range(256))])
            self.gguf.add_token_scores([0.0] * TOKENS)
            self.gguf.add_token_types([2, 3, 3, *[6] * 256])
        self.matrix("token_embd", n_vocab, sizes.embedding)

    def matrix(self, name: str, rows: int, columns: int, deviation: float = 0.15) -> None:
        data = self._rng.standard_normal((rows, columns), dtype=np.float32) * deviation
        self.gguf.add_tensor(f"{name}.weight", gguf.quants.quantize(data, self._kind), raw_dtype=self._kind)

    def values(self, name: str, *shape: int, mean: float = 0.0, deviation: float = 0.1) -> None:
        """Add 32-bit numbers; `name` is the whole name."""
        data = self._rng.standard_normal(shape, dtype=np.float32) * deviation + mean
        self.gguf.add_tensor(name, data.astype(np.float32))

    def states(self, kernel: int, inner: int, state: int, *, rank: int, groups: int) -> None:
        """Add the sizes of recurrent layers."""
        self.gguf.add_ssm_conv_kernel(kernel)
        self.gguf.add_ssm_inner_size(inner)
        self.gguf.add_ssm_state_size(state)
        self.gguf.add_ssm_time_step_rank(rank)
        self.gguf.add_ssm_group_count(groups)

    def norms(self, prefix: str, *names: str, length: int = 0) -> None:
        for name in names:
            self.values(f"{prefix}{name}.weight", length or self._sizes.embedding, mean=1.0)

    def forward(self, prefix: str) -> None:
        rows, columns = self._sizes.forward, self._sizes.embedding
        self.matrix(prefix + "ffn_gate", rows, columns)
        self.matrix(prefix + "ffn_up", rows, columns)
        self.matrix(prefix + "ffn_down", columns, rows)

    def attention(self, prefix: str, *, is_gated: bool = False, has_norms: bool = True) -> None:
        sizes = self._sizes
        width, kv_width = sizes.heads * sizes.head, sizes.kv_heads * sizes.head
        self.matrix(prefix + "attn_q", width * (1 + is_gated), sizes.embedding)
        self.matrix(prefix + "attn_k", kv_width, sizes.embedding)
        self.matrix(prefix + "attn_v", kv_width, sizes.embedding)
        self.matrix(prefix + "attn_output", sizes.embedding, width)
        if has_norms:
            self.norms(prefix, "attn_q_norm", "attn_k_norm", length=sizes.head)

    def close(self) -> None:
        self.gguf.write_header_to_file()
        self.gguf.write_kv_data_to_file()
        self.gguf.write_tensors_to_file()
        self.gguf.close()


def write_lfm2(out: Path, sizes: Sizes = TINY, quantization: str = "Q4_0", vocabulary: Path | None = None) -> Path:
    """Write a hybrid of LFM2's shape: layers of short convolutions and of attention in turn."""
    writer, width, kernel = Writer(out, "lfm2", sizes, quantization, vocabulary), sizes.embedding, 3
    writer.gguf.add_head_count_kv([sizes.kv_heads if layer % 2 else 0 for layer in range(sizes.layers)])
    writer.gguf.add_shortconv_l_cache(kernel)
    writer.norms("", "token_embd_norm")
    for layer in range(sizes.layers):
        prefix = f"blk.{layer}."
        writer.norms(prefix, "attn_norm", "ffn_norm")
        writer.forward(prefix)
        if layer % 2:
            writer.attention(prefix)
        else:
            writer.values(prefix + "shortconv.conv.weight", width, kernel, deviation=0.5)
            writer.matrix(prefix + "shortconv.in_proj", 3 * width, width)
            writer.matrix(prefix + "shortconv.out_proj", width, width)
    writer.close()
    return out


def write_qwen35(out: Path, sizes: Sizes = TINY, quantization: str = "Q8_0") -> Path:
    """Write a hybrid of Qwen3.5's shape: three layers with a gated delta net, then one of attention."""
    writer, width, kernel = Writer(out, "qwen35", sizes, quantization), sizes.embedding, 4
    inner = sizes.net_heads * sizes.net_width
    writer.gguf.add_head_count_kv(sizes.kv_heads)
    writer.gguf.add_rope_dimension_sections([8, 8, 8, 0])
    writer.states(kernel, inner, sizes.net_width, rank=sizes.net_heads, groups=sizes.net_heads)
    writer.norms("", "output_norm")
    for layer in range(sizes.layers):
        prefix = f"blk.{layer}."
        writer.norms(prefix, "attn_norm", "post_attention_norm")
        writer.forward(prefix)
        if layer % 4 == 3:
            writer.attention(prefix, is_gated=True)
            continue
        writer.matrix(prefix + "attn_qkv", 3 * inner, width)
        writer.matrix(prefix + "attn_gate", inner, width)
        writer.values(prefix + "ssm_conv1d.weight", 3 * inner, kernel, deviation=0.5)
        writer.values(prefix + "ssm_dt.bias", sizes.net_heads)
        writer.values(prefix + "ssm_a", sizes.net_heads, mean=-1.0)
        writer.matrix(prefix + "ssm_beta", sizes.net_heads, width)
        writer.matrix(prefix + "ssm_alpha", sizes.net_heads, width)
        writer.norms(prefix, "ssm_norm", length=sizes.net_width)
        writer.matrix(prefix + "ssm_out", width, inner)
    writer.close()
    return out


def write_granite(out: Path) -> Path:
    """Write a hybrid of Granite 4 H's shape: three layers of Mamba 2, then one of attention."""
    sizes, kernel, state, groups = TINY, 4, 32, 1
    writer, width, inner = Writer(out, "granitehybrid", sizes, "Q8_0"), sizes.embedding, 2 * sizes.embedding
    heads, channels = inner // 32, inner + 2 * groups * state
    writer.gguf.add_head_count_kv([sizes.kv_heads if layer % 4 == 3 else 0 for layer in range(sizes.layers)])
    writer.states(kernel, inner, state, rank=heads, groups=groups)
    writer.norms("", "output_norm")
    for layer in range(sizes.layers):
        prefix = f"blk.{layer}."
        writer.norms(prefix, "attn_norm", "ffn_norm")
        writer.forward(prefix)
        if layer % 4 == 3:
            writer.attention(prefix, has_norms=False)
            continue
        writer.matrix(prefix + "ssm_in", inner + channels + heads, width)
        writer.values(prefix + "ssm_conv1d.weight", channels, kernel, deviation=0.5)
        writer.values(prefix + "ssm_conv1d.bias", channels)
        writer.values(prefix + "ssm_dt.bias", heads)
        writer.values(prefix + "ssm_a", heads, 1, mean=-1.0)
        writer.values(prefix + "ssm_d", heads, 1)
        writer.values(prefix + "ssm_norm.weight", groups, inner // groups, mean=1.0)
        writer.matrix(prefix + "ssm_out", width, inner)
    writer.close()
    return out


def write_gemma3(out: Path) -> Path:
    """Write a model of Gemma 3's shape: five layers see a sliding window of WINDOW tokens, the sixth everything."""
    sizes = Sizes(layers=6)
    writer = Writer(out, "gemma3", sizes, "Q8_0")
    writer.gguf.add_head_count_kv(sizes.kv_heads)
    writer.gguf.add_sliding_window(WINDOW)
    writer.gguf.add_rope_freq_base(1e6)
    writer.norms("", "output_norm")
    for layer in range(sizes.layers):
        prefix = f"blk.{layer}."
        writer.norms(prefix, "attn_norm", "post_attention_norm", "ffn_norm", "post_ffw_norm")
        writer.forward(prefix)
        writer.attention(prefix)
    writer.close()
    return out
