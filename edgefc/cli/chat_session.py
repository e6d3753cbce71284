"""A conversation in the terminal: its messages, and the commands that a user can type.

Nothing loses a conversation silently: each change can be taken back with `/undo`, and an answer that was stopped stays.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from rich.text import Text

from edgefc.cli import chat_commands
from edgefc.cli.answerers import Answerer, open_answerer
from edgefc.cli.chat_input import unquoted
from edgefc.cli.choice import resolve
from edgefc.cli.console import CallApproval, confirm, count_of, cut_error, err, out, print_error
from edgefc.cli.conversation import drop_oldest, load_messages, save_messages, stop_answer, system_message, turns
from edgefc.cli.live import AnswerView
from edgefc.cli.mcp_tools import Follower
from edgefc.cli.options import GenerationOptions, QuestionOptions
from edgefc.cli.tool_rounds import answer_with_tools
from edgefc.cli.trace_view import print_trace
from edgefc.errors import ContextOverflowError, EdgefcError, ModelLoadError, ModelNotFoundError, RequestError
from edgefc.terminal import single_line

if TYPE_CHECKING:
    from edgefc.chat.reply import Reply
    from edgefc.tools import ToolSet
    from edgefc.types import Message

FULL_SHARE = 0.75  # of the context: from here on, the user is warned; after dropping turns, at most this much is used
MAX_UNDO = 100


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A conversation before a change."""

    messages: list[Message]
    system: str | None


