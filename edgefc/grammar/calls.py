"""Tools and a family's output syntax → the grammar of every answer the model may give."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from edgefc.cache import TextCache
from edgefc.errors import RequestError, SchemaError
from edgefc.grammar import spelled
from edgefc.grammar.answers import AnswerBuilder, AnswerTool, at_tool, control_tokens_of
from edgefc.grammar.automata import TooLargeError
from edgefc.grammar.deadline import OutOfTimeError, deadline
from edgefc.grammar.gbnf import GbnfWriter
from edgefc.grammar.json_schema.compiler import SchemaCompiler
from edgefc.grammar.json_schema.document import to_json_checked
from edgefc.grammar.json_schema.findings import Finding
from edgefc.grammar.json_schema.layout import Spacing
from edgefc.grammar.lark import LarkWriter
from edgefc.grammar.rules import EMPTY, NOTHING, Rules, finite_rules, prune, simplify
from edgefc.limits import MAX_TOOLS
from edgefc.tools import ToolLike, ToolSet
from edgefc.types import CallSpellings, OutputSyntax, ToolChoice

DEADLINE_S, DEADLINE_PER_TOOL_S = 0.25, 0.004  # of one compilation
# The syntax of `calls_gbnf`: a bare JSON array.
ARRAY = OutputSyntax(
    call='{"name": "{name}", "arguments": {arguments}}',
    marker="[",
    calls_begin="[",
    calls_separator=", ",
    calls_end="]",
)


@dataclass(frozen=True)
class _RuleGraph:
    """A compiled grammar before it is written, with the findings about its schemas."""

    rules: Rules
    unenforced: tuple[Finding, ...]
    changes: tuple[Finding, ...]


@dataclass(frozen=True, slots=True)
class CompiledGrammar:
    """One grammar in two notations.

    lark        executed by llguidance
    unenforced  keywords that the grammar does not assert: accepted values must be checked against them afterwards.
                Empty: every accepted value is valid
    changes     schemas that are read differently from their text, such as the type `dict`
    control     ids of the control tokens that are part of the syntax
    """

    lark: str
    unenforced: tuple[Finding, ...] = ()
    changes: tuple[Finding, ...] = ()
    control: frozenset[int] = frozenset()
    # Rules and GBNF are many times larger than their source and seldom needed, so they are built again instead.
    build: Callable[[], _RuleGraph] | None = field(default=None, repr=False, compare=False)

    @property
    def gbnf(self) -> str:
        """The grammar in llama.cpp's own notation, starting at `root`; written anew on each access."""
        return "" if self.build is None else _write_gbnf(self.build, MAX_TOOLS)


# A small grammar takes more memory than its text: about 4 KB with the source it can be built from again.
_grammars: TextCache[CompiledGrammar] = TextCache(lambda grammar: 4096 + len(grammar.lark))
_texts: TextCache[str] = TextCache(len)


def compile_schema(schema: Any, *, spacing: Spacing = "json", any_order: bool = False) -> CompiledGrammar:
    """Return the grammar of the JSON values that satisfy a schema. Raises SchemaError.

    spacing    "json": `", "` and `": "`, as json.dumps writes by default; "compact": no spaces; "flexible": at most
               one space wherever JSON allows white space, which leaves a model more freedom
    any_order  objects of up to 6 declared properties may have them in any order, not only the schema's
    """
    content = to_json_checked(schema)
    build = _schema_builder(content, spacing=spacing, any_order=any_order)
    return _grammars.get(f"schema {spacing} {any_order} {content}", lambda: _compile(build))


def compile_output(
    syntax: OutputSyntax,
    tools: ToolSet | Sequence[ToolLike],
    choice: ToolChoice,
    *,
    parallel: bool = True,
    any_order: bool = False,
    control: Mapping[str, int] | None = None,
    any_spelling: bool = False,
) -> CompiledGrammar:
    """Return the grammar of every answer a family may give with these tools and this choice.

    none → text alone; auto → text, a clarification, "no tool fits" or calls; required → calls alone. Calls name
    only `choice.names`, with arguments that fit the tool's parameters. Without tools, only text is left. `any_order`
    is that of `compile_schema`. `control` are text and id of the vocabulary's control tokens: where the syntax has
    one, only the token itself is accepted. `any_spelling`: required calls may have the syntax's other spellings, too.
    Raises SchemaError with a path that begins at `tools[i]`, RequestError for tools that ToolSet refuses, FormatError
    for an ambiguous syntax. `choice` must be one that `parse_tool_choice` returns for these tools.
    """
    tools = ToolSet.of(tools)
    assert set(choice.names) <= set(tools.names)
    assert choice.names or choice.mode != "required"
    content = _tools_content(tools)
    used = control_tokens_of(syntax, control or {})
    build = functools.partial(
        _build_output,
        content,
        syntax,
        choice,
        parallel=parallel,
        any_order=any_order,
        control=used,
        any_spelling=any_spelling,
    )
    key = f"output {syntax!r} {choice!r} {parallel} {any_order} {any_spelling} {sorted(used.items())} {content}"
    return _grammars.get(key, lambda: _compile(build, len(tools), frozenset(used.values())))


