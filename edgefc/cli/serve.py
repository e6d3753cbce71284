"""`edgefc serve`: an OpenAI-compatible server on this machine."""

from __future__ import annotations

import logging
import tomllib
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import edgefc
from edgefc.cli.common import err, find_model, given, load_model
from edgefc.errors import RequestError
from edgefc.model import needed_memory
from edgefc.server import Models, Settings, serve
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
    if isinstance(options.get("model"), str):
        options["model"] = [options["model"]]
    return options


def run(names: list[str], *, load: dict[str, Any], settings: dict[str, Any], memory: float | None) -> None:
    """Load the first model and serve all of them until it is told to stop."""
    wanted = Settings(**given(settings))  # what is wrong with it is said before a model is loaded
    options = given(load)
    if len(names) > 1 and "family" in options:
        raise RequestError("family", "several models have formats of their own", "Leave it out, or serve one model.")
    for name in names:
        find_model(name)
    sizes = {key: value for key, value in options.items() if key in {"n_ctx", "n_gpu_layers", "n_parallel"}}
    models = Models(
        names,
        partial(edgefc.load, **options),
        partial(needed_memory, **sizes),
        limit=None if memory is None else round(memory * (1 << 30)),
    )
    logging.getLogger("edgefc.server").setLevel(logging.INFO)
    with closing(models):
        models.start_with(load_model(names[0], options))
        serve(models, wanted, lambda url: _tell(url, models, wanted))


def _tell(url: str, models: Models, settings: Settings) -> None:
    """Say where it listens, what it serves, and how to call it."""
    first, *others = models.places
    assert first.model is not None
    err.print(
        f"{first.name} ({first.model.family.name}) at {url}/v1: context {first.model.n_ctx} tokens, "
        f"{settings.parallel} requests at a time",
        markup=False,
    )
    if others:
        err.print(f"  loaded when asked for: {', '.join(place.name for place in others)}", markup=False)
    header = ' -H "Authorization: Bearer $EDGEFC_API_KEY"' if settings.api_keys else ""
    body = '{"messages": [{"role": "user", "content": "Hello"}]}'
    err.print(f"  curl {url}/v1/chat/completions{header} --json '{body}'", markup=False)
    key = "os.environ['EDGEFC_API_KEY']" if settings.api_keys else "'none'"
    err.print(f"  OpenAI(base_url='{url}/v1', api_key={key})", markup=False)
    if settings.host not in LOOPBACK:
        err.print("  other machines can reach it: what is said is not encrypted", markup=False)
