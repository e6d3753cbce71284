"""Tools and a family's output syntax → the grammar of everything the model may say."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from edgefc.errors import RequestError
from edgefc.grammar.cache import TextCache
from edgefc.grammar.rules import (
    EMPTY,
    Rules,
    sequence,
    token,
)
from edgefc.grammar.schema import SchemaCompiler, check_document
from edgefc.types import OutputSyntax, ToolChoice, Tools

MAX_TOOLS = 256
MAX_NAME = 256
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


_cache: TextCache[CompiledGrammar] = TextCache(lambda grammar: len(grammar.gbnf) + len(grammar.lark))


def compile_schema(schema: Any) -> CompiledGrammar:
    """The grammar of the JSON values that satisfy a schema. Raises SchemaError."""

    def build() -> CompiledGrammar:
        rules: Rules = {"root": EMPTY}
        compiler = SchemaCompiler(json.loads(content), rules, "value")
        rules["root"] = compiler.compile(compiler.root, ())
        return _written(rules)

    content = check_document(schema)
    return _cache.get(f"schema {content}", build)


def compile_output(syntax: OutputSyntax, tools: Tools, choice: ToolChoice, *, parallel: bool = True) -> CompiledGrammar:
    """The grammar of all a family may answer with these tools and this choice.

    none → text alone; auto → text, a clarification, "no tool fits" or calls; required → calls alone. Calls name
    only `choice.names`, with arguments that fit the tool's parameters. Without tools only text is left.
    Raises SchemaError with a path that begins at `tools[i]`, RequestError for a choice that the tools do not
    allow, FormatError for a syntax that nothing could tell apart.
    """

    def build() -> CompiledGrammar:
        rules: Rules = {"root": EMPTY}
        calls = _calls(syntax, json.loads(content), choice, rules, parallel=parallel)
        rules["root"] = sequence(token(syntax.begin), _branches(syntax, choice, calls), token(syntax.end))
        return _written(rules)

    _check_syntax(syntax)
    _check_tools(tools)
    names = {tool["function"]["name"] for tool in tools}
    if unknown := set(choice.names) - names:
        raise RequestError("tool_choice", f"there is no tool {min(unknown)!r}", f"Tools: {', '.join(sorted(names))}.")
    if choice.mode == "required" and not choice.names:
        raise RequestError("tool_choice", "a call is required, but there is no tool to call")
    # The path of a schema's own error begins at `tools`.
    content = _under_tools(lambda: check_document(list(tools), nodes=MAX_TOOLS))
    return _cache.get(f"output {syntax!r} {choice!r} {parallel} {content}", build)


def calls_gbnf(tools: Tools) -> str:
    """GBNF of a JSON array of one or more `{"name", "arguments"}` calls of these tools."""
    _check_tools(tools)
    names = tuple(tool["function"]["name"] for tool in tools)
    return compile_output(ARRAY, tools, ToolChoice("required", names)).gbnf


def schema_gbnf(schema: Any) -> str:
    """GBNF of the JSON values that satisfy a schema."""
    return compile_schema(schema).gbnf
