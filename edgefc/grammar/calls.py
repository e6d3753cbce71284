"""Tools and a family's output syntax → the grammar of everything the model may say."""

from __future__ import annotations

import functools
import json
from dataclasses import dataclass
from typing import Any

from edgefc.errors import RequestError, SchemaError
from edgefc.grammar import strings
from edgefc.grammar.gbnf import GbnfWriter
from edgefc.grammar.lark import LarkWriter
from edgefc.grammar.rules import (
    EMPTY,
    Literal,
    Node,
    Ref,
    Repeat,
    Rules,
    Token,
    Without,
    choice,
    optional,
    sequence,
    token,
)
from edgefc.grammar.schema import SchemaCompiler
from edgefc.types import OutputSyntax, ToolChoice, Tools

MAX_TOOLS = 256
MAX_BYTES = 1 << 20
# How the calls of `calls_gbnf` are written: a bare JSON array.
ARRAY = OutputSyntax(
    call='{"name": "{name}", "arguments": {arguments}}', calls_begin="[", calls_separator=", ", calls_end="]"
)


@dataclass(frozen=True, slots=True)
class CompiledGrammar:
    """One grammar in two spellings.

    gbnf  the artefact: llama.cpp's own notation, starting at `root`
    lark  the same language for llguidance, which executes it
    """

    gbnf: str
    lark: str


def compile_schema(schema: Any) -> CompiledGrammar:
    """The grammar of the JSON values that satisfy a schema. Raises SchemaError."""
    return _compile_schema(_content("schema", schema))


def compile_output(syntax: OutputSyntax, tools: Tools, choice: ToolChoice, *, parallel: bool = True) -> CompiledGrammar:
    """The grammar of all a family may answer with these tools and this choice.

    none → text alone; auto → text, a clarification, "no tool fits" or calls; required → calls alone. Calls name
    only `choice.names`, with arguments that fit the tool's parameters. Raises SchemaError with a path that
    begins at `tools[i]`, or RequestError when there are too many tools.
    """
    if len(tools) > MAX_TOOLS:
        raise RequestError("tools", f"{len(tools)} tools; at most {MAX_TOOLS} are allowed")
    return _compile_output(syntax, _content("tools", list(tools)), choice, parallel)


def calls_gbnf(tools: Tools) -> str:
    """GBNF of a JSON array of one or more `{"name", "arguments"}` calls of these tools."""
    names = tuple(tool["function"]["name"] for tool in tools)
    return compile_output(ARRAY, tools, ToolChoice("required", names)).gbnf


def schema_gbnf(schema: Any) -> str:
    """GBNF of the JSON values that satisfy a schema."""
    return compile_schema(schema).gbnf


