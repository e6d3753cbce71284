"""Tests in a child process whether this build of llama.cpp survives a decode on this processor.

gcc up to 12 miscompiles ggml's AMX kernels: the first decode of such a build ends the process by a signal. Only builds
with AMX on processors with AMX are tested, once for each compiled library; the verdict is kept in the cache folder.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import signal
import subprocess
import sys
from functools import lru_cache
from importlib import metadata
from typing import Literal, get_args

from edgefc import files, hardware, paths
from edgefc.errors import ModelLoadError

log = logging.getLogger("edgefc.engine")
Verdict = Literal["fine", "without_extra_buffers", "broken"]
FLAGS = "-mno-amx-tile -mno-amx-int8 -mno-amx-bf16"
PACKAGE = "llama-cpp-python"
TIMEOUT_S = 120
MAX_FILE = 4096  # bytes


def reinstall_command() -> str:
    """The pip command that compiles llama-cpp-python again, without AMX."""
    return (
        f"CMAKE_ARGS=\"-DCMAKE_C_FLAGS='{FLAGS}' -DCMAKE_CXX_FLAGS='{FLAGS}'\" "
        f"pip install --force-reinstall --no-deps --no-cache-dir --no-binary {PACKAGE} {_requirement()}"
    )


def _requirement() -> str:
    """The release of llama-cpp-python that edgefc requires, as pip spells it."""
    try:
        requirements = metadata.requires("edgefc") or []
    except metadata.PackageNotFoundError:  # run from a checkout, not installed
        requirements = []
    return next((entry for entry in requirements if entry.startswith(f"{PACKAGE}==")), PACKAGE)


def amx_advice() -> str:
    """Advice for a user whose build of llama.cpp crashes in its AMX code."""
    return (
        "Your compiler (gcc 12 or older) breaks llama.cpp's AMX code. "
        f"Compile it without AMX, which takes about 5 minutes:\n  {reinstall_command()}"
    )


def extra_buffers() -> bool:
    """Decide whether models use llama.cpp's repacked buffers. Raises ModelLoadError if it crashes either way."""
    if verdict() == "broken":
        raise ModelLoadError("llama.cpp crashes on this machine", amx_advice())
    return verdict() != "without_extra_buffers"


@lru_cache(maxsize=1)
def verdict() -> Verdict:
    """Decide how models can be loaded here: normally, without llama.cpp's repacked (AMX) buffers, or not at all."""
    from edgefc.engine import llama

    if not hardware.cpu_has_amx() or "AMX_INT8 = 1" not in llama.system_info():
        return "fine"
    if not paths.demo_model().is_file():
        return "fine"
    library = [
        (path.name, path.stat().st_size, path.stat().st_mtime_ns) for path in sorted(llama.library_path().glob("*"))
    ]
    key = hashlib.sha256(json.dumps(library).encode()).hexdigest()[:16]
    file = paths.cache_dir() / f"selftest-{key}.json"
    try:
        result: Verdict = json.loads(files.read_small(file, MAX_FILE))["verdict"]
        if result not in get_args(Verdict):
            raise ValueError(f"unknown verdict {result!r}")
    except (OSError, ValueError, TypeError, LookupError, RecursionError):
        result = _test_build()
        with contextlib.suppress(OSError):  # the next process tests again
            file.parent.mkdir(parents=True, exist_ok=True)
            files.write_file(file, json.dumps({"verdict": result}).encode())
    if result == "without_extra_buffers":
        log.warning("this build of llama.cpp crashes in its AMX code, so edgefc does not use it. %s", amx_advice())
    return result


def _test_build() -> Verdict:
    if run_child(extra_buffers=True) == "":
        return "fine"
    return "without_extra_buffers" if run_child(extra_buffers=False) == "" else "broken"


def run_child(*, extra_buffers: bool) -> str:
    """Decode once in a child process; return "" if it succeeded, else how it ended."""
    command = [sys.executable, "-m", "edgefc.engine.selftest", "extra" if extra_buffers else "plain"]
    try:
        child = subprocess.run(
            command,
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
            check=False,
            env={**os.environ, "GGML_NO_BACKTRACE": "1"},
        )
    except subprocess.TimeoutExpired:
        return "it did not end within two minutes"
    if child.returncode == 0:
        return ""
    if child.returncode < 0:
        return f"it was ended by {signal.Signals(-child.returncode).name}"
    output = child.stderr.strip()
    return f"it failed: {output.splitlines()[-1] if output else child.returncode}"


def _decode_once(*, extra_buffers: bool) -> None:
    from edgefc.engine import llama
    from edgefc.engine.context import Context, Rows

    model = llama.Model(paths.demo_model(), n_gpu_layers=0, use_extra_bufts=extra_buffers)
    context = Context(model, n_ctx=256, n_batch=64, n_seq_max=1, n_threads=1, n_threads_batch=1)
    status = context.decode([Rows(0, 0, range(32), n_logits=1)])
    context.close()
    model.close()
    if status:
        raise SystemExit(f"llama_decode returned {status}")


if __name__ == "__main__":
    _decode_once(extra_buffers=sys.argv[1:] != ["plain"])
