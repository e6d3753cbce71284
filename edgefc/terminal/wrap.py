"""Streamed text, broken at spaces where the terminal's line ends."""

from __future__ import annotations

import unicodedata


class WordWrap:
    """Breaks a text that comes in pieces before the word that does not fit, so that no word is cut in two.

    A word is passed on when it is complete; one that is longer than a line is not broken here.
    """

    def __init__(self, width: int) -> None:
        """Break lines after `width` columns; 0: not at all."""
        self._width, self._column = width, 0
        self._word, self._space = "", ""

    def feed(self, text: str) -> str:
        """Return what can be printed now."""
        if not self._width:
            return text
        printed: list[str] = []
        for character in text:
            if character == "\n":
                printed.append(self.flush() + "\n")
                self._column, self._space = 0, ""
            elif character == " ":
                printed.append(self._take_word())
                self._space += character
            else:
                self._word += character
                if columns(self._word) > self._width:
                    printed.append(self._take_word())
        return "".join(printed)

    def flush(self) -> str:
        """Return the word that is not printed yet, at the end of the text or before other text."""
        return self._take_word()

    def _take_word(self) -> str:
        """Return the word with the space before it, on a new line if it does not fit."""
        if not self._word:
            return ""
        space, word = self._space, self._word
        self._space = self._word = ""
        if self._column and self._column + len(space) + columns(word) > self._width:
            self._column = columns(word)
            return f"\n{word}"
        self._column += len(space) + columns(word)
        return space + word


def columns(text: str) -> int:
    """Return the number of columns that a text takes on a terminal."""
    if text.isascii():
        return len(text)
    return sum(
        0 if unicodedata.combining(c) or c == "\u200d" else 2 if unicodedata.east_asian_width(c) in "WF" else 1
        for c in text
    )
