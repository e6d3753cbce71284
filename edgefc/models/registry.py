"""Resolves a model's name to a file on this machine."""

from __future__ import annotations

import difflib
import logging
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from edgefc.errors import FormatError, ModelNotFoundError
from edgefc.models import aliases, other_programs, store
from edgefc.models.cards import ModelCard, Score, cards, own_cards
from edgefc.models.manifest import REPO_NAME, StoredModel
from edgefc.models.other_programs import FoundModel

log = logging.getLogger(__name__)
__all__ = [
    "ModelCard",
    "ResolvedModel",
    "Score",
    "card_of",
    "cards",
    "find_card",
    "find_stored",
    "licence_note",
    "local_path",
    "resolve",
]
_PREFIXES = ("hf.co/", "huggingface.co/", "ollama.com/", "registry.ollama.ai/", "library/")  # as Ollama's users write
_QUANTIZATION = re.compile(r"(?:iq|q|bf|fp|f)\d\w*")  # in a tag of Ollama, such as 1.5b-instruct-q4_K_M
_TUNED = {"instruct", "it", "chat", "latest"}  # words of a tag that add nothing to a card
SHORTEST_BEGINNING = 3  # characters of a model's name that stand for the whole
LONGEST_NAME = 200  # characters of a model's name in an error


@dataclass(frozen=True, slots=True)
class ResolvedModel:
    """A model file, its card when it has one, and the name that its user gave it or another program uses."""

    path: Path
    card: ModelCard | None
    own_name: str = ""

    @property
    def name(self) -> str:
        """The user's name or the card's id, else the file's name without its extension."""
        return self.own_name or (self.card.id if self.card else self.path.stem)


class NamedCard(NamedTuple):
    """A card, and the quantization that a name states with it, "" for none."""

    card: ModelCard
    quantization: str


def resolve(name: str | Path | ResolvedModel) -> ResolvedModel:
    """Find the file of a model on this machine by alias, id or OWNER/NAME, either with :QUANTIZATION, or by path.

    Names of Ollama are understood, and models of other programs are found; see `other_programs`. A ResolvedModel is
    returned as it is. Opens no connection. Raises ModelNotFoundError with a hint: the command that fetches the model,
    or similar names.
    """
    if isinstance(name, ResolvedModel):
        return name
    name = plain_name(str(name))
    path = local_path(name)
    if path.suffix.lower() == ".gguf":
        return ResolvedModel(path, None)
    all_cards = _cards_for(name)
    card = all_cards.get(name.partition(":")[0])
    if card is not None and card.path is not None:
        return ResolvedModel(card.path, card)
    if _exists(path):
        return ResolvedModel(path, None)
    named = find_card(name, all_cards)
    if (stored := find_stored(name, named)) is not None:
        own_name = "" if stored.id in all_cards else stored.id
        return ResolvedModel(stored.path, all_cards.get(stored.id) or (named.card if named else None), own_name)
    if (found := _find_elsewhere(name, named, all_cards)) is not None:
        return ResolvedModel(found.path, card_of(found, all_cards), found.name)
    if named is None and (full_name := _completed(name)):
        return resolve(full_name)
    raise _not_here(name, named, all_cards)


def _cards_for(name: str) -> dict[str, ModelCard]:
    """Return all cards; a malformed file of the user does not keep the embedded model from being used."""
    try:
        return cards()
    except FormatError as error:
        if name != "demo":
            raise
        log.warning("%s", error)
        return own_cards()


def local_path(name: str) -> Path:
    """Return a name as a path, with the user's home for a `~` at its beginning."""
    try:
        return Path(name).expanduser()
    except RuntimeError:  # no such user, or no home
        return Path(name)


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except (OSError, ValueError):  # no name that a file can have
        return False


def plain_name(name: str) -> str:
    """Return a model's name without an alias, and without the host before Ollama's names and those of a hub."""
    name = aliases.expand(name)
    for prefix in _PREFIXES:
        name = name.removeprefix(prefix)
    return name


def find_card(name: str, all_cards: Mapping[str, ModelCard] | None = None) -> NamedCard | None:
    """Find the card that a name means: an id, or a name in Ollama's library, either with a quantization."""
    all_cards = cards() if all_cards is None else all_cards
    base, _, tag = plain_name(name).partition(":")
    if base in all_cards:
        return NamedCard(all_cards[base], tag)
    siblings = _siblings(base, all_cards)
    size, *words = tag.lower().split("-")
    if size in {"", "latest"}:
        return NamedCard(siblings[0], "") if len(siblings) == 1 else None
    quantization = ""
    for word in words:
        if _QUANTIZATION.fullmatch(word):
            quantization = word.upper().replace("FP16", "F16")
        elif word not in _TUNED:
            return None
    full_name = f"{base.lower()}:{size}"
    return next((NamedCard(card, quantization) for card in siblings if card.ollama == full_name), None)


