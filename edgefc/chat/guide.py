"""Follows an answer in the engine's loop: where it may end, how sure the model is, and which calls may be told."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgefc.chat.confidence import (
    MAX_TOKENS,
    ArgumentTracker,
    CallConfidence,
    Confidence,
    HeadChoice,
    head_choice,
    tool_shares,
)
from edgefc.chat.repeats import AnswerReader
from edgefc.engine.choice import Choice
from edgefc.engine.guide import EndReason
from edgefc.types import Delta

# The end of a call, up to which a piece of text has nothing to do with the next one.
_CALL_END = re.compile(r".*[}\])>]", re.DOTALL)
# With these, or white space, the head of another call begins just as text or an invented result may.
_AMBIGUOUS = ("`", "{", "[")
ONE_SIDE = 1e4  # added to logits, so that no other token can be the likeliest


@dataclass(frozen=True, slots=True)
class GuideSettings:
    """Settings of a request's guide.

    names           the tools that may be called
    is_required     the answer must be a call
    parallel        it may have several calls
    end_bias        added to the logarithm of the odds of another call against the end
    call_bias       added to the logarithm of the odds of a call against text, where the answer begins; None: the
                    likeliest token decides
    min_confidence  least P(call) × P(tool | call) of a call that is delivered
    enumerations    tools with an argument of each that is an array of an enumeration
    """

    names: tuple[str, ...]
    is_required: bool = False
    parallel: bool = True
    end_bias: float = 0.0
    call_bias: float | None = None
    min_confidence: float | None = None
    enumerations: frozenset[tuple[str, str]] = frozenset()


class AnswerGuide:
    """Follows one answer with a reader of its own, in the engine's thread.

    piece    returns the text of a token
    earlier  the calls of an earlier attempt with which this one begins
    may_end, is_measuring  see `edgefc.engine.guide.Guide`
    n_safe   number of calls, from the first, that may be told. Never decreases: another thread may read it
    is_doubtful  the first call is not to be told before its arguments are complete
    """

    def __init__(
        self,
        reader: AnswerReader,
        settings: GuideSettings,
        piece: Callable[[int], bytes],
        earlier: Sequence[CallConfidence] = (),
    ) -> None:
        self.end_bias, self.may_end, self.n_safe = settings.end_bias, False, 0
        self.is_measuring = self.is_doubtful = False
        self._reader, self._settings, self._piece, self._earlier = reader, settings, piece, earlier
        self._calls: list[CallConfidence] = []
        self._arguments: ArgumentTracker | None = None  # of the open call
        self._first_call: float | None = None  # P(call) where the answer begins
        self._decision: Choice | None = None  # where that was found
        self._call_after_text = 1.0  # P(call) where something that may be a call begins after text
        self._again = 1.0  # P(another call)
        self._choice: tuple[Choice, int] | None = None  # the last one, until its text has been read
        self._in_head, self._after_text = True, False
        self._head, self._choices = "", list[HeadChoice]()

    @property
    def confidence(self) -> Confidence:
        """Certainty of the answer, once it is complete."""
        # A repeated call is not part of the answer.
        n_calls = len(self._calls) - self._reader.has_repeat
        return Confidence(self._first_call, tuple(self._calls[:n_calls]))

    @property
    def _is_decision(self) -> bool:
        """True where the answer begins, after thoughts if there are any, and nothing is decided."""
        is_start = self._in_head and not self._calls and not self._after_text and self._first_call is None
        return is_start and not self._reader.parser.in_thoughts and not (self._settings.is_required and self._head)

    def judges(self, token: int) -> bool:
        """Return True where the model alone decides: on a call, on another one, on one that is doubtful."""
        del token
        return self.may_end or self.is_doubtful or self._is_decision

    def prepare(self, choice: Choice) -> None:
        """Decide between calling and answering, where the answer begins."""
        if not self._is_decision:
            return
        if self._settings.is_required:
            self._first_call = choice.share(choice.allowed)
            return
        calls = choice.calls
        self._first_call, self._decision = 0.0 if calls is None else choice.share(calls), choice
        if calls is not None and self._settings.call_bias is not None:
            _tilt(choice, calls, self._first_call, self._settings.call_bias)

    def record(self, choice: Choice, token: int) -> None:
        """Note how likely the chosen token was."""
        self._choice = choice, token
        if self._arguments is not None:
            self._arguments.record(choice, token, self._text(token))
        elif self._in_head and not self._reader.parser.in_thoughts:
            self._record_head(choice, token)

    def feed(self, text: str) -> EndReason | None:
        """Read the next piece of the answer; return a reason if the answer must end with it."""
        self._reader.feed(text)
        if self._arguments is None:
            self._head += text
        reason = self._follow(self._reader.parsed)
        self._choice = None
        if self._reader.has_repeat:
            return "repeated_call"
        if self._reader.stopped_by is not None:
            return "stop"
        if self._reader.parser.after_call:
            if self._arguments is not None:
                self._arguments = None
                self._start_head(_CALL_END.sub("", text))
            visible = self._head.strip()
            self.may_end = self._settings.parallel and (not visible or visible.startswith(_AMBIGUOUS))
        else:
            self.may_end = False
        return reason

    def _follow(self, deltas: Sequence[Delta]) -> EndReason | None:
        parser = self._reader.parser
        if parser.in_thoughts:
            self._start_head("")
            self._first_call = None
        elif not deltas and not self._in_head and self._arguments is None:
            self._start_head_after_text()
        for delta in deltas:
            if "content" in delta:
                self._in_head, self._after_text, self._head = False, True, ""
            for part in delta.get("tool_calls", ()):
                function = part["function"]
                if "id" in part and (reason := self._open_call(function["name"])):
                    return reason
                if self._arguments is not None:
                    self._arguments.feed(function["arguments"])
        return None

    # -- the beginning of a call --------------------------------------------------------------------------------

    def _start_head(self, text: str) -> None:
        self._in_head, self._head, self._again = True, text, 1.0
        self._choices.clear()

    def _start_head_after_text(self) -> None:
        """Text that is held back may begin a call; P(call) is that of the token with which it begins."""
        text = self._head[-MAX_TOKENS:] if self._choice is None else self._text(self._choice[1])
        self._start_head(text)
        self._call_after_text = 1.0
        if self._choice is not None and not self._calls and text.strip():
            self._call_after_text = self._choice[0].probability(self._choice[1])

    def _record_head(self, choice: Choice, token: int) -> None:
        if self._calls:
            mask = choice.more
            if self.may_end:
                is_blank = not self._text(token).strip()
                self._again *= choice.share(mask) if is_blank else choice.probability(token)
        elif self._settings.is_required or self._after_text:
            mask = choice.allowed
            if self._after_text and self._text(token).strip() and np.count_nonzero(mask) > MAX_TOKENS:
                self._call_after_text *= choice.probability(token)
        else:
            calls = choice.calls
            if calls is None:
                return
            mask = calls
            if choice is not self._decision and self._first_call is not None:
                # After the beginning, what the grammar forbids says nothing about calling: only spellings differ.
                self._first_call *= min(1.0, choice.share(calls) / max(choice.share(choice.allowed), 1e-30))
        if (found := head_choice(choice, mask, len(self._head), token)) is not None:
            self._choices.append(found)

    def _open_call(self, name: str) -> EndReason | None:
        """Note how likely this call was; return a reason if the model was too unsure of it."""
        index = len(self._calls)
        if self._after_text and not index:
            self._first_call = self._call_after_text
        if index < len(self._earlier):
            call = self._earlier[index]
            if not index:
                self._first_call = call.call
        else:
            tools = tool_shares(self._head, name, self._settings.names, self._choices, self._piece)
            call = CallConfidence(name, self._again if index else self._first_call, tools, {})
        self._arguments = ArgumentTracker()
        self._calls.append(CallConfidence(call.name, call.call, call.tools, call.arguments or self._arguments.least))
        least = self._settings.min_confidence
        if least is not None and call.probability < least:
            return "unsure"
        if not self.is_doubtful:
            self.n_safe = index + 1
        return None

    def _text(self, token: int) -> str:
        return self._piece(token).decode("utf-8", "replace")


def _tilt(choice: Choice, calls: NDArray[np.bool_], share: float, bias: float) -> None:
    """Shift the odds between the tokens with which a call may begin and all others."""
    if not choice.is_greedy:
        choice.add(bias, calls)
        return
    side = calls if share * math.exp(bias) > 1 - share else choice.allowed & ~calls
    if side.any():
        choice.add(ONE_SIDE, side)
