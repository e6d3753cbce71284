"""Sets of characters as inclusive ranges of code points."""

from __future__ import annotations

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
