"""Streamed text → message, from a family's output syntax alone.

The deltas concatenate to the same message, whether the text comes one character at a time or all at once. Text that
does not follow the syntax is an answer in plain words, never an error; a call that is cut off never looks complete.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Literal, NamedTuple

from edgefc.formats.call_ids import new_call_id
from edgefc.formats.encodings import arguments_reader
from edgefc.formats.json_text import JsonEnd, overlap, unescape
from edgefc.formats.message_builder import MessageBuilder
from edgefc.formats.placeholders import split_at_placeholder
from edgefc.formats.spellings import SpelledCallReader
from edgefc.grammar.argument_types import ArgumentTypes
from edgefc.grammar.strings import escaped_inside
from edgefc.types import Delta, Message, Outcome, OutputSyntax

_State = Callable[[], bool]
_SPACE = " \t\r\n"
_NAME = re.compile(r"[\w.:-]+")


@dataclass(frozen=True, slots=True)
class ParsedReply:
    """A finished message.

    missing  the tools whose arguments a clarification asks for
    deltas   the end of the stream: deltas that `feed` held back
    """

    message: Message
    outcome: Outcome
    missing: tuple[str, ...]
    deltas: tuple[Delta, ...] = ()


class _CallStart(NamedTuple):
    """The beginning of a call: its length, the tool's name if it is in there, and the next state."""

    size: int
    name: str | None
    state: _State


