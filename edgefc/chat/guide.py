"""Follows an answer in the engine's loop: where it may end, and calls that repeat an earlier one."""

from __future__ import annotations

import re

from edgefc.chat.repeats import AnswerReader
from edgefc.engine.guide import EndReason

# The end of a call, up to which a piece of text has nothing to do with the next one.
_CALL_END = re.compile(r".*[}\])>]", re.DOTALL)
# With these, or white space, the head of another call begins just as text or an invented result may.
_AMBIGUOUS = ("`", "{", "[")


class AnswerGuide:
    """Follows one answer with a reader of its own.

    parallel  an answer may have several calls
    end_bias  added to the logarithm of the odds of another call against the end
    """

    def __init__(self, reader: AnswerReader, *, parallel: bool, end_bias: float = 0.0) -> None:
        self.end_bias, self.may_end = end_bias, False
        self._reader, self._parallel = reader, parallel
        self._tail: str | None = None  # text since the last complete call

    def feed(self, text: str) -> EndReason | None:
        """Read the next piece of the answer; return a reason if the answer must end with it."""
        self._reader.feed(text)
        if self._reader.has_repeat:
            return "repeated_call"
        if self._parallel:
            self._follow_tail(text)
        return None

    def _follow_tail(self, text: str) -> None:
        if not self._reader.parser.after_call:
            self._tail, self.may_end = None, False
            return
        self._tail = _CALL_END.sub("", text) if self._tail is None else self._tail + text
        visible = self._tail.strip()
        self.may_end = not visible or visible.startswith(_AMBIGUOUS)
