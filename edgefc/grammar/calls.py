"""Tools and a family's output syntax → the grammar of everything the model may say."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from edgefc.cache import TextCache
from edgefc.errors import RequestError, SchemaError
from edgefc.grammar.answers import AnswerBuilder, at_tool, check_syntax, spoken_control
from edgefc.grammar.automata import TooLargeError
from edgefc.grammar.deadline import OutOfTimeError, deadline
from edgefc.grammar.gbnf import GbnfWriter
from edgefc.grammar.json_schema.compiler import SchemaCompiler
from edgefc.grammar.json_schema.document import check_document
from edgefc.grammar.json_schema.findings import Finding
from edgefc.grammar.lark import LarkWriter
from edgefc.grammar.rules import EMPTY, NOTHING, Rules, endings, pruned, simplified
from edgefc.types import OutputSyntax, ToolChoice, Tools

MAX_TOOLS = 256
MAX_NAME = 256
DEADLINE_S, DEADLINE_EACH_S = 0.25, 0.004  # of one compilation, and more for each tool
# How the calls of `calls_gbnf` are written: a bare JSON array.
ARRAY = OutputSyntax(
    call='{"name": "{name}", "arguments": {arguments}}',
    marker="[",
    calls_begin="[",
    calls_separator=", ",
    calls_end="]",
)


@dataclass(frozen=True)
class _Built:
    """A rule graph, and what there is to say about it."""

    rules: Rules
    unenforced: tuple[Finding, ...]
    changes: tuple[Finding, ...]


@dataclass(frozen=True, slots=True)
class CompiledGrammar:
    """One grammar in two spellings.

    lark        what llguidance executes
    unenforced  keywords that the grammar does not assert: what it accepts must be checked against them afterwards.
                Empty: all that it accepts is valid
    changes     what was read otherwise than it is written, such as the type `dict`
    control     ids of the control tokens that are part of the syntax
    """

    lark: str
    unenforced: tuple[Finding, ...] = ()
    changes: tuple[Finding, ...] = ()
    control: frozenset[int] = frozenset()
    # Rules and GBNF are many times larger than what they come from, and seldom asked for: kept is what makes them.
    build: Callable[[], _Built] | None = field(default=None, repr=False, compare=False)

    @property
    def gbnf(self) -> str:
        """The same language in llama.cpp's own notation, starting at `root`. Written anew each time."""
        return "" if self.build is None else _gbnf(self.build, MAX_TOOLS)


# A small grammar holds more than its text: about 4 KB with what it can be built from again.
_grammars: TextCache[CompiledGrammar] = TextCache(lambda grammar: 4096 + len(grammar.lark))
_texts: TextCache[str] = TextCache(len)


def compile_schema(schema: Any, *, spaced: bool | None = True, any_order: bool = False) -> CompiledGrammar:
    """The grammar of the JSON values that satisfy a schema. Raises SchemaError.

    spaced     spaces after commas and colons; None: at most one space wherever JSON allows some, which leaves a model
               more to choose
    any_order  objects of up to 6 declared properties may have them in any order, else in the schema's
    """
    content = check_document(schema)
    build = _schema_builder(content, spaced=spaced, any_order=any_order)
    return _grammars.get(f"schema {spaced} {any_order} {content}", lambda: _compiled(build))


def compile_output(
    syntax: OutputSyntax,
    tools: Tools,
    choice: ToolChoice,
    *,
    parallel: bool = True,
    any_order: bool = False,
    control: Mapping[str, int] | None = None,
) -> CompiledGrammar:
    """The grammar of all a family may answer with these tools and this choice.

    none → text alone; auto → text, a clarification, "no tool fits" or calls; required → calls alone. Calls name
    only `choice.names`, with arguments that fit the tool's parameters. Without tools only text is left. `any_order` is
    that of `compile_schema`. `control` are the texts and ids of the vocabulary's control tokens: where the syntax has
    one, only the token itself will do.
    Raises SchemaError with a path that begins at `tools[i]`, RequestError for a choice that the tools do not
    allow, FormatError for a syntax that nothing could tell apart.
    """
    content = _tools_text(tools)
    check_syntax(syntax)
    names = {tool["name"] for tool in map(_function, tools)}
    if unknown := set(choice.names) - names:
        raise RequestError("tool_choice", f"there is no tool {min(unknown)!r}", f"Tools: {', '.join(sorted(names))}.")
    if choice.mode == "required" and not choice.names:
        raise RequestError("tool_choice", "a call is required, but there is no tool to call")
    spoken = spoken_control(syntax, control or {})
    build = _output_builder(content, syntax, choice, parallel=parallel, any_order=any_order, control=spoken)
    key = f"output {syntax!r} {choice!r} {parallel} {any_order} {sorted(spoken.items())} {content}"
    return _grammars.get(key, lambda: _compiled(build, len(tools), frozenset(spoken.values())))


def compile_calls(tools: Tools) -> CompiledGrammar:
    """The grammar of a JSON array of one or more `{"name", "arguments"}` calls of these tools.

    Raises as `compile_output` does.
    """
    return compile_output(ARRAY, tools, _any_of(tools))


