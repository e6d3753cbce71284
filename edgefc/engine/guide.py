"""The interface to whoever follows an answer while it is generated, and the reasons for which an answer ends."""

from __future__ import annotations

from typing import Literal, Protocol

from edgefc.errors import EdgefcError

# stop           the model, the grammar or a stop string ended it
# max_tokens     it reached the caller's limit, or the default one
# context        the context is full
# loop           the same few tokens came again and again, see edgefc.engine.loop_guard
# repeated_call  a call equal to an earlier one followed
EndReason = Literal["stop", "max_tokens", "context", "loop", "repeated_call"]
CUT: frozenset[EndReason] = frozenset({"max_tokens", "context", "loop"})


class Guide(Protocol):
    """Follows one answer in the engine's thread, text by text; its methods must take microseconds.

    may_end   True where a call is complete and no other has begun: there the model's own distribution decides whether
              another one follows, not the grammar, which would always find a next token
    end_bias  added to the logarithm of the odds of another call against the end
    """

    @property
    def may_end(self) -> bool: ...

    @property
    def end_bias(self) -> float: ...

    def feed(self, text: str) -> EndReason | None:
        """Read the next piece of the answer; return a reason if the answer must end with it."""


class SafeGuide:
    """A guide whose bugs fail the one request, not the engine."""

    def __init__(self, guide: Guide) -> None:
        self._guide = guide

    @property
    def may_end(self) -> bool:
        return self._guide.may_end

    @property
    def end_bias(self) -> float:
        return self._guide.end_bias

    def feed(self, text: str) -> EndReason | None:
        """Read the next piece of the answer. Raises EdgefcError for any error of the guide."""
        try:
            return self._guide.feed(text)
        except Exception as error:
            raise _internal_error(error) from error


def _internal_error(error: Exception) -> EdgefcError:
    return EdgefcError(
        f"the answer could not be followed: {type(error).__name__}: {error}", "This is a bug of edgefc: report it."
    )
