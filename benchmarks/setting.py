"""The setting of a measurement: the model, which is generated if need be, its cases, and the two sides to compare."""

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
from benchmarks import cases, scripted
from benchmarks.cases import Plan
from benchmarks.peer import Server
from benchmarks.scripted_layers import SHAPES
from benchmarks.sides import Answer, RequestBuilder, ask_edgefc, ask_server
from edgefc import formats, gguf, paths
from edgefc.engine import Tokenizer, llama
from edgefc.engine.constraint import guidance_tokenizer
from edgefc.model import Model

SETTLE_S = 0.05  # OpenMP's threads keep spinning for a while; the other side must not pay for it
TOKENS_PER_WORD = 1.35  # of cases.prose
LARGE = 4096  # tokens of context that suffice for all workloads but W8

Input = TypeVar("Input")
P = ParamSpec("P")
T = TypeVar("T")
U = TypeVar("U")
Ask = Callable[..., Answer]


@dataclass(frozen=True)
class Setting:
    """A model, its cases and requests, and the size of the measurement.

    binary   path of llama-server
    prompts  number of cases of a workload
    rounds   measurements of each case
    n_ctx    context of one request
    free     tokens of free text in W8
    """

    path: Path
    family: str
    requests: RequestBuilder
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
        """Load both sides; yields functions that put a case to edgefc and to llama-server.

        slots  None stands for the default of each side
        """
        with self.model(slots or 4, n_ctx) as model, self.server(slots, n_ctx) as server:
            yield partial(ask_edgefc, model), partial(ask_server, server, self.requests)


def in_turns(
    number: int,
    ours: Callable[Concatenate[Input, P], T],
    theirs: Callable[Concatenate[Input, P], U],
    value: Input,
    *args: P.args,
    **options: P.kwargs,
) -> tuple[T, U]:
    """Call both with the same arguments, ours first in even turns: A-B-B-A."""
    time.sleep(SETTLE_S)
    if number % 2 == 0:
        one = ours(value, *args, **options)
        time.sleep(SETTLE_S)
        return one, theirs(value, *args, **options)
    other = theirs(value, *args, **options)
    time.sleep(SETTLE_S)
    return ours(value, *args, **options), other


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--model", type=Path, help="a GGUF (default: the demo model)")
    parser.add_argument("--family", help="its chat format (default: the model's own)")
    parser.add_argument("--vocab", type=Path, help="a GGUF whose vocabulary a scripted model uses")
    parser.add_argument("--shape", default="1.5b", choices=SHAPES, help="shape of the scripted model")
    parser.add_argument("--prompts", type=int, default=20, help="number of different prompts in a workload, at most 20")
    parser.add_argument("--rounds", type=int, default=5, help="measurements of each prompt")
    parser.add_argument("--threads", type=int, default=2)


def prepare(options: argparse.Namespace, binary: Path | None, *, free: int = 2000) -> Setting:
    """Prepare the model that the options name; a scripted one that is not in the cache is generated."""
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
    words = marker_words(tokenizer, cases.WORDS)
    plan = cases.make_plan(list(words), free=round(free / TOKENS_PER_WORD))
    if context < LARGE:
        plan = cases.make_small_plan()
    requests = RequestBuilder(family, tokenizer)
    if options.vocab:
        pairs = requests.scripts(list(plan.all_cases()), guidance_tokenizer(tokenizer.vocabulary))
        scripts = [scripted.Script(tuple(prompt), tuple(answer)) for prompt, answer in pairs]
        path = scripted.cached(options.vocab, scripts, words.values(), options.shape)
    return Setting(
        path, detection.family, requests, plan, binary, options.prompts, options.rounds, options.threads, context, free
    )


def marker_words(tokenizer: Tokenizer, count: int) -> dict[str, int]:
    """Find rare words that are one token after a space; if there are too few, make them up."""
    words: dict[str, int] = {}
    tokens = list(range(tokenizer.n_vocab // 3, tokenizer.n_vocab))
    random.Random(0).shuffle(tokens)
    for token in tokens:
        text = tokenizer.piece(token).decode("utf-8", "replace")
        if re.fullmatch(r" [a-z]{6,9}", text) and tokenizer.encode(text) == [token]:
            words[text.strip()] = token
            if len(words) == count:
                return words
    return {f"R{number:04}": -1 for number in range(count)}
