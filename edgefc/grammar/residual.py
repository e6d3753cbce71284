r"""GBNF for the engines of other programs: in a spelling that all of them read alike, and amid an answer.

In portable GBNF, characters stand for themselves where they can, no digit follows a number, a dash stands at the end of
a class, and no repetition is optional: xgrammar 0.2.9 and llguidance 1.9.1 misread or refuse what else GBNF allows.

Engines of other programs start a grammar where they start to generate. Where an answer is continued, in a new request
whose prompt ends with the answer so far, the grammar must therefore be that of what may still follow. As in llama.cpp,
the state of a grammar is a set of stacks: each holds what must still be read, the next part first.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from types import MappingProxyType

from edgefc.errors import ConstraintError, GrammarError
from edgefc.grammar.gbnf import SHORT_COUNTS, count_text
from edgefc.grammar.gbnf_reader import Part, RuleParser, split_rules
from edgefc.grammar.rules import Chars, Choice, Literal, Node, Ref, Repeat, Sequence, references

Stack = tuple[Node, ...]
ROOT, OLD_ROOT = "root", "whole"
MAX_STACKS = 10_000
NO_NAMES: Mapping[str, str] = MappingProxyType({})
_ESCAPES = {"\n": "\\n", "\r": "\\r", "\t": "\\t", "\\": "\\\\", '"': '\\"', "[": "\\[", "]": "\\]"}
_CONTROL = re.compile(r"([\x00-\x08\x0b\x0c\x0e-\x1f\x7f])")
_LITERAL = re.compile(r'[\n\r\t"\\]')
_CLASS = re.compile(r"[\x00-\x1f\x7f\\\[\]]")
_NUMBER_END = re.compile(r"\\x..\Z")


def portable(gbnf: str) -> str:
    """Return the same grammar in portable GBNF. Raises GrammarError."""
    return "".join(f"{name} ::= {_text(node, inner=False)}\n" for name, node in _parse(gbnf).items())


def residual(gbnf: str, text: str) -> str:
    """Return the grammar of what may follow this text, in portable GBNF.

    Raises ConstraintError if the grammar forbids the text, GrammarError if there are too many ways to read it.
    """
    rules = _parse(gbnf)
    stacks: set[Stack] = {(Ref(ROOT),)}
    for position, char in enumerate(text):
        stacks = {rest for stack in _expanded(stacks, rules) if (rest := _after(stack, ord(char))) is not None}
        if not stacks:
            raise ConstraintError(f"the grammar forbids the answer from {text[position : position + 20]!r} on")
    return _write(stacks, rules)


def _parse(gbnf: str) -> dict[str, Node]:
    return {name: _RefParser(parts).rule() for name, parts in split_rules(gbnf).items()}


class _RefParser(RuleParser):
    """Reads one rule, and leaves references to others as they are."""

    def __init__(self, parts: list[Part]) -> None:
        super().__init__({ROOT: parts}, {}, (ROOT,))

    def reference(self, name: str, line: int) -> Node:  # noqa: ARG002 - the line is for errors
        return Ref(name)


def _expanded(stacks: set[Stack], rules: Mapping[str, Node]) -> Iterator[Stack]:
    """Yield the stacks that begin with a character, or are empty, after all ways to get there."""
    todo, seen = list(stacks), set(stacks)
    while todo:
        stack = todo.pop()
        if not stack or isinstance(stack[0], Literal | Chars):
            yield stack
            continue
        for further in _unfolded(stack[0], stack[1:], rules):
            if further not in seen:
                seen.add(further)
                todo.append(further)
        if len(seen) > MAX_STACKS:
            raise GrammarError("the grammar is too ambiguous to be continued amid an answer")


def _unfolded(node: Node, rest: Stack, rules: Mapping[str, Node]) -> Iterator[Stack]:
    match node:
        case Ref():
            yield (rules[node.name], *rest)
        case Sequence():
            yield (*node.items, *rest)
        case Choice():
            yield from ((item, *rest) for item in node.items)
        case Repeat():
            if not node.low:
                yield rest
            if node.high != 0:
                low, high = max(node.low - 1, 0), None if node.high is None else node.high - 1
                yield (node.item, *(() if high == 0 else (Repeat(node.item, low, high),)), *rest)
        case _:
            raise GrammarError(f"{type(node).__name__} is not part of GBNF")


def _after(stack: Stack, code: int) -> Stack | None:
    """Return what is left of a stack after this character; None if it cannot come next."""
    if not stack:
        return None
    head, rest = stack[0], stack[1:]
    if isinstance(head, Literal):
        if ord(head.text[0]) != code:
            return None
        return rest if len(head.text) == 1 else (Literal(head.text[1:]), *rest)
    assert isinstance(head, Chars)
    return rest if any(low <= code <= high for low, high in head.ranges) != head.negated else None


def _write(stacks: set[Stack], rules: Mapping[str, Node]) -> str:
    """Write the grammar that begins with any of these stacks, with the rules that are still needed."""
    branches = sorted(" ".join(_text(node, names={ROOT: OLD_ROOT}) for node in stack) or '""' for stack in stacks)
    lines, todo = [f"{ROOT} ::= {' | '.join(branches)}\n"], [name for stack in stacks for name in _used(stack)]
    seen: set[str] = set()
    while todo:
        name = todo.pop()
        if name not in seen:
            seen.add(name)
            body = _text(rules[name], inner=False, names={ROOT: OLD_ROOT})
            lines.append(f"{OLD_ROOT if name == ROOT else name} ::= {body}\n")
            todo += references(rules[name])
    return "".join(lines)


def _used(stack: Stack) -> Iterator[str]:
    for node in stack:
        yield from references(node)


def _text(node: Node, *, inner: bool = True, names: Mapping[str, str] = NO_NAMES) -> str:
    """Write a node; with `inner`, in parentheses where what stands around it needs them; `names` are changed ones."""
    match node:
        case Literal():
            parts = [
                f"[{_CLASS.sub(_escaped, part)}]" if _CONTROL.fullmatch(part) else f'"{_LITERAL.sub(_escaped, part)}"'
                for part in _CONTROL.split(node.text)
                if part
            ]
            return parts[0] if len(parts) == 1 else f"({' '.join(parts)})"
        case Chars():
            return _class(node)
        case Ref():
            return names.get(node.name, node.name)
        case Repeat():
            if isinstance(node.item, Repeat) and (node.low, node.high) == (0, 1):
                return _optional(node.item, names)
            item = _text(node.item, names=names)
            item = f"({item})" if isinstance(node.item, Repeat) else item
            return item + SHORT_COUNTS.get((node.low, node.high), count_text(node.low, node.high))
        case Sequence() if not node.items:
            return '""'
        case Sequence():
            text = " ".join(_text(item, names=names) for item in node.items)
        case Choice():
            text = " | ".join(_text(item, inner=False, names=names) for item in node.items)
        case _:
            raise GrammarError(f"{type(node).__name__} is not part of GBNF")
    return f"({text})" if inner else text


def _optional(node: Repeat, names: Mapping[str, str]) -> str:
    """Write an optional repetition, which llguidance's reader takes for one with two counts."""
    if node.low <= 1:
        return _text(Repeat(node.item, 0, node.high), names=names)
    return f'({_text(node, names=names)} | "")'


def _class(node: Chars) -> str:
    """Write a class; a caret and a dash stand at its end, where nobody takes them for something else."""
    marks = [mark for mark in "^-" if any(low <= ord(mark) <= high for low, high in node.ranges)]
    ranges = list(node.ranges)
    for mark in map(ord, marks):
        ranges = [part for low, high in ranges for part in ((low, min(high, mark - 1)), (max(low, mark + 1), high))]
        ranges = [(low, high) for low, high in dict.fromkeys(ranges) if low <= high]
    # After a number, no further digit may stand.
    spans = "".join(
        sorted((_span(low, high) for low, high in ranges), key=lambda span: _NUMBER_END.search(span) is not None)
    )
    if spans or node.negated:
        return f"[{'^' if node.negated else ''}{spans}{''.join(marks)}]"
    quoted = [f'"{mark}"' for mark in marks]
    return f"({' | '.join(quoted)})"


def _span(low: int, high: int) -> str:
    first, last = (_CLASS.sub(_escaped, chr(code)) for code in (low, high))
    return first if low == high else f"{first}-{last}"


def _escaped(found: re.Match[str]) -> str:
    return _ESCAPES.get(found[0]) or f"\\x{ord(found[0]):02X}"
