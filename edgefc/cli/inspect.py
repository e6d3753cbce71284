"""`edgefc render`, `grammar` and `models`: see what goes in, what may come out, and what there is."""

from __future__ import annotations

import dataclasses
import json
import sys
from pathlib import Path

import edgefc
from edgefc import formats, registry
from edgefc.cli.common import out, print_json, tools_of
from edgefc.errors import RequestError
from edgefc.grammar import compile_output
from edgefc.tools import as_tools, check_tools, parse_tool_choice
from edgefc.types import Message, Tool


def render(
    prompt: str | None,
    messages: Path | None,
    tools: Path | None,
    *,
    no_tools: bool,
    family: str,
    system: str | None,
    model: str | None,
) -> None:
    """Print a prompt's text, or with a model its token ids."""
    conversation = _conversation(prompt, messages, system)
    offered = [] if no_tools else _schemas(tools)
    if model is None:
        sys.stdout.write(formats.load_family(family).render(conversation, offered).text)
        return
    with edgefc.load(model) as loaded:
        print_json(loaded.engine.tokenizer.encode(loaded.render(conversation, offered)))


def grammar(tools: Path | None, *, family: str, tool_choice: str, parallel: bool) -> None:
    """Print GBNF; needs no model."""
    offered = _schemas(tools)
    named = tool_choice not in {"auto", "none", "required"}
    choice = parse_tool_choice(
        {"type": "function", "function": {"name": tool_choice}} if named else tool_choice, offered
    )
    syntax = formats.load_family(family).syntax
    sys.stdout.write(compile_output(syntax, offered, choice, parallel=parallel).gbnf)


def models(*, as_json: bool) -> None:
    """List models.toml."""
    cards = list(registry.cards().values())
    if as_json:
        print_json([{**dataclasses.asdict(card), "path": str(card.path) if card.path else None} for card in cards])
        return
    rows = [("id", "size", "family", "context", "licence", "on this machine")]
    rows += [(c.id, c.size, c.family, str(c.context), c.licence, "yes" if c.path else "no") for c in cards]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        out.print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip(), markup=False)
    out.print("\nAny other GGUF: give its path. Families: " + ", ".join(formats.family_names()))


def _schemas(path: Path | None) -> list[Tool]:
    offered, _ = tools_of(path)
    return check_tools(as_tools(offered)[0])


def _conversation(prompt: str | None, path: Path | None, system: str | None) -> list[Message]:
    messages: list[Message] = []
    if path is not None:
        try:
            data = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise RequestError("messages", f"{path}: {error}") from None
        messages = data.get("messages", []) if isinstance(data, dict) else data
    if system is not None:
        messages.insert(0, {"role": "system", "content": system})
    if prompt is not None:
        messages.append({"role": "user", "content": prompt})
    if not messages:
        raise RequestError("messages", "there is nothing to render", "Give a question, or --messages FILE.")
    return messages
