"""Drafts the next tokens by prompt lookup: the tokens that followed the same words earlier in the text.

The arguments of a tool call are mostly copied from the request. Drafts are computed in the same batch as the tokens
that are due, and are kept as far as the model then chooses the same, so an answer never depends on them.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Sequence

MAX_NGRAM = 3  # longest run of tokens that is looked up; longer ones come first
SMOOTHING = 0.2  # weight of the latest token in the acceptance estimate


class PromptLookup:
    """Index of a growing text: n-gram → the tokens after its last occurrence.

    Tokens that differ only in leading spaces count as equal: a word follows a space in a request, and a quote in a
    tool call.
    """

    def __init__(self, text_of: Callable[[int], bytes], tokens: Iterable[int]) -> None:
        self._text_of = text_of
        self._tokens: list[int] = []
        self._words: list[bytes] = []
        self._next: dict[tuple[bytes, ...], int] = {}  # n-gram → index of the token after its last occurrence
        self.extend(tokens)

    def extend(self, tokens: Iterable[int]) -> None:
        """Append tokens to the text."""
        for token in tokens:
            index = len(self._tokens)
            for size in range(1, min(MAX_NGRAM, index) + 1):
                self._next[tuple(self._words[index - size :])] = index
            self._tokens.append(token)
            self._words.append(self._word(token))

    def propose(self, count: int, after: Sequence[int] = ()) -> list[int]:
        """Propose up to `count` tokens that may follow the text and the tokens `after` it."""
        tail = (self._words[-MAX_NGRAM:] + [self._word(token) for token in after])[-MAX_NGRAM:]
        for size in range(len(tail), 0, -1):
            index = self._next.get(tuple(tail[-size:]))
            if index is not None:
                # A match near the end means that the text repeats itself: continue the repetition.
                return list(itertools.islice(itertools.cycle(self._tokens[index:]), count))
        return []

    def _word(self, token: int) -> bytes:
        text = self._text_of(token)
        return text.lstrip(b" ") or text


class AcceptanceRate:
    """Estimates the probability that a drafted token is right, as a moving average over past drafts."""

    def __init__(self, start: float = 0.5) -> None:
        self.value = start

    def update(self, drafted: int, accepted: int) -> None:
        """Count a draft of `drafted` tokens, of which the first `accepted` were right."""
        outcomes = [1.0] * accepted
        if accepted < drafted:
            outcomes.append(0.0)  # tokens after the first wrong one say nothing
        for outcome in outcomes:
            self.value += SMOOTHING * (outcome - self.value)

    @property
    def draft_length(self) -> int:
        """Number of tokens worth drafting."""
        return 3 if self.value < 0.6 else 7 if self.value < 0.85 else 15