@functools.lru_cache(maxsize=16)
def compile_call_beginnings(spellings: CallSpellings) -> CompiledGrammar:
    """Return the grammar of texts that begin like a call in one of these spellings, whatever its name."""
    return CompiledGrammar(LarkWriter(spelled.call_beginnings(spellings)).text())


def compile_calls(tools: ToolSet | Sequence[ToolLike]) -> CompiledGrammar:
    """Return the grammar of a JSON array of one or more `{"name", "arguments"}` calls of these tools.

    Raises as `compile_output` does, and RequestError without tools.
    """
    tools = ToolSet.of(tools)
    return compile_output(ARRAY, tools, _any_of(tools))


def calls_gbnf(tools: ToolSet | Sequence[ToolLike]) -> str:
    """Return the GBNF of `compile_calls`."""
    tools = ToolSet.of(tools)
    content = _tools_content(tools)
    build = functools.partial(_build_output, content, ARRAY, _any_of(tools), parallel=True)
    return _texts.get(f"calls {content}", lambda: _write_gbnf(build, len(tools)))


def _any_of(tools: ToolSet) -> ToolChoice:
    if not tools:
        raise RequestError("tools", "must contain at least one tool")
    return ToolChoice("required", tools.names)


def schema_gbnf(schema: Any) -> str:
    """Return GBNF of the JSON values that satisfy a schema, in flexible spacing."""
    content = to_json_checked(schema)
    build = _schema_builder(content, spacing="flexible")
    return _texts.get(f"schema {content}", lambda: _write_gbnf(build))


def _schema_builder(content: str, *, spacing: Spacing, any_order: bool = False) -> Callable[[], _RuleGraph]:
    def build() -> _RuleGraph:
        rules: Rules = {"root": EMPTY}
        schema = json.loads(content)
        compiler = SchemaCompiler(schema, rules, "value", spacing=spacing, closed=False, any_order=any_order)
        rules["root"] = compiler.compile()
        if simplify(rules["root"], finite_rules(rules)) == NOTHING:
            raise compiler.impossible or SchemaError((), "no finite value satisfies the schema")
        return _RuleGraph(prune(rules), compiler.unenforced, compiler.changes)

    return build


def _build_output(
    content: str,
    syntax: OutputSyntax,
    choice: ToolChoice,
    *,
    parallel: bool,
    any_order: bool = False,
    control: Mapping[str, int] | None = None,
    any_spelling: bool = False,
) -> _RuleGraph:
    tools = [AnswerTool(*parts) for parts in json.loads(content)]
    builder = AnswerBuilder(
        syntax,
        tools,
        choice,
        parallel=parallel,
        any_order=any_order,
        control=control or {},
        any_spelling=any_spelling,
    )
    rules = builder.build()
    unenforced: list[Finding] = []
    changes: list[Finding] = []
    for number, compiler in builder.compilers.items():
        if tools[number].is_bare:
            changes.append(Finding(("tools", number), "a bare function is read as a tool of type function"))
        path = ("tools", number, "function", "parameters")
        unenforced += (finding.under(*path) for finding in compiler.unenforced)
        changes += (finding.under(*path) for finding in compiler.changes)
    return _RuleGraph(prune(rules), tuple(unenforced), tuple(changes))


def _compile(build: Callable[[], _RuleGraph], tools: int = 0, control: frozenset[int] = frozenset()) -> CompiledGrammar:
    with _time_limit(tools):
        graph = build()
        return CompiledGrammar(LarkWriter(graph.rules).text(), graph.unenforced, graph.changes, control, build)


def _write_gbnf(build: Callable[[], _RuleGraph], tools: int = 0) -> str:
    with _time_limit(tools):
        return GbnfWriter(build().rules).text()


@contextmanager
def _time_limit(tools: int = 0) -> Iterator[None]:
    """Limit a compilation. Raises SchemaError when it takes too long or grows too large altogether."""
    hint = "Simplify the schema."
    try:
        with deadline(DEADLINE_S + DEADLINE_PER_TOOL_S * tools):
            yield
    except OutOfTimeError as error:
        raise SchemaError((), f"compiling takes longer than {error.seconds * 1000:.0f} ms", hint) from None
    except TooLargeError:
        raise SchemaError((), "patterns or numbers together take too many rules", hint) from None
    except RecursionError:
        raise SchemaError((), "schemas depend on one another too deeply", "Flatten some of them.") from None


def _tools_content(tools: ToolSet) -> str:
    """Return the part of tools that a grammar depends on, as JSON: descriptions change nothing.

    Raises SchemaError for schemas that are not JSON or exceed a limit.
    """
    parts: list[str] = []
    for number, tool in enumerate(tools):
        function = tool["function"]
        with at_tool(number):
            parameters = to_json_checked(function.get("parameters"))
        flags = json.dumps([function["name"], tool["type"] == "code_interpreter", number in tools.bare])
        parts.append(f"{flags[:-1]}, {parameters}]")
    return f"[{', '.join(parts)}]"
