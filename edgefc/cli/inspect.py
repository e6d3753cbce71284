"""`edgefc render`, `grammar` and `show`: see what goes in, what may come out, and what a model is."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from edgefc import formats, inspection
from edgefc.cli.options import choice_of, out, print_json, tools_of
from edgefc.errors import RequestError
from edgefc.grammar import compile_output
from edgefc.tools import as_tools, check_tools, parse_tool_choice
from edgefc.types import Message, Tool, ToolChoice


def render(
    prompt: str | None,
    messages: Path | None,
    tools: Path | None,
    *,
    no_tools: bool,
    tool_choice: str,
    thinking: bool | None,
    family: str | None,
    system: str | None,
    model: str,
    ids: bool,
) -> None:
    """Print a prompt's text, or its token ids as a model's tokenizer has them."""
    conversation = _conversation(prompt, messages, system)
    offered = None if no_tools else _schemas(tools)
    choice = _choice(tool_choice, offered or [])
    chat_format = _family(model, family)
    if not ids:
        text = chat_format.render(conversation, offered, choice=choice, thinking=thinking).text
        sys.stdout.write(text)
        return
    tokenizer = inspection.tokenizer_of(model)
    special = tokenizer.special_tokens
    shown = chat_format.render(conversation, offered, choice=choice, thinking=thinking, special_tokens=special)
    print_json(tokenizer.encode(shown, bos=chat_format.bos))


def grammar(tools: Path | None, *, family: str, tool_choice: str, parallel: bool) -> None:
    """Print GBNF; needs no model."""
    offered = _schemas(tools)
    choice = _choice(tool_choice, offered)
    syntax = formats.load_family(family).syntax_for(offered, choice)
    sys.stdout.write(compile_output(syntax, offered, choice, parallel=parallel).gbnf)


def show(model: str, *, family: str | None, as_json: bool) -> None:
    """What is known of a model without loading its weights."""
    facts = inspection.describe(model, family)
    if as_json:
        print_json(facts)
        return
    width = max(map(len, facts))
    for key, value in facts.items():
        text = "; ".join(map(str, value)) if isinstance(value, list) else str(value)
        out.print(f"{key.replace('_', ' '):<{width}}  {text}", markup=False)


def _family(model: str, family: str | None) -> formats.Family:
    """The named family, or the model's; a family by name needs no model."""
    if family is not None and model == "demo":
        return formats.load_family(family)
    return inspection.family_of(model, family)[0]


def _choice(name: str, offered: list[Tool]) -> ToolChoice:
    return parse_tool_choice(choice_of(name), offered)


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
