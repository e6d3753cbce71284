"""How fast a model is here: measured once, kept in the cache folder, used by `edgefc recommend`."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime as dt
import json
import random
import statistics
from dataclasses import dataclass
from pathlib import Path

from edgefc import hardware, store
from edgefc.engine import SamplingOptions
from edgefc.model import Model

PROMPT, ANSWER = 192, 32  # tokens of one measurement


@dataclass(frozen=True, slots=True)
class Speed:
    """Tokens per second of one request alone: prefill of its prompt, and decode without a grammar."""

    name: str
    size: int  # of the file, in bytes
    prefill: float
    decode: float
    measured: str


def measure(model: Model, rounds: int = 3) -> Speed:
    """Measure a loaded model, and keep it. Prompts are random tokens, so that none is in the KV cache yet."""
    engine = model.engine
    tokenizer = engine.tokenizer
    rng = random.Random(0)  # noqa: S311
    plain = [token for token in range(tokenizer.n_vocab) if token not in tokenizer.vocabulary.control]
    never = SamplingOptions(logit_bias=dict.fromkeys(tokenizer.eog, -1e9))
    size = min(PROMPT, engine.n_ctx - ANSWER)
    prefill, decode = [], []
    for number in range(rounds + 1):
        prompt = rng.choices(plain, k=size)
        stats = engine.submit(prompt, max_tokens=ANSWER, sampling=never).result().stats
        if number:  # the first warms up
            prefill.append(size / stats.prefill_s)
            decode.append((stats.completion_tokens - 1) / stats.decode_s)
    speed = Speed(
        model.name,
        model.path.stat().st_size,
        statistics.median(prefill),
        statistics.median(decode),
        dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
    )
    hardware.cache_dir().mkdir(parents=True, exist_ok=True)
    store.write_file(_path(), json.dumps([dataclasses.asdict(s) for s in [*_others(model.name), speed]]).encode())
    return speed


def measured() -> list[Speed]:
    """What was measured here; what cannot be read was not."""
    with contextlib.suppress(OSError, ValueError, TypeError):
        return [Speed(**entry) for entry in json.loads(_path().read_text(encoding="utf-8"))]
    return []


def _others(name: str) -> list[Speed]:
    return [speed for speed in measured() if speed.name != name]


def _path() -> Path:
    return hardware.cache_dir() / "speed.json"
