"""Measures an engine's prefill and decode speed."""

from __future__ import annotations

import random
import statistics
from typing import NamedTuple

from edgefc.engine.backend import Backend
from edgefc.engine.sampler import SamplingOptions

PROMPT_TOKENS, ANSWER_TOKENS = 192, 32  # of one measurement


class Rates(NamedTuple):
    """Tokens per second."""

    prefill: float
    decode: float


def measure(engine: Backend, rounds: int = 3) -> Rates:
    """Measure one request at a time; the median of several rounds.

    Prompts are random tokens, so that no part of them is in the KV cache.
    """
    tokenizer = engine.tokenizer
    rng = random.Random(0)  # noqa: S311
    text_tokens = [token for token in range(tokenizer.n_vocab) if token not in tokenizer.vocabulary.control]
    no_end = SamplingOptions(logit_bias=dict.fromkeys(tokenizer.eog, -1e9))
    size = min(PROMPT_TOKENS, engine.n_ctx - ANSWER_TOKENS)
    prefill, decode = [], []
    for number in range(rounds + 1):
        prompt = rng.choices(text_tokens, k=size)
        stats = engine.submit(prompt, max_tokens=ANSWER_TOKENS, sampling=no_end).result().stats
        if number:  # the first round is a warm-up
            prefill.append(size / stats.prefill_s)
            decode.append((stats.completion_tokens - 1) / stats.decode_s)
    return Rates(statistics.median(prefill), statistics.median(decode))
