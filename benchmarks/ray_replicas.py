"""Measures replicas on Ray against one plain server, in turns: throughput, and the share of warm requests.

    python benchmarks/ray_replicas.py [--model MODEL] [--threads 1] [--replicas 2] [--clients 4]
                                      [--requests 200] [--rounds 5]

Each server's replicas have the same number of threads. Prints ratios of throughput to the plain server's, in turns
within a round so that other load on the machine meets all of them; needs `pip install 'edgefc[ray]'`.
"""

from __future__ import annotations

import argparse
import http.client
import json
import random
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from typing import Any

SETS = 20
REPLICA = "x-edgefc-replica"


def body_of(number: int, turn: int) -> dict[str, Any]:
    """Ask with one of the tool sets."""
    parameters = {"type": "object", "properties": {"place": {"type": "string"}}, "required": ["place"]}
    tools = [
        {"type": "function", "function": {"name": f"get_{word}_{number}", "parameters": parameters}}
        for word in ("weather", "time", "news", "traffic")
    ]
    question = [{"role": "user", "content": f"What is the weather in city {turn}?"}]
    return {"messages": question, "tools": tools, "temperature": 0, "tool_choice": "required"}


@contextmanager
def serving(model: str, *options: str) -> Iterator[int]:
    """Start `edgefc serve`; yields its port."""
    command = [sys.executable, "-m", "edgefc", "serve", model, "--port", "0", "--no-ui", *options]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        try:
            for line in process.stderr:
                if match := re.search(r"at http://[^:]+:(\d+)/v1", line):
                    break
            else:
                sys.exit("the server did not start")
            with ThreadPoolExecutor(1) as reader:
                reader.submit(list, process.stderr)  # else the server waits for someone to read its log
                try:
                    yield int(match[1])
                finally:
                    process.terminate()
        finally:
            process.terminate()


def ask(port: int, number: int, turn: int) -> tuple[str, int]:
    """Return the replica that answered, and its cached tokens."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=300)
    connection.request("POST", "/v1/chat/completions", json.dumps(body_of(number, turn)))
    response = connection.getresponse()
    answer = json.loads(response.read())
    connection.close()
    return response.headers[REPLICA] or "", answer["usage"]["prompt_tokens_details"]["cached_tokens"]


def throughput(port: int, requests: int, clients: int, homes: list[str], seed: int) -> tuple[float, float, float]:
    """Return the requests per second, and the shares answered by the replica of their tools, and from a warm cache."""
    rng = random.Random(seed)
    work = [(rng.randrange(SETS), seed * requests + turn) for turn in range(requests)]
    started = time.perf_counter()
    with ThreadPoolExecutor(clients) as pool:
        found = list(pool.map(lambda each: ask(port, *each), work))
    seconds = time.perf_counter() - started
    at_home = sum(name == homes[number] for (number, _), (name, _) in zip(work, found, strict=True))
    return requests / seconds, at_home / requests, sum(cached > 0 for _, cached in found) / requests


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="demo")
    parser.add_argument("--threads", default=1, type=int)
    parser.add_argument("--replicas", default=2, type=int)
    parser.add_argument("--clients", default=4, type=int)
    parser.add_argument("--requests", default=200, type=int)
    parser.add_argument("--rounds", default=5, type=int)
    options = parser.parse_args()
    threads = ("--n-threads", str(options.threads))
    sides = {"plain": threads, **{f"{n} on Ray": (*threads, "--ray", f"replicas={n}") for n in (1, options.replicas)}}
    rates: dict[str, list[float]] = {name: [] for name in sides}
    shares: dict[str, list[tuple[float, float]]] = {name: [] for name in sides}
    with ExitStack() as stack:
        ports = {name: stack.enter_context(serving(options.model, *words)) for name, words in sides.items()}
        homes = {name: [ask(port, number, -1)[0] for number in range(SETS)] for name, port in ports.items()}
        for seed in range(options.rounds):
            for name, port in ports.items():
                rate, *share = throughput(port, options.requests, options.clients, homes[name], seed)
                rates[name].append(rate)
                shares[name].append((share[0], share[1]))
    for name in list(sides)[1:]:
        ratios = [rate / plain for rate, plain in zip(rates[name], rates["plain"], strict=True)]
        at_home, cached = (statistics.mean(share) for share in zip(*shares[name], strict=True))
        print(
            f"{name}: {statistics.median(ratios):.2f} of the plain server's throughput ({min(ratios):.2f} to "
            f"{max(ratios):.2f}); by the replica of their tools: {at_home:.1%}, from a warm cache: {cached:.1%}"
        )


if __name__ == "__main__":
    main()