def calls_gbnf(tools: Tools) -> str:
    """The GBNF of `compile_calls`."""
    content, choice = _tools_text(tools), _any_of(tools)
    return _texts.get(
        f"calls {content}", lambda: _gbnf(_output_builder(content, ARRAY, choice, parallel=True), len(tools))
    )


def _any_of(tools: Tools) -> ToolChoice:
    if not tools:
        raise RequestError("tools", "there is no tool to call")
    return ToolChoice("required", tuple((_function(tool) or {}).get("name", "") for tool in tools))


def schema_gbnf(schema: Any) -> str:
    """GBNF of the JSON values that satisfy a schema, with a space or none wherever JSON allows some."""
    content = check_document(schema)
    return _texts.get(f"schema {content}", lambda: _gbnf(_schema_builder(content, spaced=None)))


def _schema_builder(content: str, *, spaced: bool | None, any_order: bool = False) -> Callable[[], _Built]:
    def build() -> _Built:
        rules: Rules = {"root": EMPTY}
        compiler = SchemaCompiler(json.loads(content), rules, "value", spaced=spaced, closed=False, any_order=any_order)
        rules["root"] = compiler.compile()
        if simplified(rules["root"], endings(rules)) == NOTHING:
            raise compiler.impossible or SchemaError((), "no finite value satisfies the schema")
        return _Built(pruned(rules), tuple(compiler.unenforced.values()), tuple(compiler.changes))

    return build


def _output_builder(
    content: str,
    syntax: OutputSyntax,
    choice: ToolChoice,
    *,
    parallel: bool,
    any_order: bool = False,
    control: Mapping[str, int] | None = None,
) -> Callable[[], _Built]:
    def build() -> _Built:
        tools = json.loads(content)
        builder = AnswerBuilder(syntax, tools, choice, parallel=parallel, any_order=any_order, control=control or {})
        rules = builder.build()
        unenforced: list[Finding] = []
        changes: list[Finding] = []
        for number, compiler in builder.compilers.items():
            if tools[number]["bare"]:
                changes.append(Finding(("tools", number), "a bare function is read as a tool of type function"))
            where = ("tools", number, "function", "parameters")
            unenforced += (finding.under(*where) for finding in compiler.unenforced.values())
            changes += (finding.under(*where) for finding in compiler.changes)
        return _Built(pruned(rules), tuple(unenforced), tuple(changes))

    return build


def _compiled(build: Callable[[], _Built], tools: int = 0, control: frozenset[int] = frozenset()) -> CompiledGrammar:
    with _in_time(tools):
        built = build()
        return CompiledGrammar(LarkWriter(built.rules).text(), built.unenforced, built.changes, control, build)


def _gbnf(build: Callable[[], _Built], tools: int = 0) -> str:
    with _in_time(tools):
        return GbnfWriter(build().rules).text()


@contextmanager
def _in_time(tools: int = 0) -> Iterator[None]:
    """Raises SchemaError when compiling takes too long altogether."""
    try:
        with deadline(DEADLINE_S + DEADLINE_EACH_S * tools):
            yield
    except OutOfTimeError as error:
        raise SchemaError((), f"compiling takes longer than {error.seconds * 1000:.0f} ms") from None
    except TooLargeError:
        raise SchemaError((), "patterns or numbers together take too many rules", "Make them simpler.") from None
    except RecursionError:
        raise SchemaError((), "schemas depend on one another too deeply", "Flatten some of them.") from None


def _tools_text(tools: Tools) -> str:
    """What a grammar depends on, as JSON: names that a call can carry, each once, and schemas within the limits.

    Descriptions of tools change nothing.
    """
    if len(tools) > MAX_TOOLS:
        raise RequestError("tools", f"{len(tools)} tools; at most {MAX_TOOLS} are allowed")
    names: set[str] = set()
    texts: list[str] = []
    for number, tool in enumerate(tools):
        function = _function(tool)
        if function is None:
            raise SchemaError(("tools", number, "function"), "a tool is an object with a function in it")
        place = ("tools", number, "function", "name")
        name = function.get("name")
        if not isinstance(name, str) or not 0 < len(name) <= MAX_NAME:
            raise SchemaError(place, f"must be a text of 1 to {MAX_NAME} characters")
        if odd := [c for c in name if not c.isprintable() or c.isspace() or c in '"\\']:
            raise SchemaError(place, f"{odd[0]!r} cannot stand in a tool's name")
        if name in names:
            raise SchemaError(place, f"two tools are called {name!r}")
        names.add(name)
        with at_tool(number):
            parameters = check_document(function.get("parameters"))
        bare, code = json.dumps(function is tool), json.dumps(tool.get("type") == "code_interpreter")
        head = f'"name": {json.dumps(name, ensure_ascii=False)}, "bare": {bare}, "code": {code}'
        texts.append(f'{{{head}, "parameters": {parameters}}}')
    return f"[{', '.join(texts)}]"


def _function(tool: Any) -> Any:
    """A tool's function; a bare one stands for itself. None: there is none."""
    if not isinstance(tool, Mapping):
        return None
    function = tool.get("function", tool if "name" in tool else None)
    return function if isinstance(function, Mapping) else None
