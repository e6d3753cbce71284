"""Writes a GGUF that costs as much to compute as a real model and answers from scripts.

Random weights never propose a legal token, so a peer that checks the likeliest token first would compute a full mask
each time and look slower than it is. The greedy answers of this model follow scripts: pairs of prompt and answer, in
token ids.

- Embeddings are random signs.
- One layer writes random projections of the last tokens' embeddings into the residual, with one head for each distance:
  queries and keys are constants that RoPE aligns at this distance only.
- One more head attends to markers: tokens with a block in their embedding that only keys read. The prompt of each
  script has one; if it has several, the latest counts most.
- The feed-forward network of this layer adds random products of these, so that each position of a script has a distinct
  pattern. `output.weight` maps it to the next token (ridge regression).
- All other layers are random with zeros in their last matrices: they cost as much as in any model and add nothing.

scripted_layers.py has the shapes and that layer, random_layers.py the others: Qwen2's, and those of models whose memory
is more than a KV cache of every layer, LFM2's short convolutions, Qwen3.5's gated delta nets, Granite 4 H's Mamba 2 and
Gemma 3's sliding windows.

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

import gguf
import numpy as np
from numpy.typing import NDArray

from benchmarks import random_layers, scripted_layers
from benchmarks.random_layers import RandomLayers
from benchmarks.scripted_layers import (
    SHAPES,
    SIGN,
    Bytes,
    Embedding,
    Floats,
    ScriptedLayer,
    Shape,
    dequantized,
    raw_q8,
    rms_norm,
)
from edgefc import paths
from tests.model_files import copy_vocabulary

MARGIN = 0.15  # minimal lead of the right token, whose logit is about 1; rounding changes logits by hundredths
RIDGE = 1e-3  # relative to the size of the patterns; a larger value amplifies less noise


class ConflictError(Exception):
    """Raised when scripts need different tokens at positions that look the same to the model."""


@dataclass(frozen=True, slots=True)
class Script:
    """A prompt and its answer as token ids: the prompt has markers, the answer has none and ends with an end token."""

    prompt: tuple[int, ...]
    answer: tuple[int, ...]


def cached(vocabulary: Path, scripts: Sequence[Script], markers: Iterable[int], shape: str = "1.5b") -> Path:
    """Return the path of the model for these scripts; write it to the cache folder if it is not there.

    The folder holds one model of each shape, the latest. Raises ConflictError.
    """
    markers = sorted(markers)
    sources = [inspect.getsource(module) for module in (sys.modules[__name__], scripted_layers, random_layers)]
    recipe = repr((sources, astuple(SHAPES[shape]), markers, scripts))
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

    Raises ConflictError, and ValueError if a prompt is too short or has no marker, or an answer has one.
    """
    markers = frozenset(markers)
    for script in scripts:
        if len(script.prompt) <= shape.reach:
            raise ValueError(f"a script's prompt must have more than {shape.reach} tokens")
        if not markers.intersection(script.prompt) or markers.intersection(script.answer):
            raise ValueError("a script's prompt must have a marker, and its answer none")
    rng = np.random.default_rng(0)
    writer = gguf.GGUFWriter(out, shape.architecture)
    size = copy_vocabulary(writer, vocabulary, {}, ())
    embedding = Embedding(rng, size, shape, sorted(markers))
    scripted, layers = ScriptedLayer(rng, shape), RandomLayers(rng, shape)
    output = _output_weight(rng, embedding, scripted, scripts, size)

    writer.add_name("scripted")
    shape.add_fields(writer)

    q4, q8 = gguf.GGMLQuantizationType.Q4_0, gguf.GGMLQuantizationType.Q8_0
    writer.add_tensor("token_embd.weight", embedding.raw, raw_dtype=q8)
    writer.add_tensor("output.weight", output, raw_dtype=q8)
    last_norm = "token_embd_norm" if shape.architecture == "lfm2" else "output_norm"
    writer.add_tensor(f"{last_norm}.weight", np.ones(shape.embedding, dtype=np.float32))
    for number in range(shape.layers):
        tensors = layers[number] | scripted.tensors if number == shape.scripted else layers[number]
        for name, data in tensors.items():
            writer.add_tensor(f"blk.{number}.{name}", data, raw_dtype=q4 if data.dtype == np.uint8 else None)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _output_weight(
    rng: np.random.Generator, embedding: Embedding, layer: ScriptedLayer, scripts: Sequence[Script], size: int
) -> Bytes:
    """Return `output.weight`: fitted rows for the tokens of answers, small random ones for all others."""
    patterns = np.concatenate(
        [
            layer.residuals(embedding, np.array(script.prompt + script.answer[:-1]), len(script.prompt) - 1)
            for script in scripts
        ]
    )
    patterns = rms_norm(layer.feed_forward(patterns))
    answers = np.concatenate([np.array(script.answer) for script in scripts])
    tokens, classes = np.unique(answers, return_inverse=True)
    weights = _fit(patterns, classes, len(tokens))
    raw = _q8(weights)
    _check_margins(patterns, classes, dequantized(raw, 8))
    scale = np.float16(abs(weights).max() / SIGN / 50)
    all_rows = raw_q8(scale, rng.integers(-SIGN, SIGN + 1, (size, patterns.shape[1]), dtype=np.int8))
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
    for _ in range(120):
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


def _q8(data: Floats) -> Bytes:
    return np.asarray(gguf.quants.quantize(data, gguf.GGMLQuantizationType.Q8_0))
