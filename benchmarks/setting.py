"""What is measured: a model, made if it must be, what it is asked, and both sides that answer."""

from __future__ import annotations

import argparse
import contextlib
import random
import re
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Concatenate, ParamSpec, TypeVar

import edgefc
from benchmarks import scripted, workloads
from benchmarks.peer import Server
from benchmarks.sides import Answer, Asker, ask_edgefc, ask_server
from benchmarks.workloads import Plan
from edgefc import formats, gguf, paths
from edgefc.engine import Tokenizer, llama
from edgefc.engine.constraint import guidance_tokenizer
from edgefc.model import Model

SETTLE_S = 0.05  # OpenMP's threads go on spinning for a while; the other side must not pay for it
TOKENS_PER_WORD = 1.35  # of workloads.prose
LARGE = 4096  # tokens of context that all workloads but W8 fit into

Asked = TypeVar("Asked")
P = ParamSpec("P")
T = TypeVar("T")
U = TypeVar("U")
Ask = Callable[..., Answer]


@dataclass(frozen=True)
class Setting:
    """What is measured, and how often.

    binary            llama-server's
    prompts, rounds   how many of a workload's cases, and how often each is put to both
    n_ctx             context of one request
    free              tokens of free text in W8
    """

    path: Path
    family: str
    asker: Asker
    plan: Plan
    binary: Path | None
    prompts: int
    rounds: int
    threads: int
    n_ctx: int
    free: int

    def model(self, n_parallel: int = 1, n_ctx: int | None = None) -> Model:
        return edgefc.load(
            self.path, family=self.family, n_ctx=n_ctx or self.n_ctx, n_threads=self.threads, n_parallel=n_parallel
        )

    def server(self, slots: int | None = 1, n_ctx: int | None = None) -> Server:
        assert self.binary is not None
        return Server(self.binary, self.path, n_ctx=n_ctx or self.n_ctx, threads=self.threads, slots=slots)

    @contextlib.contextmanager
    def both(self, slots: int | None = 1, n_ctx: int | None = None) -> Iterator[tuple[Ask, Ask]]:
        """Both sides, loaded: functions that put a case to edgefc and to llama-server. slots None: either's default."""
        with self.model(slots or 4, n_ctx) as model, self.server(slots, n_ctx) as server:
            yield partial(ask_edgefc, model), partial(ask_server, server, self.asker)


def in_turns(
    number: int,
    ours: Callable[Concatenate[Asked, P], T],
    theirs: Callable[Concatenate[Asked, P], U],
    asked: Asked,
    *given: P.args,
    **options: P.kwargs,
) -> tuple[T, U]:
    """Put the same to both, to ours first in even turns: A-B-B-A."""
    time.sleep(SETTLE_S)
    if number % 2 == 0:
        one = ours(asked, *given, **options)
        time.sleep(SETTLE_S)
        return one, theirs(asked, *given, **options)
    other = theirs(asked, *given, **options)
    time.sleep(SETTLE_S)
    return ours(asked, *given, **options), other


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--model", type=Path, help="a GGUF; default: the demo model")
    parser.add_argument("--family", help="its chat format; default: the model's own")
    parser.add_argument("--vocab", type=Path, help="a GGUF with a vocabulary, for a scripted model")
    parser.add_argument("--shape", default="1.5b", choices=scripted.SHAPES, help="of the scripted model")
    parser.add_argument("--prompts", type=int, default=20, help="different ones in a workload, at most 20")
    parser.add_argument("--rounds", type=int, default=5, help="how often each is put to both")
    parser.add_argument("--threads", type=int, default=2)


def prepare(options: argparse.Namespace, binary: Path | None, *, free: int = 2000) -> Setting:
    """The model that the options name, made if it is a scripted one and not in the cache."""
    if options.model is not None and options.vocab is not None:
        sys.exit("--model and --vocab exclude each other")
    path: Path = options.vocab or options.model or Path("demo")
    path = paths.demo_model() if str(path) == "demo" else path
    metadata = gguf.read_metadata(path)
    source = llama.Model(path, n_gpu_layers=0, vocab_only=True)
    tokenizer = Tokenizer(source.vocabulary, path.with_name("tokenizer.json"))
    name = options.family or ("hermes" if options.vocab else None)
    family, detection = formats.family_of({} if options.vocab else metadata, path.name, name, eos=tokenizer.eos_text)
    trained = metadata.get(f"{metadata['general.architecture']}.context_length")
    context = LARGE if options.vocab or not isinstance(trained, int) else min(trained, LARGE)
    words = marker_words(tokenizer, workloads.WORDS)
    plan = workloads.plan(list(words), free=round(free / TOKENS_PER_WORD))
    if context < LARGE:
        plan = workloads.small_plan()
    asker = Asker(family, tokenizer)
    if options.vocab:
        pairs = asker.scripts(list(plan.every()), guidance_tokenizer(tokenizer.vocabulary))
        scripts = [scripted.Script(tuple(prompt), tuple(answer)) for prompt, answer in pairs]
        path = scripted.cached(options.vocab, scripts, words.values(), options.shape)
    return Setting(
        path, detection.family, asker, plan, binary, options.prompts, options.rounds, options.threads, context, free
    )


def marker_words(tokenizer: Tokenizer, count: int) -> dict[str, int]:
    """Words that are one token behind a space, and rare; where there are not so many, made-up ones."""
    found: dict[str, int] = {}
    tokens = list(range(tokenizer.n_vocab // 3, tokenizer.n_vocab))
    random.Random(0).shuffle(tokens)
    for token in tokens:
        text = tokenizer.piece(token).decode("utf-8", "replace")
        if re.fullmatch(r" [a-z]{6,9}", text) and tokenizer.encode(text) == [token]:
            found[text.strip()] = token
            if len(found) == count:
                return found
    return {f"R{number:04}": -1 for number in range(count)}
