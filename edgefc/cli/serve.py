"""`edgefc serve`: an OpenAI-compatible server on this machine."""

from __future__ import annotations

import logging
import tomllib
from contextlib import closing
from pathlib import Path
from typing import Any

from edgefc.cli.options import err, find_model, given, loading
from edgefc.errors import RequestError
from edgefc.server import Models, Settings, Worker, serve, serve_apart
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


def run(names: list[str], *, load: dict[str, Any], settings: dict[str, Any], memory: float | None, apart: bool) -> None:
    """Load the first model and serve all of them until it is told to stop; `apart`: in a process of their own."""
    wanted = Settings(**given(settings))  # what is wrong with it is said before a model is loaded
    limit = None if memory is None else round(memory * (1 << 30))
    for name in names:
        find_model(name)
    logging.getLogger("edgefc.server").setLevel(logging.INFO)
    models = Models(names, given(load), limit=limit)
    others = [place.name for place in models.places[1:]]
    shown, kept = models.places[0].name, load.get("transcripts")
    if apart:
        worker = Worker(names, given(load), wanted, limit)
        serve_apart(worker, wanted, lambda url, at: _tell(url, shown, at.family, at.n_ctx, others, wanted, kept))
        return
    with closing(models):
        with loading(shown) as progress:
            model = models.load_first(progress)
        serve(models, wanted, lambda url: _tell(url, shown, model.family.name, model.n_ctx, others, wanted, kept))


def _tell(
    url: str, name: str, family: str, n_ctx: int, others: list[str], settings: Settings, transcripts: str | None
) -> None:
    """Say where it listens, what it serves, and how to call it."""
    err.print(
        f"{name} ({family}) at {url}/v1: context {n_ctx} tokens, {settings.parallel} requests at a time", markup=False
    )
    if others:
        err.print(f"  loaded when asked for: {', '.join(others)}", markup=False)
    header = ' -H "Authorization: Bearer $EDGEFC_API_KEY"' if settings.api_keys else ""
    body = '{"messages": [{"role": "user", "content": "Hello"}]}'
    err.print(f"  curl {url}/v1/chat/completions{header} --json '{body}'", markup=False)
    key = "os.environ['EDGEFC_API_KEY']" if settings.api_keys else "'none'"
    err.print(f"  OpenAI(base_url='{url}/v1', api_key={key})", markup=False)
    if settings.host not in LOOPBACK:
        err.print("  other machines can reach it: what is said is not encrypted", markup=False)
    if transcripts is not None:
        err.print(f"  all that is asked and answered is written to {transcripts}", markup=False)
