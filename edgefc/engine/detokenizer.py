"""Token bytes → text that may be shown: valid UTF-8 at every piece, stop strings never in it."""

from __future__ import annotations

import codecs
from collections.abc import Sequence

from edgefc.formats.parse import overlap


class TextOutput:
    """Feeds on bytes and gives text; `stopped` is the stop string that was met, once one was."""

    def __init__(self, stop: Sequence[str] = ()) -> None:
        self._stop = tuple(stop)
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._held = ""
        self.stopped: str | None = None

    def feed(self, data: bytes) -> str:
        """Text that can no longer become part of a stop string or of a character still incomplete."""
        return self._release(self._decoder.decode(data), final=False)

    def flush(self) -> str:
        """What was held back, once no more bytes can come."""
        return self._release(self._decoder.decode(b"", final=True), final=True)

    def _release(self, text: str, *, final: bool) -> str:
        if self.stopped is not None:
            return ""
        text = self._held + text
        self._held = ""
        met = [(place, stop) for stop in self._stop if (place := text.find(stop)) >= 0]
        if met:
            place, self.stopped = min(met)
            return text[:place]
        if not final:
            keep = max((overlap(text, stop) for stop in self._stop), default=0)
            self._held = text[len(text) - keep :]
            text = text[: len(text) - keep]
        return text
