"""Trains the demo model; seeded, resumable, on CPU cores or a GPU.

    python -m demo.train --out demo/runs/v1 --workers 2 --minutes 90 --compile
    python -m demo.train --out demo/runs/big --device cuda --shape medium --producers 14 --tokens 131072 --minutes 20

Data are made on the fly from the seed. Hidden matrices are trained with Muon (orthogonalised momentum: Jordan 2024),
the rest with AdamW; the rate is constant, then falls to nothing over the last part of the time given. Compute is
bfloat16 with float32 weights. On the CPU every worker is a process with one thread (threads of one process would wait
for each other at every operation): the workers take small batches until a step is full, add up their gradients in
shared memory, and each updates its share of the parameters.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing as mp
import signal
import sys
import time
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from demo import export, tokenizer
from demo.batches import CONTEXT_WEIGHT, batches, produced
from demo.network import SHAPES, CrossEntropy, Network

READ_SHARE = 0.2  # of the tokens the model only reads, the share whose loss is worked out
SAVE_EVERY = 150.0  # seconds


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


class Optimizer:
    """Muon for matrices, AdamW for the embedding and for vectors; state in shared memory, updates by share."""

    def __init__(self, network: Network, workers: int) -> None:
        self.named = [(name, p) for name, p in network.named_parameters() if p.requires_grad]
        self.grads = [[torch.zeros_like(p).share_memory_() for _, p in self.named] for _ in range(workers)]
        self.first = [torch.zeros_like(p).share_memory_() for _, p in self.named]
        self.second = [torch.zeros_like(p if not self.matrix(i) else p[:0]) for i, (_, p) in enumerate(self.named)]
        for state in self.second:
            state.share_memory_()
        # The largest first, each to the worker that has the least to do.
        load, self.owner = [0] * workers, [0] * len(self.named)
        for i in sorted(range(len(self.named)), key=lambda i: -self.named[i][1].numel()):
            self.owner[i] = load.index(min(load))
            load[self.owner[i]] += self.named[i][1].numel() * (8 if self.matrix(i) else 1)

    def matrix(self, i: int) -> bool:
        name, parameter = self.named[i]
        return parameter.ndim == 2 and "embedding" not in name

    @torch.no_grad()
    def step(self, rank: int, weight: float, step: int, muon_rate: float, adam_rate: float) -> None:
        for i, (_, p) in enumerate(self.named):
            if self.owner[i] != rank:
                continue
            g = self.grads[0][i] if len(self.grads) == 1 else sum(grads[i] for grads in self.grads)
            g = g / weight
            if self.matrix(i):
                self.first[i].lerp_(g, 0.05)
                update = orthogonalise(g.lerp(self.first[i], 0.95))
                p.mul_(1 - muon_rate * 0.02)
                p.add_(update, alpha=-muon_rate * max(1.0, p.shape[0] / p.shape[1]) ** 0.5)
            else:
                self.first[i].lerp_(g, 0.1)
                self.second[i].lerp_(g * g, 0.05)
                corrected = (self.second[i] / (1 - 0.95**step)).sqrt_() + 1e-10
                p.add_(self.first[i] / (1 - 0.9**step) / corrected, alpha=-adam_rate)
            for grads in self.grads:
                grads[i].zero_()

    def state(self) -> dict[str, list[Tensor]]:
        return {"first": self.first, "second": self.second}

    def load(self, state: dict[str, list[Tensor]]) -> None:
        for mine, saved in ((self.first, state["first"]), (self.second, state["second"])):
            for a, b in zip(mine, saved, strict=True):
                a.copy_(b)


def loss_of(network: Network, ids: Tensor, targets: Tensor, weights: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Weighted sum of losses, the weights summed, and (sum, count) over the model's own tokens alone."""
    keep = (weights > CONTEXT_WEIGHT) | (
        (weights > 0) & (torch.rand(weights.shape, device=weights.device) < READ_SHARE)
    )
    keep = keep.nonzero()[:, 0]
    w = weights[keep]
    loss, each = CrossEntropy.apply(network(ids).flatten(0, 1)[keep], network.embedding.weight, targets[keep], w)
    own = w == 1
    return loss, w.sum(), torch.stack((each[own].sum(), own.sum().float()))


