"""Kills of `edgefc run --mcp` at random moments: no process of its servers may be left.

    python -m benchmarks.mcp_kills [--kills 200] [--at-once 2] [--seed 1]

Each run has two servers: one ends with its input; the other ignores the end of its input and SIGTERM, and has a child
that does, too. A run is killed by SIGKILL, SIGTERM or SIGINT, in turns, at a moment between its start and its end.
"""

from __future__ import annotations

import argparse
import collections
import json
import random
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import psutil

SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)
END_S = 60.0  # for the servers' processes, on a busy machine; they need 3
# Programs in the background inherit that SIGINT is ignored.
PROGRAM = """
import signal
signal.signal(signal.SIGINT, signal.default_int_handler)
import runpy
runpy.run_module("edgefc", run_name="__main__", alter_sys=True)
"""
# It answers `initialize` and `tools/list` and no calls; `stubborn` ignores all requests to end.
SERVER = """
import json, signal, subprocess, sys, time
is_stubborn = sys.argv[1] == "stubborn"
if is_stubborn:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    code = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(600)"
    subprocess.Popen([sys.executable, "-I", "-S", "-c", code, sys.argv[2]])
tool = {"name": f"echo_{sys.argv[1]}", "description": "Echo a text.", "inputSchema": {"type": "object",
        "properties": {"text": {"type": "string"}}, "required": ["text"]}}
results = {"initialize": {"protocolVersion": "2025-06-18", "capabilities": {"tools": {}},
                          "serverInfo": {"name": "echo", "version": "1"}}, "tools/list": {"tools": [tool]}}
for line in sys.stdin:
    request = json.loads(line)
    if "id" in request and request["method"] != "tools/call":
        found = results.get(request["method"])
        answer = {"error": {"code": -32601, "message": "no"}} if found is None else {"result": found}
        print(json.dumps({"jsonrpc": "2.0", "id": request["id"], **answer}), flush=True)
if is_stubborn:
    time.sleep(600)
"""


@dataclass(frozen=True)
class Kill:
    """One kill.

    after    seconds after the start
    servers  processes of servers that were there at that moment
    left     processes that are still there END_S later
    """

    number: int
    after: float
    servers: int
    left: tuple[int, ...]


def kill_once(number: int, after: float, folder: Path) -> Kill:
    """Start a run, kill it, and look for its servers' processes, whose command lines have a mark."""
    mark = uuid.uuid4().hex
    script, configuration = folder / "server.py", folder / f"{mark}.json"
    servers = {
        kind: {"command": sys.executable, "args": ["-I", "-S", str(script), kind, mark]}
        for kind in ("mild", "stubborn")
    }
    configuration.write_text(json.dumps({"mcpServers": servers}), encoding="utf-8")
    words = ("run", "Echo hello", "--tool-choice", "echo_mild", "--local", "--yes", "--mcp", str(configuration))
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, *words], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL, cwd=folder,
    )  # fmt: skip
    time.sleep(after)
    started = len(marked(mark))
    process.send_signal(number)
    process.wait()
    deadline = time.monotonic() + END_S
    while (left := marked(mark)) and time.monotonic() < deadline:
        time.sleep(0.1)
    for pid in left:
        psutil.Process(pid).kill()
    return Kill(number, after, started, tuple(left))


def marked(mark: str) -> list[int]:
    """List the processes with a mark in their command lines."""
    found: list[int] = []
    for process in psutil.process_iter(["cmdline", "status"]):
        words = process.info["cmdline"] or []
        if mark in words and process.info["status"] != psutil.STATUS_ZOMBIE:
            found.append(process.pid)
    return found


def kill_all(kills: int, *, at_once: int = 1, seed: int = 1) -> list[Kill]:
    """Kill runs at moments that are spread over the time until a run waits for its call's result."""
    rng = random.Random(seed)
    with tempfile.TemporaryDirectory() as name, ThreadPoolExecutor(at_once) as pool:
        folder = Path(name)
        (folder / "server.py").write_text(SERVER, encoding="utf-8")
        longest = _start_s(folder) * at_once + 1.0
        moments = [(SIGNALS[index % len(SIGNALS)], rng.uniform(0, longest)) for index in range(kills)]
        return list(pool.map(lambda one: kill_once(*one, folder), moments))


def _start_s(folder: Path) -> float:
    """Return the seconds that the start of the program with its servers takes."""
    started = time.monotonic()
    path = folder / "mcp.json"
    servers = {"mild": {"command": sys.executable, "args": ["-I", "-S", str(folder / "server.py"), "mild"]}}
    path.write_text(json.dumps({"mcpServers": servers}), encoding="utf-8")
    words = ("call", "Echo hello", "--tool-choice", "echo_mild", "--local", "--mcp", str(path))
    subprocess.run([sys.executable, "-m", "edgefc", *words], check=True, stdout=subprocess.DEVNULL, cwd=folder)
    return time.monotonic() - started


def main(words: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--at-once", type=int, default=1)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args(words)
    done = kill_all(options.kills, at_once=options.at_once, seed=options.seed)
    counts = collections.Counter(signal.Signals(kill.number).name for kill in done)
    with_servers = sum(kill.servers > 0 for kill in done)
    print(f"{len(done)} kills ({', '.join(f'{count} {name}' for name, count in counts.items())}), "
          f"{with_servers} while servers ran, after {min(kill.after for kill in done):.1f} to "
          f"{max(kill.after for kill in done):.1f} s")  # fmt: skip
    left = [kill for kill in done if kill.left]
    for kill in left:
        print(f"{signal.Signals(kill.number).name} after {kill.after:.2f} s left {len(kill.left)} processes")
    print(f"processes left: {sum(len(kill.left) for kill in done)}")
    if left:
        sys.exit(1)


if __name__ == "__main__":
    main()
