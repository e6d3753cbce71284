"""The interface to whoever follows an answer while it is generated, and the reasons for which an answer ends."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal, Protocol

from edgefc.engine.choice import Choice
from edgefc.errors import EdgefcError

# stop           the model, the grammar or a stop string ended it
# max_tokens     it reached the caller's limit, or the default one
# context        the context is full
# loop           the same few tokens came again and again, see edgefc.engine.loop_guard
# repeated_call  a call equal to an earlier one followed
# unsure         a call followed that the model was less sure of than the caller demands
# declined       the model would rather answer in text than make the call it was tried with
EndReason = Literal["stop", "max_tokens", "context", "loop", "repeated_call", "unsure", "declined"]
CUT: frozenset[EndReason] = frozenset({"max_tokens", "context", "loop"})


class Guide(Protocol):
    """Follows one answer in the engine's thread, choice by choice; its methods must take microseconds.

    may_end   True where a call is complete and no other has begun: there the model's own distribution decides whether
              another one follows, not the grammar, which would always find a next token
    end_bias  added to the logarithm of the odds of another call against the end
    is_measuring  True while the model has to compute what the grammar forces, too
    """

    @property
    def may_end(self) -> bool: ...

    @property
    def is_measuring(self) -> bool: ...

    @property
    def end_bias(self) -> float: ...

    def judges(self, token: int) -> bool:
        """Return True where the choice of this token is judged by the model's distribution before the grammar."""

    def prepare(self, choice: Choice) -> None:
        """Look at a choice before a token is chosen; may change its logits."""

    def record(self, choice: Choice, token: int) -> None:
        """Look at the token that was chosen, before the grammar and `feed` advance by it."""

    def feed(self, text: str) -> EndReason | None:
        """Read the next piece of the answer; return a reason if the answer must end with it."""


class SafeGuide:
    """A guide whose bugs fail the one request, not the engine: its methods raise EdgefcError."""

    def __init__(self, guide: Guide) -> None:
        self._guide = guide

    @property
    def may_end(self) -> bool:
        return self._guide.may_end

    @property
    def is_measuring(self) -> bool:
        return self._guide.is_measuring

    @property
    def end_bias(self) -> float:
        return self._guide.end_bias

    def judges(self, token: int) -> bool:
        with _errors_of_guide():
            return self._guide.judges(token)

    def prepare(self, choice: Choice) -> None:
        with _errors_of_guide():
            self._guide.prepare(choice)

    def record(self, choice: Choice, token: int) -> None:
        with _errors_of_guide():
            self._guide.record(choice, token)

    def feed(self, text: str) -> EndReason | None:
        with _errors_of_guide():
            return self._guide.feed(text)


@contextmanager
def _errors_of_guide() -> Iterator[None]:
    try:
        yield
    except EdgefcError:
        raise
    except Exception as error:
        reason = f"the answer could not be followed: {type(error).__name__}: {error}"
        raise EdgefcError(reason, "This is a bug of edgefc: report it.") from error
