"""Endless batches of generated conversations, made in the training process or in others beside it."""

from __future__ import annotations

import multiprocessing as mp
import random
from collections.abc import Iterator

import torch
from tokenizers import Tokenizer
from torch import Tensor

from demo import generate

CONTEXT_WEIGHT = 0.2  # loss on what the model only reads, so that it learns the language early

Batch = tuple[int, Tensor, Tensor, Tensor]  # chunk number, ids, targets, weights


def rows(encoder: Tokenizer, seeds: range, limit: int) -> list[tuple[list[int], list[float]]]:
    """The tokens and their weights of these conversations, the shortest first."""
    made = []
    for seed in seeds:
        pieces = generate.segments(*generate.conversation(seed))
        encoded = encoder.encode_batch([text for text, _ in pieces], add_special_tokens=False)
        ids, weights = [], []
        for piece, (_, mine) in zip(encoded, pieces, strict=True):
            ids += piece.ids
            weights += [1.0 if mine else CONTEXT_WEIGHT] * len(piece.ids)
        if len(ids) <= limit:
            made.append((ids, weights))
    return sorted(made, key=lambda row: len(row[0]))


def batches(encoder: Tokenizer, seed: int, start: int, stride: int, tokens: int, limit: int) -> Iterator[Batch]:
    """Batches of at most `tokens` tokens of like length, from every `stride`th chunk."""
    number, size = start, max(512, tokens // 32)  # conversations made, and sorted by length, at a time
    while True:
        base = seed * 10**8 + number * size
        groups: list[list[tuple[list[int], list[float]]]] = [[]]
        for row in rows(encoder, range(base, base + size), limit):
            if (len(groups[-1]) + 1) * len(row[0]) > tokens and groups[-1]:
                groups.append([])
            groups[-1].append(row)
        random.Random(base).shuffle(groups)
        for group in groups:
            length = -(-len(group[-1][0]) // 16) * 16 + 1
            ids = torch.zeros(len(group), length, dtype=torch.long)
            weights = torch.zeros(len(group), length)
            for i, (row, own) in enumerate(group):
                ids[i, : len(row)] = torch.tensor(row)
                weights[i, : len(row)] = torch.tensor(own)
            yield number, ids[:, :-1].contiguous(), ids[:, 1:].flatten(), weights[:, 1:].flatten()
        number += stride


def _produce(queue: mp.Queue[Batch], *arguments: object) -> None:
    torch.set_num_threads(1)
    for batch in batches(*arguments):  # type: ignore[arg-type]
        queue.put(batch)


def produced(
    encoder: Tokenizer, seed: int, start: int, stride: int, tokens: int, limit: int, producers: int
) -> Iterator[Batch]:
    """The same from processes of their own, for a device that is faster than one process can write."""
    fresh = mp.get_context("spawn")  # a copy of a process that uses a GPU would not do
    queue: mp.Queue[Batch] = fresh.Queue(maxsize=2 * producers)
    for i in range(producers):
        arguments = (queue, encoder, seed, start + i * stride, stride * producers, tokens, limit)
        fresh.Process(target=_produce, args=arguments, daemon=True).start()
    while True:
        yield queue.get()
