"""The shapes of scripted models, and their scripted layer, which tells positions apart.

The scripted layer is the first whose attention reaches every earlier token; the layers before it add nothing, so it
sees the embeddings alone. Its queries and keys are constants, given by biases, which llama.cpp reads for each of these
architectures although only Qwen2 has them. Where queries and keys are normalized, each has one more dimension, which no
other reads, that gives all of them the same norm. Qwen3.5's gates are kept open. RoPE turns all dimensions of a head,
Granite's too, which has none.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import gguf
import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Bytes = NDArray[np.uint8]

BLOCK = 32  # values that share a scale, in Q4_0 and Q8_0
ROPE_BASE = 1e6
SIGN = 127  # absolute value of an embedding's elements, in units of their scale
SHARPNESS = 9.0  # loss of attention score one token away from a head's distance
MARKER_SCORE = 1200.0  # attention score of a marker above other tokens
RECENCY_SCORE = 800.0  # the part of it that depends on the distance of the marker
MARKER_HEAD = 1.5  # weight of the head that finds the marker, relative to the others
PRODUCT_WEIGHT = 2.0  # weight of the products of several tokens
KEY_NORM = 10.0  # square of a key's norm, relative to the share that only markers have
KERNELS = {"lfm2": 3, "qwen35": 4, "granitehybrid": 4}  # tokens of a convolution
OPEN = 30.0  # the sigmoid of it is 1


@dataclass(frozen=True, slots=True)
class Shape:
    """Numbers of layers and heads, lengths of embedding and feed-forward layer, as in the metadata of a GGUF.

    head          length of a head
    architecture  `qwen2`; `lfm2`, whose other layers are short convolutions; `qwen35`, gated delta nets;
                  `granitehybrid`, Mamba 2; `gemma3`, whose other layers see a window
    attention     the layers with attention to every earlier token; () stands for all
    window        tokens of the window
    states        number and width of the states of a delta net or of Mamba 2
    reach         the earlier tokens that a pattern depends on, if there are so many heads
    """

    layers: int
    embedding: int
    heads: int
    kv_heads: int
    forward: int
    head: int
    architecture: str = "qwen2"
    attention: tuple[int, ...] = ()
    window: int = 0
    states: tuple[int, int] = (0, 0)
    reach: int = 7

    @property
    def scripted(self) -> int:
        """The number of the scripted layer."""
        return self.attention[0] if self.attention else 0

    @property
    def has_norms(self) -> bool:
        """True if queries and keys are normalized."""
        return self.architecture not in {"qwen2", "granitehybrid"}

    @property
    def inner(self) -> int:
        """The length of a recurrent layer's values."""
        return 2 * self.embedding if self.architecture == "granitehybrid" else self.states[0] * self.states[1]

    @property
    def distances(self) -> range:
        """The distances, in tokens, to which the first heads attend; the next head attends to the marker."""
        return range(1, min(self.heads - 1, self.reach) + 1)

    def add_fields(self, writer: gguf.GGUFWriter) -> None:
        """Write the metadata of the architecture."""
        writer.add_context_length(32768)
        writer.add_embedding_length(self.embedding)
        writer.add_block_count(self.layers)
        writer.add_feed_forward_length(self.forward)
        writer.add_head_count(self.heads)
        writer.add_key_length(self.head)
        writer.add_value_length(self.head)
        writer.add_rope_freq_base(ROPE_BASE)
        writer.add_layer_norm_rms_eps(1e-6)
        if self.architecture in {"lfm2", "granitehybrid"}:
            writer.add_head_count_kv([self.kv_heads if n in self.attention else 0 for n in range(self.layers)])
        else:
            writer.add_head_count_kv(self.kv_heads)
        if self.architecture == "lfm2":
            writer.add_shortconv_l_cache(KERNELS["lfm2"])
        elif self.architecture == "gemma3":
            writer.add_sliding_window(self.window)
        elif self.architecture == "qwen35":
            writer.add_rope_dimension_sections([11, 11, 10, 0])
        if self.states[0]:
            heads, width = self.states
            writer.add_ssm_conv_kernel(KERNELS[self.architecture])
            writer.add_ssm_inner_size(self.inner)
            writer.add_ssm_state_size(width)
            writer.add_ssm_time_step_rank(heads)
            writer.add_ssm_group_count(heads if self.architecture == "qwen35" else 1)


