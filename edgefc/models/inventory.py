"""All models on this machine: the embedded one, edgefc's own, those of other programs and of the user's models.toml."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from edgefc.errors import StoreError
from edgefc.gguf.adapter import Lora
from edgefc.models import other_programs, registry, store
from edgefc.models.cards import ModelCard
from edgefc.models.manifest import StoredModel

OWN = "edgefc"


@dataclass(frozen=True, slots=True)
class LocalModel:
    """A model on this machine.

    name     for `edgefc run` and all other commands
    size     in bytes
    program  the program that fetched it: OWN, another one's name, or "models.toml"
    id       of its card, or of a file of the user's own; "" without one
    lora     adapters that are loaded with it
    facts    of a model that edgefc stored, as `store.to_json` has them
    """

    name: str
    path: Path
    size: int
    family: str
    licence: str
    program: str
    id: str
    quantization: str = ""
    facts: Mapping[str, Any] = field(default_factory=dict)
    lora: tuple[Lora, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Return the model as the CLI prints it with `--json`."""
        return {
            "name": self.name,
            "path": str(self.path),
            "bytes": self.size,
            "id": self.id,
            "family": self.family,
            "licence": self.licence,
            "quantization": self.quantization,
            "lora": [dataclasses.asdict(lora) for lora in self.lora],
            **self.facts,
            "program": self.program,
        }


def models_here(cards: Mapping[str, ModelCard], problems: list[StoreError] | None = None) -> list[LocalModel]:
    """List all models, each file once; the reasons why others are left out are added to `problems`."""
    models = [model for card in cards.values() if (model := _of_card(card)) is not None]
    models += [
        LocalModel(
            m.name,
            m.path,
            m.size,
            m.family,
            m.licence,
            OWN,
            m.id,
            m.quantization,
            store.to_json(m),
            _loras(cards.get(m.id)),
        )
        for m in store.stored_models(problems)
    ]
    seen = {_file_id(model.path) for model in models}
    for found in other_programs.found_models():
        if (file_id := _file_id(found.path)) in seen:
            continue
        seen.add(file_id)
        card = registry.card_of(found, cards)
        family, licence, id_ = (card.family, card.licence, card.id) if card else ("", "", "")
        models.append(
            LocalModel(
                found.name,
                found.path,
                found.size,
                family,
                licence,
                found.program,
                id_,
                found.quantization,
                {},
                _loras(card),
            )
        )
    return models


def get_own(name: str) -> StoredModel:
    """Find a model that edgefc stored, by name or alias. Raises ModelNotFoundError, StoreError for others'."""
    name = registry.plain_name(name)
    card = registry.cards().get(name)
    if card is not None and card.embedded:
        raise StoreError(f"{card.title} is part of edgefc", "It is not among the models that edgefc pulled.")
    if card is not None and card.local_path:
        raise StoreError(f"{name} is the file {card.path}", "It belongs to you; its entry is in your models.toml.")
    if (stored := registry.find_stored(name, registry.find_card(name))) is not None:
        return stored
    if (found := other_programs.find(name)) is not None:
        raise StoreError(
            f"{found.name} belongs to {found.program}", f"`edgefc pull {found.name}` makes it edgefc's as well."
        )
    return store.get(name)


def _of_card(card: ModelCard) -> LocalModel | None:
    """Return the model whose card states its path; None if the file is missing."""
    size = _size(card.path) if card.path is not None else None
    if card.path is None or size is None:
        return None
    program = OWN if card.embedded else "models.toml"
    return LocalModel(card.id, card.path, size, card.family, card.licence, program, card.id, lora=card.lora)


def _loras(card: ModelCard | None) -> tuple[Lora, ...]:
    return card.lora if card else ()


def _size(path: Path) -> int | None:
    try:
        return path.stat().st_size
    except (OSError, ValueError):
        return None


def _file_id(path: Path) -> tuple[int, int] | str:
    """Return what hard and symbolic links to one file have in common."""
    try:
        status = path.stat()
    except OSError:
        return str(path)
    return (status.st_dev, status.st_ino)
