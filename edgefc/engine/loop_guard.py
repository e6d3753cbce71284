"""Detects an answer that repeats the same few tokens without end, as small models do.

The limits come from docs/decisions.md: text with a reason to repeat itself stays below them.
"""

from __future__ import annotations

from collections.abc import Sequence

MAX_PERIOD = 64  # tokens
MIN_TOKENS, MIN_REPEATS = 384, 4  # of the repetition
CHECK_EVERY = 16  # tokens


class LoopGuard:
    """Watches the tokens of one answer; call `is_loop` after each token that the model chose."""

    def __init__(self) -> None:
        self._choices: list[int] = []  # lengths of the answer after each chosen token
        self._next_check = MIN_TOKENS

    def is_loop(self, tokens: Sequence[int]) -> bool:
        """Return True if the answer so far ends in a loop. Checks now and then only: 0.3 µs per token on average."""
        size = len(tokens)
        self._choices.append(size)
        if size < self._next_check:
            return False
        self._next_check = size + CHECK_EVERY
        for period in range(1, MAX_PERIOD + 1):
            length = max(MIN_TOKENS, MIN_REPEATS * period)
            if tokens[size - period - 1] == tokens[-1] and _repeats(tokens, length, period):
                # Text that the grammar forces, such as a long constant, is not the model's fault.
                n_chosen = sum(choice > size - length for choice in self._choices[-length:])
                return n_chosen >= length // period
        return False


def _repeats(tokens: Sequence[int], length: int, period: int) -> bool:
    """Return True if the last `length` tokens repeat with this period."""
    begin = len(tokens) - length
    return begin >= 0 and tokens[begin + period :] == tokens[begin : len(tokens) - period]
