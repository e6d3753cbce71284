"""Streamed text → message, from a family's output syntax alone.

Fed one character at a time or all at once, the deltas concatenate to the same message. Text that does not follow
the syntax is an answer in plain words, never an error; a call that is cut off is never shown as complete.
"""

from __future__ import annotations

import json
import secrets
import string
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Literal, NamedTuple

from edgefc.formats.json_text import JsonEnd, unescape
from edgefc.types import Delta, Message, Outcome, OutputSyntax, ToolCall

_ALPHANUMERIC = string.ascii_letters + string.digits
_State = Callable[[], bool]
_SPACE = " \t\r\n"


def new_call_id() -> str:
    """`call_` and 24 letters or digits, as OpenAI's look."""
    return "call_" + "".join(secrets.choice(_ALPHANUMERIC) for _ in range(24))


def new_short_id() -> str:
    """Nine letters or digits, which is all that Mistral's templates take."""
    return "".join(secrets.choice(_ALPHANUMERIC) for _ in range(9))


@dataclass(frozen=True, slots=True)
class Parsed:
    """A finished message; `missing` are the tools a clarification is about, `deltas` what was not streamed yet."""

    message: Message
    outcome: Outcome
    missing: tuple[str, ...]
    deltas: tuple[Delta, ...] = ()


class _Start(NamedTuple):
    """The beginning of a call: its length, the tool's name if it is known already, and what follows."""

    size: int
    name: str | None
    state: _State


