"""Measures what a trace costs: the same call with and without, in turns, in processor time.

    python benchmarks/trace.py [--model MODEL] [--rounds 30]

Prints the medians, and the model steps, which must be the same.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from pathlib import Path
from typing import Any

if not __package__:  # run as a script
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
import edgefc
from edgefc.tools.examples import EXAMPLE_TOOLS

QUESTION: Any = [{"role": "user", "content": "What is the weather in Paris and in Oslo?"}]
MAX_TOKENS = 60


def measure(model: edgefc.Model, *, trace: bool) -> tuple[float, int]:
    """Return the seconds and the model steps of one call."""
    start = time.process_time()
    reply = model.chat(QUESTION, tools=EXAMPLE_TOOLS, temperature=0, max_tokens=MAX_TOKENS, trace=trace)
    return time.process_time() - start, reply.stats.model_steps


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="demo")
    parser.add_argument("--rounds", type=int, default=30)
    options = parser.parse_args()
    with edgefc.load(options.model, n_threads=1, n_ctx=2048, n_parallel=1) as model:
        times: dict[bool, list[float]] = {False: [], True: []}
        steps = set()
        for trace in (True, False):  # not counted: fills the caches
            measure(model, trace=trace)
        for number in range(options.rounds):
            for trace in (False, True) if number % 2 else (True, False):
                seconds, count = measure(model, trace=trace)
                times[trace].append(seconds)
                steps.add(count)
    off, on = statistics.median(times[False]), statistics.median(times[True])
    print(f"without {1000 * off:.1f} ms, with a trace {1000 * on:.1f} ms, {on / off - 1:+.1%}; steps {sorted(steps)}")


if __name__ == "__main__":
    main()
