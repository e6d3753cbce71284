"""Certainty of the model: of calling, of the tool, and of each argument. Taken from logits that are there anyway."""

from __future__ import annotations

import bisect
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from edgefc.engine.choice import Choice

MAX_TOKENS = 4096  # tokens of a choice between names; where more are allowed, it is one between other things


@dataclass(frozen=True, slots=True)
class Certainty:
    """Probability of the least likely choice in an argument, where the grammar left one.

    probability  by the model alone, before the grammar
    allowed      among the tokens that the grammar allowed
    """

    probability: float
    allowed: float


@dataclass(frozen=True, slots=True)
class CallConfidence:
    """Certainty of one call.

    name       the tool
    call       P(call): by the model alone, the probability of a call where this one began; None if nothing was decided
               there, because the grammar allowed nothing else. For a call after the first: that another one follows
    tools      P(tool | call) of every tool that could be called, also by the model alone; they add up to 1
    arguments  by name of the argument; those without any choice are missing
    """

    name: str
    call: float | None
    tools: Mapping[str, float]
    arguments: Mapping[str, Certainty] = field(default_factory=dict)

    @property
    def probability(self) -> float:
        """P(call) × P(tool | call), which `min_confidence` is compared with; P(call) counts as 1 where it is None."""
        return (1.0 if self.call is None else self.call) * self.tools.get(self.name, 1.0)


@dataclass(frozen=True, slots=True)
class Confidence:
    """Certainty of an answer.

    call   P(call): by the model alone, the probability that the answer begins with a call of one of these tools.
           Where text comes first, that of a call where the first one began. None if the grammar allowed only calls
           and their beginning was fixed text, for which the model is not evaluated
    calls  the calls, also one that was not delivered because the model was unsure of it
    """

    call: float | None
    calls: tuple[CallConfidence, ...] = ()

    @property
    def answer(self) -> float | None:
        """P(answer), of anything but a call."""
        return None if self.call is None else 1.0 - self.call

    @property
    def tools(self) -> Mapping[str, float]:
        """P(tool | call) of the first call; empty without calls."""
        return self.calls[0].tools if self.calls else {}

    @property
    def candidates(self) -> list[tuple[str, float]]:
        """The tools of the first call with P(call) × P(tool | call), the likeliest first."""
        call = 1.0 if self.call is None else self.call
        return sorted(((name, call * share) for name, share in self.tools.items()), key=lambda pair: -pair[1])


def auroc(positive: Sequence[float], negative: Sequence[float]) -> float | None:
    """Return the probability that a positive is larger than a negative, equal ones counted half; None without both."""
    if not positive or not negative:
        return None
    ordered = sorted(negative)
    smaller = sum(bisect.bisect_left(ordered, value) + bisect.bisect_right(ordered, value) for value in positive)
    return smaller / 2 / len(positive) / len(negative)


class HeadChoice(NamedTuple):
    """A choice between the first text of a call and its tool's name.

    offset   length of the head of the call before this choice, in characters
    chosen   the token
    tokens   the tokens with which a call may continue, and their probabilities
    """

    offset: int
    chosen: int
    tokens: NDArray[np.int64]
    probabilities: NDArray[np.float64]


def head_choice(choice: Choice, mask: NDArray[np.bool_], offset: int, chosen: int) -> HeadChoice | None:
    """Return the choice among the tokens of a mask; None if they are too many to be names."""
    tokens = np.flatnonzero(mask)
    return HeadChoice(offset, chosen, tokens, choice.probabilities(tokens)) if len(tokens) <= MAX_TOKENS else None


