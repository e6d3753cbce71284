"""A family's output syntax → the rules of everything the model may say."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import fields
from typing import Any

from edgefc.errors import FormatError, RequestError, SchemaError
from edgefc.grammar import strings
from edgefc.grammar.json_schema.compiler import SchemaCompiler
from edgefc.grammar.json_schema.findings import Finding
from edgefc.grammar.json_schema.keywords import COMBINING
from edgefc.grammar.rules import (
    EMPTY,
    NOTHING,
    Chars,
    Choice,
    Control,
    Literal,
    Node,
    Ref,
    Repeat,
    Rules,
    Sequence,
    Token,
    Without,
    choice,
    endings,
    optional,
    sequence,
    simplified,
    token,
)
from edgefc.types import OutputSyntax, ToolChoice

_ID = Repeat(Chars(((48, 57), (65, 90), (97, 122))), 9, 9)
# What could be the beginning of JSON; "[TOOL_CALLS]" could not.
_JSON = re.compile(r"""\s*(?:$|[\d"tfn-]|\{\s*(?:$|["}])|\[\s*(?:$|[\d"tfn{\]\[-]))""")
_PLACEHOLDER = re.compile(r"\{(?:text|functions|id)\}")


def check_syntax(syntax: OutputSyntax) -> None:
    """Refuses what a lexer could not tell apart, or a parser could not find again. Raises FormatError."""
    head = syntax.before_name
    if syntax.call.count("{name}") != 1 or syntax.call.partition("{name}")[2].count("{arguments}") != 1:
        raise FormatError("calls.each must contain {name} once and, after it, {arguments} once")
    if syntax.code and not syntax.code.endswith("{code}"):
        raise FormatError("calls.code must end with {code}")
    if syntax.text is None:
        if syntax.clarify is not None or syntax.end or "{text}" in (syntax.no_tool or ""):
            raise FormatError("where text is free, text.clarify, output.end and a {text} in text.no_tool cannot be")
        if syntax.marker and not syntax.calls_intro.startswith(syntax.marker):
            raise FormatError("calls.marker must be what calls begin with")
        if not syntax.marker and (not syntax.forbidden_starts or syntax.text_begin or syntax.calls_preamble is not None):
            raise FormatError("where text is free, calls.marker or text.not_first must tell it from calls")
    elif "{text}" not in syntax.text:
        raise FormatError("text.answer must contain {text}")
    again, end = syntax.calls_separator + head, syntax.calls_end + syntax.end
    if syntax.parallel and end and (again.startswith(end) or end.startswith(again)):
        raise FormatError(f"after a call, {again!r} and {end!r} cannot be told apart")


def spoken_control(syntax: OutputSyntax, control: Mapping[str, int]) -> dict[str, int]:
    """Those of the control tokens that stand in the syntax."""
    names = [field.name for field in fields(syntax) if field.name != "text_schema"]
    said = "\0".join(value for name in names if isinstance(value := getattr(syntax, name), str))
    return {text: token_id for text, token_id in control.items() if text and text in said}


class AnswerBuilder:
    """Builds the rules of one request's answers into `rules`, starting at `root`.

    compilers   of the tools' arguments, by the tool's number
    """

    def __init__(
        self,
        syntax: OutputSyntax,
        tools: list[Any],
        allowed: ToolChoice,
        *,
        parallel: bool,
        any_order: bool,
        control: Mapping[str, int],
    ) -> None:
        self.rules: Rules = {"root": EMPTY}
        self.compilers: dict[int, SchemaCompiler] = {}
        self._syntax, self._tools, self._allowed = syntax, tools, allowed
        self._parallel = parallel and syntax.parallel
        self._any_order = any_order
        self._control = dict(control)
        known = sorted(control, key=len, reverse=True)
        self._pattern = re.compile("|".join([_PLACEHOLDER.pattern, *map(re.escape, known)]))

    def build(self) -> Rules:
        """Raises SchemaError with the place, or FormatError for answers that could be two things."""
        syntax = self._syntax
        calls = self._call_ways() if self._allowed.mode != "none" and self._allowed.names else []
        body = self._alone(calls) if self._allowed.mode == "required" else self._branches(calls)
        self.rules["root"] = sequence(self._thoughts(), *self._lexemes(syntax.begin), body)
        return self.rules

    def _thoughts(self) -> Node:
        """What the model may think first."""
        begin, end = self._syntax.think_begin, self._syntax.think_end
        if not begin:
            return EMPTY
        opening, closing = self._lexemes(begin), self._lexemes(end)
        # Told from the thoughts by its first words, for white space may end either.
        inner = Without((end.strip(),))
        if isinstance(closing[0], Token):
            closing = [Token(sequence(inner, closing[0].item)), *closing[1:]]
        else:
            closing = [Token(inner), *closing]
        return optional(sequence(*opening, *closing))

    # -- text ---------------------------------------------------------------------------------------------------

    def _branches(self, calls: list[tuple[str, Node]]) -> Node:
        """What may stand after `begin` when nothing is required."""
        syntax = self._syntax
        if syntax.text_schema:
            return self._json_or_calls(calls)
        if syntax.text is not None:
            return self._templates(calls)
        free = Without(
            syntax.markers, (*syntax.forbidden_starts, *((syntax.think_begin.strip(),) if syntax.think_begin else ()))
        )
        ways = [sequence(*self._lexemes(syntax.text_begin), Token(free))]
        if not calls:
            return ways[0]
        if syntax.no_tool is not None:
            ways.append(sequence(*self._lexemes(syntax.no_tool)))
        if syntax.text_begin:
            ways.append(self._alone(calls))
            ways += [
                sequence(*self._lexemes(syntax.text_begin), *self._after(free, self._lexemes(self._intro(head))), rest)
                for head, rest in calls
            ]
        elif syntax.calls_preamble is None:
            ways.append(self._alone(calls))
        else:
            # Text and the start of a call are one lexeme: no lexer could tell where between them it ends.
            between = Literal(syntax.calls_preamble) if syntax.calls_preamble else EMPTY
            before = optional(sequence(free, between))
            ways += [sequence(*self._after(before, self._lexemes(head)), rest) for head, rest in calls]
        return choice(*ways)

    def _json_or_calls(self, calls: list[tuple[str, Node]]) -> Node:
        """Text that is JSON of a schema of the caller's, or calls; what is said first tells which."""
        syntax = self._syntax
        if syntax.text is not None:
            reason = "this family writes its text as a JSON string, which can be held to no schema beside tools"
            raise RequestError("response_format", reason, "Ask without tools, or with another model.")
        if not syntax.text_begin and any(_JSON.match(head) for head, _ in calls):
            reason = "this family's calls begin as JSON does, and could not be told from it"
            raise RequestError("response_format", reason, "Ask without tools, or with another model.")
        compiler = SchemaCompiler(json.loads(syntax.text_schema), self.rules, "answer", closed=False)
        answer = sequence(*self._lexemes(syntax.text_begin), compiler.compile())
        return choice(answer, self._alone(calls)) if calls else answer

    def _intro(self, head: str) -> str:
        """What stands between free text and a way to call that would begin with `head`."""
        return self._syntax.calls_separator + head.removeprefix(self._syntax.calls_begin)

    def _after(self, before: Node, lexemes: list[Node]) -> list[Node]:
        """`before` and then these lexemes."""
        first = lexemes[0]
        if isinstance(first, Token):
            return [Token(sequence(before, first.item)), *lexemes[1:]]
        return [optional(Token(before.item)) if isinstance(before, Repeat) else Token(before), *lexemes]

    def _templates(self, calls: list[tuple[str, Node]]) -> Node:
        """Text, clarification and "no tool fits" as JSON, and calls."""
        syntax = self._syntax
        assert syntax.text is not None
        texts = [syntax.text] if not calls else [syntax.text, syntax.no_tool, syntax.clarify]
        ways = [sequence(*self._lexemes(text + syntax.end)) for text in texts if text is not None]
        heads = sorted(map(_head, ways))
        if calls:
            ways.append(self._alone(calls))
            # A text beside the calls is the same text as that of an answer without any.
            heads = sorted([*heads, _head(ways[-1])] if "{text}" not in syntax.calls_begin else heads)
        for one, other in itertools.pairwise(heads):
            if other.startswith(one):
                raise FormatError(f"an answer that begins with {one!r} could be two things")
        return choice(*ways)

    def _lexemes(self, template: str) -> list[Node]:
        """Fixed text as lexemes; control tokens and placeholders are each their own."""
        nodes: list[Node] = []
        place = 0
        for found in self._pattern.finditer(template):
            if found.start() > place:
                nodes.append(token(template[place : found.start()]))
            nodes.append(self._part(found[0]))
            place = found.end()
        if place < len(template):
            nodes.append(token(template[place:]))
        return nodes

    def _part(self, text: str) -> Node:
        if text in self._control:
            return Control(text, self._control[text])
        if text == "{id}":
            return Token(_ID)
        # A text beside calls may be empty.
        low = 0 if "{text}" in self._syntax.calls_begin else 1
        return Token(strings.string(low, None) if text == "{text}" else self._functions())

    def _functions(self) -> Node:
        """A JSON array of one or more tool names; no more than there are tools."""
        names = self._allowed.names
        name = choice(*(Literal(json.dumps(name, ensure_ascii=False)) for name in names))
        more = Repeat(sequence(Literal(", " if self._syntax.spaced else ","), name), 0, len(names) - 1)
        return sequence(Literal("["), name, *([more] if len(names) > 1 else []), Literal("]"))

    # -- calls --------------------------------------------------------------------------------------------------

    def _alone(self, calls: list[tuple[str, Node]]) -> Node:
        """Calls without free text before them."""
        lead = self._lexemes(self._syntax.calls_lead)
        ways = [sequence(*self._lexemes(head), rest) for head, rest in calls]
        return sequence(optional(sequence(*lead)), choice(*ways))

    def _call_ways(self) -> list[tuple[str, Node]]:
        """The ways to call tools, each by the fixed text it begins with and what follows."""
        syntax = self._syntax
        made: dict[str, tuple[int, Node]] = {}
        code_head = (syntax.code or "").removesuffix("{code}")
        code = any(tool["code"] and tool["name"] in self._allowed.names for tool in self._tools) and bool(syntax.code)
        # Where calls begin with the tool's name, it must not read like something else.
        taken = [syntax.text_begin] if syntax.text_begin and not syntax.calls_head else []
        if code and code_head.startswith(syntax.calls_head):
            taken.append(code_head.removeprefix(syntax.calls_head))
        for number, tool in enumerate(self._tools):
            if tool["name"] not in self._allowed.names:
                continue
            if tool["code"] and code:
                continue
            head = tool["name"] + syntax.before_arguments
            if clash := [other for other in (*made, *taken) if other.startswith(head) or head.startswith(other)]:
                reason = f"{head!r} and {clash[0]!r} cannot be told apart"
                raise SchemaError(("tools", number, "function", "name"), reason)
            with at_tool(number):
                self.compilers[number] = compiler = _arguments(
                    tool["parameters"], self.rules, tool["name"], spaced=syntax.spaced, any_order=self._any_order
                )
                made[head] = (number, compiler.compile())
        ways: list[tuple[str, Node]] = []
        program = Token(Without(()))  # whatever follows is part of it, so that it comes last
        if made:
            self._call_rule(made)
            body: Node = Ref("call")
            if self._parallel:
                again = sequence(*self._lexemes(syntax.calls_separator + syntax.before_name), Ref("call"))
                body = sequence(body, Repeat(again, 0, None))
                if code:
                    head = code_head if code_head.startswith(syntax.marker) else syntax.calls_separator + code_head
                    body = sequence(body, optional(sequence(*self._lexemes(head), program)))
            end = self._lexemes(syntax.calls_end + syntax.end)
            # The head of a call is a lexeme of its own, so that free text can be put before the very first one.
            ways.append((syntax.calls_head, sequence(body, *end)))
        if code:
            ways.append((code_head, program))
        return ways

    def _call_rule(self, made: Mapping[str, tuple[int, Node]]) -> None:
        """The rule of one call, from its name on."""
        finite = endings(self.rules)
        after = self._lexemes(self._syntax.after_arguments)
        ways: list[Node] = []
        for head, (number, node) in made.items():
            if simplified(node, finite) == NOTHING:
                with at_tool(number):
                    raise self.compilers[number].impossible or SchemaError(
                        (), "no finite object satisfies the parameters"
                    )
            ways.append(sequence(*self._lexemes(head), node, *after))
        self.rules["call"] = choice(*ways)


def _head(way: Node) -> str:
    """The text of a branch's first lexeme; empty when it does not begin with fixed text."""
    first = way.items[0] if isinstance(way, Sequence | Choice) else way
    first = first.item if isinstance(first, Token) else first
    return first.text if isinstance(first, Literal | Control) else ""


@contextmanager
def at_tool(number: int) -> Iterator[None]:
    """Gives errors of one tool's parameters their place among the tools."""
    try:
        yield
    except SchemaError as error:
        raise error.under("tools", number, "function", "parameters") from None


def _arguments(parameters: Any, rules: Rules, name: str, *, spaced: bool, any_order: bool) -> SchemaCompiler:
    """The compiler of one tool's arguments: always an object, and an empty one when the tool declares none."""
    if parameters is None:
        parameters = {}
    if not isinstance(parameters, dict):
        raise SchemaError((), "must be a schema of an object")
    change = ""
    if parameters and all(isinstance(value, dict) and "type" in value for value in parameters.values()):
        # Some data sets give the properties alone; read as a schema, they would be annotations and say nothing.
        change = "bare properties are read as those of an object; needed are those without a default"
        needed = [name for name, value in parameters.items() if not _is_optional(value)]
        parameters = {"type": "object", "properties": parameters, "required": needed}
    elif parameters and "type" not in parameters:
        change = "has no type, and is read as that of an object"
    extra: dict[str, Any] = {"type": "object"}
    if not any(parameters.get(keyword) for keyword in ("properties", "additionalProperties", *COMBINING)):
        extra["additionalProperties"] = False
    compiler = SchemaCompiler(parameters, rules, name, spaced=spaced, also=extra, any_order=any_order)
    if change:
        compiler.changes[Finding((), change)] = None
    return compiler


def _is_optional(schema: dict[str, Any]) -> bool:
    return "default" in schema or schema.get("optional") is True or "optional" in str(schema["type"]).lower()
