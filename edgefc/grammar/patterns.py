r"""Regular expressions of JSON Schema (`pattern`: ECMA-262, unanchored) → regular nodes over a string's value.

Anchors and lookaheads are enforced where what follows them is known: in sequences and alternatives, not inside a
repetition. Lookbehind, backreferences and word boundaries are refused: no automaton of bounded size has them all.
Classes `\d`, `\w` and `\s` are ECMA-262's.
"""

from __future__ import annotations

import functools
import unicodedata
from collections.abc import Callable

from edgefc.grammar.automata import LAST, Ranges, merged, without
from edgefc.grammar.rules import (
    ANY,
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
ANYTHING = Repeat(ANY, 0, None)

_DIGITS: Ranges = ((48, 57),)
_WORD: Ranges = ((48, 57), (65, 90), (95, 95), (97, 122))
_SPACE: Ranges = merged([(9, 13), (32, 32), (0xA0, 0xA0), (0x1680, 0x1680), (0x2000, 0x200A), (0x2028, 0x2029),
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
    """The pattern is no regular expression, or not one that can be enforced. Its text says why, and where."""


@functools.lru_cache(maxsize=1024)
def search(pattern: str) -> Node:
    """The texts in which the pattern is found somewhere. Raises PatternError."""
    if len(pattern) > MAX_LENGTH:
        raise PatternError(f"is longer than {MAX_LENGTH} characters")
    tree = _Parser(pattern).parse()
    # Found at the very start, or after at least one character.
    return choice(tree(ANYTHING, _START), sequence(Repeat(ANY, 1, None), tree(ANYTHING, _LATER)))


_START, _LATER = True, False
# What a part of a pattern becomes: given what follows it, and whether nothing is before it.
_Tree = Callable[[Node, bool], Node]


def _fixed(node: Node) -> _Tree:
    return lambda rest, _: sequence(node, rest)


class _Parser:
    """Recursive descent; depth is bounded. Each part is a function of what follows it."""

    def __init__(self, text: str) -> None:
        self.text, self.at, self.depth = text, 0, 0

    def parse(self) -> _Tree:
        tree, _ = self.alternatives()
        if self.at < len(self.text):
            raise self.error("an unmatched ')'")
        return tree

    def error(self, reason: str, at: int | None = None) -> PatternError:
        return PatternError(f"{reason} at character {self.at if at is None else at}")

    def peek(self, text: str) -> bool:
        return self.text.startswith(text, self.at)

    def take(self, text: str) -> bool:
        if self.peek(text):
            self.at += len(text)
            return True
        return False

    def alternatives(self) -> tuple[_Tree, Node | None]:
        """Also as a node of its own, when it contains neither anchors nor lookaheads."""
        self.depth += 1
        if self.depth > MAX_NESTING:
            raise self.error(f"groups nested deeper than {MAX_NESTING}")
        parts = [self.terms()]
        while self.take("|"):
            parts.append(self.terms())
        self.depth -= 1
        nodes = [node for _, node in parts]
        if None not in nodes:
            whole = choice(*(node for node in nodes if node is not None))
            return _fixed(whole), whole
        trees = [tree for tree, _ in parts]
        return lambda rest, at_start: choice(*(tree(rest, at_start) for tree in trees)), None

    def terms(self) -> tuple[_Tree, Node | None]:
        terms: list[tuple[_Tree, Node | None]] = []
        while self.at < len(self.text) and not self.peek("|") and not self.peek(")"):
            terms.append(self.term())
        nodes = [node for _, node in terms]
        if None not in nodes:
            whole = sequence(*(node for node in nodes if node is not None))
            return _fixed(whole), whole

        def tree(rest: Node, at_start: bool) -> Node:
            # Only what is surely empty keeps the next part at the start.
            starts, start = [], at_start
            for _, node in terms:
                starts.append(start)
                start = start and (node is None or node == EMPTY)
            for (part, _), start in zip(reversed(terms), reversed(starts), strict=True):
                rest = part(rest, start)
            return rest

        return tree, None

    def term(self) -> tuple[_Tree, Node | None]:
        begin = self.at
        if self.take("^"):
            return self.once(lambda rest, at_start: rest if at_start else NOTHING)
        if self.take("$"):
            return self.once(_at_end)
        if self.peek("\\b") or self.peek("\\B"):
            raise self.error("a word boundary cannot be enforced")
        for opening, negative in (("(?=", False), ("(?!", True)):
            if self.take(opening):
                inner, _ = self.alternatives()
                self.close(begin)
                return self.once(_lookahead(inner, negative=negative))
        tree, node = self.atom()
        counts = self.count()
        if counts is None:
            return tree, node
        if node is None:
            raise self.error("an anchor or lookahead inside a repetition cannot be enforced", begin)
        low, high = counts
        node = EMPTY if high == 0 or node == EMPTY else Repeat(node, low, high)
        return _fixed(node), node

    def once(self, tree: _Tree) -> tuple[_Tree, None]:
        if self.count() is not None:
            raise self.error("an anchor or lookahead cannot be repeated")
        return tree, None

    def close(self, begin: int) -> None:
        if not self.take(")"):
            raise self.error("a '(' that is not closed", begin)

    def atom(self) -> tuple[_Tree, Node | None]:
        begin = self.at
        if self.take("("):
            if self.take("?"):
                if self.peek("<=") or self.peek("<!"):
                    raise self.error("a lookbehind cannot be enforced", begin)
                if self.take("<") or self.take("P<"):
                    end = self.text.find(">", self.at)
                    if end < 0 or not self.text[self.at : end].isidentifier():
                        raise self.error("a group's name is missing", begin)
                    self.at = end + 1
                elif not self.take(":"):
                    raise self.error("an unknown kind of group", begin)
            inner = self.alternatives()
            self.close(begin)
            # A capturing group is a group: nothing can refer to it.
            return inner if inner[1] is None else _whole(inner[1])
        if self.take("["):
            return _whole(_chars(self.char_class(begin)))
        if self.take("."):
            return _whole(Chars(_LINE_ENDS, negated=True))
        if self.take("\\"):
            return _whole(_chars(self.escape(inside_class=False)))
        char = self.text[self.at]
        if char in "*+?" or (char == "{" and self.braces() is not None):
            raise self.error("nothing to repeat")
        self.at += 1
        return _whole(Literal(char))

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
            self.at = self.text.index("}", self.at) + 1
        low, high = found
        if max(low, high or 0) > MAX_COUNT:
            raise self.error(f"a count above {MAX_COUNT:,}")
        if high is not None and high < low:
            raise self.error("counts out of order")
        self.take("?")  # lazy or not, the same texts match
        if self.at < len(self.text) and self.text[self.at] in "*+?":
            raise self.error("nothing to repeat")
        return found

    def braces(self) -> tuple[int, int | None] | None:
        """`{m}`, `{m,}` or `{m,n}` here; anything else in braces is plain text, as browsers read it."""
        end = self.text.find("}", self.at)
        if not self.peek("{") or end < 0 or end - self.at > 24:
            return None
        low, comma, high = self.text[self.at + 1 : end].partition(",")
        if not (low.isascii() and low.isdigit()) or not (high == "" or (high.isascii() and high.isdigit())):
            return None
        return int(low), (int(high) if high else None) if comma else int(low)

    def char_class(self, begin: int) -> Ranges:
        negated = self.take("^")
        found: list[tuple[int, int]] = []
        while not self.take("]"):
            low, single = self.class_item(begin)
            if self.peek("-") and not self.text.startswith("-]", self.at):
                dash = self.at
                self.at += 1
                high, other = self.class_item(begin)
                if single is None or other is None:
                    # As browsers read it: a class, a dash, and what follows.
                    found += [*low, (45, 45), *high]
                    continue
                if other < single:
                    raise self.error("a range out of order", dash)
                found.append((single, other))
            else:
                found += low
        return without(((0, LAST),), found) if negated else merged(found)

    def class_item(self, begin: int) -> tuple[Ranges, int | None]:
        """Ranges, and the code point when it is one character."""
        if self.at >= len(self.text):
            raise self.error("a '[' that is not closed", begin)
        if self.take("\\"):
            ranges = self.escape(inside_class=True)
            single = ranges[0][0] if len(ranges) == 1 and ranges[0][0] == ranges[0][1] else None
            return ranges, single
        code = ord(self.text[self.at])
        self.at += 1
        return ((code, code),), code

    def escape(self, *, inside_class: bool) -> Ranges:
        """What stands after a backslash."""
        begin = self.at - 1
        if self.at >= len(self.text):
            raise self.error("a backslash at the end", begin)
        char = self.text[self.at]
        self.at += 1
        for letter, ranges in (("d", _DIGITS), ("w", _WORD), ("s", _SPACE)):
            if char == letter:
                return ranges
            if char == letter.upper():
                return without(((0, LAST),), ranges)
        if inside_class and char == "b":
            return ((8, 8),)
        if char in _CONTROLS and not (char == "0" and self.text[self.at : self.at + 1].isdigit()):
            return ((_CONTROLS[char], _CONTROLS[char]),)
        if char == "c" and (letter := self.text[self.at : self.at + 1]).isascii() and letter.isalpha():
            self.at += 1
            return ((ord(letter) % 32, ord(letter) % 32),)
        if char in "xu":
            return self.hexadecimal(char, begin)
        if char in "pP":
            ranges = self.unicode_property(begin)
            return ranges if char == "p" else without(((0, LAST),), ranges)
        if char.isdigit() or char == "k":
            raise self.error("a backreference cannot be enforced", begin)
        if char in "AZzG":
            raise self.error(f"'\\{char}' is not part of ECMA-262", begin)
        if char.isascii() and char.isalpha():
            raise self.error(f"an unknown escape '\\{char}'", begin)
        return ((ord(char), ord(char)),)

    def hexadecimal(self, char: str, begin: int) -> Ranges:
        if char == "u" and self.take("{"):
            end = self.text.find("}", self.at)
            digits = self.text[self.at : max(end, self.at)]
            self.at = end + 1
        else:
            size = 2 if char == "x" else 4
            digits = self.text[self.at : self.at + size]
            self.at += size
            digits = digits if len(digits) == size else ""
        try:
            code = int(digits, 16)
        except ValueError:
            raise self.error("an escape without its digits", begin) from None
        if 0xD800 <= code < 0xDC00 and self.peek("\\u"):
            # Two halves of one character, as patterns without the u flag write it.
            low = int(self.text[self.at + 2 : self.at + 6] or "0", 16)
            if 0xDC00 <= low < 0xE000:
                self.at += 6
                code = 0x10000 + ((code - 0xD800) << 10) + low - 0xDC00
        if code > LAST:
            raise self.error("an escape beyond Unicode", begin)
        return ((code, code),)

    def unicode_property(self, begin: int) -> Ranges:
        end = self.text.find("}", self.at)
        if not self.take("{") or end < 0:
            raise self.error("a property without its name", begin)
        name = self.text[self.at : end]
        self.at = end + 1
        if name in _SCRIPTS:
            return _SCRIPTS[name]
        name = name.removeprefix("General_Category=").removeprefix("gc=")
        name = _CATEGORIES.get(name, name)
        found = _category(name) if 0 < len(name) <= 2 else ()
        if not found:
            raise self.error(f"the Unicode property {name!r} is not known here", begin)
        return found


def _whole(node: Node) -> tuple[_Tree, Node]:
    return _fixed(node), node


def _chars(ranges: Ranges) -> Node:
    return Chars(ranges) if ranges else NOTHING


def _at_end(rest: Node, _: bool) -> Node:
    """What may follow the end is the empty text alone, if it is allowed at all."""
    return EMPTY if rest in {EMPTY, ANYTHING} else And((EMPTY, rest))


def _lookahead(inner: _Tree, *, negative: bool) -> _Tree:
    def tree(rest: Node, at_start: bool) -> Node:
        ahead = inner(ANYTHING, at_start)
        ahead = Not(ahead) if negative else ahead
        return ahead if rest == ANYTHING else And((ahead, rest))

    return tree


def _category(name: str) -> Ranges:
    """Code points of a general category, or of a group of them such as L; none for an unknown name."""
    wanted = ("Lu", "Ll", "Lt") if name == "LC" else (name,)
    return merged(span for category, spans in _categories().items() if category.startswith(wanted) for span in spans)


@functools.lru_cache(maxsize=1)
def _categories() -> dict[str, list[tuple[int, int]]]:
    """All assigned code points by category, without the planes for private use."""
    found: dict[str, list[tuple[int, int]]] = {}
    for low, high in ((0, 0x323AF), (0xE0000, 0xE01EF)):
        begin, last = low, unicodedata.category(chr(low))
        for code in range(low + 1, high + 2):
            category = unicodedata.category(chr(code)) if code <= high else ""
            if category != last:
                found.setdefault(last, []).append((begin, code - 1))
                begin, last = code, category
    return found
