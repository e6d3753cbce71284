"""Receivers of a pull's progress."""

from __future__ import annotations

from typing import Protocol


class Reporter(Protocol):
    """Receives the progress of a pull."""

    def begin(self, name: str, size: int | None) -> None:
        """Report that a file of `size` bytes is being fetched."""

    def advance(self, count: int) -> None:
        """Report `count` more bytes of the file; negative when some are discarded."""

    def note(self, text: str) -> None:
        """Report something that a user should know."""


class SilentReporter:
    """Ignores all reports."""

    def begin(self, name: str, size: int | None) -> None: ...
    def advance(self, count: int) -> None: ...
    def note(self, text: str) -> None: ...
