"""Spellings of calls beside a family's own: their declaration, `chat_formats/spellings.toml`, and how to find them.

A call in such a spelling counts only where an answer begins with it, so that text about calls stays text.
"""

from __future__ import annotations

import functools
import re
import tomllib
from collections.abc import Callable, Collection
from typing import Literal, NamedTuple

from edgefc import paths
from edgefc.errors import FormatError
from edgefc.formats.encodings.literals import LiteralReader
from edgefc.formats.json_text import BlankNormalizer, JsonEnd
from edgefc.formats.message_builder import MessageBuilder
from edgefc.grammar import spelled
from edgefc.grammar.automata import Automaton, automaton
from edgefc.grammar.rules import Node
from edgefc.grammar.strings import escaped_inside
from edgefc.types import CallSpellings

FILE_NAME = "spellings.toml"
MAX_NAME = 256  # characters of a tool's name, where any name is read


@functools.lru_cache(maxsize=64)
def load_spellings(around: tuple[str, ...]) -> CallSpellings:
    """Return the spellings with these marks around calls, by their names in the declaration. Raises FormatError."""
    declared = tomllib.loads((paths.root() / "chat_formats" / FILE_NAME).read_text(encoding="utf-8"))
    marks: dict[str, list[str]] = declared["around"]
    if unknown := [name for name in around if name not in marks]:
        hint = f"Spellings are {', '.join(marks)}."
        raise FormatError(f"unknown spelling {unknown[0]!r} in calls.spellings", hint)
    each = [template for templates in declared["each"].values() for template in templates]
    python = [template for templates in declared["python"].values() for template in templates]
    return CallSpellings(tuple((marks[name][0], marks[name][1]) for name in around), tuple(each), tuple(python))


@functools.cache
def every_spelling() -> CallSpellings:
    """Return all declared spellings."""
    declared = tomllib.loads((paths.root() / "chat_formats" / FILE_NAME).read_text(encoding="utf-8"))
    return load_spellings(tuple(declared["around"]))


def begins_like_call(text: str) -> bool:
    """Return whether a text begins like a call in any spelling, or may do so when more of it comes."""
    if not text.strip():
        return False
    forms = (form for form in spelled.call_forms(every_spelling()) if not form.is_python)
    matches = (_shortest_match(form.before_name, text) for form in forms)
    return any(size is not None or may_continue for size, may_continue in matches)


class _FoundCall(NamedTuple):
    """The beginning of a call: its length up to the arguments, the tool's name, and how the call is written."""

    size: int
    name: str
    form: spelled.CallForm


