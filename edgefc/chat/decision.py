"""The decision between a call and an answer in text, for families that make it before anything is written.

A call is tried first, held to the family's spelling. Once its tool's name is complete, the model has said twice what
it thinks of calling: by the probability of every beginning of a call where the answer begins, and by the probability
that the name is one of the tools. The log odds of the first and the logarithm of the second add up; below the
threshold the attempt is given up, and the model answers in text, to a prompt without tools: it neither has to resist
the instructions to call nor to read past them. Either figure alone separates far worse.

Not far below the threshold, the arguments have the last word: where no tool fits, a model has to invent them, and is
unsure of each; a question that it would only rather have answered itself gives them plainly.
"""

from __future__ import annotations

import copy
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from edgefc.chat.confidence import CallConfidence
from edgefc.chat.guide import ONE_SIDE, AnswerGuide, GuideSettings
from edgefc.chat.repeats import AnswerReader
from edgefc.engine.choice import Choice
from edgefc.engine.guide import EndReason
from edgefc.formats.json_text import JsonEnd
from edgefc.types import CallDecision, OutputSyntax, Tools

MAX_CANDIDATES = 64  # tokens among which the end of a call is looked for
MIN_SHARE = 1e-9
# Part of the bias where tokens may end the call with or without what follows it. There a part of the probability of the
# end is only that of a decision one token later, so the odds of those who go on are 3 to 5 higher than after the call.
UNDECIDED_SHARE = 0.1
# The arguments' weight makes a doubtful call's sum ten times as wide as log odds. P(call) has it in their scale: AUROC
# on 100 simple and 100 irrelevant cases of the 0.5B model 0.94 instead of 0.86.
DOUBT_SCALE = 0.1
_NEXT_ITEM, _ARRAY_END = re.compile(r'"\s*,'), re.compile(r'"\s*]')


class DecidingGuide(AnswerGuide):
    """Follows an attempt that begins with a call, and gives it up where the model would rather answer.

    is_measuring  True until the decision: what the grammar forces has to be computed by the model, too
    score         log odds of a call, once the tool's name is complete
    again_odds    log odds of another call, with the number of calls before it, wherever one could begin
    """

    def __init__(
        self,
        reader: AnswerReader,
        settings: GuideSettings,
        piece: Callable[[int], bytes],
        earlier: Sequence[CallConfidence] = (),
        *,
        syntax: OutputSyntax,
        biases: CallDecision,
    ) -> None:
        super().__init__(reader, settings, piece, earlier)
        self.is_measuring = not settings.is_required
        self.score: float | None = None
        self.again_odds: list[tuple[int, float]] = []
        self._biases = biases if settings.call_bias is None else replace(biases, call=settings.call_bias)
        self._syntax = syntax
        self._first_share, self._names_share = 0.0, 1.0
        self._odds = 0.0  # of a doubtful call
        self._arguments_logprobs: list[float] = []
        self._tail: _CallTail | None = None  # of the last call
        self._between = ""  # text before the first call's arguments, or since the last call

    def judges(self, token: int) -> bool:
        """Return True also where the tools' names are measured."""
        return self._is_of_name(token) or super().judges(token)

    def prepare(self, choice: Choice) -> None:
        """Note how likely a call is where the answer begins; decide on another call where one ends."""
        super().prepare(choice)
        if self.is_measuring and not self._head and not self._calls:
            mask = choice.call_mask()
            self._first_share = 0.0 if mask is None else choice.share(mask[: len(choice.logits)])
        if not self._calls or not choice.is_greedy:
            return
        if self._settings.parallel:
            self._choose_side(choice)
        if self._biases.item and self._arguments is not None:
            name = self._arguments.listing
            if name is not None and (self._calls[-1].name, name) in self._settings.enumerations:
                self._choose_end_of_array(choice)

    def record(self, choice: Choice, token: int) -> None:
        """Note how likely the tools' names are."""
        if self._is_of_name(token):
            self._names_share *= choice.share(choice.allowed)
        if self.is_doubtful:
            self._arguments_logprobs.append(math.log(max(choice.probability(token), MIN_SHARE)))
        super().record(choice, token)

    def _is_of_name(self, token: int) -> bool:
        """Return True for a token of the first tool's name, until the decision."""
        return self.is_measuring and len(self._head + self._text(token)) > len(self._syntax.calls_head)

    def feed(self, text: str) -> EndReason | None:
        """Read the next piece of the answer; return a reason if the answer must end with it."""
        n_calls = len(self._calls)
        self._between += text if self._tail is None else self._tail.feed(text) or ""
        reason = super().feed(text)
        if reason == "repeated_call" and len(self._calls) == 1:
            return "declined"  # a call whose result the model has: nothing is left to be called
        if len(self._calls) > n_calls:
            arguments = self._between.partition(self._syntax.before_arguments)[2]
            self._tail = _CallTail(self._syntax.after_arguments)
            self._between = self._tail.feed(arguments) or ""
        if self.is_doubtful and (self._reader.parser.after_call or len(self._calls) > 1):
            return self._settle_doubt() or reason
        return reason

    def _open_call(self, name: str) -> EndReason | None:
        if self.is_measuring:
            self.is_measuring = False
            share = min(max(self._first_share, MIN_SHARE), 1 - MIN_SHARE)
            self.score = math.log(share / (1 - share)) + math.log(max(self._names_share, MIN_SHARE))
            self._first_call = _probability(self.score)
            self._odds = self.score + self._biases.call
            if self._odds < 0:
                self._odds += self._biases.doubt
                self.is_doubtful = self._odds >= 0
                if not self.is_doubtful:
                    return "declined"
        return super()._open_call(name)

    def _settle_doubt(self) -> EndReason | None:
        """Decide on a doubtful call, whose arguments are complete."""
        mean = sum(self._arguments_logprobs) / max(1, len(self._arguments_logprobs))
        self._odds += self._biases.arguments * mean
        self._first_call = _probability(self._odds * DOUBT_SCALE)
        self._calls[0] = replace(self._calls[0], call=self._first_call)
        if self._odds < 0:
            return "declined"
        self.is_doubtful, self.n_safe = False, len(self._calls)
        return None

    def _choose_side(self, choice: Choice) -> None:
        """Weigh another call against the end of the answer, where a token may end a call and begin the next one."""
        tail, mark = self._tail, self._syntax.calls_separator.strip()
        if tail is None or self._between.strip() or not tail.may_end(self._text(choice.best)):
            return
        best = np.argpartition(choice.logits, -MAX_CANDIDATES)[-MAX_CANDIDATES:]
        again: list[int] = []
        end: list[int] = []
        for token in best.tolist():
            after = tail.text_after_call(self._text(token))
            if after is None or not choice.allows(token):
                continue
            (again if after.strip().startswith(mark) else end).append(token)
        if not again or not end:
            return
        bias = self._biases.again if len(self._calls) == 1 else self._biases.more
        if not tail.is_complete:
            bias *= UNDECIDED_SHARE
        odds = _log_odds(choice, again, end)
        self.again_odds.append((len(self._calls), round(odds, 2)))
        _take_one_of(choice, again if odds + bias > 0 else end)

    def _choose_end_of_array(self, choice: Choice) -> None:
        """End an array of an enumeration where another string is not clearly likelier than its end."""
        if not _NEXT_ITEM.match(self._text(choice.best)):
            return
        if np.count_nonzero(choice.allowed) > MAX_CANDIDATES:
            return  # the string may go on
        allowed = [(token, self._text(token)) for token in np.flatnonzero(choice.allowed).tolist()]
        more = [token for token, text in allowed if _NEXT_ITEM.match(text)]
        end = [token for token, text in allowed if _ARRAY_END.match(text)]
        if not more or not end:
            return
        if _log_odds(choice, more, end) + self._biases.item < 0:
            _take_one_of(choice, end)