SHAPES = {
    "1.5b": Shape(28, 1536, 12, 2, 8960, 128),  # Qwen2.5 1.5B
    "0.5b": Shape(24, 896, 14, 2, 4864, 64),  # Qwen2.5 0.5B
    "tiny": Shape(3, 512, 8, 2, 1024, 64),
    "lfm2-1.2b": Shape(16, 2048, 32, 8, 8192, 64, "lfm2", attention=(2, 5, 8, 10, 12, 14)),
    "tiny-lfm2": Shape(4, 512, 8, 2, 1024, 64, "lfm2", attention=(1, 3)),
    "qwen3.5-0.8b": Shape(24, 1024, 8, 2, 3584, 256, "qwen35", attention=(3, 7, 11, 15, 19, 23), states=(16, 128)),
    "tiny-qwen3.5": Shape(8, 512, 8, 2, 1024, 64, "qwen35", attention=(3, 7), states=(4, 64)),
    "granite4-h-1b": Shape(40, 1536, 12, 4, 4096, 128, "granitehybrid", attention=(5, 15, 25, 35), states=(48, 128)),
    "tiny-granite4-h": Shape(4, 512, 8, 2, 1024, 64, "granitehybrid", attention=(1, 3), states=(16, 64)),
    # Twice as many heads as Gemma 3 1B, of half the length: the same matrices and KV cache, and more earlier tokens.
    "gemma3-1b": Shape(26, 1152, 8, 2, 6912, 128, "gemma3", attention=(5, 11, 17, 23), window=512),
    "tiny-gemma3": Shape(7, 512, 4, 1, 1024, 128, "gemma3", attention=(5,), window=64),
}


class Embedding:
    """Token embeddings: random signs, with a first block of zeros except for markers.

    All markers have the same norm, and so have all other tokens.
    """

    def __init__(self, rng: np.random.Generator, size: int, shape: Shape, markers: list[int]) -> None:
        self.markers = frozenset(markers)
        values = np.where(rng.integers(0, 2, (size, shape.embedding), dtype=np.int8) > 0, SIGN, -SIGN).astype(np.int8)
        values[:, :BLOCK] = 0
        values[markers, :BLOCK] = SIGN
        self._values = values
        factor = np.sqrt(shape.embedding) if shape.architecture == "gemma3" else 1.0  # Gemma multiplies by it
        scale = np.float16(1 / SIGN / factor)
        self._scale = np.float32(scale * factor)
        self.raw = raw_q8(scale, values)

    def __getitem__(self, tokens: NDArray[np.int64]) -> Floats:
        return np.asarray(self._values[tokens] * self._scale, dtype=np.float32)


