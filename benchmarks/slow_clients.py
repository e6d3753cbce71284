"""What clients that are slow to ask, or to listen, cost one that is neither.

    python benchmarks/slow_clients.py [--model MODEL] [--requests 40] [--rounds 5]

A hundred connections with half a request on them, sixty that send a body of a kilobyte a second, thirty that never read
what they are answered (several megabytes): a normal client's time for a request, with and without them, in turns.
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
from benchmarks.serving import started

HEAD = b"POST %s HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
CHAT = b"/v1/chat/completions"
BODY = {"messages": [{"role": "user", "content": "What is the weather in Paris?"}], "temperature": 0, "max_tokens": 32}


def normal(port: int, requests: int) -> float:
    """Milliseconds of a request, the median."""
    spent = []
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
    for _ in range(requests):
        began = time.perf_counter()
        connection.request("POST", CHAT.decode(), json.dumps(BODY), {"Content-Type": "application/json"})
        answer = connection.getresponse()
        said = answer.read()
        assert answer.status == 200, said
        spent.append(1000 * (time.perf_counter() - began))
    connection.close()
    return statistics.median(spent)


@contextlib.contextmanager
def slow(port: int) -> Iterator[None]:
    """All of the slow ones, for as long as this is open."""
    over = threading.Event()
    large = json.dumps({"content": "1 " * 50_000, "with_pieces": True}).encode()
    asked = threading.Barrier(31)  # when the answers that nobody reads have been computed

    def keep(first: bytes, then: bytes) -> None:
        """Renewed when it is cut off."""
        while not over.is_set():
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
                connection.sendall(first)
                while not over.wait(1):
                    connection.sendall(then)

    def deaf() -> None:
        with socket.create_connection(("127.0.0.1", port), timeout=120) as connection:
            connection.sendall(HEAD % (b"/v1/tokenize", len(large)) + large)
            assert connection.recv(12) == b"HTTP/1.1 200"
            asked.wait()
            over.wait()

    threads = [threading.Thread(target=deaf) for _ in range(30)]
    threads += [threading.Thread(target=keep, args=(b"POST /v1/chat/comp", b"")) for _ in range(100)]
    body = HEAD % (CHAT, 1_000_000), b" " * 1024
    threads += [threading.Thread(target=keep, args=body) for _ in range(60)]
    for thread in threads:
        thread.start()
    asked.wait()
    try:
        yield
    finally:
        over.set()
        for thread in threads:
            thread.join()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="demo")
    parser.add_argument("--requests", type=int, default=40)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    server, port = started(options.model)
    alone, among = [], []
    normal(port, options.requests)
    for _ in range(options.rounds):
        alone.append(normal(port, options.requests))
        with slow(port):
            among.append(normal(port, options.requests))
    one, other = statistics.median(alone), statistics.median(among)
    print(f"{one:.1f} ms alone, {other:.1f} ms among slow clients: {other / one:.2f} times")
    server.terminate()
    server.wait(60)


if __name__ == "__main__":
    main()
