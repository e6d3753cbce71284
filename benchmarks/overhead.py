"""What the server adds to a request: the same calls over HTTP and through the Python API, in turns, on one engine.

    python benchmarks/overhead.py [--model MODEL] [--requests 200] [--rounds 5]

Differences of the medians, and of the slowest hundredth, with 1 and with 8 clients.
"""

from __future__ import annotations

import argparse
import http.client
import json
import statistics
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

if not __package__:  # run as a script
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
import uvicorn

import edgefc
from edgefc.example_tools import EXAMPLE_TOOLS
from edgefc.server import create_app
from edgefc.tools import as_tools

TOOLS: Any = as_tools(EXAMPLE_TOOLS)[0]
QUESTIONS = ("What is the weather in Paris and in Oslo?", "What's 17*23?", "Roll two dice", "What time is it in Lima?")


def body_of(number: int) -> dict[str, Any]:
    messages = [{"role": "user", "content": QUESTIONS[number % len(QUESTIONS)]}]
    return {"messages": messages, "tools": TOOLS, "temperature": 0}


def latencies(ask: Callable[[int], None], requests: int, clients: int) -> list[float]:
    """Milliseconds of each request."""

    def client(first: int) -> list[float]:
        spent = []
        for number in range(first, requests, clients):
            began = time.perf_counter()
            ask(number)
            spent.append(1000 * (time.perf_counter() - began))
        return spent

    with ThreadPoolExecutor(clients) as pool:
        return [one for part in pool.map(client, range(clients)) for one in part]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="demo")
    parser.add_argument("--requests", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    with edgefc.load(options.model) as model:
        server = uvicorn.Server(
            uvicorn.Config(create_app(model), port=0, log_config=None, access_log=False, http="h11")
        )
        running = threading.Thread(target=server.run)
        running.start()
        while not server.started:
            time.sleep(0.01)
        port = server.servers[0].sockets[0].getsockname()[1]
        known = threading.local()

        def over_http(number: int) -> None:
            if not hasattr(known, "connection"):
                known.connection = http.client.HTTPConnection("127.0.0.1", port)
            known.connection.request(
                "POST", "/v1/chat/completions", json.dumps(body_of(number)), {"Content-Type": "application/json"}
            )
            answer = known.connection.getresponse()
            assert answer.status == 200, answer.read()
            json.loads(answer.read())

        def directly(number: int) -> None:
            body = body_of(number)
            model.chat(body["messages"], tools=body["tools"], temperature=0)

        for clients in (1, 8):
            latencies(directly, 8, clients), latencies(over_http, 8, clients)
            direct: list[list[float]] = []
            served: list[list[float]] = []
            for number in range(options.rounds):
                sides = [(direct, directly), (served, over_http)]
                for found, ask in sides if number % 2 == 0 else reversed(sides):
                    found.append(latencies(ask, options.requests, clients))
            for share in (50, 99):
                one, other = (
                    statistics.median(statistics.quantiles(each, n=100)[share - 1] for each in found)
                    for found in (direct, served)
                )
                print(
                    f"{clients} clients, p{share}: {one:.2f} ms directly, {other:.2f} ms served, {other - one:+.2f} ms"
                )
        server.should_exit = True
        running.join()


if __name__ == "__main__":
    main()