def _log_odds(choice: Choice, tokens: list[int], others: list[int]) -> float:
    """Return the log odds of some tokens against others, by the model alone."""
    shares = [max(float(choice.probabilities(np.array(side)).sum()), MIN_SHARE) for side in (tokens, others)]
    return math.log(shares[0]) - math.log(shares[1])


def _take_one_of(choice: Choice, tokens: list[int]) -> None:
    """Let the likeliest of these tokens be chosen."""
    mask = np.zeros(len(choice.logits), np.bool_)
    mask[tokens] = True
    choice.add(ONE_SIDE, mask)


def enumerations_of(tools: Tools) -> frozenset[tuple[str, str]]:
    """Return the tools with an argument of each that is an array of an enumeration."""
    found: set[tuple[str, str]] = set()
    for tool in tools:
        function: Mapping[str, Any] = tool["function"]
        parameters = function.get("parameters")
        properties = parameters.get("properties") if isinstance(parameters, Mapping) else None
        for name, schema in properties.items() if isinstance(properties, Mapping) else ():
            items = schema.get("items") if isinstance(schema, Mapping) else None
            if isinstance(items, Mapping) and "enum" in items:
                found.add((function["name"], name))
    return frozenset(found)


def _probability(odds: float) -> float:
    return 1 / (1 + math.exp(min(-odds, 700.0)))


class _CallTail:
    """Finds the end of a call in its text: arguments, a JSON object, and the text after them."""

    def __init__(self, after_arguments: str, json: JsonEnd | None = None, left: str | None = None) -> None:
        self._after, self._json = after_arguments, json or JsonEnd()
        self._left = left  # of the text after the arguments; None until they are complete

    def feed(self, text: str) -> str | None:
        """Read more text; return what follows the call in it, None if the call is not complete."""
        if self._left is None:
            size = self._json.scan(text)
            if size is None:
                self._json.drop(len(text))
                return None
            self._left, text = self._after, text[size:]
        while self._left and text:
            self._left, text = self._left.removeprefix(text[0]), text[1:]
        return None if self._left else text

    @property
    def is_complete(self) -> bool:
        return self._left == ""

    def may_end(self, text: str) -> bool:
        """Return whether a text may complete the call."""
        return self._left is not None or ('"}' if self._json.in_string else "}") in text

    def text_after_call(self, text: str) -> str | None:
        """Return what would follow the call if this text came next; None if it does not complete the call."""
        return _CallTail(self._after, copy.copy(self._json), self._left).feed(text)
