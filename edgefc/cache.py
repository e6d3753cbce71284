"""A cache bounded by the size of its values, not by their number."""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")

MAX_CHARACTERS = 16 << 20


class TextCache(Generic[T]):
    """Least-recently-used cache of values by the text they were built from. Thread-safe.

    size   returns the size of a value, in characters or bytes, which may grow; a value larger than the bound is not
           cached
    bound  total size of the cached values
    """

    def __init__(self, size: Callable[[T], int], bound: int = MAX_CHARACTERS) -> None:
        self._size, self._bound = size, bound
        self._values: OrderedDict[bytes, T] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, content: str, build: Callable[[], T]) -> T:
        """Return the value for this content, built on a miss. Errors of `build` are not cached."""
        key = hashlib.sha256(content.encode("utf-8", "surrogatepass")).digest()
        with self._lock:
            if key in self._values:
                self._values.move_to_end(key)
                return self._values[key]
        value = build()
        with self._lock:
            if key not in self._values and self._size(value) <= self._bound:
                self._values[key] = value
            excess = sum(map(self._size, self._values.values())) - self._bound
            while excess > 0:
                _, oldest = self._values.popitem(last=False)
                excess -= self._size(oldest)
        return value

    def forget(self, content: str) -> None:
        """Drop the value of this content, if there is one."""
        with self._lock:
            self._values.pop(hashlib.sha256(content.encode("utf-8", "surrogatepass")).digest(), None)

    @property
    def total(self) -> int:
        """Total size of the cached values."""
        with self._lock:
            return sum(map(self._size, self._values.values()))
