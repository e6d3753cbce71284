"""Calls that repeat an earlier call of the same answer: equal names, and arguments that are equal as JSON values."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from typing import Any, Literal

from edgefc.chat.stops import TextStops
from edgefc.formats import ParsedReply, StreamParser
from edgefc.types import Delta, ToolCallDelta

# A string, a number or word, or a punctuation mark; the last one of a text that goes on may be incomplete.
_TOKEN = re.compile(r'\s*("(?:[^"\\]|\\.)*"|[^\s"{}\[\],:]+|[{}\[\],:])')


class AnswerReader:
    """Reads one answer as a StreamParser does, but stops before a call that repeats an earlier one.

    Nothing is told of a call as long as it may still become a repetition: its deltas are held back.

    allow_repeated  calls may repeat, as those that roll dice do
    earlier         name and arguments of calls before the answer, which it is not to repeat either
    has_repeat      True once a repeated call is complete
    parsed          the parser's deltas of the last piece of text, none of them held back
    """

    def __init__(
        self,
        parser: StreamParser,
        *,
        allow_repeated: bool = False,
        earlier: Sequence[tuple[str, str]] = (),
        stops: Sequence[str] = (),
    ) -> None:
        self.parser, self._allow_repeated, self._stops = parser, allow_repeated, TextStops(stops)
        self._n_earlier = len(earlier)
        self.has_repeat = False
        self.parsed: list[Delta] = []
        self._calls = list(earlier)  # name and arguments of each call so far
        self._held_back: list[Delta] = []
        self._suspects: list[_Comparison] = []  # earlier calls that the last one may still repeat

    def feed(self, text: str) -> list[Delta]:
        """Return the deltas that no further text can change."""
        self.parsed = self.parser.feed(text)
        deltas = self._stops.filter(self.parsed)
        if self._allow_repeated or not deltas:
            return deltas
        return [ready for delta in deltas for ready in self._filter(delta)]

    def finish(self, reason: Literal["stop", "length"]) -> ParsedReply:
        """Return the whole message, without a repeated call."""
        parsed = self._stops.finish(self.parser.finish(reason))
        if self._allow_repeated:
            return parsed
        deltas = tuple(ready for delta in parsed.deltas for ready in self._filter(delta))
        if self.has_repeat and (calls := parsed.message.get("tool_calls")):
            calls = calls[: len(self._calls) - self._n_earlier - 1]
            parsed.message["tool_calls"] = calls
        return ParsedReply(parsed.message, parsed.outcome, parsed.missing, deltas)

    @property
    def stopped_by(self) -> str | None:
        """The stop string that ended the text, if one did."""
        return self._stops.found

    def _filter(self, delta: Delta) -> list[Delta]:
        if "tool_calls" not in delta:
            return [delta]
        if self.has_repeat:
            return []
        (part,) = delta["tool_calls"]
        self._read(part)
        self._held_back.append(delta)
        if self._suspects and not self.has_repeat:
            self._compare()
        if self._suspects or self.has_repeat:
            return []
        ready, self._held_back = self._held_back, []
        return ready

    def _read(self, part: ToolCallDelta) -> None:
        function = part.get("function", {})
        if "id" in part:
            name = function.get("name", "")
            self._held_back = []  # of a call that was never completed
            self._suspects = [_Comparison(text) for other, text in self._calls if other == name]
            self._calls.append((name, ""))
        name, arguments = self._calls[-1]
        self._calls[-1] = (name, arguments + function.get("arguments", ""))

    def _compare(self) -> None:
        """Drop the earlier calls that the last one certainly does not repeat; find out if it repeats one."""
        arguments = self._calls[-1][1]
        self._suspects = [other for other in self._suspects if other.may_equal(arguments)]
        if self._suspects and arguments.endswith("}") and (value := _json_value(arguments)) is not None:
            self.has_repeat = any(_are_equal(value, _json_value(other.text)) for other in self._suspects)
            self._suspects = []


class _Comparison:
    """Compares an incomplete JSON object with a complete one, piece by piece."""

    def __init__(self, text: str) -> None:
        self.text = text
        self._tokens = [found[1] for found in _TOKEN.finditer(text)]
        self._position = self._count = 0  # characters and tokens of the other object that were compared
        self._is_open = False  # from here on, only the complete object decides: its keys come in another order

    def may_equal(self, other: str) -> bool:
        """Return False once the object, of which `other` is the beginning, certainly has another value."""
        for token in self._new_tokens(other):
            if self._is_open or self._count >= len(self._tokens):
                return self._is_open
            expected = self._tokens[self._count]
            if not _are_same(token, expected):
                self._is_open = self._is_key()
                return self._is_open
            self._count += 1
        return True

    def _new_tokens(self, other: str) -> Iterator[str]:
        """Yield tokens that are complete: something follows, or they end by themselves."""
        while (found := _TOKEN.match(other, self._position)) and (
            found.end() < len(other) or found[1][-1] in '"{}[],:'
        ):
            self._position = found.end()
            yield found[1]

    def _is_key(self) -> bool:
        return self._tokens[self._count + 1 : self._count + 2] == [":"]


def _are_same(one: str, other: str) -> bool:
    """Compare two tokens of JSON by their value."""
    try:
        return one == other or _are_equal(json.loads(one), json.loads(other))
    except ValueError:
        return False


def _json_value(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return None


def _are_equal(one: Any, other: Any) -> bool:
    """Compare two JSON values; unlike Python, true is not 1."""
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(_are_equal(value, other[key]) for key, value in one.items())
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(_are_equal, one, other))
    return bool(one == other)
