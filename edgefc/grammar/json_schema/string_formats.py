"""String formats of draft 2020-12, read from grammars/formats.gbnf."""

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
    """Return the node of strings in this format; None for any other format, which asserts nothing.

    Raises GrammarError if the file is damaged.
    """
    return _formats()[name] if name in FORMATS else None
