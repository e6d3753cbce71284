"""Which family a GGUF belongs to, told from its metadata."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from edgefc.errors import FormatError
from edgefc.formats.family import Family, family_names, load_family
from edgefc.formats.own import generic, with_own_template

BUILT_IN, OWN = "built in", "the model's own"


@dataclass(frozen=True, slots=True)
class Detection:
    """A family's name, what gave it away, whose chat template is used, and why not the model's own if it has one."""

    family: str
    reason: str
    template: str = BUILT_IN
    note: str = ""


def detect(metadata: Mapping[str, object], file_name: str = "") -> Detection:
    """The family of a model file.

    In this order: a version that its chat template states, text that only one family's template has, the model's or
    the file's name, and text of the widely used templates. Names come before the latter because fine-tunes keep the
    template of the model they began with; the longest name wins, so that Arch-Function-Chat is not taken for
    Arch-Function. What nothing fits is `generic`.
    """
    families = [load_family(name) for name in family_names()]
    template = str(metadata.get("tokenizer.chat_template") or "")
    versions = [(m, f) for f in families for m in f.match.get("template", ()) if "=" in m and m in template]
    if versions:
        mark, family = versions[0]
        return Detection(family.name, f"its chat template states {mark.strip()!r}")
    told = _by_template([f for f in families if not f.prompt.get("own")], template)
    if told:
        return told
    for key in ("general.name", "general.basename", "file name"):
        text = _plain(file_name if key == "file name" else str(metadata.get(key) or ""))
        found = [
            (not f.prompt.get("own"), len(m), f.name, m)
            for f in families
            for m in f.match.get("name", ())
            if _plain(m) in text and _fits(f, template)
        ]
        if found:
            *_, name, match = max(found)
            return Detection(name, f"{key} contains {match!r}")
    told = _by_template(families, template)
    if told:
        return told
    if template:
        return Detection("generic", "neither its name nor its chat template is that of a family edgefc knows")
    return Detection("generic", "it has no chat template, and its name is that of no family edgefc knows")


def family_of(
    metadata: Mapping[str, object], file_name: str = "", name: str | None = None, *, eos: str = ""
) -> tuple[Family, Detection]:
    """The family of a model file with the chat template to use, and how that was found.

    name  the family to take, if it is known
    eos   the text of the end-of-sequence token, which some templates write

    Raises FormatError when there is no such family, or its file's template can render nothing.
    """
    detection = detect(metadata, file_name) if name is None else Detection(name, "it was named")
    family = load_family(detection.family)
    source = str(metadata.get("tokenizer.chat_template") or "")
    if not family.prompt.get("own") or not source:
        return family, detection
    try:
        made = (generic if family.name == "generic" else with_own_template)(family, source, eos=eos)
    except FormatError as error:
        if family.name == "generic":
            raise
        return family, replace(detection, note=error.reason)
    return made, replace(detection, template=OWN)


def _by_template(families: list[Family], template: str) -> Detection | None:
    matched = [
        (len(m), f.name, m)
        for f in families
        for m in f.match.get("template", ())
        if m in template and _fits(f, template)
    ]
    if not matched:
        return None
    _, name, match = max(matched)
    return Detection(name, f"its chat template contains {match!r}")


def _fits(family: Family, template: str) -> bool:
    """A name says what a model was trained on, but not that its turns survived the next fine-tune."""
    return not template or all(text in template for text in family.match.get("also", ()))


def _plain(name: str) -> str:
    return name.lower().replace("_", "-").replace(" ", "-")
