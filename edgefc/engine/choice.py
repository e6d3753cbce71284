"""The choice of one token: the model's distribution, and the part of it that the grammar allows."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from edgefc.engine.constraint import Constraint, ConstraintFactory
from edgefc.errors import ConstraintError
from edgefc.grammar import CompiledGrammar

NOT_FINITE = "the model's logits are not finite numbers; its weights may be damaged"


class Choice:
    """Logits of the next token, shape (n_vocab,), and what the grammar allows. Computes only what is used.

    Probabilities are the model's own, of the logits as they were at first.

    end_tokens  end tokens that the grammar does not contain: allowed wherever the grammar accepts
    is_greedy   the likeliest token will be chosen, none will be drawn
    call_mask   computes `calls`
    """

    __slots__ = (
        "_allowed",
        "_best",
        "_constraint",
        "_total",
        "_weights",
        "call_mask",
        "end_tokens",
        "is_greedy",
        "logits",
    )

    def __init__(
        self,
        logits: NDArray[np.float32],
        constraint: Constraint | None,
        end_tokens: frozenset[int],
        *,
        is_greedy: bool = True,
        call_mask: Callable[[], NDArray[np.bool_] | None] = lambda: None,
    ) -> None:
        self.logits, self._constraint, self.end_tokens = logits, constraint, end_tokens
        self.is_greedy, self.call_mask = is_greedy, call_mask
        self._best: int | None = None
        self._allowed: NDArray[np.bool_] | None = None
        self._weights: NDArray[np.float32] | None = None
        self._total = 0.0

    @property
    def best(self) -> int:
        """The likeliest token, allowed or not. Raises ConstraintError when the logits are not numbers."""
        if self._best is None:
            best = int(np.argmax(self.logits))
            if not math.isfinite(self.logits[best]):
                raise ConstraintError(NOT_FINITE)
            self._best = best
        return self._best

    @property
    def is_constrained(self) -> bool:
        return self._constraint is not None

    def allows(self, token: int) -> bool:
        """Check one token, without a mask: where text is forced, a mask has one tokenization of it, others fit too."""
        if self._constraint is None:
            return True
        return self._constraint.is_accepting if token in self.end_tokens else self._constraint.allows(token)

    @property
    def allowed(self) -> NDArray[np.bool_]:
        """Mask of the tokens that may come next. Raises ConstraintError if none may."""
        if self._allowed is None:
            if self._constraint is None:
                self._allowed = np.ones(len(self.logits), np.bool_)
            else:
                self._allowed = self._constraint.mask()[: len(self.logits)]
                if self.end_tokens and self._constraint.is_accepting:
                    self._allowed[list(self.end_tokens)] = True
        return self._allowed

    @property
    def calls(self) -> NDArray[np.bool_] | None:
        """Mask of the tokens with which a call may begin or continue; None where the answer is no call."""
        mask = self.call_mask()
        return None if mask is None else mask[: len(self.logits)] & self.allowed

    @property
    def more(self) -> NDArray[np.bool_]:
        """Mask of the allowed tokens that do not end the answer."""
        more = self.allowed.copy()
        more[list(self.end_tokens)] = False
        return more

    def restrict(self, mask: NDArray[np.bool_]) -> NDArray[np.float32]:
        """Return the logits, with -inf for the tokens outside a mask."""
        return np.where(mask, self.logits, np.float32(-np.inf))

    def add(self, bias: float, mask: NDArray[np.bool_]) -> None:
        """Add a bias to the logits of these tokens."""
        self._softmax()
        self.logits = np.where(mask, self.logits + np.float32(bias), self.logits)
        self._best = None

    def probability(self, token: int) -> float:
        """Return the probability of a token by the model alone."""
        return float(self._softmax()[token]) / self._total

    def probabilities(self, tokens: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return the probabilities of some tokens, shape (len(tokens),), by the model alone."""
        shares: NDArray[np.float64] = self._softmax()[tokens].astype(np.float64) / self._total
        return shares

    def all_probabilities(self) -> NDArray[np.float32]:
        """Return the probabilities of all tokens, shape (n_vocab,), by the model alone: a new array."""
        return self._softmax() / np.float32(self._total)

    def share(self, mask: NDArray[np.bool_]) -> float:
        """Return the probability of a set of tokens by the model alone."""
        # float32 sums of 150,000 terms may pass 1 by a little.
        return min(1.0, float(np.dot(self._softmax(), mask)) / self._total)

    def _softmax(self) -> NDArray[np.float32]:
        """Return the weights of all tokens; their sum is `_total`."""
        if self._weights is None:
            weights: NDArray[np.float32] = np.exp(self.logits - self.logits[self.best])
            self._weights, self._total = weights, float(weights.sum())
        return self._weights


class CallPath:
    """The grammar of an answer that is calls alone, as far as an answer follows it. Costs nothing until it is used."""

    def __init__(self, constraints: ConstraintFactory, grammar: CompiledGrammar) -> None:
        """Raises GrammarError."""
        self._constraint: Constraint | None = constraints.start(grammar)
        self._n_read = 0

    def mask(self, tokens: list[int]) -> NDArray[np.bool_] | None:
        """Return the mask of the tokens that may follow these in a call; None if they are no call's beginning."""
        if self._constraint is not None and not self._constraint.try_consume(tokens[self._n_read :]):
            self._constraint = None
        self._n_read = len(tokens)
        return None if self._constraint is None or self._constraint.is_finished else self._constraint.mask()
