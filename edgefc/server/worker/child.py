"""The process of a `Worker`: serves until its stdin ends."""

from __future__ import annotations

import json
import logging
import signal
import sys
import threading
from typing import Any

from edgefc.errors import EdgefcError
from edgefc.server.model_pool import Models
from edgefc.server.run import serve
from edgefc.server.settings import Settings


def main() -> None:
    """Read what to serve, one line of JSON; say where, another; until the one who asked closes stdin, or is gone."""
    asked = json.loads(sys.stdin.buffer.readline())
    threading.Thread(target=_stop_with_stdin, daemon=True).start()
    logging.basicConfig(level=logging.WARNING, format="%(name)s: %(message)s")
    logging.getLogger("edgefc.server").setLevel(logging.INFO)
    lists = {name: tuple(value) for name, value in asked["settings"].items() if isinstance(value, list)}
    settings = Settings(**(asked["settings"] | lists))
    try:
        models = Models(asked["names"], asked["options"], limit=asked["memory"])
        model = models.load_first()
    except EdgefcError as error:
        _tell(error=error.reason, hint=error.hint)
        sys.exit(2)
    about = {"family": model.family.name, "n_ctx": model.n_ctx}
    serve(models, settings, lambda url: _tell(port=int(url.rpartition(":")[2]), **about))
    models.close()


def _tell(**said: Any) -> None:
    print(json.dumps(said), flush=True)


def _stop_with_stdin() -> None:
    while sys.stdin.buffer.read(4096):
        pass
    signal.raise_signal(signal.SIGTERM)


if __name__ == "__main__":
    main()
