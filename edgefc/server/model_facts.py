"""Facts about the served models, loaded or not, from their files' headers and their cards."""

from __future__ import annotations

import functools
import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgefc import gguf, inspection
from edgefc.errors import EdgefcError, FormatError
from edgefc.gguf import Header, memory
from edgefc.models import registry, store
from edgefc.models.quantization import UNNAMED, quantization_in_header, quantization_of
from edgefc.models.registry import ModelCard, ResolvedModel
from edgefc.server.model_pool import ServedModel

CAPABILITIES = ("completion", "tools")  # Ollama's words; every model can call tools here


@dataclass(frozen=True, slots=True)
class ModelFacts:
    """Facts about a model's file. Texts are "" and numbers 0 where neither header nor card states them.

    family     chat format
    context    tokens that a request may have: as loaded, else as a server would load it
    trained    tokens of the contexts that the model was trained on
    size_label the number of parameters as text, such as `1.5B`; `parameters` as a number
    modified   time of the file's last change, in seconds since 1970
    digest     sha256 of the file if edgefc fetched it, else of its path and state: clients show its beginning as an id
    """

    architecture: str = ""
    family: str = ""
    thinks: bool = False
    context: int = 0
    trained: int = 0
    size_label: str = ""
    parameters: int = 0
    quantization: str = ""
    licence: str = ""
    size: int = 0
    modified: float = 0.0
    digest: str = ""

    @property
    def capabilities(self) -> tuple[str, ...]:
        """The model's abilities, in Ollama's words."""
        return (*CAPABILITIES, "thinking") if self.thinks else CAPABILITIES

    def to_json(self) -> dict[str, Any]:
        """Return the facts of `/v1/models`, those that are known."""
        facts: dict[str, Any] = {
            "family": self.family, "architecture": self.architecture, "n_ctx_train": self.trained,
            "parameters": self.size_label, "quantization": self.quantization, "licence": self.licence,
            "size": self.size,
        }  # fmt: skip
        return {name: value for name, value in facts.items() if value}


def facts_of(entry: ServedModel) -> ModelFacts:
    """Read the facts about a served model, which may be unloaded meanwhile; none of a file that cannot be read."""
    model = entry.model
    try:
        found = registry.resolve(entry.source)
    except EdgefcError:
        found = None
    if model is not None and (found is None or found.path != model.path):
        found = ResolvedModel(model.path, None)
    if found is None:
        return ModelFacts()
    family = None if model is None else (model.family.name, bool(model.family.syntax.think_begin))
    try:
        status = found.path.stat()
        return _read(found.path, found.card, family, status.st_mtime, status.st_size)
    except (OSError, EdgefcError):  # such as a folder without weights, which another server computes
        if model is None or family is None:
            return ModelFacts()
        return ModelFacts(family=family[0], thinks=family[1], context=model.n_ctx)


@functools.lru_cache(maxsize=64)
def _read_header(path: Path, modified: float, size: int) -> tuple[Header, str, bool, str]:
    """Read a header, the chat format that the file gets, whether it thinks, and the file's hash."""
    header = gguf.read_model(path)
    digest = store.recorded_hash(path) or hashlib.sha256(f"{path} {modified} {size}".encode()).hexdigest()
    try:
        family, _ = inspection.family_of(str(path))
    except FormatError:  # a template that cannot be used
        return header, "", False, digest
    return header, family.name, bool(family.syntax.think_begin), digest


def _read(
    path: Path, card: ModelCard | None, family: tuple[str, bool] | None, modified: float, size: int
) -> ModelFacts:
    header, name, thinks, digest = _read_header(path, modified, size)
    if family is not None:
        name, thinks = family
    label = _text(header, "general.size_label") or (card.size if card else "")
    quantization = quantization_of(path.name)
    if quantization == UNNAMED:
        quantization = quantization_in_header(header.metadata.get("general.file_type"))
    return ModelFacts(
        architecture=header.architecture,
        family=name,
        thinks=thinks,
        context=memory.usual_context(header),
        trained=header.number("context_length") or 0,
        size_label=label,
        parameters=round(card.parameters * 1e9) if card else 0,
        quantization="" if quantization == UNNAMED else quantization,
        licence=(card.licence if card else "") or _text(header, "general.license"),
        size=size,
        modified=modified,
        digest=digest,
    )


def _text(header: Header, key: str) -> str:
    value = header.metadata.get(key)
    return value if isinstance(value, str) else ""