def tool_shares(
    head: str, name: str, names: Sequence[str], choices: Sequence[HeadChoice], piece: Callable[[int], bytes]
) -> dict[str, float]:
    """Return P(tool | call) for each name.

    The chosen name gets the product of its path. At each choice the probability of another token goes, in equal parts,
    to the names that could follow it: one where they differ, several where they begin alike.

    head   text of the call from its beginning to the arguments
    piece  returns the text of a token
    """
    shares = dict.fromkeys(names, 0.0)
    found = list(re.finditer(rf"(?<![\w.-]){re.escape(name)}(?![\w.-])", head))
    if not found:
        return {**shares, name: 1.0}
    begin, after = found[-1].start(), head[found[-1].end() :]
    path, possible = 1.0, list(names)
    for choice in choices:
        known, before = head[begin : choice.offset], head[choice.offset : begin]
        possible = [other for other in possible if (other + after).startswith(known)] or [name]
        if choice.offset > begin + len(name) or len(possible) == 1:
            continue
        branches = _branches(choice, before, {other: (other + after)[len(known) :] for other in possible}, piece)
        total = sum(weight for weight, _, _ in branches)
        if not total:
            continue
        for weight, is_chosen, continued in branches:
            if not is_chosen:
                for other in continued:
                    shares[other] += path * weight / total / len(continued)
        path *= sum(weight for weight, is_chosen, _ in branches if is_chosen) / total
    shares[name] = shares.get(name, 0.0) + path
    return shares


def _branches(
    choice: HeadChoice, before: str, rests: Mapping[str, str], piece: Callable[[int], bytes]
) -> list[tuple[float, bool, list[str]]]:
    """Return for each token its probability, True for the chosen one, and the names that may follow it.

    before  text between the choice and the beginning of the name
    rests   the rest of each name that is still possible, with the text after it
    """
    branches = []
    for token, weight in zip(choice.tokens.tolist(), choice.probabilities.tolist(), strict=True):
        text = piece(token).decode("utf-8", "replace")
        texts = {name: before + rest for name, rest in rests.items()}
        continued = [name for name, rest in texts.items() if rest.startswith(text) or text.startswith(rest)]
        if continued:
            branches.append((weight, token == choice.chosen, continued))
    return branches


class ArgumentTracker:
    """Follows the arguments of a call, a JSON object as text, for the least likely choice in each of them."""

    def __init__(self) -> None:
        self.least: dict[str, Certainty] = {}
        self._depth, self._has_begun = 0, False
        self._in_string = self._escaped = False
        self._string = ""  # the last string at the top level
        self._key: str | None = None  # of the value that comes next or has begun
        self._has_value = False  # the value has begun and not ended
        self._pending: Certainty | None = None  # of a key that is not complete

    @property
    def listing(self) -> str | None:
        """The argument in whose array a string is open."""
        return self._key if self._depth == 2 and self._in_string else None

    def record(self, choice: Choice, token: int, text: str) -> None:
        """Record a token that was chosen for the arguments, and its text."""
        is_between = not self._in_string and not (self._key is not None and self._has_value)
        if (self._has_begun and not self._depth) or (is_between and not any(map(str.isalnum, text))):
            return  # after the arguments, or between two of them: white space and marks say nothing about a value
        least = self._pending if self._key is None else self.least.get(self._key)
        probability = choice.probability(token)
        if least is not None and probability >= least.allowed:
            return  # its share of what the grammar allows is larger still
        allowed = choice.allowed
        if np.count_nonzero(allowed) > 1:
            among = min(1.0, probability / max(choice.share(allowed), 1e-30))
            self._merge(Certainty(probability, among))

    def feed(self, text: str) -> None:
        """Read the next piece of the arguments."""
        for char in text:
            self._has_value = self._has_value or not char.isspace()
            if self._in_string:
                self._read_string(char)
            elif char == '"':
                self._in_string, self._string = True, ""
            elif char in "{[":
                self._depth += 1
                self._has_begun = True
            elif char in "}]":
                self._depth -= 1
                self._has_value = self._depth > 1
            elif self._depth == 1 and char == ":":
                self._key, self._has_value = self._string, False
                if self._pending is not None:
                    self._merge(self._pending)
                self._pending = None
            elif self._depth == 1 and char == ",":
                self._key = None

    def _read_string(self, char: str) -> None:
        if not self._escaped and char == '"':
            self._in_string, self._has_value = False, self._depth > 1
            return
        self._escaped = not self._escaped and char == "\\"
        if self._depth == 1 and self._key is None:
            self._string += char

    def _merge(self, other: Certainty) -> None:
        least = self._pending if self._key is None else self.least.get(self._key)
        if least is not None:
            other = Certainty(min(least.probability, other.probability), min(least.allowed, other.allowed))
        if self._key is None:
            self._pending = other
        else:
            self.least[self._key] = other
