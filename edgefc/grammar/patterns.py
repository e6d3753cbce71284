r"""Regular expressions of JSON Schema (`pattern`: ECMA-262, unanchored) → regular nodes over a string's value.

Anchors and lookaheads are enforced where the text after them is known: in sequences and alternatives, not inside a
repetition. Lookbehind, backreferences and word boundaries are refused: no automaton of bounded size can express them
all. Classes `\d`, `\w` and `\s` are ECMA-262's.
"""

from __future__ import annotations

import functools
import unicodedata
from collections.abc import Callable

from edgefc.grammar.char_ranges import EVERY_CODE, LAST, Ranges, merge, subtract
from edgefc.grammar.rules import (
    ANY_CHAR,
    ANY_TEXT,
    EMPTY,
    NOTHING,
    And,
    Chars,
    Literal,
    Node,
    Not,
    Repeat,
    choice,
    sequence,
)

MAX_LENGTH = 4096
MAX_NESTING = 64
MAX_COUNT = 100_000

_DIGITS: Ranges = ((48, 57),)
_WORD: Ranges = ((48, 57), (65, 90), (95, 95), (97, 122))
_SPACE: Ranges = merge([(9, 13), (32, 32), (0xA0, 0xA0), (0x1680, 0x1680), (0x2000, 0x200A), (0x2028, 0x2029),
                         (0x202F, 0x202F), (0x205F, 0x205F), (0x3000, 0x3000), (0xFEFF, 0xFEFF)])  # fmt: skip
_LINE_ENDS: Ranges = ((10, 10), (13, 13), (0x2028, 0x2029))
_CONTROLS = {"t": 9, "n": 10, "v": 11, "f": 12, "r": 13, "0": 0}
_SCRIPTS = {"ASCII": ((0, 127),), "Any": ((0, LAST),)}
_CATEGORIES = {
    "Letter": "L", "Cased_Letter": "LC", "Uppercase_Letter": "Lu", "Lowercase_Letter": "Ll", "Titlecase_Letter": "Lt",
    "Mark": "M", "Number": "N", "Decimal_Number": "Nd", "digit": "Nd", "Punctuation": "P", "punct": "P",
    "Symbol": "S", "Separator": "Z", "Space_Separator": "Zs", "Other": "C", "Control": "Cc", "cntrl": "Cc",
    "Alphabetic": "L",
}  # fmt: skip


class PatternError(Exception):
    """A pattern is malformed or cannot be enforced. The message names the reason and the position."""


@functools.lru_cache(maxsize=1024)
def compile_pattern(pattern: str) -> Node:
    """Return the texts that contain a match of the pattern. Raises PatternError."""
    if len(pattern) > MAX_LENGTH:
        raise PatternError(f"longer than {MAX_LENGTH} characters")
    build = _Parser(pattern).parse()
    # The match is at the very start, or after at least one character.
    return choice(build(ANY_TEXT, True), sequence(Repeat(ANY_CHAR, 1, None), build(ANY_TEXT, False)))


# Builds the node of a part and the rest of the pattern, from the rest's node and whether the part is at the start.
_Build = Callable[[Node, bool], Node]
# The second item is the part's own node; None where it contains anchors or lookaheads and depends on the rest.
_Part = tuple[_Build, Node | None]


def _independent(node: Node) -> tuple[_Build, Node]:
    """Return the part of a node that does not depend on its surroundings."""
    return lambda rest, _: sequence(node, rest), node


