"""Measures a fresh process that loads a model and answers one case, as after a restart.

`run` starts this file as a script, with the case as JSON on its standard input; it prints the figures as JSON.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

if not __package__:  # run as a script
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
import edgefc.model  # before the clock starts: a peer has nothing to import
from benchmarks.cases import Case
from benchmarks.peer import peak_memory
from benchmarks.sides import ask_edgefc
from edgefc import paths


def run(path: Path, family: str, case: Case, *, n_ctx: int, threads: int, max_tokens: int) -> dict[str, Any]:
    """Return what `main` prints: load_s, first_s, whole_s, peak (bytes), message, valid, cached_tokens, cached_from."""
    task = {
        "path": str(path), "family": family, "n_ctx": n_ctx, "threads": threads, "max_tokens": max_tokens,
        "messages": case.messages, "tools": case.tools, "choice": case.choice,
    }  # fmt: skip
    # An installed program's modules are compiled.
    environment = {**os.environ, "PYTHONPYCACHEPREFIX": str(paths.cache_dir() / "benchmarks" / "bytecode")}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    done = subprocess.run(
        [sys.executable, str(Path(__file__))],
        input=json.dumps(task), stdout=subprocess.PIPE, text=True, check=True, env=environment,
    )  # fmt: skip
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def main() -> None:
    task = json.loads(sys.stdin.read())
    started = time.perf_counter()
    with edgefc.load(
        task["path"], family=task["family"], n_ctx=task["n_ctx"], n_threads=task["threads"], n_parallel=1
    ) as model:
        load_s = time.perf_counter() - started
        case = Case(tuple(task["messages"]), task["tools"] and tuple(task["tools"]), task["choice"])
        answer = ask_edgefc(model, case, max_tokens=task["max_tokens"])
        assert answer.stats is not None
        result = {
            "load_s": load_s, "first_s": answer.first, "whole_s": answer.seconds, "peak": peak_memory(),
            "message": answer.message, "valid": answer.valid, "cached_tokens": answer.stats.cached_tokens,
            "cached_from": answer.stats.cached_from,
        }  # fmt: skip
    print(json.dumps(result))


if __name__ == "__main__":
    main()
