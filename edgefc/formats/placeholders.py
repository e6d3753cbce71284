"""Placeholders in the templates of answers."""

from __future__ import annotations


def split_at_placeholder(template: str) -> tuple[str, str, str]:
    """Split a template into the text before its first placeholder, the placeholder, and the rest."""
    positions = [(template.find(name), name) for name in ("{functions}", "{text}") if name in template]
    if not positions:
        return template, "", ""
    index, name = min(positions)
    return template[:index], name, template[index + len(name) :]
