"""Finds out, in a child process, whether this build of llama.cpp survives a decode on this processor.

gcc up to 12 miscompiles ggml's AMX kernels: the first decode of such a build dies by a signal. Only builds with
AMX on processors with AMX are tried, once for each compiled library; the verdict is kept in the cache folder.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import signal
import subprocess
import sys
from functools import lru_cache
from typing import Literal

from edgefc import hardware, paths
from edgefc.errors import ModelLoadError

log = logging.getLogger("edgefc.engine")
Verdict = Literal["fine", "without_extra_buffers", "broken"]
FLAGS = "-mno-amx-tile -mno-amx-int8 -mno-amx-bf16"
REINSTALL = (
    f"CMAKE_ARGS=\"-DCMAKE_C_FLAGS='{FLAGS}' -DCMAKE_CXX_FLAGS='{FLAGS}'\" "
    "pip install --force-reinstall --no-deps --no-cache-dir --no-binary llama-cpp-python llama-cpp-python==0.3.36"
)
ADVICE = (
    f"Your compiler (gcc 12 or older) breaks llama.cpp's AMX code. Build it without, about 5 minutes:\n  {REINSTALL}"
)


def extra_buffers() -> bool:
    """Whether models are loaded with llama.cpp's repacked buffers. Raises ModelLoadError where they all crash."""
    if verdict() == "broken":
        raise ModelLoadError("llama.cpp crashes on this machine", ADVICE)
    return verdict() != "without_extra_buffers"


@lru_cache(maxsize=1)
def verdict() -> Verdict:
    """How models may be loaded here: as usual, without llama.cpp's repacked (AMX) buffers, or not at all."""
    from edgefc.engine import llama

    if not hardware.cpu_has_amx() or "AMX_INT8 = 1" not in llama.system_info():
        return "fine"
    if not paths.demo_model().is_file():
        return "fine"
    marks = [
        (path.name, path.stat().st_size, path.stat().st_mtime_ns) for path in sorted(llama.library_path().glob("*"))
    ]
    key = hashlib.sha256(json.dumps(marks).encode()).hexdigest()[:16]
    kept = paths.cache_dir() / f"selftest-{key}.json"
    try:
        found: Verdict = json.loads(kept.read_text(encoding="utf-8"))["verdict"]
    except (OSError, ValueError, KeyError):
        found = _try_out()
        kept.parent.mkdir(parents=True, exist_ok=True)
        kept.write_text(json.dumps({"verdict": found}), encoding="utf-8")
    if found == "without_extra_buffers":
        log.warning("this build of llama.cpp crashes in its AMX code, which is therefore not used. %s", ADVICE)
    return found


def _try_out() -> Verdict:
    if run_child(extra_buffers=True) == "":
        return "fine"
    return "without_extra_buffers" if run_child(extra_buffers=False) == "" else "broken"


def run_child(*, extra_buffers: bool) -> str:
    """Decode once in a child process; "" when it lived, else how it ended."""
    command = [sys.executable, "-m", "edgefc.engine.selftest", "extra" if extra_buffers else "plain"]
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
            env={**os.environ, "GGML_NO_BACKTRACE": "1"},
        )
    except subprocess.TimeoutExpired:
        return "it did not end within two minutes"
    if done.returncode == 0:
        return ""
    if done.returncode < 0:
        return f"it was ended by {signal.Signals(-done.returncode).name}"
    return f"it failed: {done.stderr.strip().splitlines()[-1] if done.stderr.strip() else done.returncode}"


def _decode_once(*, extra_buffers: bool) -> None:
    from edgefc.engine import llama
    from edgefc.engine.context import Context, Rows

    model = llama.Model(paths.demo_model(), n_gpu_layers=0, use_extra_bufts=extra_buffers)
    context = Context(model, n_ctx=256, n_batch=64, n_seq_max=1, n_threads=1, n_threads_batch=1)
    status = context.decode([Rows(0, 0, range(32), wanted=True)])
    context.close()
    model.close()
    if status:
        raise SystemExit(f"llama_decode returned {status}")


if __name__ == "__main__":
    _decode_once(extra_buffers=sys.argv[1:] != ["plain"])
