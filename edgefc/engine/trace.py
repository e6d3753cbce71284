"""Notes on how each token of an answer came about, for requests that ask for them."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np

from edgefc.engine.choice import Choice

N_OTHERS = 3
MAX_TOKENS = 4096  # of one answer; a note takes half a kilobyte
# sampled  chosen by the model, among the tokens that the grammar allows
# forced   the only one that the grammar allowed, for which the model was not evaluated
# kept     the answer began with it, as an earlier attempt's did
TokenOrigin = Literal["sampled", "forced", "kept"]


class OtherToken(NamedTuple):
    """A token that was not chosen: its probability by the model alone, and whether the grammar allowed it."""

    token: int
    probability: float
    is_allowed: bool


@dataclass(frozen=True, slots=True)
class TokenNote:
    """One token of an answer.

    is_draft     it was drafted, and so computed in the step of the token before it
    probability  by the model alone, before the grammar; None where the model was not evaluated
    others       the likeliest other tokens at that place, allowed or not
    step         number of the request's llama_decode call that it was chosen after, from 1; 0: before the first
    seconds      from the start of the request to this token
    """

    token: int
    origin: TokenOrigin
    is_draft: bool
    probability: float | None
    others: tuple[OtherToken, ...]
    step: int
    seconds: float


class TokenLog:
    """Notes of one answer, in the order of its tokens. Another thread may read them meanwhile.

    end        the end token, if the model chose one
    n_missing  tokens after the first MAX_TOKENS, which are not noted
    """

    def __init__(self, n_kept: int) -> None:
        """Begin the notes of an answer whose first `n_kept` tokens are given."""
        self.tokens: list[TokenNote] = []
        self.end: TokenNote | None = None
        self.n_missing = 0
        self._n_kept, self._start = n_kept, time.perf_counter()
        self._expected: Sequence[int] = ()
        self._chosen: tuple[float, tuple[OtherToken, ...]] | None = None

    def expect(self, draft: Sequence[int]) -> None:
        """Note the drafted tokens whose successors have been computed already."""
        self._expected = draft

    def record(self, choice: Choice, token: int | None, *, is_end: bool, step: int) -> None:
        """Note a choice before the grammar advances by the token; None: the model prefers the end.

        step  number of the request's llama_decode call
        """
        if token is None or len(self.tokens) >= MAX_TOKENS:
            return
        self._chosen = choice.probability(token), _others(choice, token)
        if is_end:
            self.end = self._note(token, "sampled", step, is_draft=False)

    def append(self, token: int, step: int) -> None:
        """Note a token of the answer: one that was chosen, forced, or kept."""
        is_draft = len(self._expected) > 0 and self._expected[0] == token
        self._expected = self._expected[1:] if is_draft else ()
        if len(self.tokens) >= MAX_TOKENS:
            self.n_missing += 1
            return
        if self._chosen is not None:
            origin: TokenOrigin = "sampled"
        else:
            origin = "kept" if len(self.tokens) < self._n_kept else "forced"
        self.tokens.append(self._note(token, origin, step, is_draft=is_draft))

    def _note(self, token: int, origin: TokenOrigin, step: int, *, is_draft: bool) -> TokenNote:
        probability, others = self._chosen or (None, ())
        self._chosen = None
        seconds = time.perf_counter() - self._start
        return TokenNote(token, origin, is_draft, probability, others, step, seconds)


def _others(choice: Choice, token: int) -> tuple[OtherToken, ...]:
    """Return the likeliest tokens but this one."""
    weights = choice.all_probabilities()
    weights[token] = -1.0
    found: list[OtherToken] = []
    for _ in range(min(N_OTHERS, len(weights) - 1)):  # several times faster than sorting
        other = int(np.argmax(weights))
        found.append(OtherToken(other, float(weights[other]), choice.allows(other)))
        weights[other] = -1.0
    return tuple(found)