class SpelledCallReader:
    """Reads calls from a stream into a message. `names` are the tools; None: every name is one's.

    n_complete  calls that were read to the end of their arguments
    has_ended   whether no further call can follow
    """

    def __init__(self, spellings: CallSpellings, names: Collection[str] | None) -> None:
        self.n_complete, self.has_ended = 0, False
        self._raw_names = None if names is None else tuple(names)
        self._names = None if names is None else {escaped_inside(name): name for name in names}
        self._forms = spelled.call_forms(spellings)
        self._tail = spelled.calls_tail(spellings)
        self._form = self._forms[0]
        self._is_first, self._in_arguments, self._is_closed = True, False, True
        self._arguments: _JsonArguments | LiteralReader = _JsonArguments()

    @property
    def is_between_calls(self) -> bool:
        """True from the end of a call's arguments until the next call is opened by its name."""
        return self.n_complete > 0 and not self._in_arguments

    def may_begin(self, text: str) -> bool | None:
        """Return whether a text begins with a call; None: it may yet turn out to."""
        found = self._find(text)
        return found if found is None else bool(found)

    def read(self, text: str, message: MessageBuilder) -> str:
        """Read the calls in a text as far as they can be told, and return the rest."""
        while True:
            if self._in_arguments:
                text = self._read_arguments(text, message)
                if self._in_arguments:
                    return text
            if not self._is_closed:
                size, may_continue = _shortest_match(self._form.after_arguments, text)
                if size is None and may_continue:
                    return text
                text, self._is_closed = text[size or 0 :], True
            found = self._find(text)
            if found is None:
                return text
            if not found:
                self.has_ended = True
                return text[_longest_match(self._tail, text) :]
            self._form, self._is_first = found.form, False
            self._in_arguments, self._is_closed = True, False
            self._arguments = LiteralReader("=", ")") if found.form.is_python else _JsonArguments()
            message.open_call(found.name)
            text = text[found.size :]

    def _read_arguments(self, text: str, message: MessageBuilder) -> str:
        rest = self._arguments.read(text, message.add_arguments)
        if self._arguments.is_complete:
            self._in_arguments = False
            self.n_complete += 1
        return rest

    def _find(self, text: str) -> _FoundCall | Literal[False] | None:
        """Return the call that a text begins with, or that follows another one; None: it may yet turn out to."""
        may_become = False
        for form in self._forms:
            if form.is_python:
                in_python = self._find_in_python(text, form)
                if in_python:
                    return in_python
                may_become = may_become or in_python is None
                continue
            size, may_continue = _shortest_match(form.before_name if self._is_first else form.next_name, text)
            if size is None:
                may_become = may_become or may_continue
                continue
            found = self._find_name(text[size:], form.before_arguments)
            if found:
                return _FoundCall(size + found[1], found[0], form)
            may_become = may_become or found is None
        return None if may_become else False

    def _find_in_python(self, text: str, form: spelled.CallForm) -> _FoundCall | Literal[False] | None:
        """Return the call that a text begins with as Python has it, or that follows another one."""
        head = (_PYTHON_HEAD if self._is_first else _PYTHON_NEXT).match(text)
        if head is None or head.end() == len(text):
            is_undecided = not text.strip() if not self._is_first else _PYTHON_HEAD_SO_FAR.fullmatch(text) is not None
            return None if head is not None or is_undecided else False
        rest = text[head.end() :]
        names = [*self._raw_names] if self._raw_names is not None else _ANY_NAME.findall(rest)
        for name in names:
            if rest.startswith(name + "("):
                return _FoundCall(head.end() + len(name) + 1, name, form)
        if self._raw_names is None:
            return None if _NAME_SO_FAR.fullmatch(rest) else False
        return None if any((name + "(").startswith(rest) for name in names) else False

    def _find_name(self, text: str, between: Node) -> tuple[str, int] | Literal[False] | None:
        """Return the name at the beginning of a text, and the size up to the arguments; None: it may come yet."""
        end = next((index for index, char in enumerate(text) if char in '">'), None)
        name = text if end is None else text[:end]
        if end is None:
            may_become = len(name) <= MAX_NAME if self._names is None else any(n.startswith(name) for n in self._names)
            return None if may_become else False
        tool = name if self._names is None else self._names.get(name)
        size, may_continue = _shortest_match(between, text[end:])
        if not tool or (size is None and not may_continue):
            return False
        arguments = "" if size is None else text[end + size :].lstrip(" \t\r\n")
        if not arguments:
            return None
        return (tool, len(text) - len(arguments)) if arguments[0] == "{" else False


class _JsonArguments:
    """Reads a JSON object and normalizes its white space."""

    is_broken = False

    def __init__(self) -> None:
        self.is_complete = False
        self._json, self._blanks = JsonEnd(), BlankNormalizer()

    def read(self, text: str, emit: Callable[[str], None]) -> str:
        """Read a text as far as possible, emit JSON, and return the rest."""
        size = self._json.scan(text)
        piece = text if size is None else text[:size]
        self._json.drop(len(piece))
        emit(self._blanks.feed(piece))
        self.is_complete = size is not None
        return text[len(piece) :]


# A code fence, a list or both before a call as Python has it, what may become one, and what stands between two calls.
_PYTHON_HEAD = re.compile(r"\s*(?:```\w{0,20}[ \t\r]*\n\s*(?:\[\s*)?|\[\s*)")
_PYTHON_HEAD_SO_FAR = re.compile(r"\s*(?:`{0,3}|```\w{0,20}[ \t\r]*)")
_PYTHON_NEXT = re.compile(r"\s*[,;\n]\s*")
_ANY_NAME = re.compile(r"^[\w.:-]{1,256}(?=\()")
_NAME_SO_FAR = re.compile(r"[\w.:-]{0,256}")


@functools.lru_cache(maxsize=256)
def _automaton(node: Node) -> Automaton:
    return automaton(node)


def _shortest_match(node: Node, text: str) -> tuple[int | None, bool]:
    """Return the size of the shortest beginning of a text that matches; None and True if more text may make one."""
    machine, state = _automaton(node), 0
    if machine.accepts[0]:
        return 0, True
    for index, char in enumerate(text):
        target = _step(machine, state, ord(char))
        if target is None:
            return None, False
        if machine.accepts[target]:
            return index + 1, True
        state = target
    return None, True


def _longest_match(node: Node, text: str) -> int:
    """Return the size of the longest beginning of a text that matches; 0 if none does."""
    machine, state, size = _automaton(node), 0, 0
    for index, char in enumerate(text):
        target = _step(machine, state, ord(char))
        if target is None:
            break
        state = target
        size = index + 1 if machine.accepts[state] else size
    return size


def _step(machine: Automaton, state: int, code: int) -> int | None:
    for ranges, target in machine.moves[state]:
        if any(low <= code <= high for low, high in ranges):
            return target
    return None
