"""Llama, as SmolLM2 is one, with the frozen weights of a GGUF file and a trainable LoRA adapter.

Weights are used as llama.cpp uses them: what quantization cost is in them, so that the adapter learns to mend it, and
the rows of queries and keys are in the order of its rotary embedding, so that an adapter needs no conversion.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gguf
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

Document = tuple[int, Sequence[int]]  # length of its start, and of the branches that follow it, each on its own
LINEAR = ("attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down")  # that have an adapter


@dataclass(frozen=True)
class Shape:
    """Sizes of a Llama, as GGUF metadata name them."""

    block_count: int
    embedding_length: int
    head_count: int
    head_count_kv: int
    epsilon: float
    rope_base: float

    @property
    def head(self) -> int:
        return self.embedding_length // self.head_count


def read_gguf(path: Path) -> tuple[Shape, dict[str, Tensor]]:
    """Read the shape of a model and its weights, dequantized; a matrix is (outputs, inputs)."""
    reader = gguf.GGUFReader(path)

    def field(name: str) -> Any:
        found = reader.get_field(name)
        if found is None:
            raise SystemExit(f"{path} has no {name}; the trainer knows models of the architecture llama.")
        return found.contents()

    shape = Shape(
        field("llama.block_count"), field("llama.embedding_length"), field("llama.attention.head_count"),
        field("llama.attention.head_count_kv"), field("llama.attention.layer_norm_rms_epsilon"),
        field("llama.rope.freq_base"),
    )  # fmt: skip
    weights = {
        one.name: torch.from_numpy(gguf.quants.dequantize(one.data, one.tensor_type).copy()) for one in reader.tensors
    }
    return shape, weights


def read_adapter(path: Path) -> dict[str, Tensor]:
    """Read the weights of an adapter, dequantized, under the names that they have in `Network`."""
    weights = {}
    for one in gguf.GGUFReader(path).tensors:
        _, layer, matrix, _, part = one.name.split(".")
        data = gguf.quants.dequantize(one.data, one.tensor_type)
        weights[f"layers.{layer}.{matrix}.{part.removeprefix('lora_')}"] = torch.from_numpy(data.copy())
    return weights


def fastest_dtype() -> torch.dtype:
    """Return bfloat16 where this machine multiplies matrices faster with it than with float32, by a short trial."""
    seconds = {}
    for dtype in (torch.bfloat16, torch.float32):
        x, weight = torch.randn(256, 576, dtype=dtype), torch.randn(1536, 576, dtype=dtype)
        times = []
        for _ in range(5):
            start = time.perf_counter()
            F.linear(x, weight)
            times.append(time.perf_counter() - start)
        seconds[dtype] = min(times)
    return min(seconds, key=seconds.__getitem__)


class AdaptedLinear(nn.Module):
    """A frozen matrix with an adapter of low rank: x W' + scale · x A' B'."""

    def __init__(self, weight: Tensor, rank: int, scale: float) -> None:
        super().__init__()
        outputs, inputs = weight.shape
        self.register_buffer("weight", weight)
        self.a = nn.Parameter(torch.randn(rank, inputs) / math.sqrt(inputs))
        self.b = nn.Parameter(torch.zeros(outputs, rank))
        self.scale = scale

    def forward(self, x: Tensor) -> Tensor:
        assert isinstance(self.weight, Tensor)
        low = F.linear(x, self.a.to(x.dtype)) * self.scale
        return F.linear(x, self.weight) + F.linear(low, self.b.to(x.dtype))


class RmsNorm(nn.Module):
    """Divides vectors by their root mean square."""

    def __init__(self, weight: Tensor, epsilon: float) -> None:
        super().__init__()
        self.register_buffer("weight", weight.float())
        self.epsilon = epsilon

    def forward(self, x: Tensor) -> Tensor:
        wide = x.float()
        return (wide * torch.rsqrt(wide.square().mean(-1, keepdim=True) + self.epsilon) * self.weight).to(x.dtype)