class StreamParser:
    """Parses one answer. `feed` gives the deltas of a piece of text, `finish` the whole message.

    names   the tools there are: what would call another one is text. None: any name is taken for a tool's
    code    the name of the tool that takes raw code, if there is one
    """

    def __init__(
        self,
        syntax: OutputSyntax,
        make_id: Callable[[], str] = new_call_id,
        *,
        names: Collection[str] | None = None,
        code: str | None = None,
    ) -> None:
        self._syntax, self._make_id, self._code = syntax, make_id, code
        self._names = None if names is None else {_quoted(name): name for name in names if name != code}
        self._code_head = (syntax.code or "").removesuffix("{code}") if code is not None else ""
        before, has_text, rest = syntax.calls_begin.partition("{text}")
        # With a text beside the calls, what calls begin with is what follows that text.
        self._text_head = before if has_text else ""
        self._calls_head = (rest if has_text else syntax.calls_begin) + syntax.before_name
        self._held = ""
        self._state: _State = self._at_start
        self._deltas: list[Delta] = []
        self._content: list[str] = []
        self._thoughts: list[str] = []
        self._calls: list[ToolCall] = []
        self._complete = 0  # calls that were read to their end
        self._missing: tuple[str, ...] = ()
        self._outcome: Outcome = "answer"
        self._after_text = ""
        self._json = JsonEnd()
        # Text that is JSON may say what announces calls, and none follow it.
        self._text_state: _State = self._in_plain if syntax.text_schema else self._in_free_text

    def feed(self, text: str) -> list[Delta]:
        """What may be shown now; the rest waits for more."""
        self._held += text
        while self._state():
            pass
        deltas, self._deltas = self._deltas, []
        return deltas

    def finish(self, reason: Literal["stop", "length"]) -> Parsed:
        """The message once no more text can come, and the deltas of what was still held back."""
        self._settle(cut_off=reason == "length")
        cut = reason == "length" or len(self._calls) > self._complete
        # Calls of an answer that is cut off are not for running: the next turn could not answer them all.
        calls = [] if cut else self._calls
        content = "".join(self._content)
        message: Message = {"role": "assistant", "content": content if content or not calls else None}
        if self._thoughts:
            message["reasoning_content"] = "".join(self._thoughts)
        if calls:
            message["tool_calls"] = calls
            self._outcome = "call"
        if self._outcome == "clarify":
            message["required_functions"] = list(self._missing)
        if self._outcome == "no_tool":
            message["no_tool"] = True
        if cut or self._state in (self._in_name, self._in_functions):
            self._outcome = "length"
        deltas, self._deltas = tuple(self._deltas), []
        return Parsed(message, self._outcome, self._missing if self._outcome == "clarify" else (), deltas)

    def _settle(self, *, cut_off: bool) -> None:
        """Tell what is held at the end; the beginning of a call or template that was cut off is nothing."""
        if self._state == self._in_code:
            self._argue('"}' if not cut_off else "")
            self._complete += not cut_off
        elif self._state == self._in_thoughts:
            self._think(self._held.rstrip(_SPACE))
        elif self._state == self._at_branch and self._held.strip(_SPACE) == self._syntax.no_tool:
            self._outcome = "no_tool"
        elif self._state == self._in_name:
            self._say("" if cut_off or self._calls_head else self._held)
        elif not cut_off and self._state in (self._at_start, self._at_branch, self._in_free_text):
            self._say(self._held)
        elif self._state == self._in_free_text:
            before = min((self._held.partition(marker)[0] for marker in self._syntax.markers), key=len, default="")
            if before != self._held:
                self._say(before.removesuffix(self._syntax.calls_preamble or ""))

    # -- states: each consumes what it can of what is held and tells whether it made progress -------------------

    def _at_start(self) -> bool:
        syntax = self._syntax
        if syntax.think_begin and self._take(syntax.think_begin):
            return self._go(self._in_thoughts)
        if syntax.think_begin and self._may_become(syntax.think_begin):
            return False
        if self._take(syntax.begin):
            return self._go(self._at_branch)
        return not self._may_become(syntax.begin) and self._go(self._in_plain)

    def _in_thoughts(self) -> bool:
        end = self._syntax.think_end.strip()
        thoughts, found, rest = self._held.partition(end)
        if not found:
            thoughts = thoughts[: len(thoughts) - overlap(thoughts, end)]
        # White space before the end mark belongs to it.
        thoughts = thoughts.rstrip(_SPACE)
        self._think(thoughts)
        self._held = rest if found else self._held[len(thoughts) :]
        return bool(found) and self._go(self._after_thoughts)

    def _after_thoughts(self) -> bool:
        self._held = self._held.lstrip(_SPACE)
        return bool(self._held) and self._go(self._at_branch)

    def _at_branch(self) -> bool:
        syntax = self._syntax
        if syntax.calls_lead and self._take(syntax.calls_lead):
            return True
        if syntax.text is not None:
            return self._at_template()
        if syntax.text_begin and self._take(syntax.text_begin):
            return self._go(self._text_state)
        if syntax.text_begin and self._may_become(syntax.text_begin):
            return False
        if start := self._call_start(self._calls_head, first=True):
            return self._begin(start)
        waiting = [syntax.calls_lead, syntax.no_tool or ""]
        if any(text and self._may_become(text) for text in waiting) or self._may_call(self._calls_head, first=True):
            return False
        return bool(self._held) and self._go(self._in_plain if syntax.text_begin else self._text_state)

    def _at_template(self) -> bool:
        templates: tuple[tuple[str | None, Outcome], ...] = (
            (self._syntax.text, "answer"),
            (self._syntax.no_tool, "no_tool"),
            (self._syntax.clarify, "clarify"),
        )
        if self._text_head:
            return (self._take(self._text_head) and self._go(self._at_string)) or (
                not self._may_become(self._text_head) and self._go(self._in_plain)
            )
        if start := self._call_start(self._calls_head, first=True):
            return self._begin(start)
        waiting = self._may_call(self._calls_head, first=True)
        for template, outcome in templates:
            if template is None:
                continue
            head, placeholder, self._after_text = _first_placeholder(template)
            waiting = waiting or self._may_become(head)
            if self._take(head):
                self._outcome = outcome
                return self._go(self._at_string if placeholder == "{text}" else self._in_functions)
        return not waiting and self._go(self._in_plain)

    def _in_functions(self) -> bool:
        size = self._json.scan(self._held)
        if size is None:
            return False
        try:
            names = json.loads(self._held[:size])
        except ValueError:
            self._outcome = "answer"
            return self._go(self._in_plain)
        self._held = self._held[size:]
        self._missing = tuple(map(str, names))
        return self._go(self._before_string)

    def _before_string(self) -> bool:
        between, _, _ = _first_placeholder(self._after_text)
        return self._take(between) and self._go(self._at_string)

    def _at_string(self) -> bool:
        return self._take('"') and self._go(self._in_string)

    def _in_string(self) -> bool:
        text, size, ended = unescape(self._held)
        self._say(text)
        self._held = self._held[size:]
        return ended and self._go(self._after_string if self._text_head else self._at_end)

    def _after_string(self) -> bool:
        """Calls may follow the text that stands beside them."""
        if start := self._call_start(self._calls_head, first=True):
            return self._begin(start)
        return bool(self._held) and not self._may_call(self._calls_head, first=True) and self._go(self._at_end)

    def _in_plain(self) -> bool:
        self._say(self._held)
        self._held = ""
        return False

    def _in_free_text(self) -> bool:
        syntax = self._syntax
        if not syntax.marker or (syntax.calls_preamble is None and not syntax.text_begin):
            return self._in_plain()
        preamble = syntax.calls_preamble or ""
        places = [place for marker in syntax.markers if (place := self._held.find(marker)) >= 0]
        if not places:
            marks = [mark for marker in syntax.markers for mark in (marker, preamble + marker)]
            shown = self._held[: len(self._held) - max(overlap(self._held, mark) for mark in marks)]
            self._say(shown)
            self._held = self._held[len(shown) :]
            return False
        before, self._held = self._held[: min(places)], self._held[min(places) :]
        if start := self._call_start(syntax.calls_intro, first=False):
            self._say(before.removesuffix(preamble) if preamble else before)
            return self._begin(start)
        if self._may_call(syntax.calls_intro, first=False):
            self._held = before + self._held
            return False
        # It only looks like a call: text, as far as what made it look so.
        self._say(before + self._held[:1])
        self._held = self._held[1:]
        return bool(self._held)

    # -- calls --------------------------------------------------------------------------------------------------

    def _call_start(self, head: str, *, first: bool) -> _Start | None:
        """What call begins here, if one does. `head` introduces calls, `first` says that nothing stands before it."""
        code = self._code_intro(first=first)
        if code and self._held.startswith(code):
            return _Start(len(code), self._code, self._in_code)
        if not self._held.startswith(head) or not self._held:
            return None
        if self._names is None:
            return _Start(len(head), None, self._in_name)
        between = self._syntax.before_arguments
        for written, name in self._names.items():
            if self._held.startswith(written + between, len(head)):
                return _Start(len(head + written + between), name, self._in_arguments)
        return None

    def _may_call(self, head: str, *, first: bool) -> bool:
        """Whether what is held may yet become the beginning of a call."""
        if (code := self._code_intro(first=first)) and self._may_become(code):
            return True
        if len(self._held) < len(head):
            return self._may_become(head)
        if not self._held.startswith(head) or self._names is None:
            return False
        between = self._syntax.before_arguments
        return any((written + between).startswith(self._held[len(head) :]) for written in self._names)

    def _code_intro(self, *, first: bool) -> str:
        """What introduces raw code; empty when there is none."""
        if not self._code_head or first or self._code_head.startswith(self._syntax.marker):
            return self._code_head
        return self._syntax.calls_separator + self._code_head

    def _begin(self, start: _Start) -> bool:
        self._held = self._held[start.size :]
        if start.name is not None:
            self._open(start.name)
            if start.state == self._in_code:
                self._argue('{"code": "')
        return self._go(start.state)

    def _open(self, name: str) -> None:
        call: ToolCall = {"id": self._make_id(), "type": "function", "function": {"name": name, "arguments": ""}}
        self._calls.append(call)
        index = len(self._calls) - 1
        self._deltas.append(
            {
                "tool_calls": [
                    {"index": index, "id": call["id"], "type": "function", "function": {"name": name, "arguments": ""}}
                ]
            }
        )
        self._json = JsonEnd()

    def _argue(self, piece: str) -> None:
        if piece:
            self._calls[-1]["function"]["arguments"] += piece
            self._deltas.append({"tool_calls": [{"index": len(self._calls) - 1, "function": {"arguments": piece}}]})

    def _in_name(self) -> bool:
        name, found, rest = self._held.partition(self._syntax.before_arguments)
        if not found:
            return False
        self._held = rest
        self._open(unescape(name)[0])
        return self._go(self._in_arguments)

    def _in_arguments(self) -> bool:
        size = self._json.scan(self._held)
        piece = self._held if size is None else self._held[:size]
        self._held = self._held[len(piece) :]
        self._json.forget(len(piece))
        self._argue(piece)
        return size is not None and self._go(self._after_arguments)

    def _after_arguments(self) -> bool:
        before, has_id, after = self._syntax.after_arguments.partition("{id}")
        if has_id:
            # Ours was told already; the model's own says nothing.
            if len(self._held) < len(before) + 9 + len(after):
                return False
            self._held = before + after + self._held[len(before) + 9 + len(after) :]
        if not self._take(before + after):
            return False
        self._complete = len(self._calls)
        return self._go(self._between_calls)

    def _between_calls(self) -> bool:
        syntax = self._syntax
        again = syntax.calls_separator + syntax.before_name
        if (again or self._names is not None) and (start := self._call_start(again, first=False)):
            return self._begin(start)
        if not self._held or self._may_call(again, first=False):
            return False
        if len(self._held) < len(syntax.calls_end) and self._may_become(syntax.calls_end):
            return False
        self._take(syntax.calls_end)
        return self._go(self._at_end)

    def _in_code(self) -> bool:
        """Raw code, told as the JSON of its arguments."""
        self._argue(json.dumps(self._held, ensure_ascii=False)[1:-1])
        self._held = ""
        return False

    def _at_end(self) -> bool:
        """Closing marks; where text is free, more of it may follow the calls."""
        syntax = self._syntax
        if syntax.text is not None:
            self._held = ""
            return False
        if syntax.text_begin:
            intro = syntax.calls_separator + syntax.text_begin
            if self._take(intro):
                return self._go(self._in_plain)
            if self._may_become(intro):
                return False
        self._held = self._held.lstrip(_SPACE)
        return bool(self._held) and self._go(self._in_plain)

    # -- helpers ------------------------------------------------------------------------------------------------

    def _go(self, state: _State) -> bool:
        self._state = state
        return True

    def _take(self, text: str) -> bool:
        if not self._held.startswith(text):
            return False
        self._held = self._held[len(text) :]
        return True

    def _may_become(self, text: str) -> bool:
        return text.startswith(self._held)

    def _say(self, text: str) -> None:
        if text:
            self._content.append(text)
            self._deltas.append({"content": text})

    def _think(self, text: str) -> None:
        if text:
            self._thoughts.append(text)
            self._deltas.append({"reasoning_content": text})


def _quoted(name: str) -> str:
    """A name as it stands in JSON, without its quotes."""
    return json.dumps(name, ensure_ascii=False)[1:-1]


def _first_placeholder(template: str) -> tuple[str, str, str]:
    """A template's text before its first placeholder, the placeholder, and the rest."""
    found = [(template.find(name), name) for name in ("{functions}", "{text}") if name in template]
    if not found:
        return template, "", ""
    place, name = min(found)
    return template[:place], name, template[place + len(name) :]


def overlap(text: str, marker: str) -> int:
    """How many characters at the end of `text` may be the beginning of `marker`."""
    return next(size for size in range(min(len(marker) - 1, len(text)), -1, -1) if text.endswith(marker[:size]))
