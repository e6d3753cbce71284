"""Runs a server under many clients for a long time: no answer may be lost or mixed up, and memory must not grow.

    python benchmarks/soak.py [--model MODEL] [--minutes 10] [--clients 32]

Each request has a random word that its call must repeat. Half of the requests are streamed, and in a quarter of them
the client hangs up early. Memory is compared after a minute and at the end.
"""

from __future__ import annotations

import argparse
import http.client
import json
import random
import re
import secrets
import statistics
import sys
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

if not __package__:  # run as a script
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
import psutil

from benchmarks.serving import start_server


class Client(threading.Thread):
    """Sends requests until the deadline, a `time.monotonic`."""

    def __init__(self, port: int, deadline: float, seed: int) -> None:
        super().__init__()
        self._port, self._deadline, self._rng = port, deadline, random.Random(seed)
        self.counts: Counter[str] = Counter()
        self.seconds: list[float] = []

    def run(self) -> None:
        while time.monotonic() < self._deadline:
            try:
                self._request()
            except (OSError, http.client.HTTPException, ValueError, KeyError, AssertionError) as error:
                self.counts[f"lost: {type(error).__name__} {error}"[:120]] += 1

    def _request(self) -> None:
        word, stream = f"c-{secrets.token_hex(4)}", self._rng.random() < 0.5
        hangs_up = self._rng.random() < 0.25
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=300)
        started = time.monotonic()
        try:
            connection.request(
                "POST", "/v1/chat/completions", json.dumps(_body(word, stream)), {"Content-Type": "application/json"}
            )
            if hangs_up:
                time.sleep(self._rng.random() * 0.3)
                self.counts["hung up"] += 1
                return
            response = connection.getresponse()
            text = response.read().decode()
            assert response.status == 200, text[:80]
            calls = _streamed_calls(text) if stream else json.loads(text)["choices"][0]["message"]["tool_calls"]
            arguments = [json.loads(call["function"]["arguments"]) for call in calls]
            self.counts["right" if arguments == [{"word": word}] else "mixed up"] += 1
            self.seconds.append(time.monotonic() - started)
        finally:
            connection.close()


def _body(word: str, stream: bool) -> dict[str, Any]:
    schema = {"type": "object", "properties": {"word": {"const": word}}, "required": ["word"]}
    tool = {"type": "function", "function": {"name": "say", "description": "Say a word", "parameters": schema}}
    return {
        "messages": [{"role": "user", "content": f"Say {word}"}], "tools": [tool], "tool_choice": "required",
        "parallel_tool_calls": False, "stream": stream, "max_tokens": 200,
    }  # fmt: skip


def _streamed_calls(text: str) -> list[Any]:
    calls: dict[int, dict[str, Any]] = {}
    assert text.endswith("data: [DONE]\n\n")
    for data in re.findall(r"^data: (\{.*\})$", text, re.MULTILINE):
        for choice in json.loads(data)["choices"]:
            for part in choice["delta"].get("tool_calls", ()):
                call = calls.setdefault(part["index"], {"function": {"arguments": ""}})
                call["function"]["arguments"] += part["function"].get("arguments", "")
    return list(calls.values())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="demo")
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--clients", type=int, default=32)
    options = parser.parse_args()
    server, port = start_server(options.model)
    memory = psutil.Process(server.pid).memory_info
    seconds = 60 * options.minutes
    clients = [Client(port, time.monotonic() + seconds, number) for number in range(options.clients)]
    for client in clients:
        client.start()
    time.sleep(min(60.0, seconds / 4))
    early = memory().rss
    for client in clients:
        client.join()
    late = memory().rss
    server.terminate()
    server.wait(60)
    counts = sum((client.counts for client in clients), Counter())
    times = [latency for client in clients for latency in client.seconds]
    for outcome, count in counts.most_common():
        print(f"{count:8,} {outcome}")
    print(f"{len(times) / seconds:.1f} answers/s; median {statistics.median(times):.2f} s, longest {max(times):.2f} s")
    print(f"memory: {early / 1e6:.0f} MB after a while, {late / 1e6:.0f} MB at the end ({late / early - 1:+.1%})")
    print(f"exit code of the server: {server.returncode}")
    if server.returncode or counts.keys() - {"right", "hung up"}:
        sys.exit(1)


if __name__ == "__main__":
    main()
