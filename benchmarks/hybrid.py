"""Measures hybrid models: milliseconds of a batch by its rows, with and without rollback; tokens computed in each turn.

python -m benchmarks.hybrid [--layers 8] [--threads 1]

The models have random weights, the layers of LFM2 1.2B and of Qwen3.5 0.8B, but fewer of them, and 259 tokens; the
turns are of small ones.
"""

from __future__ import annotations

import argparse
import itertools
import random
import tempfile
import time
from pathlib import Path

from edgefc.engine import Engine, EngineOptions, llama
from edgefc.engine.context import Context, Rows
from edgefc.gguf import memory
from tests.memory_models import Sizes, write_lfm2, write_qwen35

PROMPT, REPEATS = 60, 10
KINDS = ("whole answers", "answers without their first 10 tokens", "the same question again")
SHAPES = {
    "lfm2": (write_lfm2, Sizes(embedding=2048, forward=8192, heads=32, kv_heads=8)),
    "qwen3.5": (
        write_qwen35,
        Sizes(embedding=1024, forward=3584, heads=8, kv_heads=2, head=256, net_heads=16, net_width=128),
    ),
}


def measure(path: Path, rollback: int, threads: int) -> str:
    """Return the shortest time of batches of 1, 2 and 4 rows, as text."""
    model = llama.Model(path, n_gpu_layers=0)
    context = Context(
        model, n_ctx=256, n_batch=64, n_seq_max=1, n_threads=threads, n_threads_batch=threads, rollback=rollback
    )
    tokens = [5 + number for number in range(PROMPT)]
    assert context.decode([Rows(0, 0, tokens, n_logits=1)], 1) == 0
    position, times = PROMPT, []
    for rows in (1, 2, 4):
        samples = []
        for _ in range(REPEATS):
            start = time.process_time()
            assert context.decode([Rows(0, position, tokens[:rows], n_logits=rows)], rows) == 0
            samples.append(1000 * (time.process_time() - start))
            position += rows
        times.append(f"{rows} rows {min(samples):.1f} ms")
    size = context.save_recurrent(0).nbytes
    context.close()
    model.close()
    return f"{', '.join(times)}; a state has {size / 1e6:.2f} MB"


def count_computed(path: Path, kind: str) -> int:
    """Return the prompt tokens computed in turns 2 to 8 of a conversation: 520 of tools, 60 and 40 in each turn."""
    chance = random.Random(0)

    def text(size: int) -> list[int]:
        return [chance.randrange(3, 259) for _ in range(size)]

    spans: tuple[tuple[int, int], ...] = ()
    tools, counts = text(520), []
    prompt = [*tools, *text(60)]
    with Engine.load(path, EngineOptions(n_ctx=2048, prefix_disk=0)) as engine:
        for _ in range(8):
            result = engine.submit(prompt, max_tokens=40, prefix=len(tools), answer_spans=spans).result()
            counts.append(len(prompt) - result.stats.cached_tokens)
            if kind == "the same question again":
                continue
            answer = result.token_ids[10 if kind == "answers without their first 10 tokens" else 0 :]
            spans = (*spans, (len(prompt), len(prompt) + len(answer)))
            prompt = [*prompt, *answer, *text(60)]
    return sum(counts[1:])


def main() -> None:
    """Write each model in two quantizations, and print its times; then small ones, and print their turns."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--layers", type=int, default=8, choices=range(4, 33, 4))
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        for (name, (write, sizes)), quantization in itertools.product(SHAPES.items(), ("Q4_0", "Q8_0")):
            path = Path(folder) / f"{name}-{quantization}.gguf"
            values = {**vars(sizes), "layers": options.layers}
            write(path, Sizes(**values), quantization)
            for rollback in (0, memory.ROLLBACK):
                times = measure(path, rollback, options.threads)
                print(f"{name} {quantization}, rollback {rollback}: {times}", flush=True)
            path.unlink()
        for (name, (write, _)), kind in itertools.product(SHAPES.items(), KINDS):
            path = write(Path(folder) / f"{name}.gguf")
            print(f"{name}, {kind}: {count_computed(path, kind)} tokens of prompts computed", flush=True)


if __name__ == "__main__":
    main()
