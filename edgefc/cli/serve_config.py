"""The values of `edgefc serve`'s options: its TOML file, and durations."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import typer

from edgefc.errors import RequestError

_DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*(s|m|h|)")
_SECONDS = {"": 1, "s": 1, "m": 60, "h": 3600}


def parse_duration(text: str) -> float | None:
    """Return the seconds of a text such as 90, 90s, 10m or 1h; None for `never` and -1. Raises RequestError."""
    if text in {"never", "-1"}:
        return None
    match = _DURATION.fullmatch(text.strip().lower())
    if match is None:
        raise RequestError("keep_alive", f"invalid duration {text!r}", "Use one such as 90s, 10m, 1h, or never.")
    return float(match[1]) * _SECONDS[match[2]]


def read_config(path: Path, names: set[str]) -> dict[str, Any]:
    """Read options from a TOML file; `names` are the valid ones. Raises RequestError."""
    import tomllib

    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise RequestError("config", f"{path}: {error}") from None
    options = {name.replace("-", "_"): value for name, value in values.items()}
    if unknown := options.keys() - names:
        raise RequestError("config", f"{path}: unknown option {min(unknown)!r}", "`edgefc serve --help` lists them.")
    if isinstance(options.get("model"), str):
        options["model"] = [options["model"]]
    return options


def load_config(context: typer.Context, path: Path | None) -> Path | None:
    """Make the file's values the defaults of options that neither the command line nor the environment sets."""
    if path is not None:
        context.default_map = read_config(path, {option.name for option in context.command.params if option.name})
    return path
