"""The calls of one request in spellings besides the family's own, as rules."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple

from edgefc.errors import SchemaError
from edgefc.grammar import spelled, strings
from edgefc.grammar.json_schema.compiler import SchemaCompiler
from edgefc.grammar.json_schema.encodings import KeywordLayout
from edgefc.grammar.json_schema.layout import JsonLayout
from edgefc.grammar.rules import EMPTY, Lexeme, Literal, Node, Ref, Repeat, Rules, choice, optional, sequence
from edgefc.types import CallSpellings


class AnswerTool(NamedTuple):
    """The part of a tool that a grammar depends on."""

    name: str
    is_code: bool
    is_bare: bool
    parameters: Any


@contextmanager
def at_tool(number: int) -> Iterator[None]:
    """Add the path of a tool's parameters to schema errors of the block."""
    try:
        yield
    except SchemaError as error:
        raise error.under("tools", number, "function", "parameters") from None


class SpelledCalls:
    """Builds the rules of calls in these spellings. Raises SchemaError with the path.

    tools         those that may be called, by their number
    rules         the grammar to which rules are added
    new_compiler  returns the compiler of a tool's arguments in a layout
    """

    def __init__(
        self,
        spellings: CallSpellings,
        tools: Mapping[int, AnswerTool],
        rules: Rules,
        new_compiler: Callable[[AnswerTool, JsonLayout], SchemaCompiler],
    ) -> None:
        self._spellings, self._tools, self._rules, self._new_compiler = spellings, tools, rules, new_compiler
        self._keywords: dict[str, Node] | None = None

    def heads(self, names: Iterable[str]) -> tuple[Node, Node]:
        """Return the beginnings of answers that call one of these tools, and simpler ones that match them all."""
        heads = spelled.named_heads(self._spellings, names, self._keyword_arguments())
        return heads, spelled.unnamed_heads(self._spellings)

    def branches(self, *, whole_heads: bool, parallel: bool) -> list[Node]:
        """Return the ways in which an answer may have such calls.

        whole_heads  one lexeme per tool up to its arguments, where only the tool's name distinguishes calls from text
        parallel     several calls may follow one another
        """
        forms = spelled.call_forms(self._spellings)
        tail = optional(Lexeme(spelled.calls_tail(self._spellings)))
        objects, keywords = self._object_arguments(), self._keyword_arguments()
        again: list[Node] = []
        for number, form in enumerate(forms):
            arguments = keywords if form.is_python else objects
            self._rules[f"spelled-{number}"] = choice(
                *(
                    sequence(Lexeme(sequence(Literal(name), form.before_arguments)), node, Lexeme(form.after_arguments))
                    for name, node in arguments.items()
                )
            )
            again.append(sequence(Lexeme(form.next_name), Ref(f"spelled-{number}")))
        self._rules["spelled-rest"] = sequence(Repeat(choice(*again), 0, None), tail) if parallel else EMPTY
        if not whole_heads:
            return [
                sequence(Lexeme(form.before_name), Ref(f"spelled-{number}"), Ref("spelled-rest"))
                for number, form in enumerate(forms)
            ]
        return [
            sequence(
                Lexeme(sequence(form.before_name, Literal(name), form.before_arguments)),
                node,
                Lexeme(form.after_arguments),
                Ref("spelled-rest"),
            )
            for form in forms
            for name, node in (keywords if form.is_python else objects).items()
        ]

    def _object_arguments(self) -> dict[str, Node]:
        """Compile the arguments of each tool, in any white space, by the tool's name as the inside of a JSON string."""
        blank = optional(Lexeme(Repeat(spelled.BLANK.item, 1, spelled.MAX_BLANK)))
        nodes: dict[str, Node] = {}
        for number, tool in self._tools.items():
            with at_tool(number):
                self._rules[f"spelled-arguments-{number}"] = self._new_compiler(tool, JsonLayout("indented")).compile()
            nodes[strings.escaped_inside(tool.name)] = sequence(blank, Ref(f"spelled-arguments-{number}"))
        return nodes

    def _keyword_arguments(self) -> dict[str, Node]:
        """Compile the keyword arguments of each tool that can be called as Python does, by the tool's name."""
        if self._keywords is not None:
            return self._keywords
        self._keywords = {}
        for number, tool in self._tools.items() if self._spellings.python else ():
            before, name = dict(self._rules), f"spelled-keywords-{number}"
            try:
                self._rules[name] = self._new_compiler(tool, KeywordLayout()).compile()
            except SchemaError:  # such as the name of a parameter that is none in Python
                self._rules.clear()
                self._rules.update(before)
                continue
            self._keywords[tool.name] = Ref(name)
        return self._keywords
