"""Trains the demo model; seeded, resumable, on CPU cores or a GPU.

    python -m demo.train --out demo/runs/v1 --workers 2 --minutes 90 --compile
    python -m demo.train --out demo/runs/big --device cuda --shape medium --producers 14 --tokens 131072 --minutes 20

Data are generated during training from the seed. Hidden matrices are trained with Muon (orthogonalised momentum:
Jordan 2024), the rest with AdamW. The learning rate is constant, then falls to zero over the last part of the time.
Compute is bfloat16 with float32 weights. On the CPU every worker is a process with one thread, because threads of one
process would wait for each other at every operation. The workers take small batches until a step is full, add up their
gradients in shared memory, and each updates its share of the parameters.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing as mp
import signal
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from demo import tokenizer
from demo.batches import CONTEXT_WEIGHT, Batch, batches, parallel_batches
from demo.export import read_parameters
from demo.network import SHAPES, CrossEntropy, Network

CONTEXT_SHARE = 0.2  # share of the tokens outside answers whose loss is computed
SAVE_EVERY = 150.0  # seconds


def orthogonalise(g: Tensor) -> Tensor:
    """The nearest semi-orthogonal matrix, by five Newton-Schulz steps (in bfloat16)."""
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
        self.second = [torch.zeros_like(p[:0] if self.is_matrix(i) else p) for i, (_, p) in enumerate(self.named)]
        for second in self.second:
            second.share_memory_()
        # The largest first, each to the worker with the least work; a matrix takes eight times as long as a vector.
        load, self.owner = [0] * workers, [0] * len(self.named)
        for i in sorted(range(len(self.named)), key=lambda i: -self.named[i][1].numel()):
            self.owner[i] = load.index(min(load))
            load[self.owner[i]] += self.named[i][1].numel() * (8 if self.is_matrix(i) else 1)

    def is_matrix(self, i: int) -> bool:
        """True for parameters that Muon updates."""
        name, parameter = self.named[i]
        return parameter.ndim == 2 and "embedding" not in name

    @torch.no_grad()
    def step(self, rank: int, weight: float, step: int, muon_rate: float, adam_rate: float) -> None:
        """Update the parameters of one worker with the gradients of all, divided by the sum of loss weights."""
        for i, (_, p) in enumerate(self.named):
            if self.owner[i] != rank:
                continue
            g = self.grads[0][i] if len(self.grads) == 1 else sum(grads[i] for grads in self.grads)
            g = g / weight
            if self.is_matrix(i):
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
        for current, saved in ((self.first, state["first"]), (self.second, state["second"])):
            for a, b in zip(current, saved, strict=True):
                a.copy_(b)


@dataclass
class Shared:
    """State that all workers share.

    totals    (workers, 4): sums over the current step of loss weights, answer losses, answer tokens and tokens
    chunks    next chunk of data of each worker
    progress  steps and tokens so far
    claimed   tokens of the current step that a worker has taken on
    stop      true once the time is over
    barrier   where the workers wait for each other
    """

    totals: Tensor
    chunks: Tensor
    progress: Tensor
    claimed: Any
    stop: Any
    barrier: Any

    def claim(self, tokens: int, limit: int) -> bool:
        """Take on some tokens of the current step; False if it is full."""
        with self.claimed.get_lock():
            if self.claimed.value >= limit:
                return False
            self.claimed.value += tokens
            return True

    def finish_step(self, tokens: int) -> None:
        self.progress[0] += 1
        self.progress[1] += tokens
        self.totals.zero_()
        self.claimed.value = 0


Work = Callable[[int, Shared], None]


class Log:
    """Smooths the loss and prints a line every ten steps."""

    def __init__(self) -> None:
        self.loss: float | None = None
        self.tokens, self.since = 0, time.time()

    def add(self, progress: Tensor, tokens: int, loss: float, scale: float) -> None:
        self.tokens += tokens
        self.loss = loss if self.loss is None else 0.98 * self.loss + 0.02 * loss
        step, total, now = int(progress[0]), progress[1].item(), time.time()
        if step % 10 == 0:
            speed = self.tokens / (now - self.since)
            print(f"{time.strftime('%H:%M:%S')} step {step} loss {self.loss:.4f} tokens {total / 1e6:.2f}M "
                  f"{speed:.0f} tok/s scale {scale:.2f}", flush=True)  # fmt: skip
            self.tokens, self.since = 0, now


def weighted_loss(network: Network, ids: Tensor, targets: Tensor, weights: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Weighted sum of losses, sum of weights, and (sum of losses, count) of answer tokens."""
    is_sampled = torch.rand(weights.shape, device=weights.device) < CONTEXT_SHARE
    rows = ((weights > CONTEXT_WEIGHT) | ((weights > 0) & is_sampled)).nonzero()[:, 0]
    w = weights[rows]
    hidden = network(ids).flatten(0, 1)[rows]
    loss, per_row = CrossEntropy.apply(hidden, network.embedding.weight, targets[rows], w)
    is_answer = w == 1
    return loss, w.sum(), torch.stack((per_row[is_answer].sum(), is_answer.sum().float()))


