"""Writes a GGUF that costs as much to compute as a real model and answers from scripts.

Random weights never propose a legal token, so a peer that checks the likeliest token first would compute a full mask
each time and look slower than it is. The greedy answers of this model follow scripts: pairs of prompt and answer, in
token ids.

The construction needs Qwen2's architecture, which has biases on queries and keys:

- Embeddings are random signs.
- Layer 0 writes random projections of the last tokens' embeddings into the residual, with one head for each distance:
  queries and keys are constants that RoPE aligns at this distance only.
- One more head attends to markers: tokens with a block in their embedding that only keys read. The prompt of each
  script has one; if it has several, the latest counts most.
- The feed-forward network of layer 0 adds random products of these, so that each position of a script has a distinct
  pattern. `output.weight` maps it to the next token (ridge regression).
- All other layers are random with zeros in their last matrices: they cost as much as in any model and add nothing.

Positions that the model cannot distinguish raise a ConflictError.
"""

from __future__ import annotations

import hashlib
import inspect
import os
import sys
from collections.abc import Iterable, Sequence
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Any

import gguf
import numpy as np
from numpy.typing import NDArray

from edgefc import paths

Floats = NDArray[np.float32]
Bytes = NDArray[np.uint8]

BLOCK = 32  # values that share a scale, in Q4_0 and Q8_0
ROPE_BASE = 1e6
SIGN = 127  # absolute value of an embedding's elements, in units of their scale
SHARPNESS = 9.0  # loss of attention score one token away from a head's distance
MARKER_SCORE = 1200.0  # attention score of a marker above other tokens
RECENCY_SCORE = 800.0  # the part of it that depends on the distance of the marker
PRODUCT_WEIGHT = 2.0  # weight of the products of several tokens
MARGIN = 0.15  # minimal lead of the right token, whose logit is about 1; rounding changes logits by hundredths
RIDGE = 1e-3  # relative to the size of the patterns; a larger value amplifies less noise


class ConflictError(Exception):
    """Raised when scripts need different tokens at positions that look the same to the model."""


