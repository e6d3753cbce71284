"""A cache of compiled grammars that is bounded by what it holds, not by how many."""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")

MAX_CHARACTERS = 16 << 20


class TextCache(Generic[T]):
    """Values by the content they were made from; what was not used for longest goes first. Thread-safe.

    size   the characters a value holds; one above the whole bound is not kept
    bound  the characters all values may hold together
    """

    def __init__(self, size: Callable[[T], int], bound: int = MAX_CHARACTERS) -> None:
        self._size, self._bound, self._held = size, bound, 0
        self._values: OrderedDict[bytes, T] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, content: str, build: Callable[[], T]) -> T:
        """The value for this content; `build` makes it when it is not kept. Its errors are not kept."""
        key = hashlib.sha256(content.encode("utf-8", "surrogatepass")).digest()
        with self._lock:
            if key in self._values:
                self._values.move_to_end(key)
                return self._values[key]
        value = build()
        with self._lock:
            if key not in self._values and self._size(value) <= self._bound:
                self._values[key] = value
                self._held += self._size(value)
            while self._held > self._bound:
                _, oldest = self._values.popitem(last=False)
                self._held -= self._size(oldest)
        return value

    @property
    def held(self) -> int:
        """Characters of all values kept."""
        return self._held
