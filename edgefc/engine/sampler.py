"""Logits → token: exact greedy choice, or sampling in double precision with numpy, repeatable by its seed."""

from __future__ import annotations

import math
import secrets
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from edgefc import limits
from edgefc.engine.choice import NOT_FINITE, Choice
from edgefc.errors import ConstraintError, RequestError


@dataclass(frozen=True, slots=True)
class SamplingOptions:
    """Options for choosing a token. The defaults are greedy: tool calls want the likeliest answer.

    Applied in this order: logit_bias, penalties, grammar, temperature, top_k, top_p, min_p, draw. Penalties cover the
    last `penalty_last_n` tokens of prompt and answer; `repeat_penalty` divides a logit (multiplies a negative one),
    `frequency_penalty` is subtracted for each occurrence, `presence_penalty` once. `seed` None: drawn at random.
    """

    temperature: float = 0.0
    top_k: int = 0
    top_p: float = 1.0
    min_p: float = 0.0
    repeat_penalty: float = 1.0
    frequency_penalty: float = 0.0
    presence_penalty: float = 0.0
    penalty_last_n: int = 64
    seed: int | None = None
    logit_bias: Mapping[int, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name, (low, high) in limits.SAMPLING.items():
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
                raise RequestError(name, f"must be a number from {low} to {high}, not {value!r}")
        if self.seed is not None and (isinstance(self.seed, bool) or not isinstance(self.seed, int)):
            raise RequestError("seed", f"must be an integer, not {self.seed!r}")
        for token, bias in self.logit_bias.items():
            if not isinstance(token, int) or not isinstance(bias, int | float) or not math.isfinite(bias):
                raise RequestError("logit_bias", f"must map token ids to finite numbers, not {token!r} to {bias!r}")


@dataclass(frozen=True, slots=True)
class TokenLogprob:
    """A token of an answer and its logprob.

    logprob  natural logarithm of the token's probability by the model alone, before bias, penalties, grammar and
             temperature; 0 for a token forced by the grammar, for which the model was not evaluated
    top      the likeliest tokens with their logprobs, as many as requested; for a forced token, only itself
    """

    token: int
    logprob: float
    top: tuple[tuple[int, float], ...] = ()


def token_logprob(logits: NDArray[np.float32], token: int, n_top: int) -> TokenLogprob:
    """Compute a token's logprob and those of the `n_top` likeliest tokens."""
    values = logits.astype(np.float64)
    values -= values.max()
    values -= math.log(float(np.exp(values).sum()))
    top = np.argpartition(values, -n_top)[-n_top:] if n_top else np.empty(0, dtype=np.int64)
    top = top[np.argsort(-values[top], kind="stable")]
    return TokenLogprob(token, float(values[token]), tuple((int(other), float(values[other])) for other in top))


class Sampler:
    """Chooses the tokens of one request."""

    def __init__(self, options: SamplingOptions, n_vocab: int, prompt: Iterable[int]) -> None:
        """Raises RequestError for a logit_bias outside the vocabulary."""
        self.options = options
        # OpenAI's seeds are signed 64-bit integers, numpy's are not negative.
        self.seed = secrets.randbits(32) if options.seed is None else options.seed % (1 << 64)
        self._random = np.random.default_rng(self.seed)
        if outside := [token for token in options.logit_bias if not 0 <= token < n_vocab]:
            raise RequestError("logit_bias", f"token {outside[0]} is not in the vocabulary of {n_vocab}")
        has_penalty = (options.repeat_penalty, options.frequency_penalty, options.presence_penalty) != (1, 0, 0)
        self._penalises = has_penalty and options.penalty_last_n > 0
        self._recent = list(prompt)[-options.penalty_last_n :] if self._penalises else []

    def accept(self, token: int) -> None:
        """Count a token as part of the answer."""
        if self._penalises:
            self._recent = [*self._recent, token][-self.options.penalty_last_n :]

    def adjust(self, logits: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the logits after bias and penalties: a copy if there are any."""
        return self._adjust(logits) if self.options.logit_bias or self._penalises else logits

    def sample(self, choice: Choice) -> int:
        """Choose the next token. Raises ConstraintError when the grammar allows none, or the logits are not numbers."""
        if self.options.temperature > 0:
            return self._draw(choice.restrict(choice.allowed) if choice.is_constrained else choice.logits)
        # The likeliest token is nearly always allowed, so that one is checked before a mask is computed.
        if choice.allows(choice.best):
            return choice.best
        return int(np.argmax(choice.restrict(choice.allowed)))

    def sample_or_end(self, choice: Choice, bias: float, is_variant: Callable[[int], bool]) -> int | None:
        """Choose the next token of another call; None if the model would rather end the answer or write text.

        Greedy: the answer ends if the probability of all tokens that may begin or continue a call is below that of all
        others. When sampling, a token is drawn from the model's own distribution.

        bias        added to the logarithm of those odds
        is_variant  returns True for a forbidden token that only spells the beginning of a call in another way

        Raises as `sample` does.
        """
        more = choice.more
        if self.options.temperature > 0:
            token = self._draw(
                np.where(more, choice.logits + np.float32(bias), choice.logits) if bias else choice.logits
            )
            if more[token]:
                return token
            return self._draw(choice.restrict(more)) if more.any() and is_variant(token) else None
        again, best = choice.share(more), choice.best
        if not more[best] and best not in choice.end_tokens:
            if choice.allows(best):
                return best
            again += choice.probability(best) if is_variant(best) else 0.0
        if again * math.exp(bias) < 1 - again or not more.any():
            return None
        return int(np.argmax(choice.restrict(more)))

    def _adjust(self, logits: NDArray[np.float32]) -> NDArray[np.float32]:
        """Apply bias and penalties to a copy of the logits."""
        logits = logits.copy()
        for token, bias in self.options.logit_bias.items():
            logits[token] += bias
        if self._recent:
            tokens, counts = np.unique(np.asarray(self._recent, dtype=np.int64), return_counts=True)
            values = logits[tokens]
            repeat = self.options.repeat_penalty
            values = np.where(values > 0, values / repeat, values * repeat)
            logits[tokens] = values - counts * self.options.frequency_penalty - self.options.presence_penalty
        return logits

    def _draw(self, logits: NDArray[np.float32]) -> int:
        """Draw a token at random, by temperature, top_k, top_p and min_p."""
        options = self.options
        highest = float(np.max(logits))
        if not math.isfinite(highest):
            raise ConstraintError(NOT_FINITE)
        tokens = np.flatnonzero(np.isfinite(logits))
        if 0 < options.top_k < len(tokens):
            tokens = tokens[np.argpartition(logits[tokens], -options.top_k)[-options.top_k :]]
        tokens = tokens[np.argsort(-logits[tokens], kind="stable")] if options.top_p < 1 else tokens
        weights = np.exp((logits[tokens].astype(np.float64) - highest) / options.temperature)
        if options.top_p < 1:
            total = np.cumsum(weights)
            count = int(np.searchsorted(total, options.top_p * total[-1])) + 1
            tokens, weights = tokens[:count], weights[:count]
        if options.min_p > 0:
            likely = weights >= options.min_p * weights.max()
            tokens, weights = tokens[likely], weights[likely]
        total = np.cumsum(weights)
        index = int(np.searchsorted(total, self._random.random() * total[-1], side="right"))
        return int(tokens[min(index, len(tokens) - 1)])
