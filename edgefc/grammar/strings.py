"""JSON strings (RFC 8259 §7) as rules: every spelling json.loads takes, lengths counted in characters."""

from __future__ import annotations

from edgefc.grammar.rules import Chars, Literal, Node, Repeat, Sequence, choice, optional, sequence

MAX_SHARED = 40
_HEX = Chars(((0x30, 0x39), (0x41, 0x46), (0x61, 0x66)))
_PLAIN = Chars(((0x00, 0x1F), (0x22, 0x22), (0x5C, 0x5C)), negated=True)


def _escaped() -> Node:
    """A backslash escape for exactly one character; a surrogate only ever as half of a pair."""
    d = Chars(((0x44, 0x44), (0x64, 0x64)))
    not_d = Chars(((0x30, 0x39), (0x41, 0x43), (0x45, 0x46), (0x61, 0x63), (0x65, 0x66)))
    low_digit = Chars(((0x30, 0x37),))
    high = Sequence((d, Chars(((0x38, 0x39), (0x41, 0x42), (0x61, 0x62))), _HEX, _HEX))
    low = Sequence((d, Chars(((0x43, 0x46), (0x63, 0x66))), _HEX, _HEX))
    code = choice(
        Sequence((not_d, _HEX, _HEX, _HEX)),
        Sequence((d, low_digit, _HEX, _HEX)),
        sequence(high, Literal("\\u"), low),
    )
    simple = Chars(tuple((ord(c), ord(c)) for c in '"\\/bfnrt'))
    return sequence(Literal("\\"), choice(simple, sequence(Literal("u"), code)))


CHARACTER = choice(_PLAIN, _escaped())


def string(low: int, high: int | None) -> Node:
    """A quoted string of `low` to `high` characters; `high` None: of any length."""
    quote = Literal('"')
    return Literal('""') if high == 0 else Sequence((quote, Repeat(CHARACTER, low, high), quote))


def other_than(names: list[str]) -> Node:
    """A quoted string that is none of these names, written without escapes, so that each has one spelling."""
    return sequence(Literal('"'), _not_one_of([name for name in names if _is_plain(name)]), Literal('"'))


def _not_one_of(names: list[str]) -> Node:
    """Plain text that is none of the names. Beyond MAX_SHARED characters all that begins like one is left out."""
    anything = Repeat(_PLAIN, 0, None)
    levels: list[tuple[str, list[str]]] = [("", names)]
    made: dict[str, Node] = {}
    for prefix, same in levels:
        if len(prefix) < MAX_SHARED:
            chars = dict.fromkeys(name[len(prefix)] for name in same if len(name) > len(prefix))
            levels += [(prefix + char, [name for name in same if name.startswith(prefix + char)]) for char in chars]
    for prefix, same in reversed(levels):
        following = dict.fromkeys(name[len(prefix)] for name in same if len(name) > len(prefix))
        ways = [sequence(Literal(char), made[prefix + char]) for char in following if prefix + char in made]
        excluded = tuple(sorted([*_PLAIN.ranges, *((ord(char), ord(char)) for char in following)]))
        ways.append(sequence(Chars(excluded, negated=True), anything))
        made[prefix] = choice(*ways) if prefix in same else optional(choice(*ways))
    return made[""]


def _is_plain(name: str) -> bool:
    return not any(low <= ord(char) <= high for char in name for low, high in (*_PLAIN.ranges, (0xD800, 0xDFFF)))
