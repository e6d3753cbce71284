"""Derivatives of regular nodes (Brzozowski 1964).

The derivative of a node by a character matches what may follow that character. Nodes here are in a normal form: choices
and intersections are flat, sorted and without duplicates, which makes the number of derivatives finite.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable
from typing import assert_never

from edgefc.grammar.char_ranges import Ranges, merge
from edgefc.grammar.rules import (
    EMPTY,
    NOTHING,
    And,
    Chars,
    Choice,
    ControlToken,
    FreeText,
    Lexeme,
    Literal,
    MultipleOf,
    Node,
    NoneOf,
    Not,
    QuotedString,
    Ref,
    Repeat,
    Sequence,
)

EVERYTHING = Not(NOTHING)
_POINT = ord(".")


def matches(node: Node, text: str) -> bool:
    """Return whether a regular node matches the whole text."""
    state = normal_form(node)
    for char in text:
        state = derivative(state, ord(char))
        if state == NOTHING:
            return False
    return nullable(state)


def _not_regular(node: Node) -> AssertionError:
    return AssertionError(f"{type(node).__name__} is not regular")


@functools.lru_cache(maxsize=1 << 10)
def normal_form(node: Node) -> Node:
    """Return the same texts in a normal form."""
    match node:
        case Literal() | Chars() | NoneOf() | MultipleOf():
            return node
        case Sequence():
            return _concatenate([normal_form(item) for item in node.items])
        case Choice():
            return _union([normal_form(item) for item in node.items])
        case And():
            return _intersect([normal_form(item) for item in node.items])
        case Not():
            return _complement(normal_form(node.item))
        case Repeat():
            return _repeat(normal_form(node.item), node.low, node.high)
        case ControlToken() | Ref() | Lexeme() | FreeText() | QuotedString():
            raise _not_regular(node)
        case _:
            assert_never(node)


def _concatenate(items: list[Node]) -> Node:
    flat: list[Node] = []
    for item in items:
        flat.extend(item.items if isinstance(item, Sequence) else (item,))
    if NOTHING in flat:
        return NOTHING
    return flat[0] if len(flat) == 1 else Sequence(tuple(flat))


def _union(items: Iterable[Node]) -> Node:
    flat: dict[Node, None] = {}
    for item in items:
        flat.update(dict.fromkeys(item.items if isinstance(item, Choice) else (item,)))
    if EVERYTHING in flat:
        return EVERYTHING
    return next(iter(flat)) if len(flat) == 1 else Choice(tuple(sorted(flat, key=hash)))


def _intersect(items: Iterable[Node]) -> Node:
    flat: dict[Node, None] = {}
    for item in items:
        flat.update(dict.fromkeys(item.items if isinstance(item, And) else (item,)))
    if NOTHING in flat:
        return NOTHING
    flat.pop(EVERYTHING, None)
    if not flat:
        return EVERYTHING
    return next(iter(flat)) if len(flat) == 1 else And(tuple(sorted(flat, key=hash)))


def _complement(item: Node) -> Node:
    return item.item if isinstance(item, Not) else Not(item)


def _repeat(item: Node, low: int, high: int | None) -> Node:
    if high == 0 or item == EMPTY:
        return EMPTY
    if item == NOTHING:
        return NOTHING if low else EMPTY
    if (low, high) == (0, None) and isinstance(item, Chars) and item.negated and not item.ranges:
        return EVERYTHING
    return item if (low, high) == (1, 1) else Repeat(item, low, high)


@functools.lru_cache(maxsize=1 << 16)
def nullable(node: Node) -> bool:
    """Return whether a node matches the empty text."""
    match node:
        case Literal() | Chars():
            return False
        case Sequence() | And():
            return all(map(nullable, node.items))
        case Choice():
            return any(map(nullable, node.items))
        case Repeat():
            return node.low == 0 or nullable(node.item)
        case Not():
            return not nullable(node.item)
        case NoneOf():
            return node.texts[0] != ""
        case MultipleOf():
            return bool(node.remainder * 10**node.places % node.divisor == 0)
        case ControlToken() | Ref() | Lexeme() | FreeText() | QuotedString():
            raise _not_regular(node)
        case _:
            assert_never(node)


@functools.lru_cache(maxsize=1 << 15)
def derivative(node: Node, code: int) -> Node:
    """Return the node of what may follow the character of this code point."""
    match node:
        case Literal():
            if ord(node.text[0]) != code:
                return NOTHING
            return Literal(node.text[1:]) if len(node.text) > 1 else EMPTY
        case Chars():
            return EMPTY if any(low <= code <= high for low, high in node.ranges) != node.negated else NOTHING
        case Sequence():
            branches: list[Node] = []
            for number, item in enumerate(node.items):
                branches.append(_concatenate([derivative(item, code), *node.items[number + 1 :]]))
                if not nullable(item):
                    break
            return _union(branches)
        case Choice():
            return _union(derivative(item, code) for item in node.items)
        case Repeat():
            first = derivative(node.item, code)
            high = None if node.high is None else node.high - 1
            return _concatenate([first, _repeat(node.item, max(0, node.low - 1), high)])
        case And():
            return _intersect(derivative(item, code) for item in node.items)
        case Not():
            return _complement(derivative(node.item, code))
        case NoneOf():
            rest = tuple(text[1:] for text in node.texts if text and ord(text[0]) == code)
            return NoneOf(rest) if rest else EVERYTHING
        case MultipleOf():
            return _after_digit(node, code)
        case ControlToken() | Ref() | Lexeme() | FreeText() | QuotedString():
            raise _not_regular(node)
        case _:
            assert_never(node)


def _after_digit(node: MultipleOf, code: int) -> Node:
    """Return the derivative of a multiple by a digit or the decimal point."""
    if code == _POINT:
        return NOTHING if node.point else MultipleOf(node.divisor, node.places, node.remainder, point=True)
    if not 48 <= code <= 57:
        return NOTHING
    if node.point and node.places == 0:
        return node if code == 48 else NOTHING
    places = node.places - 1 if node.point else node.places
    return MultipleOf(node.divisor, places, (node.remainder * 10 + code - 48) % node.divisor, node.point)


@functools.lru_cache(maxsize=1 << 14)
def first_chars(node: Node) -> frozenset[Ranges]:
    """Return the sets of characters with which a node's texts may begin."""
    match node:
        case Literal():
            return frozenset({((ord(node.text[0]), ord(node.text[0])),)})
        case Chars():
            return frozenset({merge(node.ranges)}) if node.ranges else frozenset()
        case Sequence():
            found: frozenset[Ranges] = frozenset()
            for item in node.items:
                found |= first_chars(item)
                if not nullable(item):
                    break
            return found
        case Choice() | And():
            return frozenset().union(*map(first_chars, node.items))
        case Repeat() | Not():
            return first_chars(node.item)
        case NoneOf():
            return frozenset(((ord(text[0]), ord(text[0])),) for text in node.texts if text)
        case MultipleOf():
            return frozenset(((code, code),) for code in (_POINT, *range(48, 58)))
        case ControlToken() | Ref() | Lexeme() | FreeText() | QuotedString():
            raise _not_regular(node)
        case _:
            assert_never(node)
