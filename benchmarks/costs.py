"""Measures costs on this machine: prefill rate by batch size, decode batches by rows, the grammar per sampled token.

python benchmarks/costs.py [MODEL.gguf] [--tokens 1500] [--depths 0 500 1000]
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Sequence
from pathlib import Path

from edgefc import hardware, paths
from edgefc.engine import Engine, SamplingOptions, llama
from edgefc.engine.context import Context, Rows
from edgefc.formats import load_family
from edgefc.gguf import memory
from edgefc.grammar import compile_output
from edgefc.tools.examples import EXAMPLE_TOOLS
from edgefc.types import ToolChoice

QUESTIONS = ("What is the weather in Paris and in Oslo?", "What's 17*23?", "Roll two dice", "What time is it in Lima?")


def prefill(path: Path, count: int) -> None:
    """Print tokens per second for prompts of `count` tokens: batch sizes interleaved, median of five."""
    model = llama.Model(path, n_gpu_layers=0)
    threads = hardware.default_threads()
    tokens = [5 + i * 7919 % (model.vocabulary.size - 10) for i in range(count)]
    sizes = (memory.SAFE_ROWS, 256, 512)
    contexts = {
        n: Context(model, n_ctx=count, n_batch=n, n_seq_max=1, n_threads=threads, n_threads_batch=threads)
        for n in sizes
    }
    rates: dict[int, list[float]] = {n: [] for n in sizes}
    for _ in range(5):
        for n, context in contexts.items():
            context.truncate(0)
            started = time.perf_counter()
            for begin in range(0, count, n):
                part = tokens[begin : begin + n]
                assert context.decode([Rows(0, begin, part, n_logits=int(begin + n >= count))]) == 0
            rates[n].append(count / (time.perf_counter() - started))
    for n, context in contexts.items():
        print(f"prefill of {count} tokens, {n} rows per batch: {statistics.median(rates[n]):.0f} tokens/s")
        context.close()
    model.close()


def batches(path: Path, depths: Sequence[int]) -> None:
    """Print milliseconds of a decode batch by its number of rows and their depth in the context."""
    model = llama.Model(path, n_gpu_layers=0)
    threads, max_depth = hardware.default_threads(), max(depths)
    context = Context(model, n_ctx=max_depth + 64, n_batch=512, n_seq_max=4, n_threads=threads, n_threads_batch=threads)
    tokens = [5 + i * 7919 % (model.vocabulary.size - 10) for i in range(max_depth)]
    shapes = [(rows, range(1)) for rows in (2, 3, 4, 6, 8, 12, 16, 32, 63)] + [(1, range(4)), (2, range(2))]
    position = 0
    for depth in depths:
        for begin in range(position, depth, 512):
            part = tokens[begin : min(begin + 512, depth)]
            assert context.decode([Rows(0, begin, part, n_logits=1)], memory.TILE, prefill=True) == 0
        position = depth
        times: dict[tuple[int, range], list[float]] = {shape: [] for shape in shapes}
        for _ in range(9):
            for (rows, span), samples in times.items():
                started = time.perf_counter()
                assert context.decode([Rows(0, depth, [7] * rows, n_logits=1)], rows, span=span) == 0
                samples.append(1000 * (time.perf_counter() - started))
                context.truncate(0, depth)
        print(f"after {depth} tokens, a batch of")
        for (rows, span), samples in times.items():
            name = f"{rows} rows" if len(span) == 1 else f"{rows} in each of {len(span)} slots, the others empty"
            print(f"  {name}: {statistics.median(samples):.1f} ms")
    context.close()
    model.close()


def constraint(path: Path, family_name: str) -> None:
    """Print microseconds of the grammar per sampled token, and the number of forced tokens."""
    family = load_family(family_name)
    tools = [tool.schema for tool in EXAMPLE_TOOLS]
    grammar = compile_output(family.syntax, tools, ToolChoice("required", tuple(t.name for t in EXAMPLE_TOOLS)))
    with Engine.load(path) as engine:
        for label, sampling in (
            ("greedy", SamplingOptions()),
            ("temperature 1", SamplingOptions(temperature=1, seed=1)),
        ):
            stats = []
            for question in QUESTIONS * 3:
                prompt = engine.tokenizer.encode(family.render([{"role": "user", "content": question}], tools))
                request = engine.submit(prompt, max_tokens=60, sampling=sampling, grammar=grammar, stop=family.stop)
                stats.append(request.result().stats)
            cost = statistics.median(s.constraint_us_per_sampled_token for s in stats)
            sampled, forced = sum(s.sampled_tokens for s in stats), sum(s.forced_tokens for s in stats)
            print(f"{label}: grammar {cost:.0f} µs per sampled token; {forced} of {forced + sampled} tokens forced")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path, nargs="?", default=paths.demo_model())
    parser.add_argument("--family", default="demo")
    parser.add_argument("--tokens", type=int, default=1500, help="length of the prompts")
    parser.add_argument("--depths", type=int, nargs="+", default=[0, 500, 1000], help="tokens before a batch")
    options = parser.parse_args()
    prefill(options.model, options.tokens)
    batches(options.model, options.depths)
    constraint(options.model, options.family)


if __name__ == "__main__":
    main()