class ChatSession:
    """The conversation so far, and the commands a user can type."""

    def __init__(self, answerer: Answerer, tools: ToolSet, options: QuestionOptions, approval: CallApproval) -> None:
        self.answerer, self.tools, self._open_options = answerer, tools, options
        self.options: GenerationOptions = options.generation()
        self._approval, self._follower = approval, Follower(tools, approval)
        self.last_reply: Reply | None = None
        self._last_question: str | None = None
        self._before_question = Snapshot([], None)
        self._undo: list[Snapshot] = []
        self._has_warned = self._is_tracing = False
        self.system: str | None = None
        self.messages: list[Message] = []
        self._set_system(self._with_date(options.system))
        self._commands: dict[str, Callable[[str], None]] = {
            "/help": lambda _: out.print(chat_commands.HELP),
            "/tools": lambda _: chat_commands.print_tools(self.tools, self.last_reply),
            "/system": lambda text: self._start_over(self._with_date(text) or ""),
            "/reset": lambda _: self._start_over(self.system or ""),
            "/retry": lambda _: self._retry(),
            "/undo": lambda _: self._take_back(),
            "/trim": self._trim,
            "/save": self._save,
            "/load": self._load,
            "/model": self._change_model,
            "/set": self._set_option,
            "/tokens": lambda _: self._print_tokens(),
            "/stats": lambda _: chat_commands.print_stats(self.last_reply),
            "/trace": self._set_trace,
        }

    def close(self) -> None:
        self.answerer.close()

    def greet(self, *, has_examples: bool) -> None:
        """Print the model and, with `has_examples`, the names of the example tools."""
        server = f" · {url}" if (url := getattr(self.answerer, "url", "")) else ""
        title = f" · {self.answerer.family} · {self.answerer.n_ctx} tokens{server} · /help"
        out.print(Text.assemble((single_line(self.answerer.name), "bold"), single_line(title)))
        if has_examples:
            out.print(f"example tools: {', '.join(self.tools.names)} (the weather is invented)", style="dim")
        if self.answerer.name == "demo":
            out.print("The demo model is tiny: it can call tools and do little else.", style="dim")

    def handle(self, line: str) -> bool:
        """Answer a question or run a command; False if the user wants to leave."""
        line = line.strip()
        word, _, rest = line.partition(" ")
        word = chat_commands.ALIASES.get(word, word)
        if word == "/exit":
            return False
        try:
            if not word.startswith("/"):
                if question := unquoted(line):
                    self._answer(question)
            elif (command := self._commands.get(word)) is not None:
                command(unquoted(rest))
            else:
                err.print(f"unknown command {single_line(word)}; /help lists the commands")
        except EdgefcError as error:
            print_error(error)
        return True

    def completions(self, text: str) -> Iterable[str]:
        """Return what the last word of a command line may become."""
        return chat_commands.completions(text)

    def _set_trace(self, text: str) -> None:
        if text not in {"", "on", "off"}:
            raise RequestError(
                "trace", f"must be on or off, not {text!r}", "Without a word, /trace shows the last one."
            )
        if not text:
            print_trace(self.last_reply)
            return
        self._is_tracing = text == "on"
        out.print(
            f"answers are {'traced: /trace shows the last one' if self._is_tracing else 'not traced'}", style="dim"
        )

    # -- answers ------------------------------------------------------------------------------------------------

    def _answer(self, question: str) -> None:
        """Answer a question. After an error the conversation is as it was before."""
        before = self._snapshot()
        self._last_question, self._before_question = question, before
        messages: list[Message] = [*self.messages, {"role": "user", "content": question}]
        view = AnswerView()
        options = {**self.options.keywords(), **({"trace": True} if self._is_tracing else {})}
        try:
            self.tools = self._follower.updated(self.tools)
            result = answer_with_tools(self.answerer, messages, self.tools, options, view=view, approval=self._approval)
        except KeyboardInterrupt:
            is_kept = stop_answer(messages, view.text, len(before.messages) + 1)
            note = "what was answered so far is kept; /undo takes it back" if is_kept else "the question is taken back"
            out.print(f"\n(stopped: {note}, /retry asks again)", style="dim")
            if is_kept:
                self._change(messages)
        except ContextOverflowError as error:
            self._handle_overflow(question, messages, error)
        else:
            self._change(result.messages)
            self.last_reply = result.reply
            if (cut := cut_error(result.reply, view.progress.open_location)) is not None:
                is_full = result.reply.end_reason == "context"
                out.print(f"({cut.reason}{'; /trim drops the oldest turns' if is_full else ''})", style="yellow")
            self._warn_if_nearly_full(result.reply)

    def _handle_overflow(self, question: str, messages: list[Message], error: ContextOverflowError) -> None:
        """Offer to drop the oldest turns, and ask again."""
        if len(turns(self.messages)) == 0:
            hint = "Ask less at once, offer fewer tools, or load the model with a larger --n-ctx."
            print_error(EdgefcError(f"the question has {error.prompt_tokens:,} tokens with the tools, but the context "
                                    f"holds only {error.n_ctx:,}, including the answer", hint))  # fmt: skip
            return
        err.print(
            f"The conversation no longer fits into the context: {error.prompt_tokens:,} of {error.n_ctx:,} tokens, "
            "and the answer needs some.",
            style="yellow",
        )
        shorter, dropped = drop_oldest(messages, self._count, self._room)
        if not confirm(f"Drop the {count_of(dropped, 'oldest turn')}?"):
            err.print("nothing was changed: /trim drops the oldest turns, /reset all, /save FILE keeps a copy")
            return
        self._change(shorter[:-1])
        self._answer(question)

    @property
    def _room(self) -> int:
        return int(FULL_SHARE * self.answerer.n_ctx)

    def _count(self, messages: list[Message]) -> int:
        return self.answerer.count_tokens(messages, self.tools)

    def _warn_if_nearly_full(self, reply: Reply) -> None:
        used = reply.usage["prompt_tokens"] + reply.usage["completion_tokens"]
        is_nearly_full = used > self._room
        if is_nearly_full and not self._has_warned:
            out.print(
                f"(context: {used:,} of {self.answerer.n_ctx:,} tokens are used; /trim drops the oldest turns)",
                style="yellow",
            )
        self._has_warned = is_nearly_full

    def _retry(self) -> None:
        if self._last_question is None:
            err.print("no question yet")
            return
        if self.messages != self._before_question.messages:
            self._change(list(self._before_question.messages))
        out.print(f"> {self._last_question}", style="dim")
        self._answer(self._last_question)

    # -- changes ------------------------------------------------------------------------------------------------

    def _snapshot(self) -> Snapshot:
        return Snapshot(list(self.messages), self.system)

    def _change(self, messages: list[Message], system: str | None = None) -> None:
        """Replace the conversation; `/undo` brings the earlier one back."""
        self._undo = [*self._undo, self._snapshot()][-MAX_UNDO:]
        self.messages = messages
        self.system = self.system if system is None else system or None

    def _take_back(self) -> None:
        if not self._undo:
            err.print("nothing to undo")
            return
        snapshot = self._undo.pop()
        self.messages, self.system = snapshot.messages, snapshot.system
        out.print(f"took the last change back: {chat_commands.describe(self.messages)}", style="dim")

    def _with_date(self, text: str | None) -> str | None:
        """Return a system message with the date, if the model is to know it."""
        return system_message(text, self.tools, date=self._open_options.date)

    def _set_system(self, text: str | None) -> None:
        from edgefc.chat.prompt import conversation

        self.system = text or None
        self.messages = conversation([], self.system)

    def _start_over(self, system: str) -> None:
        from edgefc.chat.prompt import conversation

        count = chat_commands.describe(self.messages)
        self._change(conversation([], system or None), system)
        self._last_question, self._has_warned = None, False
        out.print(f"started over; {count} forgotten, /undo brings back", style="dim")

    def _trim(self, text: str) -> None:
        """Drop a number of the oldest turns, or as many as leave room in the context."""
        if text and not (text.isascii() and text.isdecimal()):
            err.print("/trim takes a number of turns")
            return
        if not turns(self.messages):
            err.print("no turns to drop")
            return
        if text:
            shorter, dropped = drop_oldest(self.messages, self._count, 0, at_most=int(text))
        else:
            shorter, dropped = drop_oldest(self.messages, self._count, min(self._room, self._count(self.messages) - 1))
        self._change(shorter)
        self._has_warned = False
        out.print(f"dropped {count_of(dropped, 'turn')}; /undo brings back", style="dim")
        self._print_tokens()

    def _save(self, name: str) -> None:
        if name:
            save_messages(name, self.messages)
        else:
            err.print("/save needs a file name")

    def _load(self, name: str) -> None:
        if not name:
            err.print("/load needs a file name")
            return
        messages = load_messages(name)
        tokens = self._count(messages)
        system = next((str(message.get("content")) for message in messages if message["role"] == "system"), "")
        self._change(messages, system)
        self._last_question, self._has_warned = None, False
        out.print(f"loaded {chat_commands.describe(messages)}, {tokens:,} tokens", style="dim")

    def _print_tokens(self) -> None:
        used = self._count(self.messages) if self.messages else 0
        out.print(f"{used:,} of {self.answerer.n_ctx:,} tokens, {count_of(len(turns(self.messages)), 'turn')}")

    def _set_option(self, text: str) -> None:
        self.options = chat_commands.changed_options(self.options, text)

    def _change_model(self, name: str) -> None:
        """Load another model and go on with the conversation. If that fails, the model stays."""
        if not name:
            out.print(single_line(f"{self.answerer.name} ({self.answerer.family})"))
            return
        if self._open_options.url is None:
            resolve(name)
        options, old = replace(self._open_options, family=None), self.answerer
        try:
            self.answerer = open_answerer(name, options)
        except ModelLoadError:  # perhaps there is not enough memory for both
            old.close()
            try:
                self.answerer = open_answerer(name, options)
            except EdgefcError:
                self.answerer = open_answerer(old.source, self._open_options)
                raise
        else:
            old.close()
        self._open_options = options
        self._has_warned, self.last_reply = False, None
        self.greet(has_examples=False)
        with suppress(ModelNotFoundError):
            self._print_tokens()
