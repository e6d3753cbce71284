"""Trains the adapter of edgefc-mini; seeded, and resumable in as many sittings as it takes.

    python -m mini.train --base SmolLM2-135M-Instruct.Q4_1.gguf --out mini/runs/v1 --workers 2 --minutes 170

The base stays as it is: its dequantized weights are frozen, and the adapter is trained with AdamW. Compute is bfloat16
or float32, whichever this machine is faster with; the adapter's own weights are float32. Conversations are generated
during training, and the loss is that of what the model has to say; of all other tokens no logits are computed. Every
worker is a process with one thread, because threads of one process would wait for each other at every operation; the
workers take packs of conversations until a step is full, and add up their gradients in shared memory.

The learning rate is constant, and falls to zero over the last part of a sitting: `adapter.pt` is what came of it. A
later sitting goes on from `checkpoint.pt`, from before the fall.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from demo.train import Log, Shared, start
from mini.network import Network, fastest_dtype, read_adapter
from mini.render import Group, Renderer, packs

SAVE_EVERY_S = 120.0
DECISION_WEIGHT = 3.0
LOGIT_ROWS = 128  # whose logits are computed at once, so that they stay in the cache
BETAS, EPSILON, CLIP = (0.9, 0.98), 1e-9, 1.0


class Adam:
    """AdamW for the adapter; state and gradients are in shared memory, one worker updates all."""

    def __init__(self, network: Network, workers: int) -> None:
        self.parameters = [p for p in network.parameters() if p.requires_grad]
        self.grads = [[torch.zeros_like(p).share_memory_() for p in self.parameters] for _ in range(workers)]
        self.first = [torch.zeros_like(p) for p in self.parameters]
        self.second = [torch.zeros_like(p) for p in self.parameters]

    @torch.no_grad()
    def step(self, weight: float, step: int, rate: float) -> float:
        """Update with the gradients of all workers, divided by the sum of loss weights; returns their norm."""
        grads = [sum(parts[1:], parts[0]).div_(weight) for parts in zip(*self.grads, strict=True)]
        norm = float(torch.stack([g.norm() for g in grads]).norm())
        scale = min(1.0, CLIP / (norm + 1e-6))
        for p, g, first, second in zip(self.parameters, grads, self.first, self.second, strict=True):
            g.mul_(scale)
            first.lerp_(g, 1 - BETAS[0])
            second.lerp_(g * g, 1 - BETAS[1])
            corrected = (second / (1 - BETAS[1] ** step)).sqrt_() + EPSILON
            p.add_(first / (1 - BETAS[0] ** step) / corrected, alpha=-rate)
        for parts in self.grads:
            for part in parts:
                part.zero_()
        return norm

    def state(self) -> dict[str, list[Tensor]]:
        return {"first": self.first, "second": self.second}

    def load(self, state: dict[str, list[Tensor]]) -> None:
        for current, saved in ((self.first, state["first"]), (self.second, state["second"])):
            for a, b in zip(current, saved, strict=True):
                a.copy_(b)


def answer_loss(network: Network, groups: list[Group]) -> tuple[Tensor, int, int]:
    """Return the sum of the losses of the tokens that the model has to say, their number, and how many are right.

    An answer's first token, which decides between a call and text, counts as several.
    """
    ids = torch.tensor([token for group in groups for part in (group.start, *group.tokens) for token in part])
    is_answer = torch.tensor([flag for group in groups for flag in group.flags])
    # A token is told by the state of the one before it; a branch never begins with an answer.
    places = is_answer.nonzero()[:, 0]
    hidden = network(ids, [(len(group.start), [len(branch) for branch in group.tokens]) for group in groups])[
        places - 1
    ]
    weights = torch.where(is_answer[places - 1], 1.0, DECISION_WEIGHT)
    total, right = hidden.new_zeros((), dtype=torch.float32), 0
    parts = (rows.split(LOGIT_ROWS) for rows in (hidden, ids[places], weights))
    for part, targets, weight in zip(*parts, strict=True):
        logits = network.logits(part).float()
        total = total + F.cross_entropy(logits, targets, reduction="none") @ weight
        right += int((logits.argmax(-1) == targets).sum())
    return total, len(places), right


def accumulate(
    rank: int, network: Network, stream: Iterator[list[Group]], shared: Shared, options: argparse.Namespace
) -> None:
    """Add up the gradients of packs until the workers together have a full step."""
    while shared.claim(options.pack, options.tokens):
        groups = next(stream)
        shared.chunks[rank] += options.workers
        loss, count, right = answer_loss(network, groups)
        loss.backward()
        shared.totals[rank] += torch.tensor([count, loss.item(), right, sum(len(group) for group in groups)])


def work(rank: int, network: Network, adam: Adam, shared: Shared, options: argparse.Namespace) -> None:
    """One worker's loop; the first worker also updates, logs and saves."""
    torch.set_num_threads(1)
    if options.compile:
        network.compile_layers()
    for parameter, grad in zip(adam.parameters, adam.grads[rank], strict=True):
        parameter.grad = grad
    start_at = int(shared.chunks[rank])
    stream = packs(Renderer(options.base), str(options.seed), start_at, options.workers, options.pack, options.limit)
    log, right = Log(), 0.0
    start = saved_at = time.time()
    while True:
        accumulate(rank, network, stream, shared, options)
        shared.barrier.wait()
        if rank == 0:
            count, loss, correct, tokens = shared.totals.sum(0).tolist()
            now, step = time.time(), int(shared.progress[0]) + 1
            left = 1 - (now - start) / (60 * options.minutes)
            scale = max(0.0, min(1.0, left / options.decay)) * min(1.0, step / options.warmup)
            adam.step(count, step, options.rate * scale)
            shared.finish_step(tokens)
            right = correct / count if right == 0 else 0.98 * right + 0.02 * correct / count
            log.add(shared.progress, tokens, loss / count, scale)
            is_over = left <= 0
            if left >= options.decay and now - saved_at > SAVE_EVERY_S:
                saved_at = now
                save(network, adam, shared, options, log.loss, right)
            shared.stop.value = is_over
        shared.barrier.wait()
        if shared.stop.value:
            break
    if rank == 0:
        torch.save(adapter(network), options.out / "adapter.pt")
        print(f"{options.out / 'adapter.pt'}  loss {log.loss:.4f}, {right:.2%} of the tokens right", flush=True)


