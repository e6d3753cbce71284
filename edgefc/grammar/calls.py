"""Tools and a family's output syntax → the grammar of everything the model may say."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from edgefc.errors import FormatError, RequestError, SchemaError
from edgefc.grammar import strings
from edgefc.grammar.automata import TooLargeError
from edgefc.grammar.cache import TextCache
from edgefc.grammar.deadline import OutOfTimeError, deadline
from edgefc.grammar.document import check_document
from edgefc.grammar.findings import Finding
from edgefc.grammar.gbnf import GbnfWriter
from edgefc.grammar.keywords import COMBINING
from edgefc.grammar.lark import LarkWriter
from edgefc.grammar.rules import (
    EMPTY,
    NOTHING,
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
    pruned,
    sequence,
    simplified,
    token,
)
from edgefc.grammar.schema import SchemaCompiler
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
    """

    lark: str
    unenforced: tuple[Finding, ...] = ()
    changes: tuple[Finding, ...] = ()
    # Rules and GBNF are many times larger than what they come from, and seldom asked for: kept is what makes them.
    build: Callable[[], _Built] | None = field(default=None, repr=False, compare=False)

    @property
    def gbnf(self) -> str:
        """The same language in llama.cpp's own notation, starting at `root`. Written anew each time."""
        return "" if self.build is None else _gbnf(self.build, MAX_TOOLS)


_grammars: TextCache[CompiledGrammar] = TextCache(lambda grammar: len(grammar.lark))
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
    syntax: OutputSyntax, tools: Tools, choice: ToolChoice, *, parallel: bool = True, any_order: bool = False
) -> CompiledGrammar:
    """The grammar of all a family may answer with these tools and this choice.

    none → text alone; auto → text, a clarification, "no tool fits" or calls; required → calls alone. Calls name
    only `choice.names`, with arguments that fit the tool's parameters. Without tools only text is left. `any_order` is
    that of `compile_schema`.
    Raises SchemaError with a path that begins at `tools[i]`, RequestError for a choice that the tools do not
    allow, FormatError for a syntax that nothing could tell apart.
    """
    content = _tools_text(tools)
    _check_syntax(syntax)
    names = {tool["name"] for tool in map(_function, tools)}
    if unknown := set(choice.names) - names:
        raise RequestError("tool_choice", f"there is no tool {min(unknown)!r}", f"Tools: {', '.join(sorted(names))}.")
    if choice.mode == "required" and not choice.names:
        raise RequestError("tool_choice", "a call is required, but there is no tool to call")
    build = _output_builder(content, syntax, choice, parallel=parallel, any_order=any_order)
    key = f"output {syntax!r} {choice!r} {parallel} {any_order} {content}"
    return _grammars.get(key, lambda: _compiled(build, len(tools)))


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
    content: str, syntax: OutputSyntax, choice: ToolChoice, *, parallel: bool, any_order: bool = False
) -> Callable[[], _Built]:
    def build() -> _Built:
        rules: Rules = {"root": EMPTY}
        tools = json.loads(content)
        compilers: dict[int, SchemaCompiler] = {}
        calls = _calls(syntax, tools, choice, rules, compilers, parallel=parallel, any_order=any_order)
        unenforced: list[Finding] = []
        changes: list[Finding] = []
        for number, compiler in compilers.items():
            if tools[number]["bare"]:
                changes.append(Finding(("tools", number), "a bare function is read as a tool of type function"))
            where = ("tools", number, "function", "parameters")
            unenforced += (finding.under(*where) for finding in compiler.unenforced.values())
            changes += (finding.under(*where) for finding in compiler.changes)
        rules["root"] = sequence(token(syntax.begin), _branches(syntax, choice, calls))
        return _Built(pruned(rules), tuple(unenforced), tuple(changes))

    return build


def _compiled(build: Callable[[], _Built], tools: int = 0) -> CompiledGrammar:
    with _in_time(tools):
        built = build()
        return CompiledGrammar(LarkWriter(built.rules).text(), built.unenforced, built.changes, build)


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


def _check_syntax(syntax: OutputSyntax) -> None:
    """Refuses what a lexer could not tell apart, or a parser could not find again."""
    head, _, rest = syntax.call.partition("{name}")
    if "{name}" not in syntax.call or "{arguments}" not in rest:
        raise FormatError("the call's template must have {name} and, after it, {arguments}")
    if syntax.text is None:
        if syntax.clarify is not None or syntax.no_tool is not None or syntax.end:
            raise FormatError("where plain text is free, clarify, no_tool and end cannot be templates")
        if not syntax.marker or not (syntax.calls_begin + head).startswith(syntax.marker):
            raise FormatError("where plain text is free, a marker must stand at the very start of the calls")
    elif "{text}" not in syntax.text:
        raise FormatError("the text's template must have {text}")
    again, end = syntax.calls_separator + head, syntax.calls_end + syntax.end
    if syntax.parallel and end and (again.startswith(end) or end.startswith(again)):
        raise FormatError(f"after a call, {again!r} and {end!r} cannot be told apart")


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
        with _at(number):
            parameters = check_document(function.get("parameters"))
        bare = json.dumps(function is tool)
        texts.append(f'{{"name": {json.dumps(name, ensure_ascii=False)}, "bare": {bare}, "parameters": {parameters}}}')
    return f"[{', '.join(texts)}]"


