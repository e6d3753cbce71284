"""The lines of a chat: with editing, history and completion on a terminal, as they come from a pipe."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Protocol, TextIO, cast

from edgefc.cli.console import has_terminal, out

if TYPE_CHECKING:
    from prompt_toolkit.completion import Completer
    from prompt_toolkit.input import Input
    from prompt_toolkit.key_binding import KeyBindings, KeyPressEvent

QUOTES = '"""'  # around several lines, as in Ollama
Completions = Callable[[str], Iterable[str]]  # what the last word of a text may become


class ChatInput(Protocol):
    """Source of lines."""

    is_interactive: bool

    def read(self) -> str | None:
        """Return the next line, or the lines between two QUOTES; None at the end. Raises KeyboardInterrupt."""


def open_input(completions: Completions, *, with_history: bool) -> ChatInput:
    """Read from the terminal if there is one, else from stdin."""
    if sys.stdin.isatty() and has_terminal(out):
        return TerminalInput(completions, with_history=with_history)
    return PipedInput()


def is_open(text: str) -> bool:
    """Return True if a text begins with QUOTES that are not closed."""
    text = text.strip()
    return text.startswith(QUOTES) and (len(text) < 2 * len(QUOTES) or not text.endswith(QUOTES))


def unquoted(text: str) -> str:
    """Return a text without spaces and QUOTES around it."""
    text = text.strip()
    return text.removeprefix(QUOTES).removesuffix(QUOTES).strip() if text.startswith(QUOTES) else text


class PipedInput:
    """Lines of stdin, printed as if they were typed."""

    is_interactive = False

    def read(self) -> str | None:
        text = sys.stdin.readline()
        while is_open(text) and (line := sys.stdin.readline()):
            text += line
        if not text:
            return None
        out.print(f"> {text.rstrip()}")
        return text


class TerminalInput:
    """Lines that a user edits. Alt-Enter and Ctrl-J begin a new line, Tab completes commands."""

    is_interactive = True

    def __init__(self, completions: Completions, *, with_history: bool) -> None:
        from prompt_toolkit import PromptSession
        from prompt_toolkit.application import create_app_session
        from prompt_toolkit.history import InMemoryHistory
        from prompt_toolkit.output import create_output

        from edgefc import paths
        from edgefc.cli.history import ChatHistory

        history = ChatHistory(paths.cache_dir() / "chat-history") if with_history else InMemoryHistory()
        output = create_output(stdout=cast("TextIO", out.file))
        # The output of the application, not of the session, which would not write plainly for TERM=dumb.
        self._output, self._create_session = output, create_app_session
        with create_app_session(output=output):
            self._session: PromptSession[str] = PromptSession(
                history=history,
                completer=_completer(completions),
                complete_while_typing=False,
                key_bindings=_key_bindings(),
                multiline=True,
                prompt_continuation="… ",
            )

    def read(self) -> str | None:
        # In raw mode before the prompt is shown: otherwise the terminal turns Enter into a line feed, which is Ctrl-J.
        with self._session.input.raw_mode():
            keep_typed_ahead(self._session.input)
            while True:
                try:
                    with self._create_session(output=self._output):
                        return self._session.prompt("> ")
                except EOFError:
                    return None
                except KeyboardInterrupt:
                    if not self._session.default_buffer.text:
                        raise


def keep_typed_ahead(source: Input) -> None:
    """Give what was typed while there was no prompt to the next one, after what the last one left."""
    from prompt_toolkit.input.typeahead import store_typeahead
    from prompt_toolkit.key_binding.key_processor import KeyPress
    from prompt_toolkit.keys import Keys

    if sys.platform == "win32":  # its console keeps Enter as it is, and reading keys would wait for one
        return
    while typed := source.read_keys():
        store_typeahead(source, [KeyPress(Keys.Enter) if press.key == Keys.ControlJ else press for press in typed])


def _key_bindings() -> KeyBindings:
    from prompt_toolkit.key_binding import KeyBindings

    bindings = KeyBindings()

    @bindings.add("enter")
    def _(event: KeyPressEvent) -> None:
        buffer = event.current_buffer
        if buffer.complete_state is not None and buffer.complete_state.current_completion is not None:
            buffer.complete_state = None  # Enter accepts the completion, and a second one sends the line
        elif is_open(buffer.text):
            buffer.insert_text("\n")
        else:
            buffer.validate_and_handle()

    @bindings.add("escape", "enter")
    @bindings.add("c-j")
    def _(event: KeyPressEvent) -> None:
        event.current_buffer.insert_text("\n")

    return bindings


def _completer(completions: Completions) -> Completer:
    from prompt_toolkit.completion import CompleteEvent, Completer, Completion
    from prompt_toolkit.document import Document

    class CommandCompleter(Completer):
        """Completes commands and their arguments; questions are left alone."""

        def get_completions(self, document: Document, complete_event: CompleteEvent) -> Iterable[Completion]:
            del complete_event
            text = document.text_before_cursor
            if text.startswith("/"):
                word = text.rpartition(" ")[2]
                for candidate in completions(text):
                    yield Completion(candidate, start_position=-len(word))

    return CommandCompleter()
