"""The child process of a `WorkerSupervisor`: it serves until its stdin ends."""

from __future__ import annotations

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


def main() -> None:
    """Read the configuration, a line of JSON, write the port as another, and serve until the parent closes stdin."""
    config = json.loads(sys.stdin.buffer.readline())
    threading.Thread(target=_stop_at_stdin_end, daemon=True).start()
    sys.stderr = PrintableStream(sys.stderr)
    send_logs_to_stderr()
    logging.getLogger("edgefc.server").setLevel(logging.INFO)
    # JSON has no tuples.
    tuples = {name: tuple(value) for name, value in config["settings"].items() if isinstance(value, list)}
    settings = Settings(**(config["settings"] | tuples))
    try:
        models = ModelPool(config["names"], config["options"], limit=config["memory"])
        model = models.load_default()
    except EdgefcError as error:
        _write(error=error.reason, hint=error.hint)
        sys.exit(2)
    serve(
        models,
        settings,
        lambda url: _write(port=int(url.rpartition(":")[2]), family=model.family.name, n_ctx=model.n_ctx),
    )
    models.close()


def _write(**message: Any) -> None:
    print(json.dumps(message), flush=True)


def _stop_at_stdin_end() -> None:
    while sys.stdin.buffer.read(4096):
        pass
    signal.raise_signal(signal.SIGTERM)


if __name__ == "__main__":
    main()
