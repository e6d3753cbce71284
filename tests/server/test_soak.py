"""A short soak: clients with ever new tools, that hang up, while two models take turns and their process is killed."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

from benchmarks import soak
from tests.server.server_process import ServerProcess

CACHES = 256 << 20  # bytes, for two models of 7 MB of which one is loaded at a time


def test_new_tools_hang_ups_unloads_and_kills_lose_nothing(demo_path: Path, tmp_path: Path) -> None:
    other = Path(shutil.copy(demo_path, tmp_path / "other.gguf"))
    shutil.copy(demo_path.with_name("tokenizer.json"), tmp_path)
    setting = soak.Setting(("demo", other.stem), seconds=20, clients=8, kills=8)
    with ServerProcess(("--worker", "--memory", "0.15", "--n-ctx", "4096"), models=("demo", str(other))) as server:
        outcome = soak.run_clients(server.process.pid, server.port, setting)
        log = "".join(server.lines)
    assert not outcome.problems, outcome.counts
    assert outcome.counts["right"] > 0
    assert outcome.counts["killed processes"] > 0
    assert re.search("unloaded (demo|other)", log), log[-2000:]
    caches = {name: size for name, size in outcome.metrics.items() if "cache_bytes" in name}
    assert len(caches) == 3
    assert sum(caches.values()) < CACHES