def _function(tool: Any) -> Any:
    """A tool's function; a bare one stands for itself. None: there is none."""
    if not isinstance(tool, Mapping):
        return None
    function = tool.get("function", tool if "name" in tool else None)
    return function if isinstance(function, Mapping) else None


def _branches(syntax: OutputSyntax, allowed: ToolChoice, calls: Node | None) -> Node:
    """What may stand after `begin`."""
    if allowed.mode == "required":
        assert calls is not None  # compile_output has seen to it
        return calls
    if syntax.text is None:
        text = Token(Without(syntax.marker))
        if calls is None:
            return text
        if syntax.calls_preamble is not None:
            # Text and the start of a call are one lexeme: no lexer could tell where between them it ends.
            between = Literal(syntax.calls_preamble) if syntax.calls_preamble else EMPTY
            before = optional(sequence(Without(syntax.marker), between))
            calls = _after(before, calls)
        return choice(text, calls)
    templates = [syntax.text] if calls is None else [syntax.text, syntax.no_tool, syntax.clarify]
    ways = [_template(way + syntax.end, allowed.names, spaced=syntax.spaced) for way in templates if way is not None]
    if calls is not None:
        ways.append(calls)
    heads = sorted(_head(way) for way in ways)
    for one, other in itertools.pairwise(heads):
        if other.startswith(one):
            raise FormatError(f"an answer that begins with {one!r} could be two things")
    return choice(*ways)


def _head(way: Node) -> str:
    """The text of a branch's first lexeme; empty when it does not begin with fixed text."""
    first = way.items[0] if isinstance(way, Sequence) else way
    return first.item.text if isinstance(first, Token) and isinstance(first.item, Literal) else ""


def _after(before: Node, calls: Node) -> Node:
    """`calls` with `before` put into its first lexeme."""
    assert isinstance(calls, Sequence)
    first, *rest = calls.items
    assert isinstance(first, Token)
    return sequence(Token(sequence(before, first.item)), *rest)


def _template(template: str, names: tuple[str, ...], *, spaced: bool) -> Node:
    """A template as lexemes: its literal text and its placeholders, each on its own."""
    nodes: list[Node] = []
    while template:
        found = sorted((template.find(name), name) for name in ("{text}", "{functions}") if name in template)
        if not found:
            nodes.append(token(template))
            break
        place, name = found[0]
        part = strings.string(1, None) if name == "{text}" else _functions(names, spaced=spaced)
        nodes += [token(template[:place]), Token(part)]
        template = template[place + len(name) :]
    return sequence(*nodes)


def _functions(names: tuple[str, ...], *, spaced: bool) -> Node:
    """A JSON array of one or more tool names; no more than there are tools."""
    name = choice(*(Literal(json.dumps(name, ensure_ascii=False)) for name in names))
    more = Repeat(sequence(Literal(", " if spaced else ","), name), 0, len(names) - 1)
    return sequence(Literal("["), name, *([more] if len(names) > 1 else []), Literal("]"))


def _calls(
    syntax: OutputSyntax,
    tools: list[Any],
    allowed: ToolChoice,
    rules: Rules,
    compilers: dict[int, SchemaCompiler],
    *,
    parallel: bool,
    any_order: bool,
) -> Node | None:
    """One call after another; None when no tool may be called. Adds the tools' compilers by number."""
    if allowed.mode == "none" or not allowed.names:
        return None
    before_name, _, rest = syntax.call.partition("{name}")
    between, _, after = rest.partition("{arguments}")
    made: dict[str, tuple[int, Node]] = {}
    for number, tool in enumerate(tools):
        if tool["name"] not in allowed.names:
            continue
        head = tool["name"] + between
        if clash := [other for other in made if other.startswith(head) or head.startswith(other)]:
            reason = f"{head!r} and {clash[0]!r} cannot be told apart"
            raise SchemaError(("tools", number, "function", "name"), reason)
        with _at(number):
            compilers[number] = _arguments(
                tool["parameters"], rules, tool["name"], spaced=syntax.spaced, any_order=any_order
            )
            made[head] = (number, compilers[number].compile())
    finite = endings(rules)
    ways: dict[str, Node] = {}
    for head, (number, node) in made.items():
        if simplified(node, finite) == NOTHING:
            with _at(number):
                raise compilers[number].impossible or SchemaError((), "no finite object satisfies the parameters")
        ways[head] = sequence(token(head), node, token(after))
    rules["call"] = choice(*ways.values())
    body: Node = Ref("call")
    if parallel and syntax.parallel:
        again = sequence(token(syntax.calls_separator + before_name), Ref("call"))
        body = sequence(body, Repeat(again, 0, None))
    # The head of a call is a lexeme of its own, so that free text can be put before the very first one.
    return sequence(token(syntax.calls_begin + before_name), body, token(syntax.calls_end + syntax.end))


@contextmanager
def _at(number: int) -> Iterator[None]:
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