class _Parser:
    """Recursive descent of bounded depth over a pattern."""

    def __init__(self, text: str) -> None:
        self.text, self.pos, self.depth = text, 0, 0

    def parse(self) -> _Build:
        build, _ = self.alternatives()
        if self.pos < len(self.text):
            raise self.error("unmatched ')'")
        return build

    def error(self, reason: str, pos: int | None = None) -> PatternError:
        return PatternError(f"{reason} at character {self.pos if pos is None else pos}")

    def peek(self, text: str) -> bool:
        return self.text.startswith(text, self.pos)

    def take(self, text: str) -> bool:
        if self.peek(text):
            self.pos += len(text)
            return True
        return False

    def alternatives(self) -> _Part:
        self.depth += 1
        if self.depth > MAX_NESTING:
            raise self.error(f"groups nested deeper than {MAX_NESTING} levels")
        parts = [self.terms()]
        while self.take("|"):
            parts.append(self.terms())
        self.depth -= 1
        nodes = [node for _, node in parts]
        if None not in nodes:
            return _independent(choice(*(node for node in nodes if node is not None)))
        builds = [build for build, _ in parts]
        return lambda rest, at_start: choice(*(build(rest, at_start) for build in builds)), None

    def terms(self) -> _Part:
        terms: list[_Part] = []
        while self.pos < len(self.text) and not self.peek("|") and not self.peek(")"):
            terms.append(self.term())
        nodes = [node for _, node in terms]
        if None not in nodes:
            return _independent(sequence(*(node for node in nodes if node is not None)))

        def build(rest: Node, at_start: bool) -> Node:
            # The next term is at the start as well only if this one is certainly empty.
            starts, start = [], at_start
            for _, node in terms:
                starts.append(start)
                start = start and (node is None or node == EMPTY)
            for (build_term, _), start in zip(reversed(terms), reversed(starts), strict=True):
                rest = build_term(rest, start)
            return rest

        return build, None

    def term(self) -> _Part:
        begin = self.pos
        if self.take("^"):
            return self.zero_width(lambda rest, at_start: rest if at_start else NOTHING)
        if self.take("$"):
            return self.zero_width(_at_end)
        if self.peek("\\b") or self.peek("\\B"):
            raise self.error("unsupported word boundary")
        for opening, negative in (("(?=", False), ("(?!", True)):
            if self.take(opening):
                inner, _ = self.alternatives()
                self.close(begin)
                return self.zero_width(_lookahead(inner, negative=negative))
        build, node = self.atom()
        counts = self.count()
        if counts is None:
            return build, node
        if node is None:
            raise self.error("unsupported anchor or lookahead inside a repetition", begin)
        low, high = counts
        return _independent(EMPTY if high == 0 or node == EMPTY else Repeat(node, low, high))

    def zero_width(self, build: _Build) -> _Part:
        if self.count() is not None:
            raise self.error("repeated anchor or lookahead")
        return build, None

    def close(self, begin: int) -> None:
        if not self.take(")"):
            raise self.error("unclosed '('", begin)

    def atom(self) -> _Part:
        begin = self.pos
        if self.take("("):
            if self.take("?"):
                if self.peek("<=") or self.peek("<!"):
                    raise self.error("unsupported lookbehind", begin)
                if self.take("<") or self.take("P<"):
                    end = self.text.find(">", self.pos)
                    if end < 0 or not self.text[self.pos : end].isidentifier():
                        raise self.error("missing group name", begin)
                    self.pos = end + 1
                elif not self.take(":"):
                    raise self.error("unknown kind of group", begin)
            inner = self.alternatives()
            self.close(begin)
            # Capturing makes no difference: backreferences are refused.
            return inner if inner[1] is None else _independent(inner[1])
        if self.take("["):
            return _independent(_chars(self.char_class(begin)))
        if self.take("."):
            return _independent(Chars(_LINE_ENDS, negated=True))
        if self.take("\\"):
            return _independent(_chars(self.escape(inside_class=False)))
        char = self.text[self.pos]
        if char in "*+?" or (char == "{" and self.braces() is not None):
            raise self.error("nothing to repeat")
        self.pos += 1
        return _independent(Literal(char))

    def count(self) -> tuple[int, int | None] | None:
        if self.take("*"):
            found: tuple[int, int | None] = (0, None)
        elif self.take("+"):
            found = (1, None)
        elif self.take("?"):
            found = (0, 1)
        else:
            braces = self.braces()
            if braces is None:
                return None
            found = braces
            self.pos = self.text.index("}", self.pos) + 1
        low, high = found
        if max(low, high or 0) > MAX_COUNT:
            raise self.error(f"count above {MAX_COUNT:,}")
        if high is not None and high < low:
            raise self.error("counts out of order")
        self.take("?")  # lazy or not, the same texts match
        if self.pos < len(self.text) and self.text[self.pos] in "*+?":
            raise self.error("nothing to repeat")
        return found

    def braces(self) -> tuple[int, int | None] | None:
        """Read `{m}`, `{m,}` or `{m,n}` without consuming it. Other braces are plain text, as in browsers."""
        end = self.text.find("}", self.pos)
        if not self.peek("{") or end < 0 or end - self.pos > 24:
            return None
        low, comma, high = self.text[self.pos + 1 : end].partition(",")
        if not (low.isascii() and low.isdigit()) or not (high == "" or (high.isascii() and high.isdigit())):
            return None
        return int(low), (int(high) if high else None) if comma else int(low)

    def char_class(self, begin: int) -> Ranges:
        negated = self.take("^")
        found: list[tuple[int, int]] = []
        while not self.take("]"):
            low, single = self.class_item(begin)
            if self.peek("-") and not self.text.startswith("-]", self.pos):
                dash = self.pos
                self.pos += 1
                high, other = self.class_item(begin)
                if single is None or other is None:
                    # As in browsers: a class, a dash and another item.
                    found += [*low, (45, 45), *high]
                    continue
                if other < single:
                    raise self.error("range out of order", dash)
                found.append((single, other))
            else:
                found += low
        return subtract(EVERY_CODE, found) if negated else merge(found)

    def class_item(self, begin: int) -> tuple[Ranges, int | None]:
        """Return an item's ranges, and its code point if it is a single character."""
        if self.pos >= len(self.text):
            raise self.error("unclosed '['", begin)
        if self.take("\\"):
            ranges = self.escape(inside_class=True)
            single = ranges[0][0] if len(ranges) == 1 and ranges[0][0] == ranges[0][1] else None
            return ranges, single
        code = ord(self.text[self.pos])
        self.pos += 1
        return ((code, code),), code

    def escape(self, *, inside_class: bool) -> Ranges:
        """Read the rest of an escape, after its backslash."""
        begin = self.pos - 1
        if self.pos >= len(self.text):
            raise self.error("incomplete escape", begin)
        char = self.text[self.pos]
        self.pos += 1
        for letter, ranges in (("d", _DIGITS), ("w", _WORD), ("s", _SPACE)):
            if char == letter:
                return ranges
            if char == letter.upper():
                return subtract(EVERY_CODE, ranges)
        if inside_class and char == "b":
            return ((8, 8),)
        if char in _CONTROLS and not (char == "0" and self.text[self.pos : self.pos + 1].isdigit()):
            return ((_CONTROLS[char], _CONTROLS[char]),)
        if char == "c" and (letter := self.text[self.pos : self.pos + 1]).isascii() and letter.isalpha():
            self.pos += 1
            return ((ord(letter) % 32, ord(letter) % 32),)
        if char in "xu":
            return self.hexadecimal(char, begin)
        if char in "pP":
            ranges = self.unicode_property(begin)
            return ranges if char == "p" else subtract(EVERY_CODE, ranges)
        if char.isdigit() or char == "k":
            raise self.error("unsupported backreference", begin)
        if char in "AZzG":
            raise self.error(f"unsupported escape '\\{char}'", begin)
        if char.isascii() and char.isalpha():
            raise self.error(f"unknown escape '\\{char}'", begin)
        return ((ord(char), ord(char)),)

    def hexadecimal(self, char: str, begin: int) -> Ranges:
        if char == "u" and self.take("{"):
            end = self.text.find("}", self.pos)
            digits = self.text[self.pos : max(end, self.pos)]
            self.pos = end + 1
        else:
            size = 2 if char == "x" else 4
            digits = self.text[self.pos : self.pos + size]
            self.pos += size
            digits = digits if len(digits) == size else ""
        try:
            code = int(digits, 16)
        except ValueError:
            raise self.error("escape without digits", begin) from None
        if 0xD800 <= code < 0xDC00 and self.peek("\\u"):
            # A surrogate pair: one character, as patterns without the u flag write it.
            low = int(self.text[self.pos + 2 : self.pos + 6] or "0", 16)
            if 0xDC00 <= low < 0xE000:
                self.pos += 6
                code = 0x10000 + ((code - 0xD800) << 10) + low - 0xDC00
        if code > LAST:
            raise self.error("escape beyond Unicode", begin)
        return ((code, code),)

    def unicode_property(self, begin: int) -> Ranges:
        end = self.text.find("}", self.pos)
        if not self.take("{") or end < 0:
            raise self.error("missing property name", begin)
        name = self.text[self.pos : end]
        self.pos = end + 1
        if name in _SCRIPTS:
            return _SCRIPTS[name]
        name = name.removeprefix("General_Category=").removeprefix("gc=")
        name = _CATEGORIES.get(name, name)
        found = _category(name) if 0 < len(name) <= 2 else ()
        if not found:
            raise self.error(f"unknown Unicode property {name!r}", begin)
        return found


