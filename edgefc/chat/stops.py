"""Stop strings of a request whose answer may have calls: they apply to its text, not to arguments or thoughts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from edgefc.formats import ParsedReply
from edgefc.formats.json_text import overlap
from edgefc.types import Delta


class TextStops:
    """Cuts the text of one answer at the first stop string.

    found  the stop string that ended the text; None: none so far
    """

    def __init__(self, stops: Sequence[str]) -> None:
        self.found: str | None = None
        self._stops = tuple(stops)
        self._held_back = ""  # text that may be the beginning of a stop string
        self._text = ""
        self._n_calls = 0

    def filter(self, deltas: Sequence[Delta]) -> list[Delta]:
        """Return the deltas up to the stop string, except text that may belong to one."""
        if not self._stops:
            return list(deltas)
        return [ready for delta in deltas for ready in self._filter(delta)]

    def finish(self, parsed: ParsedReply) -> ParsedReply:
        """Return the whole message up to the stop string."""
        if not self._stops:
            return parsed
        deltas = [*self.filter(parsed.deltas), *self._flush()]
        if self.found is None:
            return replace(parsed, deltas=tuple(deltas))
        message = parsed.message.copy()
        calls = message.pop("tool_calls", [])[: self._n_calls]
        message["content"] = self._text if self._text or not calls else None
        if calls:
            message["tool_calls"] = calls
        return replace(parsed, message=message, outcome="call" if calls else "answer", deltas=tuple(deltas))

    def _filter(self, delta: Delta) -> Iterator[Delta]:
        if self.found is not None:
            return
        if "content" not in delta:
            if "tool_calls" in delta:
                yield from self._flush()
                self._n_calls = max(self._n_calls, delta["tool_calls"][0]["index"] + 1)
            yield delta
            return
        text, self._held_back = self._held_back + delta["content"], ""
        matches = [(index, stop) for stop in self._stops if (index := text.find(stop)) >= 0]
        if matches:
            index, self.found = min(matches)
            text = text[:index]
        else:
            size = len(text) - max(overlap(text, stop) for stop in self._stops)
            text, self._held_back = text[:size], text[size:]
        self._text += text
        if text:
            yield {**delta, "content": text}

    def _flush(self) -> Iterator[Delta]:
        """Yield the text that was held back: it was no stop string."""
        text, self._held_back = self._held_back, ""
        self._text += text
        if text and self.found is None:
            yield {"content": text}
