"""Small GGUFs with random weights whose memory is more than a plain KV cache: hybrid and sliding-window models."""

from __future__ import annotations

from pathlib import Path

import gguf
import numpy as np

LAYERS, EMBEDDING, FORWARD, HEADS, KV_HEADS, HEAD = 4, 128, 256, 2, 1, 64
TOKENS = 259
WINDOW = 64  # of the model with sliding windows


class Writer:
    """Writes the fields and tensors that these models share; their tokens are the 256 bytes and three others."""

    def __init__(self, out: Path, architecture: str, *, layers: int = LAYERS, quantization: str = "Q8_0") -> None:
        self.gguf = gguf.GGUFWriter(out, architecture)
        self._kind = gguf.GGMLQuantizationType[quantization]
        self._rng = np.random.default_rng(0)
        self.gguf.add_context_length(4096)
        self.gguf.add_embedding_length(EMBEDDING)
        self.gguf.add_feed_forward_length(FORWARD)
        self.gguf.add_block_count(layers)
        self.gguf.add_head_count(HEADS)
        self.gguf.add_key_length(HEAD)
        self.gguf.add_value_length(HEAD)
        self.gguf.add_layer_norm_rms_eps(1e-5)
        self.gguf.add_tokenizer_model("llama")
        self.gguf.add_token_list(["<unk>", "<s>", "</s>", *(f"<0x{number:02X}>" for number in range(256))])
        self.gguf.add_token_scores([0.0] * TOKENS)
        self.gguf.add_token_types([2, 3, 3, *[6] * 256])
        self.matrix("token_embd", TOKENS, EMBEDDING)

    def matrix(self, name: str, rows: int, columns: int, deviation: float = 0.15) -> None:
        data = self._rng.standard_normal((rows, columns), dtype=np.float32) * deviation
        self.gguf.add_tensor(f"{name}.weight", gguf.quants.quantize(data, self._kind), raw_dtype=self._kind)

    def values(self, name: str, *shape: int, mean: float = 0.0, deviation: float = 0.1) -> None:
        """Add 32-bit numbers; `name` is the whole name."""
        data = self._rng.standard_normal(shape, dtype=np.float32) * deviation + mean
        self.gguf.add_tensor(name, data.astype(np.float32))

    def norms(self, prefix: str, *names: str, length: int = EMBEDDING) -> None:
        for name in names:
            self.values(f"{prefix}{name}.weight", length, mean=1.0)

    def forward(self, prefix: str) -> None:
        self.matrix(prefix + "ffn_gate", FORWARD, EMBEDDING)
        self.matrix(prefix + "ffn_up", FORWARD, EMBEDDING)
        self.matrix(prefix + "ffn_down", EMBEDDING, FORWARD)

    def attention(self, prefix: str, query_width: int = HEADS * HEAD) -> None:
        self.matrix(prefix + "attn_q", query_width, EMBEDDING)
        self.matrix(prefix + "attn_k", KV_HEADS * HEAD, EMBEDDING)
        self.matrix(prefix + "attn_v", KV_HEADS * HEAD, EMBEDDING)
        self.matrix(prefix + "attn_output", EMBEDDING, HEADS * HEAD)
        self.norms(prefix, "attn_q_norm", "attn_k_norm", length=HEAD)

    def close(self) -> None:
        self.gguf.write_header_to_file()
        self.gguf.write_kv_data_to_file()
        self.gguf.write_tensors_to_file()
        self.gguf.close()


def write_lfm2(out: Path) -> Path:
    """Write a hybrid of LFM2's shape: layers of short convolutions and of attention in turn."""
    writer, kernel = Writer(out, "lfm2", quantization="Q4_0"), 3
    writer.gguf.add_head_count_kv([KV_HEADS if layer % 2 else 0 for layer in range(LAYERS)])
    writer.gguf.add_shortconv_l_cache(kernel)
    writer.norms("", "token_embd_norm")
    for layer in range(LAYERS):
        prefix = f"blk.{layer}."
        writer.norms(prefix, "attn_norm", "ffn_norm")
        writer.forward(prefix)
        if layer % 2:
            writer.attention(prefix)
        else:
            writer.values(prefix + "shortconv.conv.weight", EMBEDDING, kernel, deviation=0.5)
            writer.matrix(prefix + "shortconv.in_proj", 3 * EMBEDDING, EMBEDDING)
            writer.matrix(prefix + "shortconv.out_proj", EMBEDDING, EMBEDDING)
    writer.close()
    return out


def write_qwen35(out: Path) -> Path:
    """Write a hybrid of Qwen3.5's shape: three layers with a gated delta net, then one of attention."""
    writer = Writer(out, "qwen35")
    heads, width, kernel = 2, 64, 4  # of the delta net
    inner = heads * width
    writer.gguf.add_head_count_kv(KV_HEADS)
    writer.gguf.add_rope_dimension_sections([8, 8, 8, 0])
    writer.gguf.add_ssm_conv_kernel(kernel)
    writer.gguf.add_ssm_inner_size(inner)
    writer.gguf.add_ssm_state_size(width)
    writer.gguf.add_ssm_time_step_rank(heads)
    writer.gguf.add_ssm_group_count(heads)
    writer.norms("", "output_norm")
    for layer in range(LAYERS):
        prefix = f"blk.{layer}."
        writer.norms(prefix, "attn_norm", "post_attention_norm")
        writer.forward(prefix)
        if layer == LAYERS - 1:
            writer.attention(prefix, query_width=2 * HEADS * HEAD)
            continue
        writer.matrix(prefix + "attn_qkv", 3 * inner, EMBEDDING)
        writer.matrix(prefix + "attn_gate", inner, EMBEDDING)
        writer.values(prefix + "ssm_conv1d.weight", 3 * inner, kernel, deviation=0.5)
        writer.values(prefix + "ssm_dt.bias", heads)
        writer.values(prefix + "ssm_a", heads, mean=-1.0)
        writer.matrix(prefix + "ssm_beta", heads, EMBEDDING)
        writer.matrix(prefix + "ssm_alpha", heads, EMBEDDING)
        writer.norms(prefix, "ssm_norm", length=width)
        writer.matrix(prefix + "ssm_out", EMBEDDING, inner)
    writer.close()
    return out


def write_gemma3(out: Path) -> Path:
    """Write a model of Gemma 3's shape: five layers see a sliding window of WINDOW tokens, the sixth everything."""
    layers = 6
    writer = Writer(out, "gemma3", layers=layers)
    writer.gguf.add_head_count_kv(KV_HEADS)
    writer.gguf.add_sliding_window(WINDOW)
    writer.gguf.add_rope_freq_base(1e6)
    writer.norms("", "output_norm")
    for layer in range(layers):
        prefix = f"blk.{layer}."
        writer.norms(prefix, "attn_norm", "post_attention_norm", "ffn_norm", "post_ffw_norm")
        writer.forward(prefix)
        writer.attention(prefix)
    writer.close()
    return out