def work(
    rank: int, network: Network, optimizer: Optimizer, shared: dict[str, Any], options: argparse.Namespace
) -> None:
    """One worker's loop; the first also tells how it goes, and saves."""
    torch.set_num_threads(1)
    torch.manual_seed(options.seed * 1000 + rank)
    encoder = tokenizer.load(options.out / "tokenizer.json")
    if options.compile:
        network.compile_layers()
    for i, (_, p) in enumerate(optimizer.named):
        p.grad = optimizer.grads[rank][i]
    totals, claimed, barrier, chunks, state = (shared[k] for k in ("totals", "claimed", "barrier", "chunks", "state"))
    source = (encoder, options.seed, int(chunks[rank]), options.workers, options.micro, options.limit)
    stream = produced(*source, options.producers) if options.producers else batches(*source)
    begun = saved_at = told_at = time.time()
    end = begun + 60 * options.minutes
    told_tokens, average = 0, None
    while True:
        while True:
            with claimed.get_lock():
                full = claimed.value >= options.tokens
                if not full:
                    claimed.value += options.micro
            if full:
                break
            chunk, *batch = next(stream)
            chunks[rank] = chunk + options.workers
            ids, targets, weights = (x.to(options.device, non_blocking=True) for x in batch)
            loss, weight, own = loss_of(network, ids, targets, weights)
            loss.backward()
            totals[rank] += torch.stack((weight, *own, (weights > 0).sum())).cpu()
        barrier.wait()
        weight, own, owns, tokens = totals.sum(0).tolist()
        now = time.time()
        left = (end - now) / (end - begun)
        stop = left <= 0 if rank == 0 else False
        scale = max(0.0, min(1.0, left / options.decay)) * min(1.0, (state[0].item() + 1) / options.warmup)
        optimizer.step(rank, weight, int(state[0].item()) + 1, options.rate * scale, 0.1 * options.rate * scale)
        if rank == 0:
            shared["stop"].value = stop
        barrier.wait()
        if rank == 0:
            state[0] += 1
            state[1] += tokens
            totals.zero_()
            claimed.value = 0
            told_tokens += tokens
            mean = own / max(owns, 1)
            average = mean if average is None else 0.98 * average + 0.02 * mean
            step = int(state[0].item())
            if step % 10 == 0:
                print(f"{time.strftime('%H:%M:%S')} step {step} loss {average:.4f} tokens {state[1].item() / 1e6:.2f}M "
                      f"{told_tokens / (now - told_at):.0f} tok/s scale {scale:.2f}", flush=True)  # fmt: skip
                told_at, told_tokens = now, 0
            if now - saved_at > SAVE_EVERY or stop:
                saved_at = now
                save(network, optimizer, shared, options, average)
        barrier.wait()
        if shared["stop"].value:
            return


def save(
    network: Network, optimizer: Optimizer, shared: dict[str, Any], options: argparse.Namespace, loss: float
) -> None:
    checkpoint = options.out / "checkpoint.pt"
    part = checkpoint.with_suffix(".part")
    progress = {"state": shared["state"], "chunks": shared["chunks"]}
    torch.save(
        {"network": network.state_dict(), "optimizer": optimizer.state(), "shape": options.shape, **progress}, part
    )
    part.replace(checkpoint)
    step, tokens = (int(x) for x in shared["state"])
    told = {"step": step, "tokens": tokens, "loss": loss, "seed": options.seed, "shape": options.shape}
    (options.out / "state.json").write_text(json.dumps(told))


