"""The formats of draft 2020-12, as grammars/formats.gbnf has them."""

from __future__ import annotations

import functools

from edgefc import paths
from edgefc.grammar.gbnf_reader import GbnfRules
from edgefc.grammar.rules import Node


@functools.lru_cache(maxsize=1)
def _formats() -> GbnfRules:
    return GbnfRules((paths.root() / "grammars" / "formats.gbnf").read_text(encoding="utf-8"))


FORMATS = (
    "date-time", "date", "time", "duration", "email", "idn-email", "hostname", "idn-hostname", "ipv4", "ipv6", "uri",
    "uri-reference", "iri", "iri-reference", "uri-template", "json-pointer", "relative-json-pointer", "uuid", "regex",
)  # fmt: skip


def format_node(name: str) -> Node | None:
    """What a string of this format matches; None for a format of one's own, which asserts nothing.

    Raises GrammarError when the file is damaged.
    """
    return _formats()[name] if name in FORMATS else None
