"""Tools and a family's output syntax → the grammar of every answer the model may give."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from edgefc.cache import TextCache
from edgefc.errors import GrammarError, RequestError, SchemaError
from edgefc.grammar import spelled
from edgefc.grammar.answers import AnswerBuilder, control_tokens_of
from edgefc.grammar.automata import TooLargeError, is_empty
from edgefc.grammar.deadline import OutOfTimeError, deadline
from edgefc.grammar.forced import MAX_FORCED, longest_forced
from edgefc.grammar.gbnf import GbnfWriter
from edgefc.grammar.json_schema.compiler import SchemaCompiler
from edgefc.grammar.json_schema.document import to_json_checked
from edgefc.grammar.json_schema.findings import Finding
from edgefc.grammar.json_schema.layout import Spacing
from edgefc.grammar.lark import LarkWriter
from edgefc.grammar.patterns import PatternError, compile_pattern
from edgefc.grammar.residual import START, remaining
from edgefc.grammar.rules import EMPTY, NOTHING, Lexeme, Node, Rules, one_of, prune
from edgefc.grammar.spelled_calls import AnswerTool, at_tool
from edgefc.limits import MAX_TOOLS
from edgefc.tools import ToolLike, ToolSet
from edgefc.tools.schemas import Note, clean_schema
from edgefc.types import CallSpellings, OutputSyntax, ToolChoice

DEADLINE_S, DEADLINE_PER_TOOL_S = 0.5, 0.004  # of one compilation
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
    unenforced: list[Finding] = field(default_factory=list)
    changes: list[Finding] = field(default_factory=list)
    unsatisfiable: list[Finding] = field(default_factory=list)

    def add(self, compiler: SchemaCompiler, *path: str | int) -> None:
        """Add the findings about the schema at this path."""
        self.unenforced.extend(finding.under(*path) for finding in compiler.unenforced)
        self.changes.extend(finding.under(*path) for finding in compiler.changes)
        self.unsatisfiable.extend(finding.under(*path) for finding in compiler.unsatisfiable)


@dataclass(frozen=True, slots=True)
class CompiledGrammar:
    """One grammar in two notations.

    lark        executed by llguidance
    unenforced  keywords that the grammar does not assert: accepted values must be checked against them afterwards.
                Empty: every accepted value is valid
    changes     schemas that are read differently from their text, such as the type `dict`, and all of `unsatisfiable`
    control     ids of the control tokens that are part of the syntax
    unsatisfiable  properties, items and branches that no value satisfies: the grammar leaves them out
    source      the grammar in GBNF, if a caller wrote it
    """

    lark: str
    unenforced: tuple[Finding, ...] = ()
    changes: tuple[Finding, ...] = ()
    control: frozenset[int] = frozenset()
    # Rules and GBNF are many times larger than their source and seldom needed, so they are built again instead.
    build: Callable[[], _RuleGraph] | None = field(default=None, repr=False, compare=False)
    unsatisfiable: tuple[Finding, ...] = ()
    source: str = field(default="", repr=False, compare=False)

    @property
    def gbnf(self) -> str:
        """The grammar in llama.cpp's own notation, starting at `root`; written anew on each access."""
        return self.source if self.build is None else _write_gbnf(self.build, MAX_TOOLS)

    def lark_after(self, answer: Iterable[str | int]) -> str:
        """Return the grammar of what may follow an answer, in Lark; `build` must exist.

        answer  texts, and the ids of control tokens

        Raises ConstraintError if the grammar forbids the answer, GrammarError if it cannot be continued there.
        """
        assert self.build is not None
        try:
            return LarkWriter(remaining(_rules_of(self.build), answer), START).text()
        except TooLargeError:
            raise GrammarError("the grammar is too large to be continued amid an answer") from None


@functools.lru_cache(maxsize=4)
def _rules_of(build: Callable[[], _RuleGraph]) -> Rules:
    """Return the rules of a grammar that is continued several times, or in several requests."""
    return build().rules


# A small grammar takes more memory than its text: about 4 KB with the source it can be built from again.
# The source takes about as much as the grammar.
_grammars: TextCache[CompiledGrammar] = TextCache(lambda grammar: 4096 + 2 * len(grammar.lark))
_texts: TextCache[str] = TextCache(len, bound=4 << 20)


def cached_bytes() -> int:
    """Return the memory of the texts of compiled grammars, of all models."""
    return _grammars.total + _texts.total


def compile_schema(
    schema: Any, *, spacing: Spacing = "json", any_order: bool = False, closed: bool = False
) -> CompiledGrammar:
    """Return the grammar of the JSON values that satisfy a schema. Raises SchemaError.

    spacing    "json": `", "` and `": "`, as json.dumps writes by default; "compact": no spaces; "flexible": at most
               one space wherever JSON allows white space, which leaves a model more freedom
    any_order  objects of up to 6 declared properties may have them in any order, not only the schema's
    closed     objects that declare properties have no others, unless `additionalProperties` allows them
    """
    schema, changes = clean_schema(schema)
    content = to_json_checked(schema)
    build = _schema_builder(content, changes, spacing=spacing, any_order=any_order, closed=closed)
    key = f"schema {spacing} {any_order} {closed} {json.dumps(changes)} {content}"
    return _grammars.get(key, lambda: _compile(build))


