"""`edgefc chat`: a conversation in the terminal."""

from __future__ import annotations

import json
import os
import sys
from collections import deque
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Annotated, TextIO, cast

from rich.text import Text
from typer import Option

import edgefc
from edgefc.cli.console import call_approval, err, has_terminal, out, print_cut, print_delta, print_error, print_result
from edgefc.cli.loading import find_model, load_model
from edgefc.cli.options import (
    TOOL_TIMEOUT_S,
    ContextOption,
    FamilyOption,
    GenerationOptions,
    GpuLayersOption,
    LoadOptions,
    MaxTokensOption,
    ModelArgument,
    NoToolsOption,
    RunWithoutAskingOption,
    SeedOption,
    SystemOption,
    TemperatureOption,
    ToolsOption,
    ToolTimeoutOption,
    TranscriptsOption,
    tools_from,
)
from edgefc.errors import EdgefcError
from edgefc.terminal import single_line

if TYPE_CHECKING:
    from edgefc.tools import ToolSet
    from edgefc.types import Message

HELP = """\
/help          show this list
/tools         list the tools and their parameters
/system TEXT   start over with this system message; without TEXT, with none
/reset         forget the conversation
/save FILE     write the conversation as JSON
/stats         show what the last answer cost
/exit          leave (also Ctrl-D, or Ctrl-C at an empty prompt)"""

NoHistoryOption = Annotated[bool, Option("--no-history", help="Do not store the lines that you type.")]

# Sources of the part of a prompt that does not have to be computed.
CACHE_SOURCES = {"slot": "the previous answer", "copy": "another request", "memory": "memory", "disk": "disk"}


def chat(
    model: ModelArgument = "demo",
    tools: ToolsOption = None,
    no_tools: NoToolsOption = False,
    system: SystemOption = None,
    yes: RunWithoutAskingOption = False,
    tool_timeout: ToolTimeoutOption = TOOL_TIMEOUT_S,
    no_history: NoHistoryOption = False,
    transcripts: TranscriptsOption = None,
    family: FamilyOption = None,
    n_ctx: ContextOption = None,
    n_gpu_layers: GpuLayersOption = None,
    temperature: TemperatureOption = None,
    seed: SeedOption = None,
    max_tokens: MaxTokensOption = None,
) -> None:
    """Chat with a model that calls tools. Type /help for commands; Ctrl-C stops an answer."""
    from edgefc.tools import ToolSet

    load = LoadOptions(family=family, n_ctx=n_ctx, n_gpu_layers=n_gpu_layers, transcripts=transcripts)
    generation = GenerationOptions(temperature=temperature, seed=seed, max_tokens=max_tokens)
    toolset = ToolSet.of([]) if no_tools else tools_from(tools, tool_timeout)
    with load_model(find_model(model), load) as loaded:
        session = ChatSession(loaded, toolset, system, ask=tools is not None and not yes, options=generation)
        session.greet(examples=tools is None and not no_tools)
        for line in _input_lines(with_history=not no_history):
            if not session.handle(line):
                return


