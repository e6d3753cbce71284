"""Token bytes → text: each piece is valid UTF-8, and no piece contains a part of a stop string."""

from __future__ import annotations

import codecs
from collections.abc import Sequence

from edgefc.formats.json_text import overlap


class Detokenizer:
    """Decodes bytes as they come; `stop_string` is the stop string that ended the text, once one did."""

    def __init__(self, stop: Sequence[str] = ()) -> None:
        self._stop = tuple(stop)
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._buffer = ""
        self.stop_string: str | None = None

    def feed(self, data: bytes) -> str:
        """Text that can no longer be part of a stop string or of an incomplete character."""
        return self._release(self._decoder.decode(data), final=False)

    def flush(self) -> str:
        """The rest of the text, when no more bytes will come."""
        return self._release(self._decoder.decode(b"", final=True), final=True)

    def _release(self, text: str, *, final: bool) -> str:
        if self.stop_string is not None:
            return ""
        text = self._buffer + text
        self._buffer = ""
        matches = [(index, stop) for stop in self._stop if (index := text.find(stop)) >= 0]
        if matches:
            index, self.stop_string = min(matches)
            return text[:index]
        if not final:
            keep = max((overlap(text, stop) for stop in self._stop), default=0)
            self._buffer = text[len(text) - keep :]
            text = text[: len(text) - keep]
        return text
