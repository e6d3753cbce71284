"""Makes a GGUF that costs as much to compute as a real model and says what it is told to.

Random weights never propose a legal token, so a peer that checks the likeliest token first would pay a full mask each
time and look worse than it is. This model's greedy answers follow scripts: pairs of prompt and answer, in token ids.

How it is made (Qwen2's architecture, whose biases on queries and keys make it possible). Embeddings are random signs.
Layer 0 adds up, in the residual, random projections of the embeddings of the last tokens, of which each has a head:
queries and keys are constant, and rotated by RoPE they agree at one distance alone. One more head looks for markers,
tokens with a block of their own in the embedding that keys read; each script's prompt has one, the latest counts most.
The feed-forward part adds random products of these. So every place in a script has its own pattern, which
`output.weight` maps to the next token (ridge regression). All other layers are random, with zeros in their last
matrices: they cost what they cost in any model, and add nothing. Places that cannot be told apart are a ConflictError.
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
SIGN = 127  # the embeddings' values, in units of their scale
SHARP = 9.0  # score a head loses, one token beside its distance
FOUND = 1200.0  # score of a marker over other tokens
RECENT = 800.0  # of which so much depends on how far away it is
TOGETHER = 2.0  # weight of what depends on several tokens together
MARGIN = 0.15  # by which the right token must lead, where its logit is about 1; rounding moves logits by hundredths
RIDGE = 1e-3  # share of the patterns' size; the larger, the less noise is amplified


class ConflictError(Exception):
    """Two scripts go on differently after what looks the same to the model."""


@dataclass(frozen=True, slots=True)
class Script:
    """What is to be answered. `prompt` contains markers, `answer` ends with an end token and contains none."""

    prompt: tuple[int, ...]
    answer: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Shape:
    """Layers, embedding, heads, KV heads and feed-forward length, as in the GGUF's metadata."""

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
        """How far back the heads of the first group look."""
        return range(1, self.heads // self.kv_heads + 1)


SHAPES = {
    "1.5b": Shape(28, 1536, 12, 2, 8960),
    "0.5b": Shape(24, 896, 14, 2, 4864),
    "tiny": Shape(3, 512, 8, 2, 1024),
}


def cached(vocabulary: Path, scripts: Sequence[Script], markers: Iterable[int], shape: str = "1.5b") -> Path:
    """The model for these scripts, from the cache folder or made now; of a shape the latest is kept.

    Raises ConflictError.
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
    """Raises ConflictError, or ValueError for scripts without a marker."""
    known = frozenset(markers)
    for script in scripts:
        if not known.intersection(script.prompt) or known.intersection(script.answer):
            raise ValueError("a script's prompt must have a marker, and its answer none")
    rng = np.random.default_rng(0)
    reader = gguf.GGUFReader(vocabulary)
    size = len(reader.fields["tokenizer.ggml.tokens"].data)
    embedding = Embedding(rng, size, shape.embedding, sorted(known))
    layer = FirstLayer(rng, shape)
    output = _output(rng, embedding, layer, scripts, size)

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
    others = _random_layer(rng, shape)
    for number in range(shape.layers):
        tensors = others | layer.tensors if number == 0 else others
        for name, data in tensors.items():
            writer.add_tensor(f"blk.{number}.{name}", data, raw_dtype=q4 if data.dtype == np.uint8 else None)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


class Embedding:
    """Token embeddings: random signs; the first block is zero, but for markers. All of a kind are equally long."""

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
    """Layer 0: what attention writes into the residual."""

    def __init__(self, rng: np.random.Generator, shape: Shape) -> None:
        self.shape = shape
        head, width, groups = shape.head, shape.embedding, shape.kv_heads
        half = head // 2
        turns = ROPE_BASE ** (-np.arange(half) / half)  # radians a token, of each pair of dimensions
        scale = np.sqrt(head)  # by which attention divides
        query = np.zeros((shape.heads, head), dtype=np.float32)
        key = np.zeros((groups, head), dtype=np.float32)

        # Heads of the first group: all pairs point the same way at one distance, and at no other.
        fast = turns > 1e-3
        size = np.sqrt(SHARP / (1 - np.cos(turns[fast])).sum() * scale)
        key[0, :half][fast] = size
        for number, distance in enumerate(shape.distances):
            query[number, :half][fast] = size * np.cos(turns[fast] * distance)
            query[number, half:][fast] = -size * np.sin(turns[fast] * distance)

        # The marker head: a pair that hardly turns carries what is found, a slow one how long ago it was.
        self._marker = len(shape.distances)
        slow = int(np.argmin(abs(turns - 1.5 / 8192)))
        self._turn = float(turns[slow])
        size = np.sqrt(RECENT * scale)
        key[1, slow] = size
        # cos(turn · distance + 45°) falls steadily for 8192 tokens.
        query[self._marker, slow], query[self._marker, half + slow] = size * np.sqrt(0.5), size * np.sqrt(0.5)
        size = np.sqrt(FOUND * scale)
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

        # Products of random projections: what depends on two things together becomes a pattern of its own.
        wide = {
            "ffn_gate.weight": rng.standard_normal((shape.forward, width), dtype=np.float32) * (2 / np.sqrt(width)),
            "ffn_up.weight": rng.standard_normal((shape.forward, width), dtype=np.float32) / np.sqrt(width),
            "ffn_down.weight": rng.standard_normal((width, shape.forward), dtype=np.float32)
            * (TOGETHER / np.sqrt(shape.forward)),
        }
        raw_wide = {name: _q4(data) for name, data in wide.items()}
        self._wide = {name.split(".")[0]: _dequantized(raw) for name, raw in raw_wide.items()}
        self.tensors |= raw_wide

    def residuals(self, embedding: Embedding, script: Script) -> Floats:
        """The residual at each place where a token of the answer is to follow."""
        tokens = np.array(script.prompt + script.answer[:-1])
        places = np.arange(len(script.prompt) - 1, len(tokens))
        total = embedding[tokens[places]]
        for number, distance in enumerate(self.shape.distances):
            total = total + self._heard(embedding, tokens[places - distance], 0, number)
        found = np.array([place for place, token in enumerate(script.prompt) if token in embedding.markers])
        scores = RECENT * np.cos(self._turn * (places[:, None] - found[None]) + np.pi / 4)
        shares = np.exp(scores - scores.max(axis=1, keepdims=True))
        shares /= shares.sum(axis=1, keepdims=True)
        heard = self._heard(embedding, tokens[found], 1, self._marker)
        return np.asarray(total + shares.astype(np.float32) @ heard, dtype=np.float32)

    def forwarded(self, residuals: Floats) -> Floats:
        """The residual after the feed-forward part."""
        normed = _normed(residuals)
        gate = normed @ self._wide["ffn_gate"].T
        hidden = gate / (1 + np.exp(-gate)) * (normed @ self._wide["ffn_up"].T)
        return np.asarray(residuals + hidden @ self._wide["ffn_down"].T, dtype=np.float32)

    def _heard(self, embedding: Embedding, tokens: NDArray[np.int64], group: int, head: int) -> Floats:
        """What a head writes that looks at these tokens."""
        known, places = np.unique(tokens, return_inverse=True)
        written: Floats = _normed(embedding[known]) @ self._value[group].T @ self._output[:, head].T
        return written[places]


def _output(
    rng: np.random.Generator, embedding: Embedding, layer: FirstLayer, scripts: Sequence[Script], size: int
) -> Bytes:
    """`output.weight`: rows of tokens in scripts lead to them, all others are small."""
    patterns = np.concatenate([layer.residuals(embedding, script) for script in scripts])
    patterns = _normed(layer.forwarded(patterns))
    wanted = np.concatenate([np.array(script.answer) for script in scripts])
    tokens, classes = np.unique(wanted, return_inverse=True)
    weights = _trained(patterns, classes, len(tokens))
    raw = _q8(weights)
    _check(patterns, classes, _dequantized(raw, 8))
    scale = np.float16(abs(weights).max() / SIGN / 50)
    whole = _raw_q8(scale, rng.integers(-SIGN, SIGN + 1, (size, patterns.shape[1]), dtype=np.int8))
    whole[tokens] = raw
    return whole


def _trained(patterns: Floats, classes: NDArray[np.int64], count: int) -> Floats:
    """Rows for each class: ridge regression, its targets moved apart where another row comes too near."""
    places, width = np.arange(len(patterns)), patterns.shape[1]
    targets = np.zeros((len(patterns), count), dtype=np.float32)
    targets[places, classes] = 1
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
    """By how much each place's own class leads, and over which; the logits are spent."""
    places = np.arange(len(logits))
    own = logits[places, classes].copy()
    logits[places, classes] = -np.inf
    rival = logits.argmax(axis=1)
    return np.asarray(own - logits[places, rival], dtype=np.float32), rival


def _check(patterns: Floats, classes: NDArray[np.int64], weights: Floats) -> None:
    lead, _ = _leads(patterns @ weights.T, classes)
    if bad := int((lead < MARGIN).sum()):
        raise ConflictError(
            f"{bad} of {len(patterns)} places in the scripts cannot be told from others: "
            "give the prompts other markers, or the answers fewer repetitions"
        )


def _random_layer(rng: np.random.Generator, shape: Shape) -> dict[str, Any]:
    """A layer's tensors by name; what it adds to the residual is zero."""
    width, forward, grouped = shape.embedding, shape.forward, shape.kv_heads * shape.head

    def weight(rows: int, columns: int, scale: float) -> Bytes:
        raw = rng.integers(0, 256, (rows, columns // BLOCK, 2 + BLOCK // 2), dtype=np.uint8)
        raw[..., :2] = np.frombuffer(np.float16(scale).tobytes(), dtype=np.uint8)
        return raw.reshape(rows, -1)

    usual = 1 / 5 / np.sqrt(width)
    vectors = {"attn_norm.weight": np.ones(width), "ffn_norm.weight": np.ones(width), "attn_q.bias": np.zeros(width),
               "attn_k.bias": np.zeros(grouped), "attn_v.bias": np.zeros(grouped)}  # fmt: skip
    return {name: values.astype(np.float32) for name, values in vectors.items()} | {
        "attn_q.weight": weight(width, width, usual),
        "attn_k.weight": weight(grouped, width, usual),
        "attn_v.weight": weight(grouped, width, usual),
        "attn_output.weight": weight(width, width, 0),
        "ffn_gate.weight": weight(forward, width, usual),
        "ffn_up.weight": weight(forward, width, usual),
        "ffn_down.weight": weight(width, forward, 0),
    }


def _normed(rows: Floats) -> Floats:
    """As RMS normalisation does."""
    return np.asarray(rows / np.sqrt((rows**2).mean(axis=1, keepdims=True)), dtype=np.float32)


def _raw_q8(scale: np.float16, values: NDArray[np.int8]) -> Bytes:
    """Q8_0 with the same scale everywhere."""
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
