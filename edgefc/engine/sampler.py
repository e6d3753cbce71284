"""Logits → token. Greedy is exact; other sampling is numpy in double precision, repeatable by its seed."""

from __future__ import annotations

import math
import secrets
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from edgefc.engine.constraint import Constraint
from edgefc.errors import ConstraintError, RequestError


@dataclass(frozen=True, slots=True)
class SamplingOptions:
    """How a token is chosen. Defaults are greedy: tool calls want the likeliest answer.

    Applied in this order: logit_bias, penalties, grammar, temperature, top_k, top_p, min_p, draw. `seed` None draws
    one. Penalties look at the last `penalty_last_n` tokens of prompt and answer; `repeat_penalty` divides (or for
    negative logits multiplies), the other two subtract per occurrence and once.
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
        limits = {
            "temperature": (0, 100), "top_k": (0, math.inf), "top_p": (0, 1), "min_p": (0, 1),
            "repeat_penalty": (1e-3, 100), "frequency_penalty": (-100, 100), "presence_penalty": (-100, 100),
            "penalty_last_n": (0, math.inf),
        }  # fmt: skip
        for name, (low, high) in limits.items():
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
    """A token of an answer, and how likely it was.

    logprob  natural logarithm of its probability by the model alone, before bias, penalties, grammar and temperature;
             0 for a token that the grammar gave: it was certain, and the model not asked
    top      the likeliest tokens with theirs, as many as were asked for; of a token that was certain, itself
    """

    token: int
    logprob: float
    top: tuple[tuple[int, float], ...] = ()


def logprob_of(logits: NDArray[np.float32], token: int, count: int) -> TokenLogprob:
    """How likely a token is, and so many of the likeliest."""
    values = logits.astype(np.float64)
    values -= values.max()
    values -= math.log(float(np.exp(values).sum()))
    best = np.argpartition(values, -count)[-count:] if count else np.empty(0, dtype=np.int64)
    best = best[np.argsort(-values[best], kind="stable")]
    return TokenLogprob(token, float(values[token]), tuple((int(one), float(values[one])) for one in best))


class Sampler:
    """Chooses the tokens of one request."""

    def __init__(self, options: SamplingOptions, n_vocab: int, prompt: Iterable[int]) -> None:
        self.options = options
        # OpenAI's seeds are signed 64-bit integers, numpy's are not negative.
        self.seed = secrets.randbits(32) if options.seed is None else options.seed % (1 << 64)
        self._random = np.random.default_rng(self.seed)
        if bad := [token for token in options.logit_bias if not 0 <= token < n_vocab]:
            raise RequestError("logit_bias", f"token {bad[0]} is not in the vocabulary of {n_vocab}")
        self._penalised = (options.repeat_penalty, options.frequency_penalty, options.presence_penalty) != (1, 0, 0)
        self._recent = list(prompt)[-options.penalty_last_n :] if self._penalised and options.penalty_last_n else []

    def accept(self, token: int) -> None:
        """A token became part of the answer."""
        if self._penalised and self.options.penalty_last_n:
            self._recent = [*self._recent, token][-self.options.penalty_last_n :]

    def sample(self, logits: NDArray[np.float32], constraint: Constraint | None, also: frozenset[int]) -> int:
        """The next token. `also` are end tokens that no grammar knows: legal wherever the grammar may end.

        `logits` is not changed. Raises ConstraintError when the grammar leaves nothing, or the logits are not numbers.
        """
        if self.options.logit_bias or self._penalised:
            logits = self._adjusted(logits)
        if self.options.temperature == 0:
            return self._greedy(logits, constraint, also)
        if constraint is not None:
            allowed = self._allowed(constraint, also, len(logits))
            logits = np.where(allowed, logits, np.float32(-np.inf))
        return self._draw(logits)

    def _greedy(self, logits: NDArray[np.float32], constraint: Constraint | None, also: frozenset[int]) -> int:
        """The likeliest legal token: nearly always the likeliest of all, so that one is tried before any mask."""
        best = int(np.argmax(logits))
        if not math.isfinite(logits[best]):
            raise ConstraintError("the model's logits are not numbers; its weights may be damaged")
        if constraint is None or (constraint.is_accepting if best in also else constraint.allows(best)):
            return best
        masked = np.where(self._allowed(constraint, also, len(logits)), logits, np.float32(-np.inf))
        return int(np.argmax(masked))

    @staticmethod
    def _allowed(constraint: Constraint, also: frozenset[int], size: int) -> NDArray[np.bool_]:
        allowed = constraint.mask()[:size]
        if also and constraint.is_accepting:
            allowed[list(also)] = True
        return allowed

    def _adjusted(self, logits: NDArray[np.float32]) -> NDArray[np.float32]:
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
        options = self.options
        size = len(logits)
        top = float(np.max(logits))
        if not math.isfinite(top):
            raise ConstraintError("the model's logits are not numbers; its weights may be damaged")
        tokens = np.flatnonzero(np.isfinite(logits))
        if 0 < options.top_k < len(tokens):
            tokens = tokens[np.argpartition(logits[tokens], -options.top_k)[-options.top_k :]]
        tokens = tokens[np.argsort(-logits[tokens], kind="stable")] if options.top_p < 1 else tokens
        weights = np.exp((logits[tokens].astype(np.float64) - top) / options.temperature)
        if options.top_p < 1:
            total = np.cumsum(weights)
            count = int(np.searchsorted(total, options.top_p * total[-1])) + 1
            tokens, weights = tokens[:count], weights[:count]
        if options.min_p > 0:
            keep = weights >= options.min_p * weights.max()
            tokens, weights = tokens[keep], weights[keep]
        total = np.cumsum(weights)
        place = int(np.searchsorted(total, self._random.random() * total[-1], side="right"))
        assert len(tokens) <= size
        return int(tokens[min(place, len(tokens) - 1)])