class ChatSession:
    """The conversation so far, and the commands a user can type."""

    def __init__(
        self, model: edgefc.Model, tools: ToolSet, system: str | None, *, ask: bool, options: GenerationOptions
    ) -> None:
        """With `ask`, the user is asked before a tool runs."""
        self.model, self.tools, self.ask = model, tools, ask
        self.options = options.keywords()
        self.messages: list[Message] = []
        self.last_reply: edgefc.Reply | None = None
        self.system: str | None = None
        self._start_over(system)
        self.commands: dict[str, Callable[[str], None]] = {
            "/help": lambda _: out.print(HELP),
            "/tools": lambda _: self._print_tools(),
            "/reset": lambda _: self._start_over(self.system),
            "/system": lambda text: self._start_over(text or None),
            "/save": self._save,
            "/stats": lambda _: self._print_stats(),
        }

    def greet(self, *, examples: bool) -> None:
        """Print the model and, with `examples`, the names of the example tools."""
        title = f" · {self.model.family.name} · {self.model.n_ctx} tokens · /help"
        out.print(Text.assemble((single_line(self.model.name), "bold"), title))
        if examples:
            out.print(f"example tools: {', '.join(self.tools.names)} (the weather is invented)", style="dim")
        if self.model.name == "demo":
            out.print("The demo model is tiny: it can call tools and do little else.", style="dim")

    def handle(self, line: str) -> bool:
        """Answer a question or run a command; False if the user wants to leave."""
        line = line.strip()
        if line in {"/exit", "/quit"}:
            return False
        word, _, rest = line.partition(" ")
        if not word.startswith("/"):
            if line:
                self._answer(line)
        elif (command := self.commands.get(word)) is not None:
            command(rest.strip())
        else:
            err.print(f"unknown command {word}; /help lists the commands")
        return True

    def _answer(self, question: str) -> None:
        """Answer a question. After an error or Ctrl-C the conversation is as it was before."""
        before = list(self.messages)
        self.messages.append({"role": "user", "content": question})
        probabilities: deque[float] = deque()
        try:
            result = self.model.run(
                self.messages,
                tools=self.tools,
                on_call=call_approval(ask=self.ask, probabilities=probabilities),
                on_reply=lambda reply: probabilities.extend(_probabilities(reply)),
                on_result=print_result,
                on_delta=print_delta,
                **self.options,
            )
            out.print()
            self.messages, self.last_reply = result.messages, result.reply
            print_cut(result.reply)
        except KeyboardInterrupt:
            out.print("\n(stopped)", style="dim")
            self.messages = before
        except EdgefcError as error:
            out.print()
            print_error(error)
            self.messages = before

    def _start_over(self, system: str | None) -> None:
        from edgefc.chat.prompt import conversation

        self.system = system
        self.messages = conversation([], system)

    def _print_tools(self) -> None:
        for tool in self.tools:
            function = tool["function"]
            parameters = ", ".join(function.get("parameters", {}).get("properties", {}))
            out.print(single_line(f"{function['name']}({parameters})  {function.get('description', '')}"))

    def _print_stats(self) -> None:
        if self.last_reply is None:
            out.print("no answer yet")
            return
        stats = self.last_reply.stats
        source = f" from {CACHE_SOURCES[stats.cached_from]}" if stats.cached_from else ""
        out.print(
            f"prompt {stats.prompt_tokens} tokens ({stats.cached_tokens} cached{source}), "
            f"answer {stats.completion_tokens} ({stats.sampled_tokens} sampled, {stats.forced_tokens} forced; "
            f"{stats.accepted_tokens} of {stats.drafted_tokens} drafted tokens accepted) "
            f"in {stats.model_steps} model steps; {stats.prefill_s:.2f} s + {stats.decode_s:.2f} s; "
            f"grammar {stats.constraint_us_per_sampled_token:.0f} µs per sampled token"
        )

    def _save(self, name: str) -> None:
        from edgefc.chat.recorder import PRIVATE

        if not name:
            err.print("/save needs a file name")
            return
        try:
            text = json.dumps(self.messages, ensure_ascii=False, indent=2) + "\n"
            with open(name, "wb", opener=lambda path, flags: os.open(path, flags, PRIVATE)) as file:
                file.write(text.encode("utf-8", "replace"))
        except OSError as error:
            err.print(f"could not write {name}: {error.strerror}")
        else:
            out.print(f"saved {len(self.messages)} messages to {name}")


def _probabilities(reply: edgefc.Reply) -> list[float]:
    """Return P(call) × P(tool) of the calls of a reply."""
    calls = () if reply.confidence is None else reply.confidence.calls
    return [call.probability for call in calls[: len(reply.tool_calls)]]


def _input_lines(*, with_history: bool) -> Iterator[str]:
    """Yield the lines a user types: with editing on a terminal, as they come from a pipe."""
    if not (sys.stdin.isatty() and has_terminal(out)):
        for line in sys.stdin:
            out.print(f"> {line.rstrip()}")
            yield line
        return
    from prompt_toolkit import PromptSession
    from prompt_toolkit.application import create_app_session
    from prompt_toolkit.history import InMemoryHistory
    from prompt_toolkit.output import create_output

    from edgefc import paths
    from edgefc.cli.history import ChatHistory

    with create_app_session(output=create_output(stdout=cast("TextIO", out.file))):
        history = ChatHistory(paths.cache_dir() / "chat-history") if with_history else InMemoryHistory()
        session: PromptSession[str] = PromptSession(history=history)
        while True:
            try:
                yield session.prompt("> ")
            except EOFError:
                return
            except KeyboardInterrupt:
                if not session.default_buffer.text:
                    return
