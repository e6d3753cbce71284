"""Dialects that were found, in the cache folder: read without llama.cpp, by commands that load no model."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from edgefc import formats
from edgefc.engine.identity import model_identity
from edgefc.engine.model_entries import ModelEntries

_ENTRIES = ModelEntries("dialects.json", version=1, max_entries=256)


@dataclass(frozen=True, slots=True)
class Dialect:
    """The dialect of a model file.

    family    the chat format that fits its weights
    declared  share of the answers to questions that need a call that begin like a call of the detected family
    any_call  share of those that begin like a call in any spelling
    call      bias of the decision between call and text; None: as the family declares it
    auroc     how well that decision tells questions that need a call from others; None: not measured
    """

    family: str
    declared: float
    any_call: float
    call: float | None = None
    auroc: float | None = None

    def describe(self) -> str:
        """Return the finding in words."""
        text = (
            f"{self.family}: asked for a call, the model begins one in {self.any_call:.0%}, in its template's spelling "
            f"in {self.declared:.0%}"
        )
        if self.auroc is not None:
            text += f"; it tells questions that need a call from others with an AUROC of {self.auroc:.2f}"
        return text


def family_in_dialect(
    metadata: Mapping[str, object], file_name: str, dialect: Dialect, *, eos: str = ""
) -> tuple[formats.Family, formats.Detection]:
    """Return the family of a model file in its dialect, and the reason. Raises FormatError."""
    family, detection = formats.family_of(metadata, file_name, dialect.family, eos=eos)
    if family.decision is not None and dialect.call is not None:
        family = replace(family, decision=replace(family.decision, call=dialect.call))
    return family, replace(detection, reason=dialect.describe())


def stored(path: Path, adapters: int = 0) -> Dialect | None:
    """Return what was found about a model file; None if nothing was, or it cannot be read.

    adapters  the key of the LoRA adapters that it was loaded with, see `UsualAdapters`
    """
    try:
        entry = _ENTRIES.read().get(_key(path, adapters))
        return None if entry is None else _parse(entry)
    except (OSError, ValueError, TypeError):
        return None


def keep(path: Path, dialect: Dialect, adapters: int = 0) -> None:
    """Write what was found about a model file to the cache folder. Raises StoreError."""
    _ENTRIES.write(_key(path, adapters), asdict(dialect))


def _key(path: Path, adapters: int) -> str:
    return model_identity([path]) + (f"+{adapters:x}" if adapters else "")


def _parse(entry: Any) -> Dialect:
    dialect = Dialect(**entry)
    numbers = [dialect.declared, dialect.any_call]
    numbers += [number for number in (dialect.call, dialect.auroc) if number is not None]
    if dialect.family not in formats.family_names() or not all(
        isinstance(number, int | float) and math.isfinite(number) for number in numbers
    ):
        raise ValueError("invalid dialect")
    return dialect