def accumulate(
    rank: int, network: Network, stream: Iterator[Batch], shared: Shared, options: argparse.Namespace
) -> None:
    """Add up gradients of small batches until the workers together have a full step."""
    while shared.claim(options.micro, options.tokens):
        chunk, *batch = next(stream)
        shared.chunks[rank] = chunk + options.workers
        ids, targets, weights = (x.to(options.device, non_blocking=True) for x in batch)
        loss, weight, answers = weighted_loss(network, ids, targets, weights)
        loss.backward()
        shared.totals[rank] += torch.stack((weight, *answers, (weights > 0).sum())).cpu()


def work(rank: int, network: Network, optimizer: Optimizer, shared: Shared, options: argparse.Namespace) -> None:
    """One worker's loop; the first worker also logs and saves."""
    torch.set_num_threads(1)
    torch.manual_seed(options.seed * 1000 + rank)
    if options.compile:
        network.compile_layers()
    for (_, parameter), grad in zip(optimizer.named, optimizer.grads[rank], strict=True):
        parameter.grad = grad
    stream = data_stream(rank, shared, options)
    log = Log()
    start = saved_at = time.time()
    while True:
        accumulate(rank, network, stream, shared, options)
        shared.barrier.wait()
        weight, answer_loss, answer_tokens, tokens = shared.totals.sum(0).tolist()
        now, step = time.time(), int(shared.progress[0]) + 1
        left = 1 - (now - start) / (60 * options.minutes)
        scale = max(0.0, min(1.0, left / options.decay)) * min(1.0, step / options.warmup)
        optimizer.step(rank, weight, step, options.rate * scale, 0.1 * options.rate * scale)
        if rank == 0:
            shared.stop.value = left <= 0
        shared.barrier.wait()
        if rank == 0:
            shared.finish_step(tokens)
            log.add(shared.progress, tokens, answer_loss / max(answer_tokens, 1), scale)
            if now - saved_at > SAVE_EVERY or left <= 0:
                saved_at = now
                save(network, optimizer, shared, options, log.loss)
        shared.barrier.wait()
        if shared.stop.value:
            return


def data_stream(rank: int, shared: Shared, options: argparse.Namespace) -> Iterator[Batch]:
    """The batches of one worker, from where the run stopped."""
    encoder = tokenizer.load(options.out / "tokenizer.json")
    start = int(shared.chunks[rank])
    if options.producers:
        return parallel_batches(
            encoder, options.seed, start, options.workers, options.micro, options.limit, options.producers
        )
    return batches(encoder, options.seed, start, options.workers, options.micro, options.limit)


def save(
    network: Network, optimizer: Optimizer, shared: Shared, options: argparse.Namespace, loss: float | None
) -> None:
    """Write `checkpoint.pt` and `state.json` to the run's folder."""
    checkpoint = options.out / "checkpoint.pt"
    part = checkpoint.with_suffix(".part")
    contents = {
        "network": network.state_dict(),
        "optimizer": optimizer.state(),
        "shape": options.shape,
        "state": shared.progress,
        "chunks": shared.chunks,
    }
    torch.save(contents, part)
    part.replace(checkpoint)
    step, tokens = (int(x) for x in shared.progress)
    summary = {"step": step, "tokens": tokens, "loss": loss, "seed": options.seed, "shape": options.shape}
    (options.out / "state.json").write_text(json.dumps(summary))