def _content(name: str, value: Any) -> str:
    """What a compilation depends on, as text: the key of the cache."""
    try:
        text = json.dumps(value, ensure_ascii=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise SchemaError((name,), f"is not JSON: {error}") from None
    if len(text) > MAX_BYTES:
        raise SchemaError((name,), f"{len(text):,} bytes; at most {MAX_BYTES:,} are allowed")
    return text


@functools.lru_cache(maxsize=64)
def _compile_schema(content: str) -> CompiledGrammar:
    rules: Rules = {"root": EMPTY}
    compiler = SchemaCompiler(json.loads(content), rules, "value")
    rules["root"] = compiler.compile(compiler.root, ())
    return _written(rules)


@functools.lru_cache(maxsize=64)
def _compile_output(syntax: OutputSyntax, content: str, choice: ToolChoice, parallel: bool) -> CompiledGrammar:
    rules: Rules = {"root": EMPTY}
    tools = json.loads(content)
    calls = _calls(syntax, tools, choice, rules, parallel=parallel)
    rules["root"] = sequence(token(syntax.begin), _branches(syntax, choice, calls), token(syntax.end))
    return _written(rules)


def _written(rules: Rules) -> CompiledGrammar:
    return CompiledGrammar(GbnfWriter(rules).text(), LarkWriter(rules).text())


def _branches(syntax: OutputSyntax, allowed: ToolChoice, calls: Node | None) -> Node:
    """What may stand between `begin` and `end`."""
    if allowed.mode == "required" and calls is not None:
        return calls
    if syntax.text is None:
        text = Token(Without(syntax.marker)) if syntax.marker else Token(strings.CHARACTER)
        if allowed.mode == "none" or calls is None:
            return optional(text)
        if syntax.calls_preamble is None:
            return choice(text, calls)
        # Text and the start of a call are one lexeme: no lexer could tell where between them it ends.
        before = optional(sequence(Without(syntax.marker), Literal(syntax.calls_preamble or "")))
        return choice(text, _after(before, calls))
    ways = [_template(syntax.text, {"{text}": strings.string(1, None)})]
    if allowed.mode == "none" or calls is None:
        return ways[0]
    if syntax.no_tool is not None:
        ways.append(_template(syntax.no_tool, {"{text}": strings.string(1, None)}))
    if syntax.clarify is not None:
        quote = Literal('"')
        names = [Literal(json.dumps(name, ensure_ascii=False)[1:-1]) for name in allowed.names]
        name: Node = sequence(quote, choice(*names), quote)
        comma = Literal(", " if syntax.spaced else ",")
        listed = sequence(Literal("["), name, Repeat(sequence(comma, name), 0, len(names) - 1), Literal("]"))
        ways.append(_template(syntax.clarify, {"{functions}": listed, "{text}": strings.string(1, None)}))
    return choice(*ways, calls)


def _after(before: Node, calls: Node) -> Node:
    """`calls` with `before` put into its first lexeme."""
    first, *rest = calls.items if hasattr(calls, "items") else (calls,)
    assert isinstance(first, Token)
    return sequence(Token(sequence(before, first.item)), *rest)


def _template(template: str, parts: dict[str, Node]) -> Node:
    """A template as lexemes: its literal text and its placeholders, each on its own."""
    nodes: list[Node] = []
    while template:
        found = sorted((template.find(name), name) for name in parts if name in template)
        if not found:
            nodes.append(token(template))
            break
        place, name = found[0]
        nodes += [token(template[:place]), Token(parts[name])]
        template = template[place + len(name) :]
    return sequence(*nodes)


def _calls(syntax: OutputSyntax, tools: list[Any], allowed: ToolChoice, rules: Rules, *, parallel: bool) -> Node | None:
    """One call after another; None when no tool may be called."""
    if allowed.mode == "none":
        return None
    before_name, _, rest = syntax.call.partition("{name}")
    between, _, after = rest.partition("{arguments}")
    ways: list[Node] = []
    for number, tool in enumerate(tools):
        function = tool["function"]
        if function["name"] not in allowed.names:
            continue
        parameters = function.get("parameters") or {"type": "object", "properties": {}}
        try:
            arguments = _arguments(parameters, rules, function["name"], spaced=syntax.spaced)
        except SchemaError as error:
            raise error.under("tools", number, "function", "parameters") from None
        name = json.dumps(function["name"], ensure_ascii=False)[1:-1]
        ways.append(sequence(token(name + between), arguments, token(after)))
    if not ways:
        return None
    # The head of a call is a lexeme of its own, so that free text can be put before the very first one.
    head = token(syntax.calls_begin + before_name)
    rules["call"] = choice(*ways)
    body: Node = Ref("call")
    if parallel and syntax.parallel:
        again = sequence(token(syntax.calls_separator + before_name), Ref("call"))
        body = sequence(body, Repeat(again, 0, None))
    return sequence(head, body, token(syntax.calls_end))


def _arguments(parameters: Any, rules: Rules, name: str, *, spaced: bool) -> Node:
    compiler = SchemaCompiler(parameters, rules, name, spaced)
    if not isinstance(parameters, dict):
        raise SchemaError((), "must be a schema of an object")
    if "$ref" not in parameters and not parameters.keys() & {"anyOf", "oneOf", "allOf"}:
        # Data sets leave the type out or call it dict, and a tool without properties takes no arguments.
        kind = parameters.get("type", "object")
        if str(kind).lower() not in {"object", "dict"}:
            raise SchemaError(("type",), f"a tool's parameters are an object, not {kind!r}")
        parameters = {"properties": {}, **parameters, "type": "object"}
        if not parameters["properties"] and "additionalProperties" not in parameters:
            parameters["additionalProperties"] = False
    return compiler.compile(parameters, ())
