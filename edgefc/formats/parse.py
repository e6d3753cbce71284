"""Streamed text → message, from a family's output syntax alone.

Fed one character at a time or all at once, the deltas concatenate to the same message. Text that does not follow
the syntax is an answer in plain words, never an error; a call that is cut off is never shown as complete.
"""

from __future__ import annotations

import json
import secrets
import string
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from edgefc.types import Delta, Message, Outcome, OutputSyntax, ToolCall

_ID_LETTERS = string.ascii_letters + string.digits


def new_call_id() -> str:
    """`call_` and 24 letters or digits, as OpenAI's look."""
    return "call_" + "".join(secrets.choice(_ID_LETTERS) for _ in range(24))


@dataclass(frozen=True, slots=True)
class Parsed:
    """A finished message; `missing` are the tools a clarification is about, `deltas` what was not streamed yet."""

    message: Message
    outcome: Outcome
    missing: tuple[str, ...]
    deltas: tuple[Delta, ...] = ()


class StreamParser:
    """Parses one answer. `feed` gives the deltas of a piece of text, `finish` the whole message."""

    def __init__(self, syntax: OutputSyntax, make_id: Callable[[], str] = new_call_id) -> None:
        self._syntax = syntax
        self._make_id = make_id
        self._before_name, _, rest = syntax.call.partition("{name}")
        self._between, _, self._after_call = rest.partition("{arguments}")
        self._call_head = syntax.calls_begin + self._before_name
        self._held = ""
        self._state: Callable[[], bool] = self._at_begin if syntax.begin else self._at_branch
        self._deltas: list[Delta] = []
        self._content: list[str] = []
        self._calls: list[ToolCall] = []
        self._complete = 0  # calls whose closing marker was read
        self._missing: tuple[str, ...] = ()
        self._outcome: Outcome = "answer"
        self._suffix = ""
        self._json = _JsonEnd()

    def feed(self, text: str) -> list[Delta]:
        """What may be shown now; the rest waits for more."""
        self._held += text
        while self._state():
            pass
        deltas, self._deltas = self._deltas, []
        return deltas

    def finish(self, reason: Literal["stop", "length"]) -> Parsed:
        """The message once no more text can come, and the deltas of what was still held back."""
        if self._state in (self._at_begin, self._at_branch, self._in_free_text, self._in_plain):
            self._say(self._rest(cut_off=reason == "length"))
        cut = reason == "length" or len(self._calls) > self._complete
        # Calls of an answer that is cut off are not for running: the next turn could not answer them all.
        calls = [] if cut else self._calls
        content = "".join(self._content)
        message: Message = {"role": "assistant", "content": content if content or not calls else None}
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

    def _rest(self, *, cut_off: bool) -> str:
        """What is held at the end as text; the beginning of a call or template that was cut off is none."""
        if not cut_off:
            return self._held
        before, found, _ = self._held.partition(self._syntax.marker or "\0")
        return before.removesuffix(self._syntax.calls_preamble or "") if found else ""

    # -- states: each consumes what it can of what is held and tells whether it made progress -------------------

    def _at_begin(self) -> bool:
        if self._take(self._syntax.begin):
            return self._go(self._at_branch)
        return not self._may_become(self._syntax.begin) and self._go(self._in_plain)

    def _at_branch(self) -> bool:
        if self._take(self._call_head):
            return self._go(self._in_name)
        if self._syntax.text is None:
            return bool(self._held) and not self._may_become(self._call_head) and self._go(self._in_free_text)
        heads = [self._call_head]
        templates: tuple[tuple[str | None, Outcome], ...] = (
            (self._syntax.text, "answer"),
            (self._syntax.no_tool, "no_tool"),
            (self._syntax.clarify, "clarify"),
        )
        for template, outcome in templates:
            if template is None:
                continue
            head, placeholder, self._suffix = _first_placeholder(template)
            heads.append(head)
            if self._take(head):
                self._outcome = outcome
                return self._go(self._at_string if placeholder == "{text}" else self._in_functions)
        return not any(map(self._may_become, heads)) and self._go(self._in_plain)

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
        between, _, _ = _first_placeholder(self._suffix)
        return self._take(between) and self._go(self._at_string)

    def _at_string(self) -> bool:
        return self._take('"') and self._go(self._in_string)

    def _in_string(self) -> bool:
        text, size, ended = _unescape(self._held)
        self._say(text)
        self._held = self._held[size:]
        return ended and self._go(self._at_end)

    def _in_plain(self) -> bool:
        self._say(self._held)
        self._held = ""
        return False

    def _in_free_text(self) -> bool:
        marker, preamble = self._syntax.marker, self._syntax.calls_preamble
        if not marker or preamble is None:
            return self._in_plain()
        place = self._held.find(marker)
        if place < 0:
            keep = max(overlap(self._held, marker), overlap(self._held, preamble + marker))
            self._say(self._held[: len(self._held) - keep])
            self._held = self._held[len(self._held) - keep :]
            return False
        before, self._held = self._held[:place], self._held[place:]
        if self._may_become(self._call_head) and not self._held.startswith(self._call_head):
            self._held = before + self._held
            return False
        self._say(before.removesuffix(preamble) if preamble else before)
        if self._take(self._call_head):
            return self._go(self._in_name)
        return self._go(self._in_plain)

    def _in_name(self) -> bool:
        name, found, rest = self._held.partition(self._between)
        if not found:
            return False
        call: ToolCall = {
            "id": self._make_id(),
            "type": "function",
            "function": {"name": _unescape(name)[0], "arguments": ""},
        }
        self._held = rest
        self._calls.append(call)
        function = {"name": call["function"]["name"], "arguments": ""}
        index = len(self._calls) - 1
        self._deltas.append(
            {"tool_calls": [{"index": index, "id": call["id"], "type": "function", "function": function}]}  # type: ignore[typeddict-item]
        )
        self._json = _JsonEnd()
        return self._go(self._in_arguments)

    def _in_arguments(self) -> bool:
        size = self._json.scan(self._held)
        piece = self._held if size is None else self._held[:size]
        self._held = self._held[len(piece) :]
        self._json.forget(len(piece))
        if piece:
            self._calls[-1]["function"]["arguments"] += piece
            self._deltas.append({"tool_calls": [{"index": len(self._calls) - 1, "function": {"arguments": piece}}]})
        return size is not None and self._go(self._after_arguments)

    def _after_arguments(self) -> bool:
        if not self._take(self._after_call):
            return False
        self._complete = len(self._calls)
        return self._go(self._between_calls)

    def _between_calls(self) -> bool:
        again = self._syntax.calls_separator + self._before_name
        if self._take(again):
            return self._go(self._in_name)
        return not self._may_become(again) and self._go(self._at_end)

    def _at_end(self) -> bool:
        self._held = ""  # closing marks, and nothing of interest after them
        return False

    # -- helpers ------------------------------------------------------------------------------------------------

    def _go(self, state: Callable[[], bool]) -> bool:
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


