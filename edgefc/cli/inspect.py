"""`edgefc render`, `grammar` and `show`: print a prompt, the grammar of answers, and the facts about a model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from typer import Option

from edgefc.cli.choice import chosen_model, model_and_question
from edgefc.cli.console import LONGEST_CELL, err, out, print_json, write
from edgefc.cli.conversation import system_message
from edgefc.cli.options import (
    DateOption,
    FamilyOption,
    JsonOption,
    LoraFilesOption,
    ModelArgument,
    ModelOption,
    NoParallelOption,
    NoToolsOption,
    SystemOption,
    ToolChoiceOption,
    ToolsArgument,
    ToolsOption,
    WordsArgument,
    tool_choice_from,
    tools_from,
)
from edgefc.errors import RequestError
from edgefc.terminal import single_line

if TYPE_CHECKING:
    from edgefc import formats
    from edgefc.models.registry import ResolvedModel
    from edgefc.types import Message

MessagesOption = Annotated[Path | None, Option(help="Conversation: a .json file with OpenAI messages.")]
NoThinkingOption = Annotated[bool, Option("--no-thinking", help="Tell the model not to think before it answers.")]
IdsOption = Annotated[bool, Option("--ids", help="Print token ids of --model's tokenizer instead of text.")]
CheckOption = Annotated[bool, Option("--check", help="Also load the tokenizer, and compare a tokenizer.json with it.")]
SyntaxOption = Annotated[str, Option(help="Chat format whose call syntax is used.")]


def render(
    words: WordsArgument = None,
    messages: MessagesOption = None,
    tools: ToolsOption = None,
    no_tools: NoToolsOption = False,
    tool_choice: ToolChoiceOption = "auto",
    no_thinking: NoThinkingOption = False,
    family: FamilyOption = None,
    system: SystemOption = None,
    date: DateOption = None,
    ids: IdsOption = False,
    model: ModelOption = None,
) -> None:
    """Print the exact prompt that a model would see."""
    from edgefc import inspection
    from edgefc.chat.prompt import render_prompt
    from edgefc.models import registry
    from edgefc.tools import ToolSet, parse_tool_choice

    name, question = model_and_question(words, model, has_stdin=messages is None)
    toolset = ToolSet.of([]) if no_tools else tools_from(tools)
    has_own = messages is not None and date is None
    text = system if has_own else system_message(system, toolset, date=date)
    conversation = _conversation(question or None, messages, text)
    choice = parse_tool_choice(tool_choice_from(tool_choice), toolset)
    thinking = False if no_thinking else None
    found = registry.resolve(name)
    chat_format = _chat_format(found, family)
    if ids:
        tokenizer = inspection.tokenizer_of(found)
        rendered = render_prompt(chat_format, tokenizer, conversation, toolset, choice=choice, thinking=thinking)
        print_json(rendered.ids)
    else:
        write(chat_format.render(conversation, toolset, choice=choice, thinking=thinking).text)


def grammar(
    tools: ToolsArgument = None,
    family: SyntaxOption = "demo",
    tool_choice: ToolChoiceOption = "auto",
    no_parallel: NoParallelOption = False,
) -> None:
    """Print the GBNF grammar of all answers that a model may give with these tools."""
    from edgefc import formats
    from edgefc.grammar import compile_output
    from edgefc.tools import parse_tool_choice

    toolset = tools_from(tools)
    choice = parse_tool_choice(tool_choice_from(tool_choice), toolset)
    chat_format = formats.load_family(family)
    syntax = chat_format.syntax_for(toolset, choice)
    text = compile_output(syntax, toolset, choice, parallel=not no_parallel).gbnf
    write(text)
    tokens = chat_format.missing_tokens(frozenset())
    if spelled := [token for token in tokens if token.replace('"', '\\"') in text]:
        # GBNF has no notation for a token that does not depend on the vocabulary.
        note = f"note: GBNF has {', '.join(spelled)} as letters; edgefc itself accepts only the tokens of these texts"
        err.print(note, style="dim")


def show(
    model: ModelArgument = None,
    model_option: ModelOption = None,
    family: FamilyOption = None,
    check: CheckOption = False,
    lora: LoraFilesOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show a model's file, tokenizer and chat format, and why that format was chosen."""
    from edgefc import inspection

    facts = inspection.describe(chosen_model(model, model_option), family, check_tokenizer=check, lora=lora)
    if as_json:
        print_json(facts)
        return
    width = max(map(len, facts))
    for key, value in facts.items():
        text = "; ".join(map(str, value)) if isinstance(value, list) else str(value)
        if key in {"bytes", "memory"}:
            text = f"{value / 1e6:,.1f} MB"
        if not text:
            continue
        out.print(f"{key.replace('_', ' '):<{width}}  {single_line(text, limit=LONGEST_CELL)}")


def _chat_format(found: ResolvedModel, family: str | None) -> formats.Family:
    """Find the chat format; with the demo model, any family can be named."""
    from edgefc import formats, inspection

    if family is not None and found.name == "demo":
        return formats.load_family(family)
    return inspection.family_of(found, family)[0]


def _conversation(prompt: str | None, path: Path | None, system: str | None) -> list[Message]:
    """Build the messages from a file, a system message before them and a question after them."""
    from edgefc.chat.prompt import conversation

    messages: list[Message] = []
    if path is not None:
        try:
            data = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise RequestError("messages", f"{path}: {error}") from None
        messages = data.get("messages", []) if isinstance(data, dict) else data
        if not isinstance(messages, list):
            raise RequestError("messages", f"{path}: must hold a list of messages")
    messages = conversation(messages, system)
    if prompt is not None:
        messages += conversation(prompt)
    if not messages:
        raise RequestError("messages", "nothing to render", "Give a question, or --messages FILE.")
    return messages
