"""models.toml → model cards, and what a user calls a model → a file."""

from __future__ import annotations

import difflib
import functools
import sys
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from edgefc import resources
from edgefc.errors import FormatError, ModelNotFoundError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


@dataclass(frozen=True, slots=True)
class ModelCard:
    """One entry of models.toml; `unverified` names the fields nobody has checked yet."""

    id: str
    title: str
    family: str
    size: str
    context: int
    licence: str
    repo: str = ""
    about: str = ""
    embedded: bool = False
    unverified: tuple[str, ...] = ()

    @property
    def path(self) -> Path | None:
        """Where the model lies on this machine; None when it does not."""
        path = resources.demo_model() if self.embedded else None
        return path if path is not None and path.is_file() else None


@dataclass(frozen=True, slots=True)
class ResolvedModel:
    """A model file, and its card when it has one."""

    path: Path
    card: ModelCard | None


@functools.lru_cache(maxsize=1)
def cards() -> dict[str, ModelCard]:
    """All cards by id. Raises FormatError when models.toml is malformed."""
    try:
        data = tomllib.loads((resources.root() / "models.toml").read_text(encoding="utf-8"))
    except tomllib.TOMLDecodeError as error:
        raise FormatError(f"models.toml: {error}") from None
    return {name: _card(name, entry) for name, entry in data.items()}


def resolve(name: str) -> ResolvedModel:
    """The file of a model named by id or by path. Raises ModelNotFoundError with what else was perhaps meant."""
    known = cards()
    if name in known:
        card = known[name]
        if card.path is None:
            raise ModelNotFoundError(
                f"{card.title} is not on this machine, and edgefc cannot download models yet",
                f"Download a GGUF of {card.repo} and give its path, with --family {card.family}.",
            )
        return ResolvedModel(card.path, card)
    path = Path(name).expanduser()
    if path.suffix.lower() == ".gguf" or path.exists() or len(path.parts) > 1:
        return ResolvedModel(path, None)
    near = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
    hint = f"Did you mean {' or '.join(near)}? " if near else ""
    raise ModelNotFoundError(
        f"unknown model {name!r}", f"{hint}`edgefc models` lists the names; a path to a .gguf works as well."
    )


def _card(name: str, entry: Any) -> ModelCard:
    wanted = {field.name: field for field in fields(ModelCard) if field.name != "id"}
    if not isinstance(entry, dict):
        raise FormatError(f"models.toml: {name} must be a table")
    if unknown := entry.keys() - wanted.keys():
        raise FormatError(f"models.toml: {name} has the unknown key {min(unknown)!r}", f"Keys are {', '.join(wanted)}.")
    if missing := {"title", "family", "size", "context", "licence"} - entry.keys():
        raise FormatError(f"models.toml: {name} lacks {min(missing)!r}")
    values: dict[str, Any] = {key: tuple(value) if isinstance(value, list) else value for key, value in entry.items()}
    kinds = {"context": int, "embedded": bool, "unverified": tuple}
    for key, value in values.items():
        if not isinstance(value, kinds.get(key, str)):
            raise FormatError(f"models.toml: {name}.{key} has the wrong type")
    return ModelCard(id=name, **values)
