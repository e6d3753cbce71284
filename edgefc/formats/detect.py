"""Detects the family of a GGUF from its metadata."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

from edgefc.errors import FormatError
from edgefc.formats import response_template
from edgefc.formats.family import Family, family_names, load_family
from edgefc.formats.model_template import with_model_template, with_tools_as_text

CHAT_TEMPLATE = "tokenizer.chat_template"
MAX_NAME = 1000  # characters of a model's name that are read
BUILT_IN_TEMPLATE, MODEL_TEMPLATE = "built in", "the model's own"


class VocabularyFacts(Protocol):
    """The part of a tokenizer that decides on warnings."""

    @property
    def special_tokens(self) -> frozenset[str]: ...
    @property
    def notes(self) -> Sequence[str]: ...


@dataclass(frozen=True, slots=True)
class Detection:
    """A model file's family.

    family    its name
    reason    the evidence for it, in words
    template  the chat template in use: BUILT_IN_TEMPLATE or MODEL_TEMPLATE
    note      why the template in the file is not used, "" if it is or there is none
    """

    family: str
    reason: str
    template: str = BUILT_IN_TEMPLATE
    note: str = ""

    def warnings(self, family: Family, tokenizer: VocabularyFacts) -> list[str]:
        """List everything a user should know about the file's prompts: template, control tokens and tokenizer."""
        notes = [self.note] if self.note else []
        notes += [
            f"missing control token {token!r}: {family.name} models have it, this vocabulary does not"
            for token in family.missing_tokens(tokenizer.special_tokens)
        ]
        return [*notes, *tokenizer.notes]


def detect(metadata: Mapping[str, object], file_name: str = "") -> Detection:
    """Find the family of a model file.

    In this order: a version that its chat template states, text that only one family's template has, the model's or
    the file's name, and text of the widely used templates. Names come before the latter because fine-tunes keep the
    template of their base model; the longest name wins, so that Arch-Function-Chat is not mistaken for
    Arch-Function. The fallback is `generic`.
    """
    families = [load_family(name) for name in family_names()]
    template = _text(metadata, CHAT_TEMPLATE)
    versions = [(m, f) for f in families for m in f.match.get("template", ()) if "=" in m and m in template]
    if versions:
        mark, family = versions[0]
        return Detection(family.name, f"its chat template states {mark.strip()!r}")
    return (
        _by_template([f for f in families if not f.prompt.get("own")], template)
        or _by_name(families, metadata, file_name, template)
        or _by_template(families, template)
        or Detection(
            "generic",
            "neither its name nor its chat template matches a known family"
            if template
            else "it has no chat template, and its name matches no known family",
        )
    )


def family_of(
    metadata: Mapping[str, object], file: str | Path = "", name: str | None = None, *, eos: str = ""
) -> tuple[Family, Detection]:
    """Return the family of a model file with the chat template to use, and how it was found.

    file  the file's name; its path, if the `tokenizer_config.json` beside it counts where no family is known
    name  the family, if the caller names it; None: detect it
    eos   the text of the end-of-sequence token, which some templates write

    Raises FormatError when there is no such family, or the file's template cannot be rendered.
    """
    source = _text(metadata, CHAT_TEMPLATE)
    if name == response_template.NAME:
        family = response_template.family_from(_response_template(file), source, eos=eos)
        return family, Detection(name, "it was named explicitly", MODEL_TEMPLATE)
    file_name = file.name if isinstance(file, Path) else file
    detection = detect(metadata, file_name) if name is None else Detection(name, "it was named explicitly")
    if name is None and detection.family == "generic" and (spec := _response_template(file)):
        try:
            family = response_template.family_from(spec, source, eos=eos)
        except FormatError as error:
            detection = replace(detection, note=f"the response_template beside it is not used: {error.reason}")
        else:
            reason = f"{response_template.CONFIG} beside it has a response_template, and its chat template agrees"
            return family, Detection(family.name, reason, MODEL_TEMPLATE)
    family = load_family(detection.family)
    if family.prompt.get("own") and not isinstance(metadata.get(CHAT_TEMPLATE, ""), str):
        raise FormatError("the model's chat template is no text, or too long", "Name the chat format with --family.")
    if not family.prompt.get("own") or not source:
        return family, detection
    has_instructions = "instructions" in family.prompt
    try:
        adapted = (with_tools_as_text if has_instructions else with_model_template)(family, source, eos=eos)
    except FormatError as error:
        if has_instructions:
            raise
        return family, replace(detection, note=error.reason)
    return adapted, replace(detection, template=MODEL_TEMPLATE)


def _response_template(file: str | Path) -> Mapping[str, Any]:
    return (response_template.read_beside(file) if isinstance(file, Path) else None) or {}


def _by_template(families: Sequence[Family], template: str) -> Detection | None:
    """Match text of the chat template; the longest match wins."""
    matches = [
        (len(m), f.name, m)
        for f in families
        for m in f.match.get("template", ())
        if m in template and _has_required_text(f, template)
    ]
    if not matches:
        return None
    _, name, match = max(matches)
    return Detection(name, f"its chat template contains {match!r}")


def _by_name(
    families: Sequence[Family], metadata: Mapping[str, object], file_name: str, template: str
) -> Detection | None:
    """Match the model's name in the file, then the file's name; a name of one family beats one that many share."""
    for key in ("general.name", "general.basename", "file name"):
        text = _normalize(file_name if key == "file name" else _text(metadata, key)[:MAX_NAME])
        matches = [
            (not f.prompt.get("own"), len(m), f.name, m)
            for f in families
            for m in f.match.get("name", ())
            if _normalize(m) in text and _has_required_text(f, template)
        ]
        if matches:
            *_, name, match = max(matches)
            return Detection(name, f"{key} contains {match!r}")
    return None


def _has_required_text(family: Family, template: str) -> bool:
    """Check `match.also`: a name tells what a model was trained on, but a fine-tune may have replaced its turns."""
    return not template or all(text in template for text in family.match.get("also", ()))


def _text(metadata: Mapping[str, object], key: str) -> str:
    """Return a text of the metadata; "" for one that is missing, of another type, or too long to be kept."""
    value = metadata.get(key)
    return value if isinstance(value, str) else ""


def _normalize(name: str) -> str:
    return name.lower().replace("_", "-").replace(" ", "-")
