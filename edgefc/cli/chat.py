"""`edgefc chat`: a conversation in the terminal."""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import edgefc
from edgefc import paths
from edgefc.cli.app import print_error
from edgefc.cli.options import asker, err, given, load_model, out, show_result, tools_of
from edgefc.errors import EdgefcError
from edgefc.tools import ToolLike, as_tools
from edgefc.types import Delta, Message

HELP = """\
/help          this list
/tools         the tools and what they take
/system TEXT   begin anew with this system message; without TEXT, with none
/reset         forget the conversation
/save FILE     write the conversation as JSON
/stats         what the last answer cost
/exit          leave (as do Ctrl-D, and Ctrl-C at an empty prompt)"""

# Where the part of a prompt that is not computed comes from.
SOURCES = {"slot": "the answer before", "copy": "another request", "memory": "memory", "disk": "disk"}


def chat(
    model: str,
    tools: Path | None,
    *,
    no_tools: bool,
    system: str | None,
    yes: bool,
    load: dict[str, Any],
    options: dict[str, Any],
) -> None:
    """Talk until the user leaves."""
    offered, own = tools_of(tools)
    with load_model(model, load) as loaded:
        conversation = Conversation(loaded, [] if no_tools else offered, system, ask=own and not yes, options=options)
        conversation.greet(examples=not own and not no_tools)
        for line in _lines():
            if not conversation.handle(line):
                return


class Conversation:
    """What was said so far, and what can be done about it."""

    def __init__(
        self,
        model: edgefc.Model,
        tools: Sequence[ToolLike],
        system: str | None,
        *,
        ask: bool,
        options: dict[str, Any],
    ) -> None:
        self.model, self.tools, self.ask = model, tools, ask
        self.options = given(options)
        self.messages: list[Message] = []
        self.last: edgefc.Reply | None = None
        self._begin(system)
        self.commands: dict[str, Callable[[str], None]] = {
            "/help": lambda _: out.print(HELP, markup=False),
            "/tools": lambda _: self._show_tools(),
            "/reset": lambda _: self._begin(self.system),
            "/system": lambda text: self._begin(text or None),
            "/save": self._save,
            "/stats": lambda _: self._show_stats(),
        }

    def greet(self, *, examples: bool) -> None:
        out.print(f"[bold]{self.model.name}[/] · {self.model.family.name} · {self.model.n_ctx} tokens · /help")
        if examples:
            names = ", ".join(tool["function"]["name"] for tool in as_tools(self.tools)[0])
            out.print(f"[dim]example tools: {names} (the weather is made up)[/]")
        if self.model.name == "demo":
            out.print("[dim]The demo model is tiny: it knows tools and hardly anything else.[/]")

    def handle(self, line: str) -> bool:
        """Deal with a line; False when the user wants to leave."""
        line = line.strip()
        if line in {"/exit", "/quit"}:
            return False
        if not line:
            return True
        word, _, rest = line.partition(" ")
        if word.startswith("/"):
            command = self.commands.get(word)
            if command is None:
                err.print(f"there is no {word}; /help lists what there is", markup=False)
            else:
                command(rest.strip())
            return True
        self._answer(line)
        return True

    def _answer(self, line: str) -> None:
        """One answer. What goes wrong, or Ctrl-C, leaves the conversation as it was before."""
        before = list(self.messages)
        self.messages.append({"role": "user", "content": line})
        try:
            result = self.model.run(
                self.messages,
                tools=self.tools,
                on_call=asker(ask=self.ask),
                on_result=show_result,
                on_delta=_show,
                **self.options,
            )
            out.print()
            self.messages, self.last = result.messages, result.reply
            if result.reply.outcome == "length":
                err.print("(cut off: the context or --max-tokens is used up)")
        except KeyboardInterrupt:
            out.print("\n[dim](stopped)[/]")
            self.messages = before
        except EdgefcError as error:
            out.print()
            print_error(error)
            self.messages = before

    def _begin(self, system: str | None) -> None:
        self.system = system
        self.messages = [] if system is None else [{"role": "system", "content": system}]

    def _show_tools(self) -> None:
        for tool in as_tools(self.tools)[0]:
            function = tool["function"]
            taken = ", ".join(function.get("parameters", {}).get("properties", {}))
            out.print(f"{function['name']}({taken})  {function.get('description', '')}", markup=False)

    def _show_stats(self) -> None:
        if self.last is None:
            out.print("nothing was answered yet")
            return
        stats = self.last.stats
        source = f", from {SOURCES[stats.cached_from]}" if stats.cached_from else ""
        out.print(
            f"prompt {stats.prompt_tokens} tokens ({stats.cached_tokens} cached{source}), "
            f"answer {stats.completion_tokens} ({stats.sampled_tokens} sampled, {stats.forced_tokens} forced; "
            f"{stats.accepted_tokens} of {stats.drafted_tokens} drafted were right) "
            f"in {stats.model_steps} model steps; {stats.prefill_s:.2f} s + {stats.decode_s:.2f} s; "
            f"grammar {stats.constraint_us_per_sampled_token:.0f} µs a sampled token"
        )

    def _save(self, name: str) -> None:
        if not name:
            err.print("/save needs a file name")
            return
        try:
            Path(name).write_text(json.dumps(self.messages, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")
        except OSError as error:
            err.print(f"could not write {name}: {error.strerror}", markup=False)
        else:
            out.print(f"saved {len(self.messages)} messages to {name}", markup=False)


def _show(delta: Delta) -> None:
    if text := delta.get("content"):
        out.print(text, end="", markup=False)


def _lines() -> Iterator[str]:
    """Lines the user types: with history and editing on a terminal, plainly from a pipe."""
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        for line in sys.stdin:
            out.print(f"> {line.rstrip()}", markup=False)
            yield line
        return
    from prompt_toolkit import PromptSession
    from prompt_toolkit.history import FileHistory, History, InMemoryHistory

    history: History = InMemoryHistory()
    with contextlib.suppress(OSError):  # a home that cannot be written only costs the history
        paths.cache_dir().mkdir(parents=True, exist_ok=True)
        history = FileHistory(str(paths.cache_dir() / "chat-history"))
    session: PromptSession[str] = PromptSession(history=history)
    while True:
        try:
            yield session.prompt("> ")
        except EOFError:
            return
        except KeyboardInterrupt:
            if not session.default_buffer.text:
                return