def initial_weights(network: Network, folder: Path, out: Path) -> dict[str, Tensor]:
    """Weights of another run or of a GGUF, for the tokenizer of this run.

    The embedding of a token that the other tokenizer lacks is the mean of its parts there.
    """
    if (checkpoint := folder / "checkpoint.pt").exists():
        weights = torch.load(checkpoint, weights_only=True)["network"]
    else:
        weights = read_parameters(next(folder.glob("*.gguf")), network.state_dict())
    old, new = (tokenizer.load(path / "tokenizer.json") for path in (folder, out))
    rows = []
    for i in range(new.get_vocab_size()):
        same = old.token_to_id(new.id_to_token(i))
        parts = old.encode(new.decode([i])).ids if same is None else [same]
        rows.append(weights["embedding.weight"][parts].mean(0))
    return {**weights, "embedding.weight": torch.stack(rows)}


def parse_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--out", type=Path, default=Path("demo/runs/v1"), help="folder of the run")
    add("--start-from", type=Path, help="a run, or a folder with a GGUF and its tokenizer.json, to take weights from")
    add("--minutes", type=float, default=90, help="training time of this invocation")
    add("--decay", type=float, default=0.4, help="last share of the time, in which the learning rate falls to zero")
    add("--seed", type=int, default=2)
    add("--shape", choices=SHAPES, default="small")
    add("--device", default="cpu")
    add("--workers", type=int, default=1, help="processes that train (CPU)")
    add("--producers", type=int, default=0, help="processes that only generate data (GPU)")
    add("--tokens", type=int, default=6144, help="tokens per step")
    add("--micro", type=int, help="tokens per batch (default: 1,536 on the CPU, a whole step on a GPU)")
    add("--rate", type=float, default=0.02, help="learning rate of Muon; AdamW uses a tenth of it")
    add("--matrices-only", action="store_true", help="do not train norms and biases: a tenth faster")
    add("--warmup", type=int, default=60, help="steps in which the learning rate rises")
    add("--compile", action="store_true", help="compile the layers with torch.compile")
    add("--limit", type=int, default=1100, help="longest conversation, in tokens")
    options = parser.parse_args()
    options.micro = options.micro or (1536 if options.device == "cpu" else options.tokens)
    return options


def prepare(options: argparse.Namespace) -> tuple[Network, Optimizer, dict[str, Any]]:
    """Network, optimizer and checkpoint of the run; without a checkpoint they are new, and it is empty."""
    options.out.mkdir(parents=True, exist_ok=True)
    tokenizer.load(options.out / "tokenizer.json")
    network = Network(SHAPES[options.shape]).to(options.device)
    checkpoint = options.out / "checkpoint.pt"
    saved: dict[str, Any] = {}
    if checkpoint.exists():
        saved = torch.load(checkpoint, weights_only=True, map_location=options.device)
        network.load_state_dict(saved["network"])
    elif options.start_from:
        network.load_state_dict(initial_weights(network, options.start_from, options.out))
    if options.device == "cpu":
        network.share_memory()
    for parameter in network.parameters():
        parameter.requires_grad_(parameter.ndim == 2 or not options.matrices_only)
    optimizer = Optimizer(network, options.workers)
    if saved:
        optimizer.load(saved["optimizer"])
    return network, optimizer, saved


def start(work: Work, chunks: Tensor, saved: dict[str, Any], options: argparse.Namespace) -> None:
    """Run one worker in this process, and the others each in one of its own.

    work    loop of a worker, called with its number and what all share
    chunks  next chunk of data of each worker
    saved   checkpoint of the run; empty for a new one
    """
    context = mp.get_context("fork")  # the workers see the same parameters
    shared = Shared(
        totals=torch.zeros(options.workers, 4, dtype=torch.float64).share_memory_(),
        chunks=chunks.share_memory_(),
        progress=saved.get("state", torch.zeros(2, dtype=torch.float64)).share_memory_(),
        claimed=context.Value("q", 0),
        stop=context.Value("b", False),
        barrier=context.Barrier(options.workers),
    )
    print(f"from step {int(shared.progress[0])}", flush=True)
    workers = [context.Process(target=work, args=(rank, shared), daemon=True) for rank in range(1, options.workers)]
    for worker in workers:
        worker.start()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # an exit ends the other workers too
    work(0, shared)
    for worker in workers:
        worker.join()


def main() -> None:
    options = parse_options()
    torch.set_num_threads(1)
    torch.manual_seed(options.seed)
    network, optimizer, saved = prepare(options)
    print(f"{sum(parameter.numel() for parameter in network.parameters()):,} parameters", flush=True)

    def loop(rank: int, shared: Shared) -> None:
        work(rank, network, optimizer, shared, options)

    start(loop, saved.get("chunks", torch.arange(options.workers)), saved, options)


if __name__ == "__main__":
    main()