class Layer(nn.Module):
    """A block of Llama in two parts; attention, which knows where documents end, is between them."""

    def __init__(self, shape: Shape, weights: dict[str, Tensor], prefix: str, rank: int, scale: float) -> None:
        super().__init__()
        self.shape = shape
        self.attn_norm = RmsNorm(weights[f"{prefix}.attn_norm.weight"], shape.epsilon)
        self.ffn_norm = RmsNorm(weights[f"{prefix}.ffn_norm.weight"], shape.epsilon)
        for name in LINEAR:
            setattr(self, name, AdaptedLinear(weights[f"{prefix}.{name}.weight"], rank, scale))

    def queries(self, x: Tensor, cos: Tensor, sin: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return queries, keys and values of (tokens, width), each as (tokens, heads, head)."""
        h, head = self.attn_norm(x), self.shape.head
        q, k, v = (getattr(self, name)(h).unflatten(-1, (-1, head)) for name in ("attn_q", "attn_k", "attn_v"))
        return rotate(q, cos, sin), rotate(k, cos, sin), v

    def rest(self, x: Tensor, attended: Tensor) -> Tensor:
        """Add the output of attention, (tokens, width), and of the feed-forward part."""
        x = x + self.attn_output(attended)
        h = self.ffn_norm(x)
        return x + self.ffn_down(F.silu(self.ffn_gate(h)) * self.ffn_up(h))  # type: ignore[no-any-return]


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Apply the rotary embedding to neighbouring pairs, as llama.cpp does for this architecture."""
    even, odd = x.float().unflatten(-1, (-1, 2)).unbind(-1)
    return torch.stack((even * cos - odd * sin, even * sin + odd * cos), -1).flatten(-2).to(x.dtype)


class Network(nn.Module):
    """A model with an adapter; alpha / rank is the adapter's scale."""

    def __init__(
        self, path: Path, rank: int, alpha: float, first_layer: int = 0, dtype: torch.dtype = torch.bfloat16
    ) -> None:
        """Load a GGUF file. Layers below `first_layer` have no adapter, and nothing is propagated back to them."""
        super().__init__()
        self.shape, weights = read_gguf(path)
        weights = {name: one.to(dtype) if one.ndim > 1 else one for name, one in weights.items()}
        self.rank, self.alpha, self.first_layer = rank, alpha, first_layer
        self.register_buffer("embedding", weights["token_embd.weight"])
        self.layers = nn.ModuleList(
            Layer(self.shape, weights, f"blk.{i}", rank, alpha / rank) for i in range(self.shape.block_count)
        )
        self.norm = RmsNorm(weights["output_norm.weight"], self.shape.epsilon)
        for layer in self.layers[:first_layer]:
            layer.requires_grad_(False)

    def compile_layers(self) -> None:
        """Compile the two parts of each layer."""
        for layer in self.layers:
            layer.queries = torch.compile(layer.queries, dynamic=True)
            layer.rest = torch.compile(layer.rest, dynamic=True)

    def forward(self, ids: Tensor, documents: Sequence[Document]) -> Tensor:
        """Return the normalised hidden states, (tokens, width), of documents that lie one behind the other.

        ids        (tokens,) of all documents
        documents  their lengths
        """
        assert isinstance(self.embedding, Tensor)
        cos, sin = self._angles(documents)
        masks = [causal_masks(document, self.embedding.dtype) for document in documents]
        x = self.embedding[ids]
        for number, layer in enumerate(self.layers):
            with torch.set_grad_enabled(number >= self.first_layer and torch.is_grad_enabled()):
                q, k, v = layer.queries(x, cos, sin)
                x = layer.rest(x, attention(q, k, v, documents, masks))
        return self.norm(x)  # type: ignore[no-any-return]

    def logits(self, hidden: Tensor) -> Tensor:
        assert isinstance(self.embedding, Tensor)
        return F.linear(hidden, self.embedding)

    def _angles(self, documents: Sequence[Document]) -> tuple[Tensor, Tensor]:
        position = torch.cat([
            torch.arange(first, first + length)
            for start, branches in documents
            for first, length in ((0, start), *((start, branch) for branch in branches))
        ]).float()  # fmt: skip
        frequency = self.shape.rope_base ** -(torch.arange(0, self.shape.head, 2) / self.shape.head)
        angle = torch.outer(position, frequency)[:, None]
        return angle.cos(), angle.sin()


def causal_masks(document: Document, dtype: torch.dtype) -> list[Tensor]:
    """Return what is added to the scores of the start, (start, start), and of each branch, (branch, start + branch)."""
    start, branches = document
    shapes = [(start, start), *((branch, start + branch) for branch in branches)]
    return [torch.full(shape, -math.inf, dtype=dtype).triu(shape[1] - shape[0] + 1) for shape in shapes]


def attention(
    q: Tensor, k: Tensor, v: Tensor, documents: Sequence[Document], masks: Sequence[Sequence[Tensor]]
) -> Tensor:
    """Attend to what is before a token in its document: the start, and the branch that it is in.

    Returns (tokens, width). For matrices as small as these, products and a softmax are faster than PyTorch's fused
    attention, above all on the way back: 0.44 ms a token for 30 layers where that needs 1.2 (Zen 4, one core).
    """
    parts, at = [], 0
    for (start, branches), (mask, *branch_masks) in zip(documents, masks, strict=True):
        keys, values = k[at : at + start], v[at : at + start]
        parts.append(_attend(q[at : at + start], keys, values, mask))
        at += start
        for length, branch_mask in zip(branches, branch_masks, strict=True):
            here = slice(at, at + length)
            parts.append(_attend(q[here], torch.cat((keys, k[here])), torch.cat((values, v[here])), branch_mask))
            at += length
    return torch.cat(parts)


def _attend(q: Tensor, k: Tensor, v: Tensor, mask: Tensor) -> Tensor:
    """Attention of queries (queries, heads, head) to keys and values (keys, KV heads, head); grouped heads."""
    count, heads, head = q.shape
    groups = k.shape[1]
    rows = q.unflatten(1, (groups, -1)).permute(1, 2, 0, 3).reshape(groups, -1, head)
    scores = torch.bmm(rows, k.permute(1, 2, 0)).view(heads, count, -1)
    weights = (scores * head**-0.5 + mask).softmax(-1)
    attended = torch.bmm(weights.view(groups, rows.shape[1], -1), v.transpose(0, 1))
    return attended.view(heads, count, head).transpose(0, 1).flatten(1)