def adapter(network: Network) -> dict[str, Any]:
    """Return the weights of the adapter, and what is needed to write it as GGUF."""
    weights = {name: p.detach().clone() for name, p in network.named_parameters() if p.requires_grad}
    return {"weights": weights, "rank": network.rank, "alpha": network.alpha, "first_layer": network.first_layer}


def save(
    network: Network, adam: Adam, shared: Shared, options: argparse.Namespace, loss: float | None, right: float
) -> None:
    """Write `checkpoint.pt` and `state.json` to the run's folder."""
    checkpoint = options.out / "checkpoint.pt"
    part = checkpoint.with_suffix(".part")
    torch.save({**adapter(network), "adam": adam.state(), "state": shared.progress, "chunks": shared.chunks}, part)
    part.replace(checkpoint)
    step, tokens = (int(x) for x in shared.progress)
    summary = {"step": step, "tokens": tokens, "loss": loss, "right": right, "seed": options.seed}
    (options.out / "state.json").write_text(json.dumps(summary))


def parse_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--base", type=Path, required=True, help="GGUF file of the model that the adapter is for")
    add("--out", type=Path, default=Path("mini/runs/v1"), help="folder of the run")
    add(
        "--start-from",
        type=Path,
        help="checkpoint.pt or adapter.pt of another run, or an exported adapter, to start from",
    )
    add("--minutes", type=float, default=170, help="training time of this sitting")
    add("--decay", type=float, default=0.25, help="last share of the time, in which the learning rate falls to zero")
    add("--seed", type=int, default=1)
    add("--workers", type=int, default=1, help="processes that train")
    add("--tokens", type=int, default=6144, help="tokens per step")
    add("--pack", type=int, default=1536, help="tokens that a worker computes at once")
    add("--limit", type=int, default=1024, help="longest group of conversations with the same tools, in tokens")
    add("--rate", type=float, default=1e-3, help="learning rate")
    add("--rank", type=int, default=32)
    add("--alpha", type=float, default=64)
    add("--first-layer", type=int, default=0, help="first layer that has an adapter")
    add("--warmup", type=int, default=20, help="steps in which the learning rate rises")
    add("--compile", action="store_true", help="compile the layers with torch.compile")
    return parser.parse_args()


def prepare(options: argparse.Namespace) -> tuple[Network, Adam, dict[str, Any]]:
    """Network, optimizer and checkpoint of the run; without a checkpoint it is empty."""
    options.out.mkdir(parents=True, exist_ok=True)
    dtype = fastest_dtype()
    network = Network(options.base, options.rank, options.alpha, options.first_layer, dtype)
    print(f"computing in {dtype}", flush=True)
    adam = Adam(network, options.workers)
    checkpoint, saved = options.out / "checkpoint.pt", {}
    if checkpoint.exists():
        saved = torch.load(checkpoint, weights_only=True)
        adam.load(saved["adam"])
    if saved or options.start_from:
        if saved or options.start_from.suffix != ".gguf":
            weights = (saved or torch.load(options.start_from, weights_only=True))["weights"]
        else:
            weights = read_adapter(options.start_from)
        network.load_state_dict(weights, strict=False)
    network.share_memory()
    return network, adam, saved


def main() -> None:
    options = parse_options()
    torch.set_num_threads(1)
    torch.manual_seed(options.seed)
    network, adam, saved = prepare(options)
    chunks = saved.get("chunks", torch.zeros(0))
    if len(chunks) != options.workers:  # begun with another number of workers
        first = int(chunks.max()) + 1 if len(chunks) else 0
        chunks = torch.arange(first, first + options.workers)
    print(f"{sum(p.numel() for p in adam.parameters):,} parameters in the adapter", flush=True)

    def loop(rank: int, shared: Shared) -> None:
        work(rank, network, adam, shared, options)

    start(loop, chunks, saved, options)


if __name__ == "__main__":
    main()
