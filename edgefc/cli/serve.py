"""`edgefc serve`: an OpenAI-compatible server on this machine."""

from __future__ import annotations

import logging
import tomllib
from pathlib import Path
from typing import Any

from edgefc.cli.common import err, given, load_model
from edgefc.errors import RequestError
from edgefc.server import Settings, serve
from edgefc.server.settings import LOOPBACK


def read_config(path: Path, known: set[str]) -> dict[str, Any]:
    """A file's options, as the command line has them. Raises RequestError, naming what is wrong."""
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise RequestError("config", f"{path}: {error}") from None
    options = {name.replace("-", "_"): value for name, value in values.items()}
    if unknown := options.keys() - known:
        raise RequestError(
            "config", f"{path}: there is no option {min(unknown)!r}", "`edgefc serve --help` lists them."
        )
    return options


def run(name: str, *, load: dict[str, Any], settings: dict[str, Any]) -> None:
    """Load the model and serve it until it is told to stop."""
    wanted = Settings(**given(settings))  # what is wrong with it is said before a model is loaded
    with load_model(name, given(load)) as model:

        def started(url: str) -> None:
            key = wanted.api_keys[0] if wanted.api_keys else "none"
            header = ' -H "Authorization: Bearer $EDGEFC_API_KEY"' if wanted.api_keys else ""
            err.print(
                f"{model.name} ({model.family.name}) at {url}/v1: context {model.n_ctx} tokens, "
                f"{load.get('n_parallel') or 4} requests at a time",
                markup=False,
            )
            body = '{"messages": [{"role": "user", "content": "Hello"}]}'
            err.print(f"  curl {url}/v1/chat/completions{header} --json '{body}'", markup=False)
            shown = "os.environ['EDGEFC_API_KEY']" if key != "none" else "'none'"
            err.print(f"  OpenAI(base_url='{url}/v1', api_key={shown})", markup=False)
            if wanted.host not in LOOPBACK:
                err.print("  other machines can reach it: what is said is not encrypted", markup=False)

        logging.getLogger("edgefc.server.access").setLevel(logging.INFO)
        serve(model, wanted, started)
