"""Sets of characters as inclusive ranges of code points."""

from __future__ import annotations

import functools
from bisect import bisect_right
from collections.abc import Iterable

Ranges = tuple[tuple[int, int], ...]

LAST = 0x10FFFF
EVERY_CODE: Ranges = ((0, LAST),)
SURROGATES: Ranges = ((0xD800, 0xDFFF),)


def merge(ranges: Iterable[tuple[int, int]]) -> Ranges:
    """Sort ranges and join those that overlap or touch."""
    merged: list[tuple[int, int]] = []
    for low, high in sorted(ranges):
        if merged and low <= merged[-1][1] + 1:
            merged[-1] = (merged[-1][0], max(high, merged[-1][1]))
        else:
            merged.append((low, high))
    return tuple(merged)


def subtract(ranges: Iterable[tuple[int, int]], other: Iterable[tuple[int, int]]) -> Ranges:
    """Return sorted ranges without the code points of `other`."""
    rest: list[tuple[int, int]] = []
    cuts = merge(other)
    for low, high in ranges:
        start = low
        for first, last in cuts:
            if last < start or first > high:
                continue
            if first > start:
                rest.append((start, first - 1))
            start = last + 1
        if start <= high:
            rest.append((start, high))
    return tuple(rest)


class Alphabet:
    """All characters but surrogates, split into classes by the sets that contain them.

    sets     the sets
    classes  the characters of each class, in the order of their first
    inside   the numbers of the classes in each set
    """

    def __init__(self, sets: frozenset[Ranges]) -> None:
        self.sets = sets
        ordered = sorted(sets)
        self._edges = sorted(
            {0, 0xD800, 0xE000, *(e for ranges in sets for low, high in ranges for e in (low, high + 1))}
        )
        changes: dict[int, set[int]] = {}  # the sets that begin or end at an edge
        for number, ranges in enumerate(ordered):
            for edge in (edge for low, high in ranges for edge in (low, high + 1)):
                changes.setdefault(edge, set()).symmetric_difference_update({number})
        containing: frozenset[int] = frozenset()
        numbers: dict[frozenset[int], int] = {}
        classes: list[list[tuple[int, int]]] = []
        self._numbers: list[int] = []  # of the class that begins at each edge
        for edge, following in zip(self._edges, [*self._edges[1:], LAST + 1], strict=True):
            containing = containing.symmetric_difference(changes.get(edge, ()))
            if edge > LAST or 0xD800 <= edge < 0xE000:
                self._numbers.append(-1)
                continue
            number = numbers.setdefault(containing, len(classes))
            self._numbers.append(number)
            if number == len(classes):
                classes.append([])
            classes[number].append((edge, following - 1))
        self.classes: tuple[Ranges, ...] = tuple(map(tuple, classes))
        self.inside: dict[Ranges, list[int]] = {ranges: [] for ranges in ordered}
        for those, number in numbers.items():
            for one in those:
                self.inside[ordered[one]].append(number)

    def class_of(self, code: int) -> int:
        """Return the number of a character's class."""
        return self._numbers[bisect_right(self._edges, code) - 1]


@functools.lru_cache(maxsize=1 << 10)
def alphabet(sets: frozenset[Ranges]) -> Alphabet:
    return Alphabet(sets)