class StreamParser:
    """Parses one answer: `feed` returns the deltas of a piece of text, `finish` the whole message.

    names   the existing tools: a call of any other is text. None: every name counts as a tool's
    types   the types of their arguments, for encodings that do not mark them
    code    the name of the tool that takes raw code; None: there is none
    """

    def __init__(
        self,
        syntax: OutputSyntax,
        make_id: Callable[[], str] = new_call_id,
        *,
        names: Collection[str] | None = None,
        code: str | None = None,
        types: Mapping[str, ArgumentTypes] | None = None,
    ) -> None:
        self._syntax, self._code, self._types = syntax, code, types or {}
        self._message = MessageBuilder(make_id)
        functions = None if names is None else [name for name in names if name != code]
        self._names = None if functions is None else {escaped_inside(name): name for name in functions}
        self._code_head = (syntax.code or "").removesuffix("{code}") if code is not None else ""
        before, has_text, rest = syntax.calls_begin.partition("{text}")
        # With a text beside the calls, calls begin with the part of calls_begin that follows the text.
        self._text_head = before if has_text else ""
        self._calls_head = (rest if has_text else syntax.calls_begin) + syntax.before_name
        self._buffer = ""
        self._state: _State = self._in_thoughts if syntax.think_open else self._at_start
        self._spelled = None if syntax.spellings is None else SpelledCallReader(syntax.spellings, functions)
        self._n_complete = 0  # calls that were read to their end
        self._missing: tuple[str, ...] = ()
        self._outcome: Outcome = "answer"
        self._after_text = ""
        self._json = JsonEnd()
        self._arguments = arguments_reader(syntax, None)
        # Text that is JSON may contain the mark of calls, and no calls follow it.
        self._text_state: _State = self._in_plain if syntax.text_schema else self._in_free_text

    def feed(self, text: str) -> list[Delta]:
        """Return the deltas that no further text can change; the rest is held back."""
        self._buffer += text
        while self._state():
            pass
        return self._message.take_deltas()

    @property
    def after_call(self) -> bool:
        """True from the end of a call until the next one is opened by its name."""
        if self._spelled is not None and self._state == self._in_spelled_calls:
            return self._spelled.is_between_calls
        return self._n_complete > 0 and self._state in (self._between_calls, self._at_end)

    @property
    def in_thoughts(self) -> bool:
        """True while the model's thoughts are read."""
        return self._state == self._in_thoughts

    def finish(self, reason: Literal["stop", "length"]) -> ParsedReply:
        """Return the message once no more text can come, with the deltas that were still held back."""
        self._flush(cut_off=reason == "length")
        # Complete calls of an answer that is cut off are good; an incomplete one is dropped. The rest of a call after
        # its arguments is fixed text and adds nothing.
        n_complete = len(self._message.calls) if self._state == self._after_arguments else self._n_complete
        cut_off = reason == "length" or len(self._message.calls) > n_complete
        calls = self._message.calls[:n_complete]
        message = self._message.message(calls)
        if self._outcome == "clarify":
            message["required_functions"] = list(self._missing)
        if self._outcome == "no_tool":
            message["no_tool"] = True
        if calls:
            self._outcome = "call"
        elif cut_off or self._state in (self._in_name, self._in_functions):
            self._outcome = "length"
        missing = self._missing if self._outcome == "clarify" else ()
        return ParsedReply(message, self._outcome, missing, tuple(self._message.take_deltas()))

    def _flush(self, *, cut_off: bool) -> None:
        """Emit the rest of the buffer; the beginning of a call or template that was cut off is dropped."""
        if self._state == self._in_code:
            if not cut_off:
                self._message.add_arguments('"}')
                self._n_complete += 1
        elif self._state == self._in_thoughts:
            self._message.add_thoughts(self._buffer.rstrip(_SPACE))
        elif self._state == self._at_branch and self._buffer.strip(_SPACE) == self._syntax.no_tool:
            self._outcome = "no_tool"
        elif self._state == self._in_name:
            self._message.add_text("" if cut_off or self._calls_head else self._buffer)
        elif not cut_off and self._state in (self._at_start, self._at_branch, self._in_free_text):
            self._message.add_text(self._buffer)
        elif self._state == self._in_free_text:
            before = min((self._buffer.partition(marker)[0] for marker in self._syntax.markers), key=len, default="")
            if before != self._buffer:
                self._message.add_text(before.removesuffix(self._syntax.calls_preamble or ""))

    # -- states: each consumes the part of the buffer it understands and returns True if it made progress -----------

    def _at_start(self) -> bool:
        syntax = self._syntax
        if syntax.think_begin and self._consume(syntax.think_begin):
            return self._enter(self._in_thoughts)
        if syntax.think_begin and self._may_become(syntax.think_begin):
            return False
        if self._consume(syntax.begin):
            return self._enter(self._at_branch)
        return not self._may_become(syntax.begin) and self._enter(self._in_plain)

    def _in_thoughts(self) -> bool:
        end = self._syntax.think_end.strip()
        thoughts, found, rest = self._buffer.partition(end)
        if not found:
            thoughts = thoughts[: len(thoughts) - overlap(thoughts, end)]
        # White space before the end mark belongs to the mark.
        thoughts = thoughts.rstrip(_SPACE)
        self._message.add_thoughts(thoughts)
        self._buffer = rest if found else self._buffer[len(thoughts) :]
        return bool(found) and self._enter(self._after_thoughts)

    def _after_thoughts(self) -> bool:
        self._buffer = self._buffer.lstrip(_SPACE)
        return bool(self._buffer) and self._enter(self._at_branch)

    def _at_branch(self) -> bool:
        syntax = self._syntax
        if syntax.calls_lead and self._consume(syntax.calls_lead):
            return True
        if syntax.text is not None:
            return self._at_template()
        if self._spelled is not None and (may_begin := self._spelled.may_begin(self._buffer)) is not False:
            return may_begin is True and self._enter(self._in_spelled_calls)
        if syntax.text_begin and self._consume(syntax.text_begin):
            return self._enter(self._in_plain if syntax.text_before_calls else self._text_state)
        if syntax.text_before_calls and self._consume(syntax.text_before_calls):
            return self._enter(self._text_state)
        if any(text and self._may_become(text) for text in (syntax.text_begin, syntax.text_before_calls)):
            return False
        if start := self._find_call(self._calls_head, first=True):
            return self._begin_call(start)
        beginnings = [text for text in (syntax.calls_lead, syntax.no_tool) if text]
        if any(map(self._may_become, beginnings)) or self._may_become_call(self._calls_head, first=True):
            return False
        return bool(self._buffer) and self._enter(self._in_plain if syntax.text_begin else self._text_state)

    def _at_template(self) -> bool:
        if self._text_head:
            if self._consume(self._text_head):
                return self._enter(self._at_string)
            return not self._may_become(self._text_head) and self._enter(self._in_plain)
        if start := self._find_call(self._calls_head, first=True):
            return self._begin_call(start)
        templates: tuple[tuple[str | None, Outcome], ...] = (
            (self._syntax.text, "answer"),
            (self._syntax.no_tool, "no_tool"),
            (self._syntax.clarify, "clarify"),
        )
        is_undecided = self._may_become_call(self._calls_head, first=True)
        for template, outcome in templates:
            if template is None:
                continue
            head, placeholder, self._after_text = split_at_placeholder(template)
            is_undecided = is_undecided or self._may_become(head)
            if self._consume(head):
                self._outcome = outcome
                return self._enter(self._at_string if placeholder == "{text}" else self._in_functions)
        return not is_undecided and self._enter(self._in_plain)

    def _in_functions(self) -> bool:
        size = self._json.scan(self._buffer)
        if size is None:
            return False
        try:
            names = json.loads(self._buffer[:size])
        except ValueError:
            self._outcome = "answer"
            return self._enter(self._in_plain)
        self._buffer = self._buffer[size:]
        self._missing = tuple(map(str, names))
        return self._enter(self._before_string)

    def _before_string(self) -> bool:
        between, _, _ = split_at_placeholder(self._after_text)
        return self._consume(between) and self._enter(self._at_string)

    def _at_string(self) -> bool:
        return self._consume('"') and self._enter(self._in_string)

    def _in_string(self) -> bool:
        text, size, ended = unescape(self._buffer)
        self._message.add_text(text)
        self._buffer = self._buffer[size:]
        return ended and self._enter(self._after_string if self._text_head else self._at_end)

    def _after_string(self) -> bool:
        """Read the calls that may follow the text beside them."""
        if start := self._find_call(self._calls_head, first=True):
            return self._begin_call(start)
        is_undecided = self._may_become_call(self._calls_head, first=True)
        return bool(self._buffer) and not is_undecided and self._enter(self._at_end)

    def _in_plain(self) -> bool:
        self._message.add_text(self._buffer)
        self._buffer = ""
        return False

    def _in_free_text(self) -> bool:
        syntax = self._syntax
        if not syntax.marker or (syntax.calls_preamble is None and not syntax.text_begin):
            return self._in_plain()
        preamble = syntax.calls_preamble or ""
        positions = [index for marker in syntax.markers if (index := self._buffer.find(marker)) >= 0]
        if not positions:
            marks = [mark for marker in syntax.markers for mark in (marker, preamble + marker)]
            ready = self._buffer[: len(self._buffer) - max(overlap(self._buffer, mark) for mark in marks)]
            self._message.add_text(ready)
            self._buffer = self._buffer[len(ready) :]
            return False
        before, self._buffer = self._buffer[: min(positions)], self._buffer[min(positions) :]
        if start := self._find_call(syntax.calls_intro, first=False):
            self._message.add_text(before.removesuffix(preamble) if preamble else before)
            return self._begin_call(start)
        if self._may_become_call(syntax.calls_intro, first=False):
            self._buffer = before + self._buffer
            return False
        # It only looks like a call: text, at least up to the first character of the marker.
        self._message.add_text(before + self._buffer[:1])
        self._buffer = self._buffer[1:]
        return bool(self._buffer)

    # -- calls --------------------------------------------------------------------------------------------------

    def _find_call(self, head: str, *, first: bool) -> _CallStart | None:
        """Return the call at the beginning of the buffer, introduced by `head`; `first`: nothing stands before it."""
        code = self._code_intro(first=first)
        if code and self._buffer.startswith(code):
            return _CallStart(len(code), self._code, self._in_code)
        for intro, between in self._syntax.intros(head) if self._buffer else ():
            if not self._buffer.startswith(intro):
                continue
            if self._names is None:
                return _CallStart(len(intro), None, self._in_name)
            for escaped, name in self._names.items():
                if self._buffer.startswith(escaped + between, len(intro)):
                    return _CallStart(len(intro + escaped + between), name, self._before_arguments)
        return None

    def _may_become_call(self, head: str, *, first: bool) -> bool:
        """Return True if the buffer may yet turn out to be the beginning of a call."""
        if (code := self._code_intro(first=first)) and self._may_become(code):
            return True
        for intro, between in self._syntax.intros(head):
            rest = self._buffer[len(intro) :]
            if len(self._buffer) < len(intro) and self._may_become(intro):
                return True
            if self._buffer.startswith(intro) and any((name + between).startswith(rest) for name in self._names or ()):
                return True
        return False

    def _code_intro(self, *, first: bool) -> str:
        """Return the introduction of raw code; empty when there is no such tool."""
        if not self._code_head or first or self._code_head.startswith(self._syntax.marker):
            return self._code_head
        return self._syntax.calls_separator + self._code_head

    def _begin_call(self, start: _CallStart) -> bool:
        self._buffer = self._buffer[start.size :]
        if start.name is not None:
            self._open_call(start.name)
            if start.state == self._in_code:
                self._message.add_arguments('{"code": "')
        return self._enter(start.state)

    def _in_name(self) -> bool:
        found = [part for _, after in self._syntax.heads if (part := self._buffer.partition(after))[1]]
        if not found:
            return False
        name, _, rest = min(found, key=lambda parts: len(parts[0]))
        if self._syntax.arguments != "json" and not _NAME.fullmatch(name):
            return self._enter(self._in_plain)
        self._buffer = rest
        self._open_call(unescape(name)[0])
        return self._enter(self._before_arguments)

    def _before_arguments(self) -> bool:
        return self._consume(self._syntax.id_after_name) and self._enter(self._in_arguments)

    def _in_arguments(self) -> bool:
        self._buffer = self._arguments.read(self._buffer, self._message.add_arguments)
        if self._arguments.is_broken:
            self._buffer = ""  # a call that will never be complete
        return self._arguments.is_complete and self._enter(self._after_arguments)

    def _after_arguments(self) -> bool:
        if not self._consume(self._syntax.after_arguments):
            return False
        self._n_complete = len(self._message.calls)
        return self._enter(self._between_calls)

    def _between_calls(self) -> bool:
        syntax = self._syntax
        head = syntax.calls_separator + syntax.before_name
        if (head or self._names is not None) and (start := self._find_call(head, first=False)):
            return self._begin_call(start)
        if not self._buffer or self._may_become_call(head, first=False):
            return False
        if len(self._buffer) < len(syntax.calls_end) and self._may_become(syntax.calls_end):
            return False
        self._consume(syntax.calls_end)
        return self._enter(self._at_end)

    def _in_spelled_calls(self) -> bool:
        """Read calls in other spellings than the family's own."""
        assert self._spelled is not None
        self._buffer = self._spelled.read(self._buffer, self._message)
        self._n_complete = self._spelled.n_complete
        return self._spelled.has_ended and self._enter(self._at_end)

    def _in_code(self) -> bool:
        """Emit raw code as the JSON of its arguments."""
        self._message.add_arguments(escaped_inside(self._buffer))
        self._buffer = ""
        return False

    def _at_end(self) -> bool:
        """Skip closing marks; where text is free, more of it may follow the calls."""
        syntax = self._syntax
        if syntax.text is not None:
            self._buffer = ""
            return False
        if syntax.text_begin:
            intro = syntax.calls_separator + syntax.text_begin
            if self._consume(intro):
                return self._enter(self._in_plain)
            if self._may_become(intro):
                return False
        self._buffer = self._buffer.lstrip(_SPACE)
        return bool(self._buffer) and self._enter(self._in_plain)

    # -- helpers ------------------------------------------------------------------------------------------------

    def _enter(self, state: _State) -> bool:
        self._state = state
        return True

    def _consume(self, text: str) -> bool:
        """Remove `text` from the beginning of the buffer; False if the buffer begins with something else.

        An {id} in it stands for nine characters: our own id is in the stream, the model's is dropped.
        """
        before, has_id, after = text.partition("{id}")
        end = len(before) + (9 if has_id else 0)
        is_there = self._buffer.startswith(before) and self._buffer.startswith(after, end)
        self._buffer = self._buffer[end + len(after) :] if is_there else self._buffer
        return is_there

    def _may_become(self, text: str) -> bool:
        return text.startswith(self._buffer)

    def _open_call(self, name: str) -> None:
        self._message.open_call(name)
        self._arguments = arguments_reader(self._syntax, self._types.get(name))
