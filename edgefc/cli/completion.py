"""Names for the shell's Tab key. Nothing here imports the engine: the shell waits for it at each key."""

from __future__ import annotations

from edgefc.errors import EdgefcError


def complete_models(incomplete: str) -> list[str]:
    """Return the models of this machine whose name begins so; for `serve` and `rm` as well."""
    return [name for name in model_names() if name.startswith(incomplete)]


def complete_families(incomplete: str) -> list[str]:
    """Return the chat formats whose name begins so."""
    from edgefc import formats

    try:
        return [name for name in sorted(formats.family_names()) if name.startswith(incomplete)]
    except EdgefcError:
        return []


def model_names() -> list[str]:
    """Return the names of the models on this machine."""
    from edgefc.models import aliases, other_programs, store

    try:
        stored = [model.name for model in store.stored_models()]
    except EdgefcError:
        stored = []
    return ["demo", *aliases.load(), *stored, *(model.name for model in other_programs.found_models())]
