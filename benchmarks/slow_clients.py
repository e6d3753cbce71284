"""Measures how much slow clients delay a normal one.

    python benchmarks/slow_clients.py [--model MODEL] [--requests 40] [--rounds 5]

The slow ones are a hundred connections with half a request, sixty that send a body at a kilobyte per second, and thirty
that never read their answer of several megabytes. A normal client's requests are timed with and without them, in turns.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import json
import socket
import statistics
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

if not __package__:  # run as a script
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from benchmarks.serving import start_server

HEAD = b"POST %s HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
CHAT = b"/v1/chat/completions"
BODY = {"messages": [{"role": "user", "content": "What is the weather in Paris?"}], "temperature": 0, "max_tokens": 32}


def normal_latency(port: int, requests: int) -> float:
    """Return the median of a request in milliseconds."""
    times = []
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
    for _ in range(requests):
        started = time.perf_counter()
        connection.request("POST", CHAT.decode(), json.dumps(BODY), {"Content-Type": "application/json"})
        response = connection.getresponse()
        content = response.read()
        assert response.status == 200, content
        times.append(1000 * (time.perf_counter() - started))
    connection.close()
    return statistics.median(times)


@contextlib.contextmanager
def slow_clients(port: int) -> Iterator[None]:
    """Run all slow clients inside a `with` block."""
    stop = threading.Event()
    large = json.dumps({"content": "1 " * 50_000, "with_pieces": True}).encode()
    answers_ready = threading.Barrier(31)  # the large answers are computed, but not read

    def send_slowly(first: bytes, rest: bytes) -> None:
        """Send `rest` once per second; connect again when the server closes the connection."""
        while not stop.is_set():
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
                connection.sendall(first)
                while not stop.wait(1):
                    connection.sendall(rest)

    def never_read() -> None:
        with socket.create_connection(("127.0.0.1", port), timeout=120) as connection:
            connection.sendall(HEAD % (b"/v1/tokenize", len(large)) + large)
            assert connection.recv(12) == b"HTTP/1.1 200"
            answers_ready.wait()
            stop.wait()

    threads = [threading.Thread(target=never_read) for _ in range(30)]
    threads += [threading.Thread(target=send_slowly, args=(b"POST /v1/chat/comp", b"")) for _ in range(100)]
    body = HEAD % (CHAT, 1_000_000), b" " * 1024
    threads += [threading.Thread(target=send_slowly, args=body) for _ in range(60)]
    for thread in threads:
        thread.start()
    answers_ready.wait()
    try:
        yield
    finally:
        stop.set()
        for thread in threads:
            thread.join()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="demo")
    parser.add_argument("--requests", type=int, default=40)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    server, port = start_server(options.model)
    alone, among_slow = [], []
    normal_latency(port, options.requests)
    for _ in range(options.rounds):
        alone.append(normal_latency(port, options.requests))
        with slow_clients(port):
            among_slow.append(normal_latency(port, options.requests))
    one, other = statistics.median(alone), statistics.median(among_slow)
    print(f"{one:.1f} ms alone, {other:.1f} ms among slow clients: {other / one:.2f} times as long")
    server.terminate()
    server.wait(60)


if __name__ == "__main__":
    main()
