"""A family's output syntax → the rules of every answer the model may give."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import fields
from typing import Any

from edgefc.errors import FormatError, RequestError, SchemaError
from edgefc.grammar import strings
from edgefc.grammar.json_schema.compiler import SchemaCompiler
from edgefc.grammar.json_schema.encodings import arguments_layout
from edgefc.grammar.json_schema.layout import JsonLayout
from edgefc.grammar.parameters import read_parameters, says_nothing
from edgefc.grammar.rules import (
    EMPTY,
    Chars,
    Choice,
    ControlToken,
    FreeText,
    Lexeme,
    Literal,
    Node,
    Ref,
    Repeat,
    Rules,
    Sequence,
    choice,
    finite_rules,
    is_finite,
    lexeme,
    optional,
    sequence,
)
from edgefc.grammar.spelled_calls import AnswerTool, SpelledCalls, at_tool
from edgefc.grammar.tags import tags_of
from edgefc.types import OutputSyntax, ToolChoice

_ID = Repeat(Chars(((48, 57), (65, 90), (97, 122))), 9, 9)
# Matches text that could be the beginning of JSON; "[TOOL_CALLS]" could not.
_JSON = re.compile(r"""\s*(?:$|[\d"tfn-]|\{\s*(?:$|["}])|\[\s*(?:$|[\d"tfn{\]\[-]))""")
_PLACEHOLDER = re.compile(r"\{(?:text|functions|id)\}")

# The fixed text at the beginning of some calls, and the node of the rest.
CallStart = tuple[str, Node]


def check_syntax(syntax: OutputSyntax) -> None:
    """Refuse a syntax with parts that a lexer could not tell apart or a parser could not find. Raises FormatError."""
    if syntax.call.count("{name}") != 1 or syntax.call.partition("{name}")[2].count("{arguments}") != 1:
        raise FormatError("calls.each must contain {name} once and, after it, {arguments} once")
    if any(text.count("{name}") != 1 or text.startswith("{name}") for text in syntax.also):
        raise FormatError("calls.also must contain {name} once, with text before it")
    if syntax.code and not syntax.code.endswith("{code}"):
        raise FormatError("calls.code must end with {code}")
    if syntax.text is None:
        _check_free_text(syntax)
    elif "{text}" not in syntax.text:
        raise FormatError("text.answer must contain {text}")
    if (syntax.arguments == "gemma") != bool(syntax.quote):
        raise FormatError("calls.quote must be given for the encoding gemma, and for no other")
    tags_of(syntax)
    again, end = syntax.calls_separator + syntax.before_name, syntax.calls_end + syntax.end
    if syntax.parallel and end and (again.startswith(end) or end.startswith(again)):
        raise FormatError(f"ambiguous text after a call: {again!r} and {end!r}")


def _check_free_text(syntax: OutputSyntax) -> None:
    if syntax.clarify is not None or syntax.end or "{text}" in (syntax.no_tool or ""):
        raise FormatError("text.clarify, output.end and a {text} in text.no_tool are not allowed where text is free")
    if syntax.marker and not syntax.calls_intro.startswith(syntax.marker):
        raise FormatError("calls.marker must be the beginning of calls")
    if not syntax.text_begin and not all(text.startswith(syntax.marker or "{") for text in syntax.also):
        raise FormatError("where text has no beginning of its own, calls.also must begin with calls.marker")
    if syntax.text_before_calls and not syntax.text_begin:
        raise FormatError("text.before_calls needs text.begin")
    if not syntax.marker and (not syntax.forbidden_starts or syntax.text_begin or syntax.calls_preamble is not None):
        raise FormatError("where text is free, calls.marker or text.not_first must distinguish it from calls")


def control_tokens_of(syntax: OutputSyntax, control: Mapping[str, int]) -> dict[str, int]:
    """Return those of a vocabulary's control tokens, text and id, that occur in the syntax."""
    names = [field.name for field in fields(syntax) if field.name not in {"text_schema", "spellings"}]
    text = "\0".join(value for name in names if isinstance(value := getattr(syntax, name), str))
    return {token: token_id for token, token_id in control.items() if token and token in text}


class AnswerBuilder:
    """Builds the rules of one request's answers into `rules`, starting at `root`. Raises FormatError.

    Calls in other spellings are part of the answers where text is, too; with `any_spelling` also where it is not.

    compilers   of the tools' arguments, by the tool's number
    """

    def __init__(
        self,
        syntax: OutputSyntax,
        tools: list[AnswerTool],
        allowed: ToolChoice,
        *,
        parallel: bool,
        any_order: bool,
        control: Mapping[str, int],
        any_spelling: bool = False,
        check_patterns: bool = False,
    ) -> None:
        check_syntax(syntax)
        self.rules: Rules = {"root": EMPTY}
        self.compilers: dict[int, SchemaCompiler] = {}
        self._syntax, self._tools, self._allowed = syntax, tools, allowed
        self._parallel = parallel and syntax.parallel
        self._any_order, self._any_spelling, self._check_patterns = any_order, any_spelling, check_patterns
        self._control = dict(control)
        self._layout = arguments_layout(syntax, control)
        self._spelled: SpelledCalls | None = None
        if syntax.spellings is not None:
            callable_tools = {
                number: tool
                for number, tool in enumerate(tools)
                if tool.name in allowed.names and not (tool.is_code and syntax.code)
            }
            self._spelled = SpelledCalls(syntax.spellings, callable_tools, self.rules, self._arguments_compiler)
        longest_first = sorted(control, key=len, reverse=True)
        self._special = re.compile("|".join([_PLACEHOLDER.pattern, *map(re.escape, longest_first)]))

    def build(self) -> Rules:
        """Return all rules. Raises SchemaError with the path, or FormatError for ambiguous answers."""
        calls = self._call_starts() if self._allowed.mode != "none" and self._allowed.names else []
        body = self._calls_alone(calls) if self._allowed.mode == "required" else self._any_answer(calls)
        self.rules["root"] = sequence(self._thoughts(), *self._lexemes(self._syntax.begin), body)
        return self.rules

    def _thoughts(self) -> Node:
        """Return the thoughts that may stand before an answer."""
        begin, end = self._syntax.think_begin, self._syntax.think_end
        if not begin:
            return EMPTY
        opening, closing = self._lexemes(begin), self._lexemes(end)
        # The end is recognized by its text without white space around it: thoughts may end in white space too.
        inner: Node = FreeText((end.strip(),))
        if isinstance(closing[0], Lexeme):
            closing = [Lexeme(sequence(inner, closing[0].item)), *closing[1:]]
        else:
            closing = [Lexeme(inner), *closing]
        if self._syntax.think_open:
            # The prompt has begun them, so they must end; they may be empty.
            return choice(sequence(*closing), sequence(*self._lexemes(end)))
        return optional(sequence(*opening, *closing))

    # -- text ---------------------------------------------------------------------------------------------------

    def _any_answer(self, calls: list[CallStart]) -> Node:
        """Return the answers where calls are optional."""
        if self._syntax.text_schema:
            return self._json_or_calls(calls)
        if self._syntax.text is not None:
            return self._templates(calls)
        return self._free_text_or_calls(calls)

    def _free_text_or_calls(self, calls: list[CallStart]) -> Node:
        syntax = self._syntax
        thoughts = (syntax.think_begin.strip(),) if syntax.think_begin else ()
        starts = (*syntax.forbidden_starts, *thoughts)
        if calls and self._spelled is not None:
            free = FreeText(syntax.markers, starts, *self._spelled.heads(self._allowed.names))
        else:
            free = FreeText(syntax.markers, starts)
        branches = [sequence(*self._lexemes(syntax.text_begin), Lexeme(free))]
        if not calls:
            return branches[0]
        if syntax.no_tool is not None:
            branches.append(sequence(*self._lexemes(syntax.no_tool)))
        if syntax.text_begin:
            branches.append(self._calls_alone(calls))
            opening = self._lexemes(syntax.text_before_calls or syntax.text_begin)
            branches += [
                sequence(*opening, *self._prepend(free, self._lexemes(self._intro(head))), rest) for head, rest in calls
            ]
        elif syntax.calls_preamble is None:
            branches.append(self._calls_alone(calls))
        else:
            # Text and the start of a call are one lexeme: no lexer could tell where between them it ends.
            between = Literal(syntax.calls_preamble) if syntax.calls_preamble else EMPTY
            before = optional(sequence(free, between))
            branches += [sequence(*self._prepend(before, self._lexemes(head)), rest) for head, rest in calls]
        return choice(*branches, *self._spelled_calls(whole_heads=True))

    def _json_or_calls(self, calls: list[CallStart]) -> Node:
        """Return text that is JSON of the caller's schema, or calls; their beginnings must differ."""
        syntax = self._syntax
        hint = "Omit the tools, or use another model."
        if syntax.text is not None:
            reason = "this family writes text as a JSON string, which cannot satisfy a schema beside tools"
            raise RequestError("response_format", reason, hint)
        if not syntax.text_begin and any(_JSON.match(head) for head, _ in calls):
            reason = "this family's calls begin like JSON and could not be distinguished from it"
            raise RequestError("response_format", reason, hint)
        compiler = SchemaCompiler(json.loads(syntax.text_schema), self.rules, "answer")
        answer = sequence(*self._lexemes(syntax.text_begin), compiler.compile())
        return choice(answer, self._calls_alone(calls)) if calls else answer

    def _templates(self, calls: list[CallStart]) -> Node:
        """Return text, clarification and "no tool fits" as JSON strings in templates, and calls."""
        syntax = self._syntax
        assert syntax.text is not None
        texts = [syntax.text] if not calls else [syntax.text, syntax.no_tool, syntax.clarify]
        branches = [sequence(*self._lexemes(text + syntax.end)) for text in texts if text is not None]
        heads = sorted(map(_first_text, branches))
        if calls:
            branches.append(self._calls_alone(calls))
            # A text beside calls begins like an answer without any.
            heads = sorted([*heads, _first_text(branches[-1])] if "{text}" not in syntax.calls_begin else heads)
        for one, other in itertools.pairwise(heads):
            if other.startswith(one):
                raise FormatError(f"ambiguous answer: two forms begin with {one!r}")
        return choice(*branches)

    def _intro(self, head: str) -> str:
        """Return the text between free text and calls that would begin with `head` if they stood alone."""
        return self._syntax.calls_separator + head.removeprefix(self._syntax.calls_begin)

    def _prepend(self, before: Node, lexemes: list[Node]) -> list[Node]:
        """Join a node with the first of these lexemes."""
        first = lexemes[0]
        if isinstance(first, Lexeme):
            return [Lexeme(sequence(before, first.item)), *lexemes[1:]]
        return [optional(Lexeme(before.item)) if isinstance(before, Repeat) else Lexeme(before), *lexemes]

    def _lexemes(self, template: str) -> list[Node]:
        """Split fixed text into lexemes; every control token and placeholder is one of its own."""
        nodes: list[Node] = []
        end = 0
        for found in self._special.finditer(template):
            if found.start() > end:
                nodes.append(lexeme(template[end : found.start()]))
            nodes.append(self._special_node(found[0]))
            end = found.end()
        if end < len(template):
            nodes.append(lexeme(template[end:]))
        return nodes

    def _special_node(self, text: str) -> Node:
        """Return the node of a control token or placeholder."""
        if text in self._control:
            return ControlToken(text, self._control[text])
        if text == "{id}":
            return Lexeme(_ID)
        if text == "{functions}":
            return Lexeme(self._tool_names())
        # A text beside calls may be empty.
        return Lexeme(strings.string(0 if "{text}" in self._syntax.calls_begin else 1, None))

    def _tool_names(self) -> Node:
        """Return a JSON array of one or more tool names, at most as many as there are tools."""
        names = self._allowed.names
        name = choice(*(Literal(json.dumps(name, ensure_ascii=False)) for name in names))
        more = Repeat(sequence(Literal(", " if self._syntax.spaced else ","), name), 0, len(names) - 1)
        return sequence(Literal("["), name, *([more] if len(names) > 1 else []), Literal("]"))

    # -- calls --------------------------------------------------------------------------------------------------

    def _calls_alone(self, calls: list[CallStart]) -> Node:
        """Return calls without free text before them."""
        lead = self._lexemes(self._syntax.calls_lead)
        branches = [sequence(*self._lexemes(head), rest) for head, rest in calls]
        declared = sequence(optional(sequence(*lead)), choice(*branches))
        return choice(declared, *self._spelled_calls()) if self._any_spelling else declared

    def _spelled_calls(self, *, whole_heads: bool = False) -> list[Node]:
        """Return the calls in the other spellings that the family accepts; see SpelledCalls.branches."""
        if self._spelled is None:
            return []
        return self._spelled.branches(whole_heads=whole_heads, parallel=self._parallel)

    def _arguments_compiler(self, tool: AnswerTool, layout: JsonLayout) -> SchemaCompiler:
        """Return the compiler of a tool's arguments: always an object, and an empty one if the tool declares none."""
        parameters, change = read_parameters(tool.parameters)
        also: dict[str, Any] = {"type": "object"}
        if says_nothing(parameters):
            also["additionalProperties"] = False
        compiler = SchemaCompiler(
            parameters,
            self.rules,
            tool.name,
            layout=layout,
            also=also,
            any_order=self._any_order,
            check_patterns=self._check_patterns,
        )
        if change:
            compiler.note_change((), change)
        return compiler

    def _call_starts(self) -> list[CallStart]:
        """Return the ways in which calls may begin: as a function's call, as raw code."""
        syntax = self._syntax
        allowed = {number: tool for number, tool in enumerate(self._tools) if tool.name in self._allowed.names}
        has_code = bool(syntax.code) and any(tool.is_code for tool in allowed.values())
        code_head = (syntax.code or "").removesuffix("{code}")
        # Where calls begin with the tool's name, it must not read like something else.
        reserved = [syntax.text_begin] if syntax.text_begin and not syntax.calls_head else []
        if has_code and code_head.startswith(syntax.calls_head):
            reserved.append(code_head.removeprefix(syntax.calls_head))
        functions = {number: tool for number, tool in allowed.items() if not (has_code and tool.is_code)}
        calls = self._function_calls(functions, reserved)
        program = Lexeme(FreeText(()))  # any text after it would be part of it, so it comes last
        starts: list[CallStart] = []
        if calls:
            self._add_call_rule(calls)
            body: Node = Ref("call")
            if self._parallel:
                again = sequence(*self._lexemes(syntax.calls_separator + syntax.before_name), Ref("call"))
                body = sequence(body, Repeat(again, 0, None))
                if has_code:
                    head = code_head if code_head.startswith(syntax.marker) else syntax.calls_separator + code_head
                    body = sequence(body, optional(sequence(*self._lexemes(head), program)))
            end = self._lexemes(syntax.calls_end + syntax.end)
            # The head of a call is a lexeme of its own, so that free text can be put before the very first one.
            starts.append((syntax.calls_head, sequence(body, *end)))
            starts += ((head, sequence(call, *end)) for head, call in self._other_forms(calls))
        if has_code:
            starts.append((code_head, program))
        return starts

    def _function_calls(self, tools: Mapping[int, AnswerTool], reserved: list[str]) -> dict[str, tuple[int, Node]]:
        """Compile the arguments of each tool, by the fixed text before them: the name and what follows it."""
        calls: dict[str, tuple[int, Node]] = {}
        for number, tool in tools.items():
            head = tool.name + self._syntax.before_arguments
            if clash := [other for other in (*calls, *reserved) if other.startswith(head) or head.startswith(other)]:
                path = ("tools", number, "function", "name")
                reason = f"ambiguous tool name {tool.name!r}: {head!r} and {clash[0]!r} begin alike"
                raise SchemaError(path, reason, "Rename the tool.")
            with at_tool(number):
                compiler = self._arguments_compiler(tool, self._layout)
                self.compilers[number] = compiler
                calls[head] = (number, compiler.compile())
        return calls

    def _other_forms(self, calls: Mapping[str, tuple[int, Node]]) -> Iterator[CallStart]:
        """Yield a call in the other forms that models write, with one rule for each."""
        after = self._lexemes(self._syntax.after_arguments)
        for index, (before, between) in enumerate(self._syntax.heads[1:]):
            branches = (
                sequence(*self._lexemes(self._tools[number].name + between), node, *after)
                for number, node in calls.values()
            )
            self.rules[f"call-{index}"] = choice(*branches)
            yield self._syntax.calls_begin + before, Ref(f"call-{index}")

    def _add_call_rule(self, calls: Mapping[str, tuple[int, Node]]) -> None:
        """Add the rule of one call, from its name on."""
        finite = finite_rules(self.rules)
        after = self._lexemes(self._syntax.after_arguments)
        branches: list[Node] = []
        for head, (number, node) in calls.items():
            if not is_finite(node, finite):
                with at_tool(number):
                    reason = "no finite object satisfies the parameters"
                    raise self.compilers[number].impossible or SchemaError((), reason)
            branches.append(sequence(*self._lexemes(head), node, *after))
        self.rules["call"] = choice(*branches)


def _first_text(branch: Node) -> str:
    """Return the text of a branch's first lexeme; empty if it does not begin with fixed text."""
    first = branch.items[0] if isinstance(branch, Sequence | Choice) else branch
    first = first.item if isinstance(first, Lexeme) else first
    return first.text if isinstance(first, Literal | ControlToken) else ""