class _JsonEnd:
    """Finds where a JSON object or array ends, across any number of pieces."""

    def __init__(self) -> None:
        self._seen, self._depth, self._string, self._escaped = 0, 0, False, False

    def scan(self, text: str) -> int | None:
        """Characters of `text` up to the end of the value; None when it is not there yet.

        `text` is what was given before, unless it was forgotten, and more.
        """
        for place in range(self._seen, len(text)):
            char = text[place]
            if self._string:
                if self._escaped:
                    self._escaped = False
                elif char == "\\":
                    self._escaped = True
                elif char == '"':
                    self._string = False
            elif char == '"':
                self._string = True
            elif char in "{[":
                self._depth += 1
            elif char in "}]":
                self._depth -= 1
                if self._depth == 0:
                    return place + 1
        self._seen = len(text)
        return None

    def forget(self, size: int) -> None:
        """The first `size` characters will not be given again."""
        self._seen = max(0, self._seen - size)


_ESCAPES = {"b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t"}


def _unescape(raw: str) -> tuple[str, int, bool]:
    """The text of a JSON string's inside: (text, characters read, whether the closing quote was among them)."""
    out: list[str] = []
    place = 0
    while place < len(raw):
        char = raw[place]
        if char == '"':
            return "".join(out), place + 1, True
        if char != "\\":
            out.append(char)
            place += 1
            continue
        size = _escape_size(raw, place)
        if size is None:
            break
        code = raw[place + 1 : place + size]
        out.append(_decode_escape(code))
        place += size
    return "".join(out), place, False


def _escape_size(raw: str, place: int) -> int | None:
    """Characters of the escape at `place`, both halves of a surrogate pair; None when more must come."""
    if len(raw) < place + 2:
        return None
    if raw[place + 1] != "u":
        return 2
    if len(raw) < place + 6:
        return None
    if raw[place + 2 : place + 4].lower() not in {"d8", "d9", "da", "db"}:
        return 6
    if len(raw) < place + 12:
        waits = "\\u".startswith(raw[place + 6 : place + 8]) and '"' not in raw[place + 6 :]
        return None if waits else 6
    return 12 if raw[place + 6 : place + 8] == "\\u" else 6


def _decode_escape(code: str) -> str:
    if code[0] != "u":
        return _ESCAPES.get(code, code)
    try:
        text = str(json.loads(f'"\\{code}"'))
    except ValueError:
        return "\ufffd"
    return "".join("\ufffd" if 0xD800 <= ord(c) < 0xE000 else c for c in text)


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