def _chars(ranges: Ranges) -> Node:
    return Chars(ranges) if ranges else NOTHING


def _at_end(rest: Node, _: bool) -> Node:
    """Allow only the empty text after `$`, where the rest allows it."""
    return EMPTY if rest in {EMPTY, ANY_TEXT} else And((EMPTY, rest))


def _lookahead(inner: _Build, *, negative: bool) -> _Build:
    def build(rest: Node, at_start: bool) -> Node:
        ahead = inner(ANY_TEXT, at_start)
        ahead = Not(ahead) if negative else ahead
        return ahead if rest == ANY_TEXT else And((ahead, rest))

    return build


def _category(name: str) -> Ranges:
    """Return the code points of a general category, or of a group of them such as L; none for an unknown name."""
    prefixes = ("Lu", "Ll", "Lt") if name == "LC" else (name,)
    return merge(span for category, spans in _categories().items() if category.startswith(prefixes) for span in spans)


@functools.lru_cache(maxsize=1)
def _categories() -> dict[str, list[tuple[int, int]]]:
    """Return all assigned code points by category, without the planes for private use."""
    ranges: dict[str, list[tuple[int, int]]] = {}
    for low, high in ((0, 0x323AF), (0xE0000, 0xE01EF)):
        begin, last = low, unicodedata.category(chr(low))
        for code in range(low + 1, high + 2):
            category = unicodedata.category(chr(code)) if code <= high else ""
            if category != last:
                ranges.setdefault(last, []).append((begin, code - 1))
                begin, last = code, category
    return ranges