def weights_of(network: Network, folder: Path, out: Path) -> dict[str, Tensor]:
    """Another run's weights, or a GGUF's, for this run's tokenizer: a token unknown there begins as the mean of its parts."""
    if (checkpoint := folder / "checkpoint.pt").exists():
        weights = torch.load(checkpoint, weights_only=True)["network"]
    else:
        weights = export.read(next(folder.glob("*.gguf")), network.state_dict())
    old, new = (tokenizer.load(place / "tokenizer.json") for place in (folder, out))
    rows = []
    for i in range(new.get_vocab_size()):
        known = old.token_to_id(new.id_to_token(i))
        parts = old.encode(new.decode([i])).ids if known is None else [known]
        rows.append(weights["embedding.weight"][parts].mean(0))
    return {**weights, "embedding.weight": torch.stack(rows)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("demo/runs/v1"))
    parser.add_argument(
        "--start-from",
        type=Path,
        help="a run, or a folder with a GGUF and its tokenizer.json, whose weights to begin with",
    )
    parser.add_argument("--minutes", type=float, default=90, help="training time of this invocation")
    parser.add_argument("--decay", type=float, default=0.4, help="last share of the time in which the rate falls")
    parser.add_argument("--seed", type=int, default=2)
    parser.add_argument("--shape", choices=SHAPES, default="small")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--workers", type=int, default=1, help="processes that train (CPU)")
    parser.add_argument("--producers", type=int, default=0, help="processes that only make data (GPU)")
    parser.add_argument("--tokens", type=int, default=6144, help="tokens per step")
    parser.add_argument("--micro", type=int, help="tokens at a time (1,536 on the CPU, a whole step on a GPU)")
    parser.add_argument("--rate", type=float, default=0.02, help="Muon's; AdamW's is a tenth")
    parser.add_argument(
        "--matrices-only", action="store_true", help="leave norms and biases as they are: a tenth faster"
    )
    parser.add_argument("--warmup", type=int, default=60, help="steps")
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--limit", type=int, default=1100, help="longest conversation, tokens")
    options = parser.parse_args()
    options.micro = options.micro or (1536 if options.device == "cpu" else options.tokens)
    torch.set_num_threads(1)
    torch.manual_seed(options.seed)
    options.out.mkdir(parents=True, exist_ok=True)
    tokenizer.load(options.out / "tokenizer.json")
    network = Network(SHAPES[options.shape]).to(options.device)
    checkpoint = options.out / "checkpoint.pt"
    saved = torch.load(checkpoint, weights_only=True, map_location=options.device) if checkpoint.exists() else None
    if saved:
        network.load_state_dict(saved["network"])
    elif options.start_from:
        network.load_state_dict(weights_of(network, options.start_from, options.out))
    if options.device == "cpu":
        network.share_memory()
    for parameter in network.parameters():
        parameter.requires_grad_(parameter.ndim == 2 or not options.matrices_only)
    optimizer = Optimizer(network, options.workers)
    if saved:
        optimizer.load(saved["optimizer"])
    fork = mp.get_context("fork")  # the workers see the same parameters
    shared = {
        "totals": torch.zeros(options.workers, 4, dtype=torch.float64).share_memory_(),
        "chunks": saved["chunks"] if saved else torch.arange(options.workers),
        "state": saved["state"] if saved else torch.zeros(2, dtype=torch.float64),  # steps and tokens
        "claimed": fork.Value("q", 0),
        "stop": fork.Value("b", False),
        "barrier": fork.Barrier(options.workers),
    }
    for name in ("chunks", "state"):
        shared[name].share_memory_()
    print(
        f"{sum(p.numel() for p in network.parameters()):,} parameters, from step {int(shared['state'][0])}", flush=True
    )
    others = [fork.Process(target=work, args=(rank, network, optimizer, shared, options), daemon=True)
              for rank in range(1, options.workers)]  # fmt: skip
    for process in others:
        process.start()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # an exit ends the other workers too
    work(0, network, optimizer, shared, options)
    for process in others:
        process.join()


if __name__ == "__main__":
    main()