def card_of(found: FoundModel, all_cards: Mapping[str, ModelCard]) -> ModelCard | None:
    """Return the card of another program's model."""
    if found.repo:
        return next((card for card in all_cards.values() if card.repo.lower() == found.repo.lower()), None)
    named = find_card(found.name, all_cards) if found.program == "Ollama" else None
    return named.card if named else None


def _siblings(base: str, all_cards: Mapping[str, ModelCard]) -> list[ModelCard]:
    """Return the cards of one name in Ollama's library, the smallest first."""
    found = [card for card in all_cards.values() if card.ollama.partition(":")[0] == base.lower() != ""]
    return sorted(found, key=lambda card: card.parameters)


def find_stored(name: str, named: NamedCard | None) -> StoredModel | None:
    """Find the model that edgefc stored under a plain name, or under the id or repository of its card."""
    if (stored := store.find(name)) is not None or named is None:
        return stored
    for base in filter(None, (named.card.id, named.card.repo)):
        if (stored := store.find(f"{base}:{named.quantization}" if named.quantization else base)) is not None:
            return stored
    return None


def _find_elsewhere(name: str, named: NamedCard | None, all_cards: Mapping[str, ModelCard]) -> FoundModel | None:
    if (found := other_programs.find(name)) is not None or named is None:
        return found
    for found in other_programs.found_models():
        has_quantization = named.quantization.upper() in {"", found.quantization}
        if has_quantization and card_of(found, all_cards) == named.card:
            return found
    return None


def _completed(name: str) -> str:
    """Return the name of the only model on this machine that begins so; "" if there is none, or there are several."""
    key = name.lower()
    if len(key) < SHORTEST_BEGINNING:
        return ""
    names = {model.id or model.repo: model.name for model in reversed(store.stored_models())}
    names |= {model.name: model.name for model in other_programs.found_models()}
    begin = [full for short, full in names.items() if short.lower().startswith((f"{key}-", f"{key}:", f"{key}."))]
    return begin[0] if len(begin) == 1 else ""


def _not_here(name: str, named: NamedCard | None, all_cards: Mapping[str, ModelCard]) -> ModelNotFoundError:
    base = name.partition(":")[0]
    if named is not None and not (named.card.repo or named.card.package):
        card = named.card
        return ModelNotFoundError(f"{card.title} is not on this machine, and no GGUF of it is published", card.about)
    if named is not None or REPO_NAME.fullmatch(base):
        return ModelNotFoundError(
            f"{named.card.title if named else name} is not on this machine", f"`edgefc pull {name}` fetches it."
        )
    return unknown_model(name, all_cards)


def unknown_model(name: str, all_cards: Mapping[str, ModelCard]) -> ModelNotFoundError:
    """Build the error for a name that means nothing, with the nearest names."""
    base, _, tag = name.partition(":")
    if siblings := _siblings(base, all_cards):
        sizes = ", ".join(f"{card.ollama} ({card.id})" for card in siblings)
        reason = f"{base} has no {tag!r} here" if tag else f"{base!r} names several models"
        return ModelNotFoundError(reason, f"Name one of {sizes}.")
    similar = _similar(base, all_cards)
    hint = f"Did you mean {' or '.join(similar)}? " if similar else ""
    return ModelNotFoundError(
        f"unknown model {name[:LONGEST_NAME]!r}",
        f"{hint}`edgefc list --all` shows all names. OWNER/NAME of a repository and a path to a .gguf work as well.",
    )


def _similar(name: str, all_cards: Mapping[str, ModelCard]) -> list[str]:
    """Return at most three ids that a name may mean: those that begin so, the smallest first, else similar ones."""
    name = name[:LONGEST_NAME].lower()
    begin = [card for card in all_cards.values() if len(name) >= SHORTEST_BEGINNING and card.id.startswith(name)]
    if begin:
        begin.sort(key=lambda card: (not card.id.startswith(f"{name}-"), card.parameters))
        return [card.id for card in begin[:3]]
    bases: Iterable[str] = dict.fromkeys(card.ollama.partition(":")[0] for card in all_cards.values() if card.ollama)
    return difflib.get_close_matches(name, [*all_cards, *bases], n=3, cutoff=0.5)


def licence_note(card: ModelCard) -> str:
    """Return one line to show before a model's first use if its licence forbids commercial use, else ""."""
    if not card.non_commercial:
        return ""
    if {"licence", "non_commercial"} & set(card.unverified):
        return f"{card.title}: its licence ({card.licence}) may forbid commercial use; read it before using the model."
    return f"{card.title}: its licence ({card.licence}) forbids commercial use."
