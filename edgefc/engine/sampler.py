"""Logits → token: exact greedy choice, or sampling in double precision with numpy, repeatable by its seed."""

from __future__ import annotations

import math
import secrets
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from edgefc import limits
from edgefc.engine.constraint import Constraint
from edgefc.errors import ConstraintError, RequestError

NOT_FINITE = "the model's logits are not finite numbers; its weights may be damaged"


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

    def sample(self, logits: NDArray[np.float32], constraint: Constraint | None, eog: frozenset[int]) -> int:
        """Choose the next token; `logits`, shape (n_vocab,), are not changed.

        eog  end tokens that the grammar does not contain: allowed wherever the grammar accepts

        Raises ConstraintError when the grammar allows no token, or the logits are not numbers.
        """
        if self.options.logit_bias or self._penalises:
            logits = self._adjust(logits)
        if self.options.temperature == 0:
            return self._choose_likeliest(logits, constraint, eog)
        return self._draw(logits if constraint is None else _apply_mask(logits, constraint, eog))

    @staticmethod
    def _choose_likeliest(logits: NDArray[np.float32], constraint: Constraint | None, eog: frozenset[int]) -> int:
        """Choose the likeliest allowed token.

        It nearly always is the likeliest of all, so that one is checked before a mask is computed.
        """
        best = int(np.argmax(logits))
        if not math.isfinite(logits[best]):
            raise ConstraintError(NOT_FINITE)
        if constraint is None or (constraint.is_accepting if best in eog else constraint.allows(best)):
            return best
        return int(np.argmax(_apply_mask(logits, constraint, eog)))

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


def _apply_mask(logits: NDArray[np.float32], constraint: Constraint, eog: frozenset[int]) -> NDArray[np.float32]:
    """Set the logits of tokens that may not come next to -inf."""
    allowed = constraint.mask()[: len(logits)]
    if eog and constraint.is_accepting:
        allowed[list(eog)] = True
    return np.where(allowed, logits, np.float32(-np.inf))
