"""One process that loads a model, answers one case, and says what that took: as after a restart.

Started by `benchmarks/server.py` with what to do as JSON on its standard input; answers with JSON.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

if not __package__:  # run as a script
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
import edgefc.model  # before the clock starts: a peer has nothing to import
from benchmarks.peer import peak_memory
from benchmarks.sides import ask_edgefc
from benchmarks.workloads import Case


def run(path: Path, family: str, case: Case, *, n_ctx: int, threads: int, max_tokens: int) -> dict[str, Any]:
    """What `main` prints: load_s, first_s, whole_s, peak (bytes), message, valid, cached_tokens, cached_from."""
    asked = {
        "path": str(path), "family": family, "n_ctx": n_ctx, "threads": threads, "max_tokens": max_tokens,
        "messages": case.messages, "tools": case.tools, "choice": case.choice,
    }  # fmt: skip
    done = subprocess.run(
        [sys.executable, str(Path(__file__))], input=json.dumps(asked), stdout=subprocess.PIPE, text=True, check=True
    )
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def main() -> None:
    asked = json.loads(sys.stdin.read())
    started = time.perf_counter()
    with edgefc.load(
        asked["path"], family=asked["family"], n_ctx=asked["n_ctx"], n_threads=asked["threads"], n_parallel=1
    ) as model:
        load_s = time.perf_counter() - started
        case = Case(tuple(asked["messages"]), asked["tools"] and tuple(asked["tools"]), asked["choice"])
        answer = ask_edgefc(model, case, max_tokens=asked["max_tokens"])
        assert answer.stats is not None
        result = {
            "load_s": load_s, "first_s": answer.first, "whole_s": answer.seconds, "peak": peak_memory(),
            "message": answer.message, "valid": answer.valid, "cached_tokens": answer.stats.cached_tokens,
            "cached_from": answer.stats.cached_from,
        }  # fmt: skip
    print(json.dumps(result))


if __name__ == "__main__":
    main()
