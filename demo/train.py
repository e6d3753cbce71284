"""Trains the demo model; seeded, resumable, on the CPU.

    python -m demo.train --out demo/runs/v0 --minutes 90

Data are made on the fly from the seed. Hidden matrices are trained with Muon (orthogonalised momentum: Jordan 2024),
the rest with AdamW; the rate is constant, then falls to nothing over the last part of the time given. Compute is
bfloat16 with float32 weights.
"""

from __future__ import annotations

import argparse
import json
import random
import time
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from demo import generate, tokenizer
from demo.network import Network, Shape

CHUNK = 1536  # conversations made, and sorted by length, at a time
CONTEXT_WEIGHT = 0.2  # loss on what the model only reads, so that it learns the language early


def batches(encoder, seed: int, start: int, tokens: int, limit: int) -> Iterator[tuple[int, Tensor, Tensor, Tensor]]:
    """Endless (chunk number, ids, targets, weights) of about `tokens` tokens each."""
    number = start
    while True:
        rows = []
        base = seed * 10**8 + number * CHUNK
        for i in range(CHUNK):
            pieces = generate.segments(*generate.conversation(base + i))
            encoded = encoder.encode_batch([text for text, _ in pieces], add_special_tokens=False)
            ids = [t for e in encoded for t in e.ids]
            own = [
                w
                for e, (_, mine) in zip(encoded, pieces, strict=True)
                for w in [1.0 if mine else CONTEXT_WEIGHT] * len(e.ids)
            ]
            if len(ids) <= limit:
                rows.append((ids, own))
        rows.sort(key=lambda row: len(row[0]))
        groups: list[list] = [[]]
        for row in rows:
            if (len(groups[-1]) + 1) * len(row[0]) > tokens and groups[-1]:
                groups.append([])
            groups[-1].append(row)
        random.Random(base).shuffle(groups)
        for group in groups:
            length = -(-max(len(ids) for ids, _ in group) // 16) * 16
            ids = torch.zeros(len(group), length, dtype=torch.long)
            weights = torch.zeros(len(group), length)
            for i, (row, own) in enumerate(group):
                ids[i, : len(row)] = torch.tensor(row)
                weights[i, : len(row)] = torch.tensor(own)
            yield number, ids[:, :-1], ids[:, 1:], weights[:, 1:]
        number += 1


def orthogonalise(g: Tensor) -> Tensor:
    """The nearest semi-orthogonal matrix, by five Newton-Schulz steps."""
    a, b, c = 3.4445, -4.7750, 2.0315
    x = g.bfloat16()
    if wide := g.shape[0] > g.shape[1]:
        x = x.T
    x = x / (x.norm() + 1e-7)
    for _ in range(5):
        s = x @ x.T
        x = a * x + (b * s + c * s @ s) @ x
    return (x.T if wide else x).float()


class Muon:
    def __init__(self, params: list[Tensor], momentum: float = 0.95) -> None:
        self.params, self.momentum = params, momentum
        self.buffers = [torch.zeros_like(p) for p in params]

    @torch.no_grad()
    def step(self, rate: float) -> None:
        for p, buffer in zip(self.params, self.buffers, strict=True):
            buffer.lerp_(p.grad, 1 - self.momentum)
            update = orthogonalise(p.grad.lerp(buffer, self.momentum))
            p.mul_(1 - rate * 0.02)
            p.add_(update, alpha=-rate * max(1.0, p.shape[0] / p.shape[1]) ** 0.5)


def loss_of(network: Network, ids: Tensor, targets: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
    """Weighted loss to train on, and the plain mean over the model's own tokens to look at."""
    # The output head costs as much as a layer: of what the model only reads, one token in four is enough.
    flat = weights.flatten()
    keep = (flat == 1) | ((flat > 0) & (torch.rand(flat.shape) < 0.25))
    hidden = network(ids).flatten(0, 1)[keep]
    logits = (hidden @ network.embedding.weight.to(hidden.dtype).T).float()
    each = F.cross_entropy(logits, targets.flatten()[keep], reduction="none")
    w = weights.flatten()[keep]
    own = w == 1
    return (each * w).sum() / w.sum(), each[own].mean().detach()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("demo/runs/v0"))
    parser.add_argument("--minutes", type=float, default=90, help="training time of this invocation")
    parser.add_argument("--decay", type=float, default=0.25, help="last share of the time in which the rate falls")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--tokens", type=int, default=12288, help="tokens per step")
    parser.add_argument("--rate", type=float, default=0.02)
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--limit", type=int, default=1100, help="longest conversation, tokens")
    options = parser.parse_args()
    torch.manual_seed(options.seed)
    options.out.mkdir(parents=True, exist_ok=True)
    encoder = tokenizer.load(options.out / "tokenizer.json")
    network = Network(Shape())
    hidden = [p for n, p in network.named_parameters() if p.ndim == 2 and "embedding" not in n]
    others = [p for n, p in network.named_parameters() if p.ndim != 2 or "embedding" in n]
    muon = Muon(hidden)
    adam = torch.optim.AdamW(others, lr=1e-3, betas=(0.9, 0.95), weight_decay=0.0, fused=True)
    state = {"step": 0, "tokens": 0, "chunk": 0}
    checkpoint = options.out / "checkpoint.pt"
    if checkpoint.exists():
        saved = torch.load(checkpoint, weights_only=True)
        network.load_state_dict(saved["network"])
        adam.load_state_dict(saved["adam"])
        for buffer, old in zip(muon.buffers, saved["muon"], strict=True):
            buffer.copy_(old)
        state = saved["state"]
    if options.compile:
        for layer in network.layers:
            layer.compile(dynamic=True)
    print(f"{sum(p.numel() for p in network.parameters()):,} parameters, from step {state['step']}", flush=True)
    begun = saved_at = told_at = time.monotonic()
    told_tokens = 0
    average = None
    for chunk, ids, targets, weights in batches(encoder, options.seed, state["chunk"], options.tokens, options.limit):
        done = (time.monotonic() - begun) / 60 / options.minutes
        scale = min(1.0, (1 - done) / options.decay) * min(1.0, (state["step"] + 1) / 60)
        with torch.autocast("cpu", torch.bfloat16):
            loss, own = loss_of(network, ids, targets, weights)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(others, 1.0)
        muon.step(options.rate * max(scale, 0))
        for group in adam.param_groups:
            group["lr"] = 2e-3 * max(scale, 0)
        adam.step()
        network.zero_grad(set_to_none=True)
        state["step"] += 1
        state["tokens"] += int((weights > 0).sum())
        state["chunk"] = chunk + 1
        told_tokens += int((weights > 0).sum())
        average = own.item() if average is None else 0.97 * average + 0.03 * own.item()
        now = time.monotonic()
        if state["step"] % 20 == 0:
            print(f"step {state['step']} loss {average:.4f} tokens {state['tokens'] / 1e6:.2f}M "
                  f"{told_tokens / (now - told_at):.0f} tok/s scale {scale:.2f} {(now - begun) / 60:.1f} min", flush=True)  # fmt: skip
            told_at, told_tokens = now, 0
        if now - saved_at > 180 or done >= 1:
            saved_at = now
            part = checkpoint.with_suffix(".part")
            torch.save(
                {"network": network.state_dict(), "adam": adam.state_dict(), "muon": muon.buffers, "state": state}, part
            )
            part.replace(checkpoint)
            (options.out / "state.json").write_text(json.dumps({**state, "loss": average, "seed": options.seed}))
        if done >= 1:
            return


if __name__ == "__main__":
    main()
