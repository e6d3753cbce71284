"""The rest of a grammar amid an answer.

Engines of other programs start a grammar where they start to generate. Where an answer is continued, in a new request
whose prompt ends with the answer so far, the grammar must therefore be that of what may still follow. As in llama.cpp,
the state of a grammar is a set of stacks: each holds what must still be read, the next part first. A lexeme that the
answer ends in is replaced by its derivative, which is a lexeme again.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator

from edgefc.errors import ConstraintError, GrammarError
from edgefc.grammar import strings
from edgefc.grammar.automata import is_empty
from edgefc.grammar.derivatives import derivative, normal_form, nullable
from edgefc.grammar.rules import (
    ANY_CHAR,
    And,
    Chars,
    Choice,
    ControlToken,
    FreeText,
    Lexeme,
    Literal,
    Node,
    QuotedString,
    Ref,
    Repeat,
    Rules,
    Sequence,
    as_intersection,
    choice,
    is_empty_text,
    is_nothing,
    optional,
    references,
    sequence,
)

Stack = tuple[Node, ...]
START = "the rest"  # no rule has such a name
MAX_STACKS = 10_000
NOT_EMPTY = Repeat(ANY_CHAR, 1, None)


def remaining(rules: Rules, answer: Iterable[str | int]) -> Rules:
    """Return the grammar of what may follow an answer; it begins at START.

    answer  texts, and the ids of control tokens

    Raises ConstraintError if the grammar forbids the answer, GrammarError if there are too many ways to read it, or
    TooLargeError if an automaton of lexemes is.
    """
    units = [unit for part in answer for unit in ([part] if isinstance(part, int) else part)]
    stacks: set[Stack] = {(Ref("root"),)}
    for position, unit in enumerate(units):
        stacks = {rest for stack in _expanded(stacks, rules) if (rest := _after(stack, unit)) is not None}
        if not stacks:
            raise _forbidden(units[position:])
    stacks = {stack for stack in stacks if not _is_dead(stack)}
    if not stacks:
        raise _forbidden(units[-1:])
    return _with_start(stacks, rules)


def _forbidden(units: list[str | int]) -> ConstraintError:
    text = "".join(unit if isinstance(unit, str) else f"<[{unit}]>" for unit in units[:20])
    return ConstraintError(f"the grammar forbids the answer from {text!r} on")


def _expanded(stacks: set[Stack], rules: Rules) -> Iterator[Stack]:
    """Yield the stacks that begin with a character, a lexeme or a control token, or are empty, after all ways there."""
    todo, seen = list(stacks), set(stacks)
    while todo:
        stack = todo.pop()
        if not stack or isinstance(stack[0], Literal | Chars | ControlToken):
            yield stack
            continue
        if isinstance(stack[0], Lexeme):
            yield stack
        for further in _unfolded(stack[0], stack[1:], rules):
            if further not in seen:
                seen.add(further)
                todo.append(further)
        if len(seen) > MAX_STACKS:
            raise GrammarError("the grammar is too ambiguous to be continued amid an answer")


def _unfolded(node: Node, rest: Stack, rules: Rules) -> Iterator[Stack]:
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
        case Lexeme():
            if nullable(_regular(node)):
                yield rest
        case _:
            yield (Lexeme(node), *rest)


def _after(stack: Stack, unit: str | int) -> Stack | None:
    """Return what is left of a stack after this character or control token; None if it cannot come next."""
    if not stack:
        return None
    head, rest = stack[0], stack[1:]
    if isinstance(unit, int) or isinstance(head, ControlToken):
        return rest if isinstance(head, ControlToken) and head.id == unit else None
    left = derivative(_regular(head), ord(unit))
    if is_nothing(left):
        return None
    return rest if is_empty_text(left) else (Lexeme(left) if isinstance(head, Lexeme) else left, *rest)


@functools.lru_cache(maxsize=1 << 12)
def _regular(node: Node) -> Node:
    """Return the same texts as a regular node in normal form."""
    match node:
        case FreeText():
            return normal_form(as_intersection(node, exact=True))
        case QuotedString():
            return normal_form(strings.with_quotes(node))
        case Lexeme():
            return _regular(node.item)
        case Sequence():
            return normal_form(sequence(*map(_regular, node.items)))
        case Choice():
            return normal_form(choice(*map(_regular, node.items)))
        case Repeat():
            return normal_form(Repeat(_regular(node.item), node.low, node.high))
        case _:
            return normal_form(node)


def _is_dead(stack: Stack) -> bool:
    """Return whether a stack begins with a lexeme of which no text is left. Raises TooLargeError."""
    return bool(stack) and isinstance(stack[0], Lexeme) and is_empty(_regular(stack[0]))


def _with_start(stacks: set[Stack], rules: Rules) -> Rules:
    """Return a grammar that begins with any of these stacks, and the rules that are still needed."""
    start = choice(*(sequence(*map(_writable, stack[:1]), *stack[1:]) for stack in stacks))
    found, todo = {START: start}, [*references(start)]
    while todo:
        name = todo.pop()
        if name not in found:
            found[name] = rules[name]
            todo += references(rules[name])
    return found


def _writable(head: Node) -> Node:
    """Return the first part of a stack without lexemes that match the empty text, which llguidance does not have."""
    if isinstance(head, Lexeme) and nullable(_regular(head)):
        return optional(Lexeme(And((head.item, NOT_EMPTY))))
    return head
