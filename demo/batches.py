"""Endless batches of generated conversations, made in the training process or in processes of their own."""

from __future__ import annotations

import multiprocessing as mp
import random
from collections import Counter
from collections.abc import Iterator

import torch
from tokenizers import Tokenizer
from torch import Tensor

from demo.generate import conversation, render, segments

CONTEXT_WEIGHT = 0.2  # loss weight of text that the model only reads, so that it learns the language early
DRILL_WEIGHT = 0.5  # loss weight of drills
DRILL_SHARE = 1 / 8  # drills per conversation
RENAMED_SHARE = 0.4  # share of conversations with renamed words
COMMON_SHARE = 0.03  # words in more than this share of conversations are never renamed
ANALYSED = 1000  # conversations in which words are counted

Batch = tuple[int, Tensor, Tensor, Tensor]  # chunk number, ids, targets, weights
Row = tuple[list[int], list[float]]  # token ids, loss weight of each
Pieces = list[tuple[list[int], bool]]  # token ids, True for the model's own text


class CopyingTasks:
    """Data that can only be predicted by copying tokens exactly: renamed words and drills.

    Without them a small model learns which words it has to copy, but not how to copy: after 31 million tokens it had
    heads that attend to the right token, and still repeated 18 % of random ones.
    """

    def __init__(self, encoder: Tokenizer) -> None:
        texts = {i: encoder.decode([i]) for i in range(encoder.get_vocab_size())}
        self.words = [i for i, text in texts.items() if len(text) > 1 and text.isalpha()]
        digits = [i for i, text in texts.items() if len(text) == 1 and text.isdigit()]
        self.pieces = self.words + digits * (len(self.words) // 50)  # a sixth of them digits
        self.bounds = [encoder.token_to_id(name) for name in ("<|im_start|>", "<|im_end|>")]
        counts: Counter[int] = Counter()
        for number in range(ANALYSED):
            text = render(*conversation(2 * 10**9 + number))
            counts.update(set(encoder.encode(text, add_special_tokens=False).ids))
        self.rare = set(self.words) - {i for i, count in counts.items() if count > COMMON_SHARE * ANALYSED}

    def rename(self, pieces: Pieces, rng: random.Random) -> Pieces:
        """Replace rare words that the model's answers copy from what came before, everywhere in the conversation."""
        read = {i for ids, is_answer in pieces[1:] if not is_answer for i in ids}
        written = {i for ids, is_answer in pieces if is_answer for i in ids}
        present = {i for ids, _ in pieces for i in ids}
        old = [i for i in sorted(read & written & self.rare) if rng.random() < 0.7]
        new = [i for i in rng.sample(self.words, 2 * len(old)) if i not in present]
        names = dict(zip(old, new, strict=False))
        return [([names.get(i, i) for i in ids], is_answer) for ids, is_answer in pieces]

    def drill(self, rng: random.Random) -> Row:
        """Lists of random words and digits, then some of them again.

        A repeated list follows on its first word, or on a question with some of its words among others.
        """
        start, end = self.bounds
        lists = [rng.choices(self.pieces, k=rng.randint(2, 9)) for _ in range(rng.randint(2, 12))]
        ids = [start]
        for words in lists:
            ids += [*words, end]
        weights = [0.0] * len(ids)
        by_first_word = rng.random() < 0.5
        for words in rng.choices(lists, k=rng.randint(2, 8)):
            question: list[int] = []
            if not by_first_word:
                question = rng.choices(self.words, k=rng.randint(0, 4)) + rng.sample(words, rng.choice([1, 2]))
            rng.shuffle(question)
            ids += [*question, *([start] if question else []), *words, end]
            weights += [0.0] * (len(question) + 1) + [DRILL_WEIGHT] * (len(words) + (1 if question else 0))
        return ids, weights


def rows(encoder: Tokenizer, tasks: CopyingTasks, seeds: range, max_tokens: int) -> list[Row]:
    """Token ids and loss weights of these conversations and of drills, the shortest first."""
    result = []
    for seed in seeds:
        rng = random.Random(seed)
        parts = segments(*conversation(seed))
        encoded = encoder.encode_batch([text for text, _ in parts], add_special_tokens=False)
        pieces = [(piece.ids, is_answer) for piece, (_, is_answer) in zip(encoded, parts, strict=True)]
        if rng.random() < RENAMED_SHARE:
            pieces = tasks.rename(pieces, rng)
        ids, weights = [], []
        for piece, is_answer in pieces:
            ids += piece
            weights += [1.0 if is_answer else CONTEXT_WEIGHT] * len(piece)
        if len(ids) <= max_tokens:
            result.append((ids, weights))
        if rng.random() < DRILL_SHARE:
            result.append(tasks.drill(rng))
    return sorted(result, key=lambda row: len(row[0]))


def batches(encoder: Tokenizer, seed: int, start: int, stride: int, tokens: int, max_tokens: int) -> Iterator[Batch]:
    """Batches of rows of similar length, from every `stride`th chunk of conversations.

    tokens      most tokens in a batch, padding included
    max_tokens  longest conversation
    """
    tasks = CopyingTasks(encoder)
    chunk, size = start, max(512, tokens // 32)  # conversations in a chunk
    while True:
        base = seed * 10**8 + chunk * size
        groups: list[list[Row]] = [[]]
        for row in rows(encoder, tasks, range(base, base + size), max_tokens):
            if (len(groups[-1]) + 1) * len(row[0]) > tokens and groups[-1]:
                groups.append([])
            groups[-1].append(row)
        random.Random(base).shuffle(groups)
        for group in groups:
            yield chunk, *_padded(group)
        chunk += stride


def _padded(group: list[Row]) -> tuple[Tensor, Tensor, Tensor]:
    """Ids (rows, length), then targets and weights (rows * length); the length is a multiple of 16."""
    length = -(-len(group[-1][0]) // 16) * 16 + 1
    ids = torch.zeros(len(group), length, dtype=torch.long)
    weights = torch.zeros(len(group), length)
    for i, (row_ids, row_weights) in enumerate(group):
        ids[i, : len(row_ids)] = torch.tensor(row_ids)
        weights[i, : len(row_weights)] = torch.tensor(row_weights)
    return ids[:, :-1].contiguous(), ids[:, 1:].flatten(), weights[:, 1:].flatten()


def parallel_batches(
    encoder: Tokenizer, seed: int, start: int, stride: int, tokens: int, max_tokens: int, producers: int
) -> Iterator[Batch]:
    """The batches of `batches`, from several processes: for a device that is faster than one process can write."""
    context = mp.get_context("spawn")  # forking a process that uses a GPU does not work
    queue: mp.Queue[Batch] = context.Queue(maxsize=2 * producers)
    for i in range(producers):
        arguments = (queue, encoder, seed, start + i * stride, stride * producers, tokens, max_tokens)
        context.Process(target=_produce, args=arguments, daemon=True).start()
    while True:
        yield queue.get()


def _produce(
    queue: mp.Queue[Batch], encoder: Tokenizer, seed: int, start: int, stride: int, tokens: int, max_tokens: int
) -> None:
    torch.set_num_threads(1)
    for batch in batches(encoder, seed, start, stride, tokens, max_tokens):
        queue.put(batch)
