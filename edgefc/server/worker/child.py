"""The child process of a `WorkerSupervisor`: it serves until its stdin ends."""

from __future__ import annotations

import asyncio
import ctypes
import json
import logging
import signal
import sys
import threading
from typing import Any

from edgefc.errors import EdgefcError
from edgefc.server.model_pool import ModelPool
from edgefc.server.run import serve
from edgefc.server.settings import Settings
from edgefc.terminal import PrintableStream, send_logs_to_stderr

BEAT_S = 0.5  # between the lines that say that the process works
PR_SET_PDEATHSIG = 1  # linux/prctl.h


def main() -> None:
    """Read the configuration, a line of JSON, and serve until the parent closes stdin.

    Writes lines of JSON: the port, or an error, and before and after it the heartbeat.
    """
    _die_with_parent()
    config = json.loads(sys.stdin.buffer.readline())
    threading.Thread(target=_stop_at_stdin_end, daemon=True).start()
    sys.stderr = PrintableStream(sys.stderr)
    send_logs_to_stderr()
    logging.getLogger("edgefc.server").setLevel(logging.INFO)
    # JSON has no tuples.
    tuples = {name: tuple(value) for name, value in config["settings"].items() if isinstance(value, list)}
    settings = Settings(**(config["settings"] | tuples))
    is_loaded = threading.Event()
    threading.Thread(target=_beat_while_loading, args=(is_loaded,), daemon=True).start()
    try:
        limits = {"limit": config["memory"], "keep_alive": config["keep_alive"]}
        models = ModelPool(config["names"], config["options"], **limits)
        model = models.load_default()
    except EdgefcError as error:
        _write(error=error.reason, hint=error.hint)
        sys.exit(2)

    def on_start(url: str) -> None:
        is_loaded.set()
        _write(port=int(url.rpartition(":")[2]), family=model.family.name, n_ctx=model.n_ctx)
        tasks.add(asyncio.ensure_future(_beat(models)))

    tasks: set[asyncio.Future[None]] = set()
    serve(models, settings, on_start)
    models.close()


async def _beat(models: ModelPool) -> None:
    """Report that the event loop runs, and the models' problem if they have one."""
    while True:
        _write(problem=models.problem)
        await asyncio.sleep(BEAT_S)


def _beat_while_loading(is_loaded: threading.Event) -> None:
    while not is_loaded.wait(BEAT_S):
        _write(problem="")


def _write(**message: Any) -> None:
    sys.stdout.write(json.dumps(message) + "\n")
    sys.stdout.flush()


def _stop_at_stdin_end() -> None:
    while sys.stdin.buffer.read(4096):
        pass
    signal.raise_signal(signal.SIGTERM)


def _die_with_parent() -> None:
    """Let Linux kill this process if the parent dies, also while it hangs and does not see the end of stdin."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


if __name__ == "__main__":
    main()