class ScriptedLayer:
    """The layer that turns the last tokens and the marker into a pattern of each position."""

    def __init__(self, rng: np.random.Generator, shape: Shape) -> None:
        self.shape = shape
        head, width, groups = shape.head, shape.embedding, shape.kv_heads
        half = head // 2
        angles = ROPE_BASE ** (-np.arange(half) / half)  # RoPE's radians per token, for each pair of dimensions
        scale = np.sqrt(head)  # attention divides its scores by this
        query = np.zeros((shape.heads, head), dtype=np.float32)
        key = np.zeros(head, dtype=np.float32)  # the same in each group; a query reads its own part

        # The heads of the distances: all fast pairs point in the same direction at one distance, and at no other.
        fast = angles > 1e-3
        size = np.sqrt(SHARPNESS / (1 - np.cos(angles[fast])).sum() * scale)
        key[:half][fast] = size
        for number, distance in enumerate(shape.distances):
            query[number, :half][fast] = size * np.cos(angles[fast] * distance)
            query[number, half:][fast] = -size * np.sin(angles[fast] * distance)

        # The marker's head: a pair that hardly rotates detects the marker, a slow one measures its distance.
        self._marker = len(shape.distances)
        slow = int(np.argmin(abs(angles - 1.5 / 8192)))
        self._slow_angle = float(angles[slow])
        size = np.sqrt(RECENCY_SCORE * scale)
        key[slow] = size
        # cos(angle · distance + 45°) falls steadily for 8192 tokens.
        query[self._marker, slow], query[self._marker, half + slow] = size * np.sqrt(0.5), size * np.sqrt(0.5)
        marker = np.sqrt(MARKER_SCORE * scale)
        query[self._marker, half - 1] = marker
        key_weight = np.zeros((groups, head, width), dtype=np.float32)
        key_weight[:, half - 1, :BLOCK] = marker / BLOCK

        value = rng.standard_normal((groups * head, width), dtype=np.float32) / np.sqrt(width)
        output = rng.standard_normal((width, shape.heads * head), dtype=np.float32) / np.sqrt(head)
        used = (self._marker + 1) * head
        output[:, used:] = 0
        output[:, self._marker * head : used] *= MARKER_HEAD
        raw_value, raw_output = _q4(value), _q4(output)
        self._value = dequantized(raw_value).reshape(groups, head, width)
        self._output = dequantized(raw_output).reshape(width, shape.heads, head)
        self.tensors: dict[str, Any] = {"attn_v.weight": raw_value, "attn_output.weight": raw_output}
        self._key_factor = self._equalize(query, key) if shape.has_norms else 1.0  # of a marker's key
        if shape.architecture == "granitehybrid":  # RoPE turns neighbours, not dimensions that lie half a head apart
            order = np.arange(head).reshape(2, half).T.reshape(-1)
            query, key, key_weight = query[:, order], key[order], key_weight[:, order]
        if shape.architecture == "qwen35":  # behind each query its gate
            query = np.concatenate([query, np.full_like(query, OPEN)], axis=1)
        self.tensors |= {
            "attn_q.weight": _q4(np.zeros((query.size, width), dtype=np.float32)),
            "attn_q.bias": query.reshape(-1),
            "attn_k.weight": _q4(key_weight.reshape(groups * head, width)),
            "attn_k.bias": np.tile(key, groups),
        }
        self._add_forward(rng)

    def _equalize(self, query: Floats, key: Floats) -> float:
        """Give all queries one norm, and all keys but markers', and return the factor of a marker's key."""
        head, used = self.shape.head, self._marker + 1
        half, scale = head // 2, np.sqrt(head)
        norms = np.linalg.norm(query[:used], axis=1)
        query[:used, half - 2] = np.sqrt(norms.max() ** 2 - norms**2)
        key[half - 3] = np.sqrt(KEY_NORM * MARKER_SCORE * scale - (key**2).sum())
        self.tensors["attn_q_norm.weight"] = np.full(head, norms.max() / scale, dtype=np.float32)
        self.tensors["attn_k_norm.weight"] = np.full(head, np.linalg.norm(key) / scale, dtype=np.float32)
        return float(np.sqrt(KEY_NORM / (KEY_NORM + 1)))

    def _add_forward(self, rng: np.random.Generator) -> None:
        """Add products of random projections, which give each combination of two tokens a distinct pattern."""
        shape, width = self.shape, self.shape.embedding
        forward = {
            "ffn_gate.weight": rng.standard_normal((shape.forward, width), dtype=np.float32) * (2 / np.sqrt(width)),
            "ffn_up.weight": rng.standard_normal((shape.forward, width), dtype=np.float32) / np.sqrt(width),
            "ffn_down.weight": rng.standard_normal((width, shape.forward), dtype=np.float32)
            * (PRODUCT_WEIGHT / np.sqrt(shape.forward)),
        }
        raw_forward = {name: _q4(data) for name, data in forward.items()}
        self._forward = {name.split(".")[0]: dequantized(raw) for name, raw in raw_forward.items()}
        self.tensors |= raw_forward

        self._post_norms = 0.0, 0.0
        if shape.architecture == "gemma3":  # the lengths that both have without these norms
            self._post_norms = float(np.sqrt(self._marker + MARKER_HEAD**2)), PRODUCT_WEIGHT
            for name, factor in zip(("post_attention_norm", "post_ffw_norm"), self._post_norms, strict=True):
                self.tensors[f"{name}.weight"] = np.full(width, factor, dtype=np.float32)

    def residuals(self, embedding: Embedding, tokens: NDArray[np.int64], first: int) -> Floats:
        """Return the residual after attention at each position from `first` on; there are markers before these."""
        positions = np.arange(first, len(tokens))
        total = np.zeros((len(positions), self.shape.embedding), dtype=np.float32)
        for number, distance in enumerate(self.shape.distances):
            total = total + self._head_output(embedding, tokens[positions - distance], number)
        markers = np.array([index for index, token in enumerate(tokens[:first]) if token in embedding.markers])
        angles = self._slow_angle * (positions[:, None] - markers[None])
        scores = RECENCY_SCORE * self._key_factor * np.cos(angles + np.pi / 4)
        weights = np.exp(scores - scores.max(axis=1, keepdims=True))
        weights /= weights.sum(axis=1, keepdims=True)
        marker_output = self._head_output(embedding, tokens[markers], self._marker)
        total = total + weights.astype(np.float32) @ marker_output
        if self._post_norms[0]:
            total = rms_norm(total) * self._post_norms[0]
        return np.asarray(embedding[tokens[positions]] + total, dtype=np.float32)

    def feed_forward(self, residuals: Floats) -> Floats:
        """Return the residual after the feed-forward network."""
        rows = rms_norm(residuals)
        gate, up = rows @ self._forward["ffn_gate"].T, rows @ self._forward["ffn_up"].T
        if self.shape.architecture == "gemma3":
            gate = gate / 2 * (1 + np.tanh(np.sqrt(2 / np.pi) * (gate + 0.044715 * gate**3)))  # GELU
        else:
            gate = gate / (1 + np.exp(-gate))
        added = (gate * up) @ self._forward["ffn_down"].T
        if self._post_norms[1]:
            added = rms_norm(added) * self._post_norms[1]
        return np.asarray(residuals + added, dtype=np.float32)

    def _head_output(self, embedding: Embedding, tokens: NDArray[np.int64], head: int) -> Floats:
        """Return the rows that a head gives if it attends to these tokens."""
        group = head // (self.shape.heads // self.shape.kv_heads)
        distinct, indices = np.unique(tokens, return_inverse=True)
        rows: Floats = rms_norm(embedding[distinct]) @ self._value[group].T @ self._output[:, head].T
        return rows[indices]


def rms_norm(rows: Floats) -> Floats:
    return np.asarray(rows / np.sqrt((rows**2).mean(axis=1, keepdims=True)), dtype=np.float32)


def raw_q8(scale: np.float16, values: NDArray[np.int8]) -> Bytes:
    """Encode values as Q8_0, with the same scale for all blocks."""
    rows, columns = values.shape
    raw = np.empty((rows, columns // BLOCK, 2 + BLOCK), dtype=np.uint8)
    raw[..., :2] = np.frombuffer(scale.tobytes(), dtype=np.uint8)
    raw[..., 2:] = values.view(np.uint8).reshape(rows, -1, BLOCK)
    return raw.reshape(rows, -1)


def dequantized(raw: Bytes, bits: int = 4) -> Floats:
    kind = gguf.GGMLQuantizationType.Q4_0 if bits == 4 else gguf.GGMLQuantizationType.Q8_0
    return np.asarray(gguf.quants.dequantize(raw, kind), dtype=np.float32)


def _q4(data: Floats) -> Bytes:
    return np.asarray(gguf.quants.quantize(data, gguf.GGMLQuantizationType.Q4_0))
