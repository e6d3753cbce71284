"""The vocabulary of a model: what a tokenizer needs of it, wherever it comes from."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any, Protocol


class Lease(AbstractContextManager[Any], Protocol):
    """The owner of a vocabulary: `with` leases it."""

    def check(self) -> None:
        """Raise EngineClosedError if it is closed."""


class Vocabulary(Protocol):
    """Token ids and their bytes.

    size     number of tokens
    bos, eos tokens that begin and end a text; -1: none
    add_bos  whether a raw prompt begins with `bos`
    """

    @property
    def handle(self) -> Lease: ...

    @property
    def size(self) -> int: ...

    @property
    def bos(self) -> int: ...

    @property
    def eos(self) -> int: ...

    @property
    def add_bos(self) -> bool: ...

    @property
    def pieces(self) -> list[bytes]:
        """Bytes of every token, control tokens included."""

    @property
    def eog(self) -> frozenset[int]:
        """Tokens that end an answer."""

    @property
    def control(self) -> frozenset[int]:
        """Control tokens: those that are not text."""

    @property
    def special(self) -> frozenset[int]:
        """Tokens whose text in a prompt always becomes this one token."""

    def piece(self, token: int) -> bytes:
        """Return the bytes of a token. Raises IndexError."""

    def tokenize(self, text: str, *, parse_special: bool) -> list[int]: ...
