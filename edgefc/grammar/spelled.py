"""The spellings of calls beside a family's own, as regular nodes: for the grammar, and for the parser's automata.

In their templates a space stands for any white space and {word} for the name of a code fence.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable
from dataclasses import dataclass

from edgefc.grammar.rules import (
    EMPTY,
    Chars,
    FreeText,
    Lexeme,
    Literal,
    Node,
    Repeat,
    Rules,
    choice,
    one_of,
    optional,
    sequence,
)
from edgefc.grammar.strings import escaped_inside
from edgefc.types import CallSpellings

BLANK = Repeat(Chars(((9, 10), (13, 13), (32, 32))), 0, None)
_WORD = Repeat(Chars(((48, 57), (65, 90), (95, 95), (97, 122))), 0, 20)
_PARTS = re.compile(r" |\{word\}|(?:(?! |\{word\}).)+", re.DOTALL)
_LINE_END = sequence(Repeat(Chars(((9, 9), (13, 13), (32, 32))), 0, None), Literal("\n"))
_NAME = Repeat(Chars(((45, 46), (48, 58), (65, 90), (95, 95), (97, 122))), 1, None)  # of a tool
MAX_BEGINS = 3  # marks around calls may be nested: a tag inside a fence
MAX_BLANK = 64
MAX_BETWEEN = 6  # marks between two calls, such as the end of a list, the end of a fence and the next fence


@dataclass(frozen=True, slots=True)
class CallForm:
    """One way to write a call, in regular nodes: the text up to the name, between name and arguments, and after them.

    `before_name` is what may begin an answer, `next_name` what may stand between a call and the next one's name. The
    arguments are a JSON object, or Python's keyword arguments.
    """

    before_name: Node
    next_name: Node
    before_arguments: Node
    after_arguments: Node
    is_python: bool = False


@functools.lru_cache(maxsize=64)
def call_forms(spellings: CallSpellings) -> tuple[CallForm, ...]:
    """Return the forms of calls; texts that end alike are one form."""
    by_end: dict[str, tuple[list[str], list[str]]] = {}
    for template in spellings.each:
        before, _, rest = template.partition("{name}")
        between, _, after = rest.partition("{arguments}")
        befores, betweens = by_end.setdefault(after, ([], []))
        befores.append(before)
        betweens.append(between)
    begin, between_calls = _begin(spellings), _between(spellings)
    forms = tuple(
        CallForm(
            before_name=sequence(BLANK, begin, _any(befores)),
            next_name=sequence(between_calls, _any(befores)),
            before_arguments=_any(betweens),
            after_arguments=_node(after),
        )
        for after, (befores, betweens) in by_end.items()
    )
    return forms + tuple(_python_form(spellings, template) for template in spellings.python)


def _python_form(spellings: CallSpellings, template: str) -> CallForm:
    """Return the form of calls as Python has them: in a list, in a code fence, or in a list in one."""
    before, _, rest = template.partition("{name}")
    between, _, after = rest.partition("{arguments}")
    fences = [_node(begin) for begin, _ in spellings.around if begin.startswith("```")]
    bracket = sequence(Literal("["), BLANK)
    begins = choice(bracket, *(sequence(fence, _LINE_END, BLANK, optional(bracket)) for fence in fences))
    return CallForm(
        before_name=sequence(BLANK, begins, _node(before)),
        next_name=sequence(BLANK, choice(Literal(","), Literal(";"), Literal("\n")), BLANK, _node(before)),
        before_arguments=_node(between),
        after_arguments=sequence(BLANK, _node(after)),
        is_python=True,
    )


@functools.lru_cache(maxsize=64)
def calls_tail(spellings: CallSpellings) -> Node:
    """Return what may stand between the last call and the end of the answer."""
    marks = choice(Literal("]"), *(_node(end) for _, end in spellings.around if end))
    return Repeat(sequence(BLANK, marks), 1, MAX_BETWEEN)


def named_heads(spellings: CallSpellings, names: Iterable[str], python_names: Iterable[str]) -> Node:
    """Return the beginnings of answers that call one of these tools, up to the arguments.

    python_names  those that can be called as Python does
    """
    json_name, python_name = one_of(map(escaped_inside, names)), one_of(python_names)
    return choice(
        *(
            sequence(form.before_name, python_name if form.is_python else json_name, form.before_arguments)
            for form in call_forms(spellings)
        )
    )


def unnamed_heads(spellings: CallSpellings) -> Node:
    """Return beginnings of all answers that call anything."""
    return choice(
        *(
            sequence(form.before_name, _NAME, form.before_arguments) if form.is_python else form.before_name
            for form in call_forms(spellings)
        )
    )


def call_beginnings(spellings: CallSpellings) -> Rules:
    """Return the rules of texts that begin like a call of anything, without white space before it."""
    templates = (template.partition("{name}")[0] for template in spellings.each)
    head = sequence(_begin(spellings), _any(templates))
    return {"root": sequence(Lexeme(head), Lexeme(FreeText(())))}


def _begin(spellings: CallSpellings) -> Node:
    """Return what may stand before the first call."""
    marks = choice(*(_node(begin) for begin, _ in spellings.around if begin))
    marked = Repeat(sequence(marks, BLANK), 0, MAX_BEGINS) if spellings.around else EMPTY
    return sequence(marked, optional(sequence(Literal("["), BLANK)))


def _between(spellings: CallSpellings) -> Node:
    """Return what may stand between two calls."""
    texts = [text for pair in spellings.around for text in pair if text]
    marks = choice(*map(Literal, ",;[]"), *map(_node, texts))
    return sequence(BLANK, Repeat(sequence(marks, BLANK), 0, MAX_BETWEEN))


def _any(templates: Iterable[str]) -> Node:
    return choice(*map(_node, dict.fromkeys(templates)))


def _node(template: str) -> Node:
    """Return a template as a regular node."""
    blanks: dict[str, Node] = {" ": BLANK, "{word}": _WORD}
    return sequence(*(blanks.get(part) or Literal(part) for part in _PARTS.findall(template)))
