"""The other layers of a scripted model: random ones that only cost time."""

from __future__ import annotations

from typing import Any

import numpy as np

from benchmarks.scripted_layers import BLOCK, KERNELS, Bytes, Floats, Shape


class RandomLayers:
    """Layers that add zero to the residual, and cost as much as any."""

    def __init__(self, rng: np.random.Generator, shape: Shape) -> None:
        self._rng, self._shape = rng, shape
        names = ["attn_norm", "post_attention_norm" if shape.architecture == "qwen35" else "ffn_norm"]
        if shape.architecture == "gemma3":
            names += ["post_attention_norm", "post_ffw_norm"]
        self.norms = {f"{name}.weight": np.ones(shape.embedding, dtype=np.float32) for name in names}
        width, forward = shape.embedding, shape.forward
        shared = self.norms | {
            "ffn_gate.weight": self._matrix(forward, width),
            "ffn_up.weight": self._matrix(forward, width),
            "ffn_down.weight": self._matrix(width, forward, is_zero=True),
        }
        self._attention = shared | self._attention_tensors()
        others = {"lfm2": self._convolution, "qwen35": self._delta_net, "granitehybrid": self._mamba}
        self._recurrent = shared | others[shape.architecture]() if shape.architecture in others else {}

    def __getitem__(self, number: int) -> dict[str, Any]:
        """Return the tensors of a layer by name."""
        if self._recurrent and number not in self._shape.attention:
            return self._recurrent
        return self._attention

    def _attention_tensors(self) -> dict[str, Any]:
        shape = self._shape
        width, kv_width = shape.heads * shape.head, shape.kv_heads * shape.head
        tensors = {
            "attn_q.weight": self._matrix(width * (1 + (shape.architecture == "qwen35")), shape.embedding),
            "attn_k.weight": self._matrix(kv_width, shape.embedding),
            "attn_v.weight": self._matrix(kv_width, shape.embedding),
            "attn_output.weight": self._matrix(shape.embedding, width, is_zero=True),
        }
        if shape.has_norms:
            return tensors | {f"attn_{name}_norm.weight": np.ones(shape.head, dtype=np.float32) for name in "qk"}
        if shape.architecture != "qwen2":
            return tensors
        sizes = {"q": width, "k": kv_width, "v": kv_width}
        return tensors | {f"attn_{name}.bias": np.zeros(size, dtype=np.float32) for name, size in sizes.items()}

    def _convolution(self) -> dict[str, Any]:
        """Return the tensors of LFM2's short convolution."""
        width = self._shape.embedding
        return {
            "shortconv.in_proj.weight": self._matrix(3 * width, width),
            "shortconv.conv.weight": self._kernels(width),
            "shortconv.out_proj.weight": self._matrix(width, width, is_zero=True),
        }

    def _delta_net(self) -> dict[str, Any]:
        """Return the tensors of Qwen3.5's gated delta net."""
        shape, (heads, width) = self._shape, self._shape.states
        return {
            "attn_qkv.weight": self._matrix(3 * shape.inner, shape.embedding),
            "attn_gate.weight": self._matrix(shape.inner, shape.embedding),
            "ssm_conv1d.weight": self._kernels(3 * shape.inner),
            "ssm_dt.bias": np.zeros(heads, dtype=np.float32),
            "ssm_a": np.full(heads, -1, dtype=np.float32),
            "ssm_beta.weight": self._matrix(heads, shape.embedding),
            "ssm_alpha.weight": self._matrix(heads, shape.embedding),
            "ssm_norm.weight": np.ones(width, dtype=np.float32),
            "ssm_out.weight": self._matrix(shape.embedding, shape.inner, is_zero=True),
        }

    def _mamba(self) -> dict[str, Any]:
        """Return the tensors of Mamba 2, with one group of states."""
        shape, (heads, width) = self._shape, self._shape.states
        channels = shape.inner + 2 * width
        return {
            "ssm_in.weight": self._matrix(shape.inner + channels + heads, shape.embedding),
            "ssm_conv1d.weight": self._kernels(channels),
            "ssm_conv1d.bias": np.zeros(channels, dtype=np.float32),
            "ssm_dt.bias": np.zeros(heads, dtype=np.float32),
            "ssm_a": np.full((heads, 1), -1, dtype=np.float32),
            "ssm_d": np.zeros((heads, 1), dtype=np.float32),
            "ssm_norm.weight": np.ones((1, shape.inner), dtype=np.float32),
            "ssm_out.weight": self._matrix(shape.embedding, shape.inner, is_zero=True),
        }

    def _kernels(self, channels: int) -> Floats:
        return self._rng.standard_normal((channels, KERNELS[self._shape.architecture]), dtype=np.float32)

    def _matrix(self, rows: int, columns: int, *, is_zero: bool = False) -> Bytes:
        """Return a matrix in Q4_0."""
        raw = self._rng.integers(0, 256, (rows, columns // BLOCK, 2 + BLOCK // 2), dtype=np.uint8)
        scale = 0 if is_zero else 1 / 5 / np.sqrt(self._shape.embedding)
        raw[..., :2] = np.frombuffer(np.float16(scale).tobytes(), dtype=np.uint8)
        return raw.reshape(rows, -1)
