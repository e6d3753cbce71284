"""Finds where any of many texts begins in another text, in time that is linear in that text however many they are.

A regular expression of all alternatives tries each of them at each character: Gemma has 6,415 control tokens.
Algorithm: Aho and Corasick, "Efficient string matching: an aid to bibliographic search" (1975).
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterable

MAX_STATES = 1 << 18  # about 60 MB
MAX_LENGTH = 64  # characters of a needle that are looked for; where they occur counts as an occurrence of the whole


class Occurrences:
    """An automaton that finds all needles at once."""

    def __init__(self, needles: Iterable[str]) -> None:
        """Empty needles are left out. Of very many or long ones only the beginnings are looked for."""
        needles = {needle for needle in needles if needle}
        length = MAX_LENGTH
        while not self._build({needle[:length] for needle in needles}):
            length //= 2
        self._link()
        first = "".join(map(re.escape, sorted(self._next[0])))
        self._candidate = re.compile(f"[{first}]") if first else None

    def starts(self, text: str) -> list[int]:
        """Return the positions at which a needle begins, in ascending order."""
        if self._candidate is None or (match := self._candidate.search(text)) is None:
            return []
        following, fallback, found = self._next, self._fallback, self._found
        starts: list[int] = []
        state, position, end = 0, match.start(), len(text)
        while position < end:
            char = text[position]
            while (target := following[state].get(char)) is None and state:
                state = fallback[state]
            if target is None:
                match = self._candidate.search(text, position + 1)
                if match is None:
                    break
                position = match.start()
                continue
            state = target
            position += 1
            if found[state]:
                starts += [position - length for length in found[state]]
        return sorted(starts)

    def _build(self, needles: set[str]) -> bool:
        """Build the tree of all needles; False when it is too large. A needle that begins with another is left out."""
        self._next: list[dict[str, int]] = [{}]
        self._found: list[tuple[int, ...]] = [()]  # by state: lengths of the needles that end there
        for needle in sorted(needles, key=len):
            state = 0
            for char in needle:
                target = self._next[state].get(char)
                if target is None:
                    target = self._next[state][char] = len(self._next)
                    self._next.append({})
                    self._found.append(())
                state = target
                if self._found[state]:
                    break
            else:
                self._found[state] = (len(needle),)
            if len(self._next) > MAX_STATES and len(needle) > 1:
                return False
        return True

    def _link(self) -> None:
        """Link each state with the one for the longest proper end of its text, and find the needles that end there."""
        self._fallback = [0] * len(self._next)
        todo = deque(self._next[0].values())
        while todo:
            state = todo.popleft()
            for char, target in self._next[state].items():
                fallback = self._fallback[state]
                while fallback and char not in self._next[fallback]:
                    fallback = self._fallback[fallback]
                self._fallback[target] = self._next[fallback].get(char, 0)
                self._found[target] += self._found[self._fallback[target]]
                todo.append(target)
