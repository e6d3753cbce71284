"""Guesses at the next tokens, by looking up what followed the same tokens before (prompt lookup).

A tool call's arguments are mostly copied from the request. Guesses are computed in the same batch as what is due and
kept as far as the model then says the same, so an answer never depends on them.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Sequence

LONGEST = 3  # tokens that are looked up; longer ones first


class Lookup:
    """What followed where in a text that grows.

    Tokens count as the same when they differ by spaces before them: a word stands after a space in a request, and after
    a quote in a call.
    """

    def __init__(self, text_of: Callable[[int], bytes], tokens: Iterable[int]) -> None:
        self._text_of = text_of
        self._tokens: list[int] = []
        self._words: list[bytes] = []
        self._after: dict[tuple[bytes, ...], int] = {}  # words → place of the token after their last occurrence
        self.extend(tokens)

    def extend(self, tokens: Iterable[int]) -> None:
        """The text goes on."""
        for token in tokens:
            place = len(self._tokens)
            for size in range(1, min(LONGEST, place) + 1):
                self._after[tuple(self._words[place - size :])] = place
            self._tokens.append(token)
            self._words.append(self._word(token))

    def propose(self, count: int, after: Sequence[int] = ()) -> list[int]:
        """Up to so many tokens that may follow the text and the tokens `after` it."""
        tail = (self._words[-LONGEST:] + [self._word(token) for token in after])[-LONGEST:]
        for size in range(len(tail), 0, -1):
            place = self._after.get(tuple(tail[-size:]))
            if place is not None:
                # What repeats itself until the end will go on so.
                return list(itertools.islice(itertools.cycle(self._tokens[place:]), count))
        return []

    def _word(self, token: int) -> bytes:
        text = self._text_of(token)
        return text.lstrip(b" ") or text


class Confidence:
    """How likely a draft's next token is right, from what became of the last ones."""

    def __init__(self, start: float = 0.5) -> None:
        self.value = start

    def learn(self, drafted: int, accepted: int) -> None:
        """Of a draft so many tokens were right before the first wrong one."""
        told = min(accepted + 1, drafted)  # those after the first wrong one say nothing
        for number in range(told):
            self.value += 0.2 * ((number < accepted) - self.value)

    @property
    def reach(self) -> int:
        """How far ahead it is worth looking."""
        return 3 if self.value < 0.6 else 7 if self.value < 0.85 else 15
