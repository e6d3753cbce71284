"""The commands of a chat that need no conversation: their help, completion, and what they print."""

from __future__ import annotations

import dataclasses
import glob
import json
import os
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from edgefc.cli.completion import model_names
from edgefc.cli.console import LONGEST_CELL, count_of, out
from edgefc.cli.options import GenerationOptions, tool_choice_from
from edgefc.errors import RequestError
from edgefc.terminal import single_line

if TYPE_CHECKING:
    from edgefc.chat.reply import Reply
    from edgefc.tools import ToolSet
    from edgefc.types import Message

COMMANDS = {
    "/help": ("", "show this list"),
    "/tools": ("", "list the tools and their parameters"),
    "/system": ("TEXT", "start over with this system message; without TEXT, with none"),
    "/reset": ("", "start over"),
    "/retry": ("", "ask the last question again"),
    "/undo": ("", "take back the last answer, /reset, /load or /trim"),
    "/trim": ("[N]", "drop the oldest turns: N, or as many as leave room in the context"),
    "/save": ("FILE", "write the conversation as JSON"),
    "/load": ("FILE", "go on with a saved conversation"),
    "/model": ("[NAME]", "go on with another model"),
    "/set": ("[NAME VALUE]", "show options, or set one: temperature 0.7, max_tokens 500, seed default"),
    "/tokens": ("", "count the tokens of the conversation"),
    "/stats": ("", "show what the last answer cost"),
    "/trace": ("[on|off]", "show how the last answer came about; on: trace the next ones"),
    "/exit": ("", "leave (also Ctrl-D)"),
}
ALIASES = {"/bye": "/exit", "/quit": "/exit", "/?": "/help", "/clear": "/reset"}
_WIDTH = max(len(f"{name} {argument}") for name, (argument, _) in COMMANDS.items())
HELP = "\n".join(
    [
        *(f"{f'{name} {argument}':<{_WIDTH}}  {text}" for name, (argument, text) in COMMANDS.items()),
        'Alt-Enter or Ctrl-J begins a new line; so does Enter between """ and """. Ctrl-C stops an answer.',
    ]
)
# Sources of the part of a prompt that does not have to be computed.
CACHE_SOURCES = {"slot": "the previous answer", "copy": "another request", "memory": "memory", "disk": "disk"}
_OPTIONS = {field.name for field in dataclasses.fields(GenerationOptions)}
DEFAULT = "default"


def completions(text: str) -> Iterable[str]:
    """Return what the last word of a command line may become."""
    command, space, argument = text.partition(" ")
    if not space:
        return [name for name in COMMANDS if name.startswith(command)]
    if command == "/model":
        return [name for name in model_names() if name.startswith(argument)]
    if command in {"/save", "/load"}:
        return [
            f"{path}/" if os.path.isdir(path) else path  # noqa: PTH112 - the text as it was typed is completed
            for path in sorted(glob.glob(f"{glob.escape(argument)}*"))  # noqa: PTH207
        ]
    if command == "/set" and " " not in argument:
        return [name for name in sorted(_OPTIONS) if name.startswith(argument)]
    return []


def describe(messages: list[Message]) -> str:
    """Return the size of a conversation in words."""
    return count_of(len(messages), "message")


def changed_options(options: GenerationOptions, text: str) -> GenerationOptions:
    """Set an option as `/set NAME VALUE` does and return the options; without a text, print them.

    Raises RequestError.
    """
    name, _, written = text.partition(" ")
    name, written = name.strip().replace("-", "_"), written.strip()
    if not name:
        for key, value in options.keywords().items():
            out.print(single_line(f"{key} {value if isinstance(value, str) else json.dumps(value)}"))
        rest = sorted(_OPTIONS - options.keywords().keys())
        out.print(f"at their default: {', '.join(rest)}", style="dim")
        return options
    if name not in _OPTIONS or not written:
        raise RequestError("set", f"unknown option {name!r}" if written else "needs a name and a value",
                           f"Options are {', '.join(sorted(_OPTIONS))}.")  # fmt: skip
    value = _parsed(name, written)
    out.print(f"{name} {DEFAULT if value is None else single_line(written)}", style="dim")
    return dataclasses.replace(options, **{name: value})


def _parsed(name: str, written: str) -> Any:
    if written == DEFAULT:
        return None
    if name == "tool_choice":
        return tool_choice_from(written)
    try:
        value = json.loads({"on": "true", "off": "false"}.get(written.lower(), written))
    except ValueError:
        value = written
    is_flag = name in {"parallel_tool_calls", "allow_repeated_calls"}
    if not (isinstance(value, bool) if is_flag else isinstance(value, int | float) and not isinstance(value, bool)):
        raise RequestError("set", f"{name} must be {'on or off' if is_flag else 'a number'}, not {written!r}")
    return value


def print_tools(tools: ToolSet, reply: Reply | None) -> None:
    """Print a line for each tool, and a mark before those that the model was shown for an answer, if not all."""
    selection = None if reply is None else reply.selection
    for tool in tools:
        function = tool["function"]
        mark = "" if selection is None else "* " if function["name"] in selection.tools else "  "
        parameters = ", ".join(function.get("parameters", {}).get("properties", {}))
        out.print(single_line(f"{mark}{function['name']}({parameters})  {function.get('description', '')}"))
    if not len(tools):
        out.print("no tools")
    if selection is not None:
        out.print(
            f"* shown to the model for the last question, {len(selection.tools)} of {selection.total}: all have "
            f"{selection.tokens:,} tokens, the limit is {selection.budget:,} (/set tool_budget)",
            style="dim",
        )


def print_stats(reply: Reply | None) -> None:
    """Print what an answer cost."""
    if reply is None:
        out.print("no answer yet")
        return
    stats = reply.stats
    if reply.selection is not None:
        out.print(single_line(reply.selection.describe(), limit=LONGEST_CELL))
    source = f" from {CACHE_SOURCES[stats.cached_from]}" if stats.cached_from else ""
    text = f"prompt {stats.prompt_tokens} tokens ({stats.cached_tokens} cached{source}), answer "
    if not stats.model_steps:  # of a server, which does not tell more
        text += f"{stats.completion_tokens} ({stats.forced_tokens} forced); "
        out.print(f"{text}{stats.prefill_s:.2f} s + {stats.decode_s:.2f} s")
        return
    out.print(
        f"{text}{stats.completion_tokens} ({stats.sampled_tokens} sampled, {stats.forced_tokens} forced; "
        f"{stats.accepted_tokens} of {stats.drafted_tokens} drafted tokens accepted) "
        f"in {stats.model_steps} model steps; {stats.prefill_s:.2f} s + {stats.decode_s:.2f} s; "
        f"grammar {stats.constraint_us_per_sampled_token:.0f} µs per sampled token"
    )
