"""Compares `edgefc.models.pull.pull_model` with `huggingface_hub.hf_hub_download` on the same hub, in turns.

    python benchmarks/pull.py [--size MB] [--rounds N] [--json]

The hub is `tests/models/fake_hub` in another process on this machine: faster than any network, so that the cost of the
client itself shows. edgefc hashes the bytes and reads the GGUF's header; huggingface_hub compares sizes.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import gguf
import numpy as np

REPO, NAME = "acme/big-GGUF", "big-Q8_0.gguf"
SERVER = """
import sys
from pathlib import Path
from tests.models.fake_hub import HubServer
with HubServer() as server:
    server.add(sys.argv[1], {sys.argv[2]: Path(sys.argv[3])})
    server.repos[sys.argv[1]].files[sys.argv[2]].sha256
    print(server.url, flush=True)
    sys.stdin.read()
"""
CLIENT = {
    "edgefc": "from edgefc.models.pull import pull_model\ndef fetch(): return pull_model(repo, endpoint=url).path",
    "huggingface_hub": "from huggingface_hub import hf_hub_download\n"
    "def fetch(): return hf_hub_download(repo, name, endpoint=url, cache_dir=folder, token=False)",
}
TIMED = """
import os, sys, threading, time
import psutil
repo, name, url, folder = sys.argv[1:]
{client}
import httpx2, huggingface_hub.hf_api, huggingface_hub.file_download
used = lambda: psutil.Process().memory_info().rss
before = peak = used()
done = threading.Event()
def watch():
    global peak
    while not done.wait(0.02):
        peak = max(peak, used())
threading.Thread(target=watch).start()
started = time.perf_counter()
try:
    path = fetch()
finally:
    done.set()
print(time.perf_counter() - started, (peak - before) / 1e6, os.path.getsize(path))
"""


def measure(client: str, url: str, size: int) -> dict[str, float]:
    """Measure one download in a fresh process, into an empty folder."""
    with tempfile.TemporaryDirectory(dir=Path.cwd()) as folder:
        environment = {
            **os.environ, "EDGEFC_MODELS_DIR": folder, "HF_HOME": folder, "HF_HUB_DISABLE_PROGRESS_BARS": "1",
            "HF_HUB_DISABLE_TELEMETRY": "1",
        }  # fmt: skip
        done = subprocess.run(
            [sys.executable, "-c", TIMED.format(client=CLIENT[client]), REPO, NAME, url, folder],
            capture_output=True, text=True, check=True, env=environment,
        )  # fmt: skip
        seconds, grown, downloaded = map(float, done.stdout.split())
        assert downloaded == size
        return {"MB_per_s": size / seconds / 1e6, "grown_MB": grown}


def measure_in_turns(folder: Path, megabytes: int, rounds: int) -> dict[str, list[dict[str, float]]]:
    """Serve a file from a fake hub and download it with both clients in turns; returns figures by client."""
    path = folder / NAME
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_block_count(1)
    writer.add_tensor("token_embd.weight", np.random.default_rng(0).random(megabytes * 250_000, dtype=np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    with subprocess.Popen(
        [sys.executable, "-c", SERVER, REPO, NAME, str(path)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[1],
    ) as server:  # fmt: skip
        assert server.stdout is not None
        url, size = server.stdout.readline().strip(), path.stat().st_size
        figures: dict[str, list[dict[str, float]]] = {client: [] for client in CLIENT}
        for number in range(rounds):
            for client in list(CLIENT)[:: 1 if number % 2 else -1]:
                figures[client].append(measure(client, url, size))
        server.kill()
    return figures


def main(arguments: list[str] | None = None) -> dict[str, Any]:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=1000, help="size of the file in megabytes")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(dir=Path.cwd()) as folder:
        figures = measure_in_turns(Path(folder), options.size, options.rounds)
    result: dict[str, Any] = {
        client: {key: statistics.median(row[key] for row in rows) for key in rows[0]}
        for client, rows in figures.items()
    }
    pairs = zip(figures["edgefc"], figures["huggingface_hub"], strict=True)
    result["rate_ratio"] = statistics.median(a["MB_per_s"] / b["MB_per_s"] for a, b in pairs)
    if options.json:
        print(json.dumps(result))
    else:
        for client in CLIENT:
            row = result[client]
            print(f"{client:<16} {row['MB_per_s']:7.0f} MB/s, memory grown by {row['grown_MB']:.0f} MB")
        print(f"edgefc / huggingface_hub: {result['rate_ratio']:.2f} of the rate (median of {options.rounds} pairs)")
    return result


if __name__ == "__main__":
    main()