@dataclass(frozen=True, slots=True)
class Script:
    """A prompt and its answer as token ids: the prompt has markers, the answer has none and ends with an end token."""

    prompt: tuple[int, ...]
    answer: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Shape:
    """Numbers of layers and heads, lengths of embedding and feed-forward layer, as in the metadata of a GGUF."""

    layers: int
    embedding: int
    heads: int
    kv_heads: int
    forward: int

    @property
    def head(self) -> int:
        return self.embedding // self.heads

    @property
    def distances(self) -> range:
        """The distances, in tokens, to which the heads of the first group attend."""
        return range(1, self.heads // self.kv_heads + 1)


SHAPES = {
    "1.5b": Shape(28, 1536, 12, 2, 8960),
    "0.5b": Shape(24, 896, 14, 2, 4864),
    "tiny": Shape(3, 512, 8, 2, 1024),
}


def cached(vocabulary: Path, scripts: Sequence[Script], markers: Iterable[int], shape: str = "1.5b") -> Path:
    """Return the path of the model for these scripts; write it to the cache folder if it is not there.

    The folder holds one model of each shape, the latest. Raises ConflictError.
    """
    markers = sorted(markers)
    recipe = repr((inspect.getsource(sys.modules[__name__]), astuple(SHAPES[shape]), markers, scripts))
    digest = hashlib.sha256(vocabulary.read_bytes() + recipe.encode()).hexdigest()[:16]
    path = paths.cache_dir() / "benchmarks" / f"scripted-{shape}-{digest}.gguf"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_suffix(f".{os.getpid()}.part")
        try:
            write(vocabulary, part, scripts, markers, SHAPES[shape])
            for older in path.parent.glob(f"scripted-{shape}-*.gguf"):
                older.unlink()
            part.replace(path)
        finally:
            part.unlink(missing_ok=True)
    return path


def write(vocabulary: Path, out: Path, scripts: Sequence[Script], markers: Iterable[int], shape: Shape) -> None:
    """Write the model for these scripts with the tokenizer of the GGUF `vocabulary`.

    Raises ConflictError, and ValueError if a prompt has no marker or an answer has one.
    """
    markers = frozenset(markers)
    for script in scripts:
        if not markers.intersection(script.prompt) or markers.intersection(script.answer):
            raise ValueError("a script's prompt must have a marker, and its answer none")
    rng = np.random.default_rng(0)
    reader = gguf.GGUFReader(vocabulary)
    size = len(reader.fields["tokenizer.ggml.tokens"].data)
    embedding = Embedding(rng, size, shape.embedding, sorted(markers))
    layer = FirstLayer(rng, shape)
    output = _output_weight(rng, embedding, layer, scripts, size)

    writer = gguf.GGUFWriter(out, "qwen2")
    for key, field in reader.fields.items():
        if key.startswith("tokenizer.") and key != "tokenizer.chat_template":
            if field.types[0] == gguf.GGUFValueType.ARRAY:
                writer.add_array(key, field.contents())
            else:
                writer.add_key_value(key, field.contents(), field.types[0])
    writer.add_name("scripted")
    writer.add_context_length(32768)
    writer.add_embedding_length(shape.embedding)
    writer.add_block_count(shape.layers)
    writer.add_feed_forward_length(shape.forward)
    writer.add_head_count(shape.heads)
    writer.add_head_count_kv(shape.kv_heads)
    writer.add_rope_freq_base(ROPE_BASE)
    writer.add_layer_norm_rms_eps(1e-6)

    q4, q8 = gguf.GGMLQuantizationType.Q4_0, gguf.GGMLQuantizationType.Q8_0
    writer.add_tensor("token_embd.weight", embedding.raw, raw_dtype=q8)
    writer.add_tensor("output.weight", output, raw_dtype=q8)
    writer.add_tensor("output_norm.weight", np.ones(shape.embedding, dtype=np.float32))
    random_layer = _random_layer(rng, shape)
    for number in range(shape.layers):
        tensors = random_layer | layer.tensors if number == 0 else random_layer
        for name, data in tensors.items():
            writer.add_tensor(f"blk.{number}.{name}", data, raw_dtype=q4 if data.dtype == np.uint8 else None)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


class Embedding:
    """Token embeddings: random signs, with a first block of zeros except for markers.

    All markers have the same norm, and so have all other tokens.
    """

    def __init__(self, rng: np.random.Generator, size: int, width: int, markers: list[int]) -> None:
        self.markers = frozenset(markers)
        values = np.where(rng.integers(0, 2, (size, width), dtype=np.int8) > 0, SIGN, -SIGN).astype(np.int8)
        values[:, :BLOCK] = 0
        values[markers, :BLOCK] = SIGN
        self._values = values
        scale = np.float16(1 / SIGN)
        self._scale = np.float32(scale)
        self.raw = _raw_q8(scale, values)

    def __getitem__(self, tokens: NDArray[np.int64]) -> Floats:
        return np.asarray(self._values[tokens] * self._scale, dtype=np.float32)


class FirstLayer:
    """Layer 0, which turns the last tokens and the marker into a pattern of each position."""

    def __init__(self, rng: np.random.Generator, shape: Shape) -> None:
        self.shape = shape
        head, width, groups = shape.head, shape.embedding, shape.kv_heads
        half = head // 2
        angles = ROPE_BASE ** (-np.arange(half) / half)  # RoPE's radians per token, for each pair of dimensions
        scale = np.sqrt(head)  # attention divides its scores by this
        query = np.zeros((shape.heads, head), dtype=np.float32)
        key = np.zeros((groups, head), dtype=np.float32)

        # Heads of the first group: all pairs point in the same direction at one distance, and at no other.
        fast = angles > 1e-3
        size = np.sqrt(SHARPNESS / (1 - np.cos(angles[fast])).sum() * scale)
        key[0, :half][fast] = size
        for number, distance in enumerate(shape.distances):
            query[number, :half][fast] = size * np.cos(angles[fast] * distance)
            query[number, half:][fast] = -size * np.sin(angles[fast] * distance)

        # The marker head: a pair that hardly rotates detects the marker, a slow one measures its distance.
        self._marker = len(shape.distances)
        slow = int(np.argmin(abs(angles - 1.5 / 8192)))
        self._slow_angle = float(angles[slow])
        size = np.sqrt(RECENCY_SCORE * scale)
        key[1, slow] = size
        # cos(angle · distance + 45°) falls steadily for 8192 tokens.
        query[self._marker, slow], query[self._marker, half + slow] = size * np.sqrt(0.5), size * np.sqrt(0.5)
        size = np.sqrt(MARKER_SCORE * scale)
        query[self._marker, half - 1] = size
        key_weight = np.zeros((groups * head, width), dtype=np.float32)
        key_weight[head + half - 1, :BLOCK] = size / BLOCK

        value = rng.standard_normal((groups * head, width), dtype=np.float32) / np.sqrt(width)
        output = rng.standard_normal((width, width), dtype=np.float32) / np.sqrt(head)
        used = (self._marker + 1) * head
        output[:, used:] = 0
        output[:, self._marker * head : used] *= 1.5
        raw_value, raw_output = _q4(value), _q4(output)
        self._value = _dequantized(raw_value).reshape(groups, head, width)
        self._output = _dequantized(raw_output).reshape(width, shape.heads, head)
        self.tensors: dict[str, Any] = {
            "attn_q.weight": _q4(np.zeros((width, width), dtype=np.float32)),
            "attn_q.bias": query.reshape(-1),
            "attn_k.weight": _q4(key_weight),
            "attn_k.bias": key.reshape(-1),
            "attn_v.weight": raw_value,
            "attn_output.weight": raw_output,
        }

        # Products of random projections give each combination of two tokens a distinct pattern.
        forward = {
            "ffn_gate.weight": rng.standard_normal((shape.forward, width), dtype=np.float32) * (2 / np.sqrt(width)),
            "ffn_up.weight": rng.standard_normal((shape.forward, width), dtype=np.float32) / np.sqrt(width),
            "ffn_down.weight": rng.standard_normal((width, shape.forward), dtype=np.float32)
            * (PRODUCT_WEIGHT / np.sqrt(shape.forward)),
        }
        raw_forward = {name: _q4(data) for name, data in forward.items()}
        self._forward = {name.split(".")[0]: _dequantized(raw) for name, raw in raw_forward.items()}
        self.tensors |= raw_forward

    def residuals(self, embedding: Embedding, script: Script) -> Floats:
        """Return the residual after attention, at each position before a token of the answer."""
        tokens = np.array(script.prompt + script.answer[:-1])
        positions = np.arange(len(script.prompt) - 1, len(tokens))
        total = embedding[tokens[positions]]
        for number, distance in enumerate(self.shape.distances):
            total = total + self._head_output(embedding, tokens[positions - distance], 0, number)
        markers = np.array([index for index, token in enumerate(script.prompt) if token in embedding.markers])
        scores = RECENCY_SCORE * np.cos(self._slow_angle * (positions[:, None] - markers[None]) + np.pi / 4)
        weights = np.exp(scores - scores.max(axis=1, keepdims=True))
        weights /= weights.sum(axis=1, keepdims=True)
        marker_output = self._head_output(embedding, tokens[markers], 1, self._marker)
        return np.asarray(total + weights.astype(np.float32) @ marker_output, dtype=np.float32)

    def feed_forward(self, residuals: Floats) -> Floats:
        """Return the residual after the feed-forward network."""
        rows = _rms_norm(residuals)
        gate = rows @ self._forward["ffn_gate"].T
        hidden = gate / (1 + np.exp(-gate)) * (rows @ self._forward["ffn_up"].T)
        return np.asarray(residuals + hidden @ self._forward["ffn_down"].T, dtype=np.float32)

    def _head_output(self, embedding: Embedding, tokens: NDArray[np.int64], group: int, head: int) -> Floats:
        """Return the rows that a head adds to the residual if it attends to these tokens."""
        distinct, indices = np.unique(tokens, return_inverse=True)
        rows: Floats = _rms_norm(embedding[distinct]) @ self._value[group].T @ self._output[:, head].T
        return rows[indices]


def _output_weight(
    rng: np.random.Generator, embedding: Embedding, layer: FirstLayer, scripts: Sequence[Script], size: int
) -> Bytes:
    """Return `output.weight`: fitted rows for the tokens of answers, small random ones for all others."""
    patterns = np.concatenate([layer.residuals(embedding, script) for script in scripts])
    patterns = _rms_norm(layer.feed_forward(patterns))
    answers = np.concatenate([np.array(script.answer) for script in scripts])
    tokens, classes = np.unique(answers, return_inverse=True)
    weights = _fit(patterns, classes, len(tokens))
    raw = _q8(weights)
    _check_margins(patterns, classes, _dequantized(raw, 8))
    scale = np.float16(abs(weights).max() / SIGN / 50)
    all_rows = _raw_q8(scale, rng.integers(-SIGN, SIGN + 1, (size, patterns.shape[1]), dtype=np.int8))
    all_rows[tokens] = raw
    return all_rows


def _fit(patterns: Floats, classes: NDArray[np.int64], count: int) -> Floats:
    """Return a row of weights for each of `count` classes, by ridge regression.

    Where another class comes too near, the targets of both are moved apart and the rows computed again.
    """
    positions, width = np.arange(len(patterns)), patterns.shape[1]
    targets = np.zeros((len(patterns), count), dtype=np.float32)
    targets[positions, classes] = 1
    gram = patterns.T @ patterns + RIDGE * len(patterns) * np.eye(width, dtype=np.float32)
    solver = np.asarray(np.linalg.solve(gram, patterns.T), dtype=np.float32)
    weights: Floats = solver @ targets
    for _ in range(40):
        lead, rival = _leads(patterns @ weights, classes)
        near = np.flatnonzero(lead < 2 * MARGIN)
        if not len(near):
            break
        step = 3 * MARGIN - lead[near]
        np.add.at(targets, (near, classes[near]), step)
        np.add.at(targets, (near, rival[near]), -step)
        weights = solver @ targets
    return np.ascontiguousarray(weights.T)


def _leads(logits: Floats, classes: NDArray[np.int64]) -> tuple[Floats, NDArray[np.int64]]:
    """Return the lead of each position's class and the class that comes second; overwrites the logits."""
    positions = np.arange(len(logits))
    right = logits[positions, classes].copy()
    logits[positions, classes] = -np.inf
    rival = logits.argmax(axis=1)
    return np.asarray(right - logits[positions, rival], dtype=np.float32), rival


def _check_margins(patterns: Floats, classes: NDArray[np.int64], weights: Floats) -> None:
    lead, _ = _leads(patterns @ weights.T, classes)
    if bad := int((lead < MARGIN).sum()):
        raise ConflictError(
            f"{bad} of {len(patterns)} positions in the scripts look like others to the model: "
            "give the prompts other markers, or the answers fewer repetitions"
        )


def _random_layer(rng: np.random.Generator, shape: Shape) -> dict[str, Any]:
    """Return random tensors of a layer by name; it adds zero to the residual."""
    width, forward, kv_width = shape.embedding, shape.forward, shape.kv_heads * shape.head

    def weight(rows: int, columns: int, scale: float) -> Bytes:
        raw = rng.integers(0, 256, (rows, columns // BLOCK, 2 + BLOCK // 2), dtype=np.uint8)
        raw[..., :2] = np.frombuffer(np.float16(scale).tobytes(), dtype=np.uint8)
        return raw.reshape(rows, -1)

    scale = 1 / 5 / np.sqrt(width)
    vectors = {"attn_norm.weight": np.ones(width), "ffn_norm.weight": np.ones(width), "attn_q.bias": np.zeros(width),
               "attn_k.bias": np.zeros(kv_width), "attn_v.bias": np.zeros(kv_width)}  # fmt: skip
    return {name: values.astype(np.float32) for name, values in vectors.items()} | {
        "attn_q.weight": weight(width, width, scale),
        "attn_k.weight": weight(kv_width, width, scale),
        "attn_v.weight": weight(kv_width, width, scale),
        "attn_output.weight": weight(width, width, 0),
        "ffn_gate.weight": weight(forward, width, scale),
        "ffn_up.weight": weight(forward, width, scale),
        "ffn_down.weight": weight(width, forward, 0),
    }


def _rms_norm(rows: Floats) -> Floats:
    return np.asarray(rows / np.sqrt((rows**2).mean(axis=1, keepdims=True)), dtype=np.float32)


def _raw_q8(scale: np.float16, values: NDArray[np.int8]) -> Bytes:
    """Encode values as Q8_0, with the same scale for all blocks."""
    rows, columns = values.shape
    raw = np.empty((rows, columns // BLOCK, 2 + BLOCK), dtype=np.uint8)
    raw[..., :2] = np.frombuffer(scale.tobytes(), dtype=np.uint8)
    raw[..., 2:] = values.view(np.uint8).reshape(rows, -1, BLOCK)
    return raw.reshape(rows, -1)


def _q4(data: Floats) -> Bytes:
    return np.asarray(gguf.quants.quantize(data, gguf.GGMLQuantizationType.Q4_0))


def _q8(data: Floats) -> Bytes:
    return np.asarray(gguf.quants.quantize(data, gguf.GGMLQuantizationType.Q8_0))


def _dequantized(raw: Bytes, bits: int = 4) -> Floats:
    kind = gguf.GGMLQuantizationType.Q4_0 if bits == 4 else gguf.GGMLQuantizationType.Q8_0
    return np.asarray(gguf.quants.dequantize(raw, kind), dtype=np.float32)
