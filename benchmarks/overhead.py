"""Measures the server's overhead: the same calls over HTTP and through the Python API, in turns, on one engine.

    python benchmarks/overhead.py [--model MODEL] [--threads N] [--requests 200] [--rounds 5]

Prints the differences of the medians and of the 99th percentiles, with 1 and with 8 clients.
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
from benchmarks.serving import serve_in_thread
from edgefc.tools import ToolSet
from edgefc.tools.examples import EXAMPLE_TOOLS

JSON = {"Content-Type": "application/json"}
TOOLS: Any = list(ToolSet.of(EXAMPLE_TOOLS))
QUESTIONS = ("What is the weather in Paris and in Oslo?", "What's 17*23?", "Roll two dice", "What time is it in Lima?")


def body_of(number: int) -> dict[str, Any]:
    messages = [{"role": "user", "content": QUESTIONS[number % len(QUESTIONS)]}]
    return {"messages": messages, "tools": TOOLS, "temperature": 0}


def latencies(
    send: Callable[[int], None], requests: int, clients: int, connect: Callable[[], None] = lambda: None
) -> list[float]:
    """Measure the milliseconds of each request."""

    def client(first: int) -> list[float]:
        connect()
        times = []
        for number in range(first, requests, clients):
            started = time.perf_counter()
            send(number)
            times.append(1000 * (time.perf_counter() - started))
        return times

    with ThreadPoolExecutor(clients) as pool:
        return [latency for times in pool.map(client, range(clients)) for latency in times]


def over_http(port: int, requests: int, clients: int) -> list[float]:
    """Measure latencies in another process, so that the client's work does not slow the server."""
    command = [sys.executable, __file__, "--ask", str(port), "--requests", str(requests), "--clients", str(clients)]
    output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    times: list[float] = json.loads(output)
    return times


def run_client(port: int, requests: int, clients: int) -> None:
    """Print the latencies; the main function of the process that `over_http` starts."""
    local = threading.local()
    bodies = [json.dumps(body_of(number)) for number in range(len(QUESTIONS))]

    def send(number: int) -> None:
        local.connection.request("POST", "/v1/chat/completions", bodies[number % len(bodies)], JSON)
        response = local.connection.getresponse()
        content = response.read()
        assert response.status == 200, content

    def connect() -> None:
        local.connection = http.client.HTTPConnection("127.0.0.1", port)
        local.connection.request("GET", "/health")
        local.connection.getresponse().read()

    print(json.dumps(latencies(send, requests, clients, connect)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="demo")
    parser.add_argument(
        "--threads", type=int, help="threads of the engine; fewer than the cores leave one to the server"
    )
    parser.add_argument("--requests", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--ask", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--clients", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.ask:
        run_client(options.ask, options.requests, options.clients)
        return
    with edgefc.load(options.model, n_threads=options.threads) as model, serve_in_thread(model) as port:

        def directly(number: int) -> None:
            body = body_of(number)
            model.chat(body["messages"], tools=body["tools"], temperature=0)

        for clients in (1, 8):
            sides: list[Callable[[], list[float]]] = [
                partial(latencies, directly, options.requests, clients),
                partial(over_http, port, options.requests, clients),
            ]
            for side in sides:
                side()  # not counted: fills the caches
            rounds: list[list[list[float]]] = [[], []]
            for number in range(options.rounds):
                for index in (0, 1) if number % 2 == 0 else (1, 0):
                    rounds[index].append(sides[index]())
            for percent in (50, 99):
                direct, served = (
                    statistics.median(statistics.quantiles(times, n=100)[percent - 1] for times in side)
                    for side in rounds
                )
                print(
                    f"{clients} clients, p{percent}: {direct:.2f} ms directly, {served:.2f} ms served, "
                    f"{served - direct:+.2f} ms"
                )


if __name__ == "__main__":
    main()
