"""Aliases: short names that a user gave to models, the table `alias` of config.toml."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

from edgefc import paths
from edgefc.files import read_small

MAX_BYTES = 1 << 20  # of config.toml
ALIAS = re.compile(r"[A-Za-z0-9][\w.+-]{0,63}", re.ASCII)


def config_path() -> Path:
    """Return the path of the file with the user's settings."""
    return paths.config_dir() / "config.toml"


def parse(table: Any) -> dict[str, str]:
    """Return the sound entries of a table of aliases."""
    if not isinstance(table, dict):
        return {}
    return {
        name: model
        for name, model in table.items()
        if ALIAS.fullmatch(name) and isinstance(model, str) and model.strip() and model != name
    }


def load() -> dict[str, str]:
    """Read the aliases, by name; empty if the file is missing or malformed: `edgefc config` reports that."""
    try:
        return parse(tomllib.loads(read_small(config_path(), MAX_BYTES).decode("utf-8-sig")).get("alias"))
    except (OSError, ValueError, RecursionError):
        return {}


def expand(name: str) -> str:
    """Return the model that an alias stands for; any other name as it is. Aliases of aliases are not expanded."""
    return load().get(name, name) if ALIAS.fullmatch(name) else name