def compile_output(
    syntax: OutputSyntax,
    tools: ToolSet | Sequence[ToolLike],
    choice: ToolChoice,
    *,
    parallel: bool = True,
    any_order: bool = False,
    control: Mapping[str, int] | None = None,
    any_spelling: bool = False,
    check_patterns: bool = False,
) -> CompiledGrammar:
    """Return the grammar of every answer a family may give with these tools and this choice.

    none → text alone; auto → text, a clarification, "no tool fits" or calls; required → calls alone. Calls name
    only `choice.names`, with arguments that fit the tool's parameters. Without tools, only text is left. `any_order`
    is that of `compile_schema`. `control` are text and id of the vocabulary's control tokens: where the syntax has
    one, only the token itself is accepted. `any_spelling`: required calls may have the syntax's other spellings, too.
    `check_patterns`: patterns that no automaton has are listed as unenforced, instead of refused.
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
        check_patterns=check_patterns,
    )
    flags = f"{parallel} {any_order} {any_spelling} {check_patterns}"
    key = f"output {syntax!r} {choice!r} {flags} {sorted(used.items())} {content}"
    return _grammars.get(key, lambda: _compile(build, len(tools), frozenset(used.values())))


@functools.lru_cache(maxsize=16)
def compile_call_beginnings(spellings: CallSpellings) -> CompiledGrammar:
    """Return the grammar of texts that begin like a call in one of these spellings, whatever its name."""
    return CompiledGrammar(LarkWriter(spelled.call_beginnings(spellings)).text())


def compile_calls(tools: ToolSet | Sequence[ToolLike], *, check_patterns: bool = False) -> CompiledGrammar:
    """Return the grammar of a JSON array of one or more `{"name", "arguments"}` calls of these tools.

    Raises as `compile_output` does, and RequestError without tools.
    """
    tools = ToolSet.of(tools)
    return compile_output(ARRAY, tools, _any_of(tools), check_patterns=check_patterns)


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


def compile_choices(texts: Sequence[str]) -> CompiledGrammar:
    """Return the grammar of an answer that is one of these texts."""
    return _grammars.get(f"choices {json.dumps(texts)}", lambda: _compile(lambda: _text_graph(one_of(texts))))


def compile_regex(pattern: str) -> CompiledGrammar:
    """Return the grammar of an answer that a regular expression matches as a whole. Raises SchemaError."""

    def build() -> _RuleGraph:
        try:
            node = compile_pattern(f"^(?:{pattern})$")
        except PatternError as error:
            raise SchemaError((), f"invalid pattern {pattern[:80]!r}: {error}", "Correct or simplify it.") from None
        if is_empty(node):
            raise SchemaError((), f"no text matches the pattern {pattern[:80]!r}", "Correct it.")
        return _text_graph(node)

    return _grammars.get(f"regex {json.dumps(pattern)}", lambda: _compile(build))


def _text_graph(node: Node) -> _RuleGraph:
    return _RuleGraph({"root": Lexeme(node)})


def schema_gbnf(schema: Any) -> str:
    """Return GBNF of the JSON values that satisfy a schema, in flexible spacing."""
    schema, changes = clean_schema(schema)
    content = to_json_checked(schema)
    build = _schema_builder(content, changes, spacing="flexible")
    return _texts.get(f"schema {content}", lambda: _write_gbnf(build))


def _schema_builder(
    content: str, changes: Sequence[Note], *, spacing: Spacing, any_order: bool = False, closed: bool = False
) -> Callable[[], _RuleGraph]:
    def build() -> _RuleGraph:
        rules: Rules = {"root": EMPTY}
        schema = json.loads(content)
        compiler = SchemaCompiler(schema, rules, "value", spacing=spacing, closed=closed, any_order=any_order)
        rules["root"] = compiler.compile()
        found = _RuleGraph(prune(rules))
        if found.rules["root"] == NOTHING:
            raise compiler.impossible or SchemaError((), "no finite value satisfies the schema")
        found.changes.extend(Finding(path, reason) for path, reason in changes)
        found.add(compiler)
        return found

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
    check_patterns: bool = False,
) -> _RuleGraph:
    described = json.loads(content)
    tools = [AnswerTool(*parts) for parts, _ in described]
    builder = AnswerBuilder(
        syntax,
        tools,
        choice,
        parallel=parallel,
        any_order=any_order,
        control=control or {},
        any_spelling=any_spelling,
        check_patterns=check_patterns,
    )
    rules = builder.build()
    found = _RuleGraph(prune(rules))
    for number, compiler in builder.compilers.items():
        if tools[number].is_bare:
            found.changes.append(Finding(("tools", number), "a bare function is read as a tool of type function"))
        found.changes.extend(Finding(("tools", number, *path), reason) for path, reason in described[number][1])
        found.add(compiler, "tools", number, "function", "parameters")
    return found


def _compile(build: Callable[[], _RuleGraph], tools: int = 0, control: frozenset[int] = frozenset()) -> CompiledGrammar:
    with _time_limit(tools):
        graph = build()
        if (forced := longest_forced(graph.rules)) > MAX_FORCED:
            reason = f"it forces {forced:,} bytes of constant text in a row; at most {MAX_FORCED:,} are supported"
            raise SchemaError((), reason, "Lower minItems, or shorten the constants.")
        changes = (*graph.changes, *graph.unsatisfiable)
        text, unsatisfiable = LarkWriter(graph.rules).text(), tuple(graph.unsatisfiable)
        return CompiledGrammar(text, tuple(graph.unenforced), changes, control, build, unsatisfiable)


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
        notes = json.dumps([(path[2:], reason) for path, reason in tools.changes if path[1] == number])
        parts.append(f"[{flags[:-1]}, {parameters}], {notes}]")
    return f"[{', '.join(parts)}]"
