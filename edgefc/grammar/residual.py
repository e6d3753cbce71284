"""The rest of a grammar after a text that it accepts the beginning of, in GBNF.

Engines of other programs start a grammar where they start to generate. Where an answer is continued, in a new request
whose prompt ends with the answer so far, the grammar must therefore be that of what may still follow. As in llama.cpp,
the state of a grammar is a set of stacks: each holds what must still be read, the next part first.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from edgefc.errors import ConstraintError, GrammarError
from edgefc.grammar.gbnf import SHORT_COUNTS, count_text, literal_text, span_text
from edgefc.grammar.gbnf_reader import Part, RuleParser, split_rules
from edgefc.grammar.rules import Chars, Choice, Literal, Node, Ref, Repeat, Sequence, references

Stack = tuple[Node, ...]
ROOT, OLD_ROOT = "root", "whole"
MAX_STACKS = 10_000


def residual(gbnf: str, text: str) -> str:
    """Return the grammar of what may follow this text. Raises ConstraintError if the grammar forbids the text."""
    if not text:
        return gbnf
    rules = {name: _RefParser(parts).rule() for name, parts in split_rules(gbnf).items()}
    stacks: set[Stack] = {(Ref(ROOT),)}
    for position, char in enumerate(text):
        stacks = {rest for stack in _expanded(stacks, rules) if (rest := _after(stack, ord(char))) is not None}
        if not stacks:
            raise ConstraintError(f"the grammar forbids the answer from {text[position : position + 20]!r} on")
    return _write(stacks, rules)


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
    branches = sorted(" ".join(_text(node) for node in stack) or '""' for stack in stacks)
    lines, todo = [f"{ROOT} ::= {' | '.join(branches)}\n"], [name for stack in stacks for name in _used(stack)]
    seen: set[str] = set()
    while todo:
        name = todo.pop()
        if name not in seen:
            seen.add(name)
            lines.append(f"{_name(name)} ::= {_text(rules[name], inner=False)}\n")
            todo += references(rules[name])
    return "".join(lines)


def _used(stack: Stack) -> Iterator[str]:
    for node in stack:
        yield from references(node)


def _name(name: str) -> str:
    return OLD_ROOT if name == ROOT else name


def _text(node: Node, *, inner: bool = True) -> str:
    """Write a node; with `inner`, in parentheses where what stands around it needs them."""
    match node:
        case Literal():
            return literal_text(node.text)
        case Chars():
            body = "".join(span_text(low, high) for low, high in node.ranges)
            return f"[{'^' if node.negated else ''}{body}]"
        case Ref():
            return _name(node.name)
        case Repeat():
            item = _text(node.item)
            item = f"({item})" if isinstance(node.item, Repeat) else item
            return item + SHORT_COUNTS.get((node.low, node.high), count_text(node.low, node.high))
        case Sequence() if not node.items:
            return '""'
        case Sequence():
            text = " ".join(map(_text, node.items))
        case Choice():
            text = " | ".join(_text(item, inner=False) for item in node.items)
        case _:
            raise GrammarError(f"{type(node).__name__} is not part of GBNF")
    return f"({text})" if inner else text
