"""Endless batches of generated conversations, made in the training process or in others beside it."""

from __future__ import annotations

import multiprocessing as mp
import random
from collections import Counter
from collections.abc import Iterator

import torch
from tokenizers import Tokenizer
from torch import Tensor

from demo import generate

CONTEXT_WEIGHT = 0.2  # loss on what the model only reads, so that it learns the language early
DRILL_WEIGHT = 0.5  # loss on drills
DRILLS = 1 / 8  # of the conversations, how many drills come on top
RENAMED = 0.4  # of the conversations
COMMON = 0.03  # words in more than this share of conversations are never renamed

Batch = tuple[int, Tensor, Tensor, Tensor]  # chunk number, ids, targets, weights
Row = tuple[list[int], list[float]]  # token ids, and how much the loss on each counts
Pieces = list[tuple[list[int], bool]]  # token ids, and whether they are the model's own


class Copying:
    """Makes of conversations, and of nothing, what can only be answered by copying tokens exactly.

    Without it a small model learns which words it has to copy, and not how to copy: after 31 million tokens it had
    heads that look at the right token, and still repeated 18 % of random ones.
    """

    def __init__(self, encoder: Tokenizer) -> None:
        texts = {i: encoder.decode([i]) for i in range(encoder.get_vocab_size())}
        self.words = [i for i, text in texts.items() if len(text) > 1 and text.isalpha()]
        digits = [i for i, text in texts.items() if len(text) == 1 and text.isdigit()]
        self.pieces = self.words + digits * (len(self.words) // 50)  # as many digits as a sixth of all
        self.bounds = [encoder.token_to_id(name) for name in ("<|im_start|>", "<|im_end|>")]
        conversations = 1000
        found: Counter[int] = Counter()
        for number in range(conversations):
            text = generate.render(*generate.conversation(2 * 10**9 + number))
            found.update(set(encoder.encode(text, add_special_tokens=False).ids))
        self.rare = set(self.words) - {i for i, times in found.items() if times > COMMON * conversations}

    def renamed(self, pieces: Pieces, rng: random.Random) -> Pieces:
        """The conversation with other words for rare ones that the model's answers have from what was said before."""
        said = {i for ids, mine in pieces[1:] if not mine for i in ids}
        own = {i for ids, mine in pieces if mine for i in ids}
        there = {i for ids, _ in pieces for i in ids}
        old = [i for i in sorted(said & own & self.rare) if rng.random() < 0.7]
        new = [i for i in rng.sample(self.words, 2 * len(old)) if i not in there]
        names = dict(zip(old, new, strict=False))
        return [([names.get(i, i) for i in ids], mine) for ids, mine in pieces]

    def drill(self, rng: random.Random) -> Row:
        """Lists of random words and digits, then some of them again: asked for by their first word, or by any among others."""
        start, end = self.bounds
        lists = [rng.choices(self.pieces, k=rng.randint(2, 9)) for _ in range(rng.randint(2, 12))]
        ids = [start]
        for each in lists:
            ids += [*each, end]
        weights = [0.0] * len(ids)
        by_first = rng.random() < 0.5
        for each in rng.choices(lists, k=rng.randint(2, 8)):
            asked = (
                [] if by_first else rng.choices(self.words, k=rng.randint(0, 4)) + rng.sample(each, rng.choice([1, 2]))
            )
            rng.shuffle(asked)
            ids += [*asked, *([start] if asked else []), *each, end]
            weights += [0.0] * (len(asked) + 1) + [DRILL_WEIGHT] * (len(each) + (1 if asked else 0))
        return ids, weights


def rows(encoder: Tokenizer, copying: Copying, seeds: range, limit: int) -> list[Row]:
    """The tokens and their weights of these conversations, and of drills, the shortest first."""
    made = []
    for seed in seeds:
        rng = random.Random(seed)
        cut = generate.segments(*generate.conversation(seed))
        encoded = encoder.encode_batch([text for text, _ in cut], add_special_tokens=False)
        pieces = [(piece.ids, mine) for piece, (_, mine) in zip(encoded, cut, strict=True)]
        if rng.random() < RENAMED:
            pieces = copying.renamed(pieces, rng)
        ids, weights = [], []
        for piece, mine in pieces:
            ids += piece
            weights += [1.0 if mine else CONTEXT_WEIGHT] * len(piece)
        if len(ids) <= limit:
            made.append((ids, weights))
        if rng.random() < DRILLS:
            made.append(copying.drill(rng))
    return sorted(made, key=lambda row: len(row[0]))


def batches(encoder: Tokenizer, seed: int, start: int, stride: int, tokens: int, limit: int) -> Iterator[Batch]:
    """Batches of at most `tokens` tokens of like length, from every `stride`th chunk."""
    copying = Copying(encoder)
    number, size = start, max(512, tokens // 32)  # conversations made, and sorted by length, at a time
    while True:
        base = seed * 10**8 + number * size
        groups: list[list[Row]] = [[]]
        for row in rows(encoder, copying, range(base, base + size), limit):
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
