"""What the server adds to a request: the same calls over HTTP and through the Python API, in turns, on one engine.

    python benchmarks/overhead.py [--model MODEL] [--threads N] [--requests 200] [--rounds 5]

Differences of the medians, and of the slowest hundredth, with 1 and with 8 clients.
"""

from __future__ import annotations

import argparse
import http.client
import json
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

if not __package__:  # run as a script
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
import edgefc
from benchmarks.serving import serving
from edgefc.tools import as_tools
from edgefc.tools.examples import EXAMPLE_TOOLS

JSON = {"Content-Type": "application/json"}
TOOLS: Any = as_tools(EXAMPLE_TOOLS)[0]
QUESTIONS = ("What is the weather in Paris and in Oslo?", "What's 17*23?", "Roll two dice", "What time is it in Lima?")


def body_of(number: int) -> dict[str, Any]:
    messages = [{"role": "user", "content": QUESTIONS[number % len(QUESTIONS)]}]
    return {"messages": messages, "tools": TOOLS, "temperature": 0}


def latencies(
    ask: Callable[[int], None], requests: int, clients: int, begin: Callable[[], None] = lambda: None
) -> list[float]:
    """Milliseconds of each request."""

    def client(first: int) -> list[float]:
        begin()
        spent = []
        for number in range(first, requests, clients):
            began = time.perf_counter()
            ask(number)
            spent.append(1000 * (time.perf_counter() - began))
        return spent

    with ThreadPoolExecutor(clients) as pool:
        return [one for part in pool.map(client, range(clients)) for one in part]


def over_http(port: int, requests: int, clients: int) -> list[float]:
    """The same of a program of its own: a client's work is no part of the server's."""
    command = [sys.executable, __file__, "--ask", str(port), "--requests", str(requests), "--clients", str(clients)]
    told = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    spent: list[float] = json.loads(told)
    return spent


def ask(port: int, requests: int, clients: int) -> None:
    """What that program does."""
    known = threading.local()
    bodies = [json.dumps(body_of(number)) for number in range(len(QUESTIONS))]

    def one(number: int) -> None:
        known.connection.request("POST", "/v1/chat/completions", bodies[number % len(bodies)], JSON)
        answer = known.connection.getresponse()
        said = answer.read()
        assert answer.status == 200, said

    def connected() -> None:
        known.connection = http.client.HTTPConnection("127.0.0.1", port)
        known.connection.request("GET", "/health")
        known.connection.getresponse().read()

    print(json.dumps(latencies(one, requests, clients, connected)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="demo")
    parser.add_argument("--threads", type=int, help="the engine's; fewer than there are cores leave one to the server")
    parser.add_argument("--requests", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--ask", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--clients", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.ask:
        ask(options.ask, options.requests, options.clients)
        return
    with edgefc.load(options.model, n_threads=options.threads) as model, serving(model) as port:

        def directly(number: int) -> None:
            body = body_of(number)
            model.chat(body["messages"], tools=body["tools"], temperature=0)

        for clients in (1, 8):
            sides: list[Callable[[], list[float]]] = [
                partial(latencies, directly, options.requests, clients),
                partial(over_http, port, options.requests, clients),
            ]
            for side in sides:
                side()
            found: list[list[list[float]]] = [[], []]
            for number in range(options.rounds):
                for which in (0, 1) if number % 2 == 0 else (1, 0):
                    found[which].append(sides[which]())
            for share in (50, 99):
                one, other = (
                    statistics.median(statistics.quantiles(each, n=100)[share - 1] for each in side) for side in found
                )
                print(
                    f"{clients} clients, p{share}: {one:.2f} ms directly, {other:.2f} ms served, {other - one:+.2f} ms"
                )


if __name__ == "__main__":
    main()
