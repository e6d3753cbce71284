"""Which family a GGUF belongs to, told from its metadata."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from edgefc.errors import FormatError
from edgefc.formats.family import family_names, load_family


@dataclass(frozen=True, slots=True)
class Detection:
    """A family's name, and what gave it away."""

    family: str
    reason: str


def detect(metadata: Mapping[str, object], file_name: str = "") -> Detection:
    """The family of a model file: by its name first, then by its chat template.

    A name comes before a template because fine-tunes keep the template of the model they began with. The longest
    match wins, so that Arch-Function-Chat is not taken for Arch-Function. Raises FormatError when nothing fits.
    """
    families = [load_family(name) for name in family_names()]
    template = str(metadata.get("tokenizer.chat_template") or "")
    versioned = [(m, f.name) for f in families for m in f.match_template if "family=" in m and m in template]
    if versioned:
        return Detection(versioned[0][1], "its chat template names the family")
    for key in ("general.name", "general.basename", "file name"):
        text = _plain(file_name if key == "file name" else str(metadata.get(key) or ""))
        found = [(len(m), f.name, m) for f in families for m in f.match_name if _plain(m) in text]
        # A name says what a model was trained on, but not that ChatML survived the next fine-tune.
        if template and "<|im_start|>" not in template:
            found = [entry for entry in found if entry[1] == "demo"]
        if found:
            _, family, match = max(found)
            return Detection(family, f"{key} contains {match!r}")
    chatml = "<|im_start|>" in template
    matched = [(len(m), f.name, m) for f in families for m in f.match_template if m in template]
    if matched and chatml:
        _, family, match = max(matched)
        return Detection(family, f"its chat template contains {match!r}")
    if chatml:
        return Detection("hermes", "its chat template is ChatML")
    raise FormatError(
        "the model's family cannot be told from its file",
        f"Name it with family=… (--family on the command line); there are {', '.join(family_names())}.",
    )


def _plain(name: str) -> str:
    return name.lower().replace("_", "-").replace(" ", "-")
