"""The demo model: a Qwen2-shaped decoder in plain PyTorch (RMSNorm, rotary positions, SwiGLU, tied embeddings)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - PyTorch's convention


@dataclass(frozen=True)
class Shape:
    """Sizes of the network."""

    vocab: int = 6144
    width: int = 256
    layers: int = 6
    heads: int = 4
    hidden: int = 768
    context: int = 2048
    rope_base: float = 10000.0
    epsilon: float = 1e-6

    @property
    def head_dim(self) -> int:
        return self.width // self.heads


SHAPES = {
    "small": Shape(),  # 6.7 M parameters: two CPU cores for an hour or two
    "medium": Shape(width=448, layers=12, heads=7, hidden=1344),  # 33 M, 35 MB: a GPU
}


class Attention(torch.autograd.Function):
    """Causal attention of whole matrices: four times as fast as the fused kernel on a CPU at these lengths."""

    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        t, ctx.scale = q.shape[1], q.shape[2] ** -0.5
        mask = torch.full((1, t, t), float("-inf"), dtype=q.dtype).triu(1)
        weights = torch.baddbmm(mask, q, k.transpose(1, 2), alpha=ctx.scale).softmax(-1)
        ctx.save_for_backward(q, k, v, weights)
        return weights @ v

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        q, k, v, weights = ctx.saved_tensors
        grad = grads[0].contiguous()
        inner = torch.ops.aten._softmax_backward_data(grad @ v.transpose(1, 2), weights, -1, weights.dtype) * ctx.scale  # noqa: SLF001
        return inner @ k, inner.transpose(1, 2) @ q, weights.transpose(1, 2) @ grad


class CrossEntropy(torch.autograd.Function):
    """Weighted sum of the rows' cross entropy of `hidden @ embedding.T`, in blocks that fit the cache.

    hidden (rows, width), embedding (vocab, width), targets and weights (rows,); gives the sum and each row's loss.
    The gradient is computed with the loss, so that the logits are needed only once.
    """

    @staticmethod
    def forward(ctx: Any, hidden: Tensor, embedding: Tensor, targets: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
        head, rows = embedding.to(hidden.dtype), 128 if hidden.device.type == "cpu" else 16384
        losses, grad_hidden, grad_embedding = [], [], torch.zeros_like(head, dtype=torch.float32)
        for h, target, weight in zip(*(x.split(rows) for x in (hidden, targets, weights)), strict=True):
            logprobs = torch.log_softmax((h @ head.T).float(), -1)
            losses.append(-logprobs.gather(1, target[:, None])[:, 0])
            # Softmax minus one-hot, in place.
            grad = logprobs.exp_().scatter_add_(1, target[:, None], -torch.ones_like(losses[-1])[:, None])
            grad = grad.mul_(weight[:, None]).to(hidden.dtype)
            grad_hidden.append(grad @ head)
            grad_embedding.add_(grad.T @ h)
        ctx.save_for_backward(torch.cat(grad_hidden), grad_embedding)
        per_row = torch.cat(losses)
        ctx.mark_non_differentiable(per_row)
        return (per_row * weights).sum(), per_row

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, None, None]:
        grad_hidden, grad_embedding = ctx.saved_tensors
        return grad_hidden * grads[0].to(grad_hidden.dtype), grad_embedding * grads[0], None, None


def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Causal attention; queries, keys, values and result are (batch, time, heads, dim)."""
    b, t, h, d = q.shape
    if q.device.type != "cpu" or not torch.is_grad_enabled():
        q, k, v = q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2)
        return F.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2)
    q, k, v = (x.transpose(1, 2).reshape(b * h, t, d) for x in (q, k, v))
    return Attention.apply(q, k, v).view(b, h, t, d).transpose(1, 2)


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Apply rotary positions to (tokens, heads, dim); pairs are a head's halves, GGUF's NEOX order."""
    a, b = x.chunk(2, dim=-1)
    return torch.cat((a * cos - b * sin, b * cos + a * sin), dim=-1)


class Norm(nn.Module):
    """RMSNorm, computed in float32."""

    def __init__(self, size: int, epsilon: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(size))
        self.epsilon = epsilon

    def forward(self, x: Tensor) -> Tensor:
        wide = x.float()
        return (wide * torch.rsqrt(wide.square().mean(-1, keepdim=True) + self.epsilon) * self.weight).to(x.dtype)


class Linear(nn.Linear):
    """A linear layer with float32 weights that computes in the dtype of its input."""

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.weight.to(x.dtype), None if self.bias is None else self.bias.to(x.dtype))


class Layer(nn.Module):
    """A decoder layer, in the two parts before and after attention."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        self.attn_norm, self.ffn_norm = Norm(shape.width, shape.epsilon), Norm(shape.width, shape.epsilon)
        self.q, self.k, self.v = (Linear(shape.width, shape.width) for _ in range(3))
        self.o = Linear(shape.width, shape.width, bias=False)
        self.gate, self.up = (Linear(shape.width, shape.hidden, bias=False) for _ in range(2))
        self.down = Linear(shape.hidden, shape.width, bias=False)

    def before(self, x: Tensor, cos: Tensor, sin: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, keys and values (tokens, heads, dim) of x (tokens, width)."""
        h = self.attn_norm(x)
        heads = (-1, self.shape.heads, self.shape.head_dim)
        return rotate(self.q(h).view(heads), cos, sin), rotate(self.k(h).view(heads), cos, sin), self.v(h).view(heads)

    def after(self, x: Tensor, attended: Tensor) -> Tensor:
        """Add the attention's result and the feed-forward block to x; all (tokens, width)."""
        x = x + self.o(attended)
        h = self.ffn_norm(x)
        return x + self.down(F.silu(self.gate(h)) * self.up(h))


class Network(nn.Module):
    """The decoder, from token ids to hidden states; logits are `hidden @ embedding.weight.T`."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        self.embedding = nn.Embedding(shape.vocab, shape.width)
        self.layers = nn.ModuleList(Layer(shape) for _ in range(shape.layers))
        self.norm = Norm(shape.width, shape.epsilon)
        half = shape.head_dim // 2
        frequency = shape.rope_base ** (-torch.arange(half, dtype=torch.float32) / half)
        angles = torch.outer(torch.arange(shape.context, dtype=torch.float32), frequency)
        self.register_buffer("cos", angles.cos(), persistent=False)
        self.register_buffer("sin", angles.sin(), persistent=False)
        for name, parameter in self.named_parameters():
            if parameter.ndim == 2:
                if name.split(".")[-2] in {"o", "down"}:  # at first a layer adds nothing
                    nn.init.zeros_(parameter)
                else:
                    nn.init.normal_(parameter, std=0.02)
            elif name.endswith("bias"):
                nn.init.zeros_(parameter)

    def compile_layers(self) -> None:
        """Compile the parts around attention, for any number of tokens."""
        Layer.before = torch.compile(Layer.before, dynamic=True)  # type: ignore[method-assign]
        Layer.after = torch.compile(Layer.after, dynamic=True)  # type: ignore[method-assign]

    def forward(self, ids: Tensor) -> Tensor:
        """Hidden states (batch, time, width) of ids (batch, time), after the last norm."""
        b, t = ids.shape
        x = self.embedding(ids).to(torch.bfloat16).view(b * t, -1)
        cos, sin = (table[:t].to(x.dtype).repeat(b, 1)[:, None] for table in (self.cos, self.sin))
        for layer in self.layers:
            q, k, v = (y.view(b, t, *y.shape[1:]) for y in layer.before(x, cos, sin))
            x = layer.after(x, attend(q, k, v).reshape(b * t, -1))
        return self.norm(x).view(b, t, -1)
