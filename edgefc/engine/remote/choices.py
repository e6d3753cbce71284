"""Choices of a remote engine, in the terms of edgefc's own: logits from logprobs, and the token that was taken."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from edgefc.engine.choice import Choice
from edgefc.engine.remote.api import RemoteToken
from edgefc.engine.sampler import Sampler, SamplingOptions
from edgefc.errors import ConstraintError

UNLIKELY = -50.0  # logit of tokens that are as good as impossible


def logits_of(found: RemoteToken, n_vocab: int) -> NDArray[np.float32]:
    """Return logits, shape (n_vocab,), whose distribution has these logprobs; the rest is shared by all other tokens.

    A token without logprobs is certain.
    """
    known = dict(found.top)
    known.setdefault(found.token, 0.0 if found.logprob is None else found.logprob)
    logits = np.full(n_vocab, _share_of_others(known, n_vocab), np.float32)
    logits[list(known)] = list(known.values())
    return logits


def judged_alone(found: RemoteToken, alone: RemoteToken, n_vocab: int) -> RemoteToken:
    """Return a token that was chosen under a grammar with the logprobs that the model alone has at its place."""
    known = dict(alone.top)
    return RemoteToken(found.token, known.get(found.token, _share_of_others(known, n_vocab)), alone.top)


def _share_of_others(known: Mapping[int, float], n_vocab: int) -> float:
    """Return the logprob of each token whose own is not known."""
    rest, n_others = 1.0 - sum(map(math.exp, known.values())), n_vocab - len(known)
    return max(math.log(rest / n_others), UNLIKELY) if rest > 0 and n_others else UNLIKELY


class RemoteSampler(Sampler):
    """Takes the token that a remote engine chose, unless a guide has changed the odds, or may end the answer.

    found      the token, set before each choice
    is_spelled returns True for a token that spells a control token, which GBNF cannot tell from the token itself
    """

    def __init__(
        self, options: SamplingOptions, n_vocab: int, prompt: Sequence[int], is_spelled: Callable[[int], bool]
    ) -> None:
        super().__init__(options, n_vocab, prompt)
        self.found = RemoteToken(-1)
        self._is_spelled = is_spelled
        self._seen: NDArray[np.float32] | None = None

    def adjust(self, logits: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the logits after bias and penalties."""
        self._seen = super().adjust(logits)
        return self._seen

    def sample(self, choice: Choice) -> int:
        """Return the engine's token. Raises ConstraintError if the grammar that it was given forbids it."""
        is_allowed = self._is_allowed(choice)
        return self.found.token if is_allowed and choice.logits is self._seen else super().sample(choice)

    def sample_or_end(self, choice: Choice, bias: float, is_variant: Callable[[int], bool]) -> int | None:
        """Decide on another call, as `Sampler` does; without logprobs, the engine's own choice counts."""
        if self._is_allowed(choice) and self.found.logprob is None:
            return None if self.found.token in choice.end_tokens else self.found.token
        return super().sample_or_end(choice, bias, is_variant)

    def _is_allowed(self, choice: Choice) -> bool:
        """Return False for a token that only the engine's form of the grammar allows; raise for any other."""
        token = self.found.token
        if choice.allows(token):
            return True
        if token in choice.end_tokens or not self._is_spelled(token):
            raise ConstraintError(f"the grammar forbids the token {token}")
        return False
