"""Judges regular expressions of strangers by their form: whether matching one can take for ever.

Engines that go back (Oniguruma, in the library `tokenizers`) take exponential time for a repetition inside a
repetition, such as `(a+)+b`, and a power of the text's length for many repetitions in a row. All published tokenizers
do without.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

MAX_LENGTH = 8192  # characters; the longest published one has 1,100
MAX_IN_A_ROW = 3  # unbounded repetitions in one alternative; the published ones have two
MAX_COUNT = 64  # of a counted repetition, and of what nested ones multiply to
MAX_DEPTH = 8
_GROUP = re.compile(r"\((\?(?::|=|!|i:|[<]?[=!])|(?!\?))")
_QUANTIFIER = re.compile(r"[*+?][+?]?|\{(\d{1,5})?(,)?(\d{1,5})?\}[+?]?")
_ESCAPE = re.compile(r"\\([pP]\{\^?\w{1,40}\}|x\{[0-9a-fA-F]{1,6}\}|x[0-9a-fA-F]{2}|u[0-9a-fA-F]{4}|[^0-9kgXRKGyYxup])")


@dataclass(slots=True)
class _Branch:
    """An alternative being read.

    unbounded  its unbounded repetitions in a row
    count      the most that a part of it is repeated by counted repetitions
    varies     True if it can match the same text in several ways: it must not be repeated
    """

    unbounded: int = 0
    count: int = 1
    varies: bool = False


def is_bounded(pattern: str) -> bool:
    """Return True if matching the pattern takes time that grows little faster than the text. Raises nothing."""
    if len(pattern) > MAX_LENGTH:
        return False
    try:
        _Reader(pattern).read()
    except _UnboundedError:
        return False
    return True


class _UnboundedError(ValueError):
    pass


class _Reader:
    """Reads a pattern once, from left to right."""

    def __init__(self, pattern: str) -> None:
        self._pattern, self._position = pattern, 0

    def read(self) -> None:
        self._alternatives(0)
        if self._position < len(self._pattern):
            raise _UnboundedError("a parenthesis too many")

    def _alternatives(self, depth: int) -> _Branch:
        """Read up to the end of a group; returns the worst of its alternatives."""
        if depth > MAX_DEPTH:
            raise _UnboundedError("nested too deeply")
        worst, branch = _Branch(), _Branch()
        while self._position < len(self._pattern) and self._pattern[self._position] != ")":
            if self._pattern[self._position] == "|":
                self._position += 1
                branch, worst.varies = _Branch(), True
                continue
            atom = self._atom(depth)
            self._quantify(atom)
            branch.unbounded += atom.unbounded
            branch.count = max(branch.count, atom.count)
            if branch.unbounded > MAX_IN_A_ROW:
                raise _UnboundedError("too many repetitions in a row")
            worst.unbounded = max(worst.unbounded, branch.unbounded)
            worst.count = max(worst.count, branch.count)
            worst.varies |= atom.varies
        return worst

    def _atom(self, depth: int) -> _Branch:
        char = self._pattern[self._position]
        if char == "(":
            match = _GROUP.match(self._pattern, self._position)
            if match is None:
                raise _UnboundedError("an unknown group")
            self._position = match.end()
            inner = self._alternatives(depth + 1)
            if self._pattern[self._position : self._position + 1] != ")":
                raise _UnboundedError("a group without an end")
            self._position += 1
            return inner
        if char == "[":
            self._set(depth)
        elif char == "\\":
            self._escape()
        elif char in "*+?{":
            raise _UnboundedError("a repetition of nothing")
        else:
            self._position += 1
        return _Branch()

    def _set(self, depth: int) -> None:
        """Read a set of characters, in which others may be nested."""
        if depth > MAX_DEPTH:
            raise _UnboundedError("nested too deeply")
        self._position += 1
        first = True
        while self._position < len(self._pattern):
            char = self._pattern[self._position]
            if char == "]" and not first:
                self._position += 1
                return
            if char == "^" and first:
                self._position += 1
                continue
            first = False
            if char == "[":
                self._set(depth + 1)
            elif char == "\\":
                self._escape()
            else:
                self._position += 1
        raise _UnboundedError("a set without an end")

    def _escape(self) -> None:
        match = _ESCAPE.match(self._pattern, self._position)
        if match is None:  # references to groups, calls of groups, and what is not known
            raise _UnboundedError("an unknown escape")
        self._position = match.end()

    def _quantify(self, atom: _Branch) -> None:
        """Read the repetition behind an atom, if there is one; a second one would repeat the first."""
        match = _QUANTIFIER.match(self._pattern, self._position)
        if match is None or match[0] == "{}":
            return
        self._position = match.end()
        low, comma, high = match.groups()
        is_counted = match[0][0] == "{"
        is_unbounded = match[0][0] in "*+" or (is_counted and comma is not None and not high)
        if is_counted and not is_unbounded:
            atom.count *= max(int(high or low or 1), 1)
        if atom.varies and (is_unbounded or atom.count > 1):
            raise _UnboundedError("a repetition in a repetition")
        atom.unbounded += is_unbounded
        atom.varies |= is_unbounded or comma is not None or match[0][0] == "?"
        if atom.count > MAX_COUNT or int(low or 0) > MAX_COUNT:
            raise _UnboundedError("repeated too often")
        if self._pattern[self._position : self._position + 1] in {"*", "+", "?", "{"}:
            raise _UnboundedError("a repetition of a repetition")
