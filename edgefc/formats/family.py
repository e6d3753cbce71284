"""A family: one declaration in `chat_formats/` from which prompt, grammar, parser and history are derived."""

from __future__ import annotations

import difflib
import functools
import json
import re
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from edgefc import paths
from edgefc.errors import FormatError, RequestError
from edgefc.formats import dialects
from edgefc.formats.canonical import canonical
from edgefc.formats.declaration import check, history_syntax, output_syntax
from edgefc.formats.lenient import lenient_calls
from edgefc.formats.parse import Parsed, StreamParser, new_call_id, new_short_id
from edgefc.formats.render import Prompt, render_prompt
from edgefc.formats.templates import Template
from edgefc.formats.typescript import typescript
from edgefc.formats.write import write_assistant
from edgefc.grammar.answers import check_syntax
from edgefc.types import Messages, OutputSyntax, ToolCall, ToolChoice, Tools

# What is said without tools by families that have their own spelling of text only for use with tools.
_PLAIN = OutputSyntax(call="<tool_call>{name}{arguments}", marker="<tool_call>")
_MARK = re.compile(r"<\|[^|<>]+\|>|</s>|\[TOOL_CALLS\]")  # what all families' control tokens look like
Variables = Callable[[list[dict[str, Any]], "list[dict[str, Any]] | None"], dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Family:
    """One family of models.

    syntax    how it spells answers
    history   how past answers are written in its prompts; nearly always `syntax` again
    sampling  what its authors recommend
    stop      texts of the tokens that end its turn
    bos       whether a begin-of-sequence token stands before the prompt: never, always, or as the vocabulary says
    prompt    the declaration's section of that name
    plain     without tools it answers in plain text, whatever its syntax for text
    adapt     what a template that came with a model is given; None: the template is the family's own
    """

    name: str
    description: str
    syntax: OutputSyntax
    history: OutputSyntax
    sampling: Mapping[str, float]
    stop: tuple[str, ...]
    bos: Literal["never", "always", "vocabulary"]
    prompt: Mapping[str, Any]
    plain: bool
    match: Mapping[str, tuple[str, ...]]
    template: Template
    adapt: Variables | None = None

    def render(
        self,
        messages: Messages,
        tools: Tools | None = (),
        *,
        choice: ToolChoice | None = None,
        thinking: bool | None = None,
        add_generation_prompt: bool = True,
        special_tokens: frozenset[str] = frozenset(),
    ) -> Prompt:
        """The prompt for a conversation, without a begin-of-sequence token.

        tools           None: none are spoken of; an empty list is shown as such where the family's prompt does
        choice          what may be called: a choice of `none`, or of one tool, changes some families' prompts
        thinking        False: the family is told not to think first; None: as it likes
        special_tokens  what content must not turn into

        Raises RequestError for a malformed conversation and FormatError when the template refuses it.
        """
        try:
            json.dumps(list(tools or ()), ensure_ascii=False).encode()
        except (TypeError, ValueError, RecursionError) as error:
            raise RequestError("tools", f"cannot be written as JSON: {error}") from None
        conversation = self._with_ids(canonical(messages))
        shown = self._shown(tools, choice)
        variables = (
            {"messages": conversation, "tools": shown} if self.adapt is None else self.adapt(conversation, shown)
        )
        return render_prompt(
            self.template, variables, special_tokens, thinking=thinking, add_generation_prompt=add_generation_prompt
        )

    def syntax_for(
        self,
        tools: Tools | None,
        choice: ToolChoice | None = None,
        *,
        thinking: bool | None = None,
        text_schema: str = "",
    ) -> OutputSyntax:
        """How the answer to a prompt with these tools is spelled; `text_schema`: see OutputSyntax."""
        syntax = self.syntax
        if self.plain and not self._shown(tools, choice):
            syntax = replace(_PLAIN, think_begin=syntax.think_begin, think_end=syntax.think_end)
        if thinking is False:
            syntax = replace(syntax, think_begin="", think_end="")
        return replace(syntax, text_schema=text_schema) if text_schema else syntax

    def parser(
        self,
        tools: Tools | None = None,
        choice: ToolChoice | None = None,
        *,
        thinking: bool | None = None,
        text_schema: str = "",
    ) -> StreamParser:
        """A parser for one answer; tools None: what reads like a call is one, whatever it calls."""
        names = None if tools is None else [tool["function"]["name"] for tool in tools]
        code = [tool["function"]["name"] for tool in tools or () if tool["type"] == "code_interpreter"]
        return StreamParser(
            self.syntax
            if tools is None
            else self.syntax_for(tools, choice, thinking=thinking, text_schema=text_schema),
            new_short_id if self.prompt.get("ids") == "nine" else new_call_id,
            names=names,
            code=code[0] if code and self.syntax.code else None,
        )

    def parse(self, text: str, tools: Tools | None = None) -> Parsed:
        """The message of a finished answer, with or without the token that ended it.

        With `tools`, calls are also found where an answer does not follow the syntax, as without a grammar.
        """
        for stop in self.stop:
            text = text.removesuffix(stop)
        parser = self.parser(tools)
        parser.feed(text)
        parsed = replace(parser.finish("stop"), deltas=())
        if parsed.outcome != "answer" or not tools:
            return parsed
        calls = lenient_calls(text, {tool["function"]["name"] for tool in tools})
        if not calls:
            return parsed
        make_id = new_short_id if self.prompt.get("ids") == "nine" else new_call_id
        written: list[ToolCall] = [
            {
                "id": make_id(),
                "type": "function",
                "function": {"name": call["name"], "arguments": json.dumps(call["arguments"], ensure_ascii=False)},
            }
            for call in calls
        ]
        return Parsed({"role": "assistant", "content": None, "tool_calls": written}, "call", ())

    def missing_tokens(self, special_tokens: frozenset[str]) -> list[str]:
        """What the family needs as tokens and the vocabulary has not: its prompts are then spelled out in text."""
        marks = _MARK.findall(" ".join((self.syntax.call, self.syntax.marker, self.syntax.calls_begin, *self.stop[:1])))
        missing = [mark for mark in dict.fromkeys(marks) if mark not in special_tokens]
        return [f"{mark} is no token of this model, which {self.name} models have" for mark in missing]

    def _shown(self, tools: Tools | None, choice: ToolChoice | None) -> list[dict[str, Any]] | None:
        """The tools that the prompt speaks of."""
        if tools is None or (
            choice is not None and choice.mode == "none" and self.prompt.get("when_none", "omit") == "omit"
        ):
            return None
        named = choice is not None and choice.mode == "required" and len(choice.names) == 1
        if choice is not None and named and self.prompt.get("tools") == "named":
            tools = [tool for tool in tools if tool.get("function", tool).get("name") in choice.names]
        # Where there is no syntax for raw code, the interpreter is a function like any other.
        known = {"function", "code_interpreter"} if self.syntax.code else {"function"}
        shown: list[dict[str, Any]] = [dict(tool) for tool in tools]
        return [tool if tool.get("type") in known else {**tool, "type": "function"} for tool in shown]

    def _with_ids(self, conversation: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Ids as the family has them: some templates take nine letters or digits and nothing else."""
        if self.prompt.get("ids") != "nine":
            return conversation
        ids: dict[str, str] = {}
        for message in conversation:
            for entry in [*message.get("tool_calls", ()), *([message] if message["role"] == "tool" else ())]:
                given = entry["id"]
                short = given if len(given) == 9 and given.isascii() and given.isalnum() else f"call{len(ids):05d}"
                entry["id"] = ids.setdefault(given, short)
        return conversation


def plain_parser() -> StreamParser:
    """A parser for an answer that is text whatever it looks like."""
    return StreamParser(_PLAIN, names=())


def family_names() -> list[str]:
    """All families there are, sorted."""
    folder = paths.root() / "chat_formats"
    return sorted(path.name.removesuffix(".toml") for path in folder.iterdir() if path.name.endswith(".toml"))


def load_family(name: str) -> Family:
    """The family of this name, or that of a declaration file if the name ends in `.toml`.

    Raises FormatError when there is none, or its declaration is wrong.
    """
    if name.endswith(".toml"):
        return _read_family(Path(name))
    return _built_in(name)


@functools.lru_cache(maxsize=64)
def _built_in(name: str) -> Family:
    names = family_names()
    if name not in names:
        near = difflib.get_close_matches(name, names, n=3)
        hint = f"Did you mean {' or '.join(near)}?" if near else f"There are {', '.join(names)}."
        raise FormatError(f"unknown chat format {name!r}", f"{hint} The path of a .toml file is one as well.")
    return _read_family(paths.root() / "chat_formats" / f"{name}.toml")


def _read_family(path: Path) -> Family:
    """A declaration, with its template beside it."""
    try:
        declared = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise FormatError(f"{path}: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise FormatError(f"{path}: {error}") from None
    check(path.name, declared)
    template = path.parent / declared["prompt"]["template"]
    if template.parent != path.parent:
        raise FormatError(f"{path.name}: prompt.template must lie beside it")
    try:
        source = template.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise FormatError(f"{path.name}: prompt.template {template.name}: {error}") from None
    return parse_declaration(path.name.removesuffix(".toml"), declared, source)


def parse_declaration(name: str, declared: Mapping[str, Any], template: str) -> Family:
    """A family from its declaration and template source. Raises FormatError naming the key that is wrong."""
    check(f"{name}.toml", declared)
    match, prompt, text = (declared.get(section, {}) for section in ("match", "prompt", "text"))
    try:
        syntax = output_syntax(declared)
        check_syntax(syntax)
    except FormatError as error:
        raise FormatError(f"{name}.toml: {error.reason}") from None
    history = history_syntax(declared, syntax)
    return Family(
        name=name,
        description=declared.get("description", ""),
        syntax=syntax,
        history=history,
        sampling=dict(declared.get("sampling", {})),
        stop=tuple(prompt.get("stop", ())),
        bos=prompt.get("bos", "never"),
        prompt=dict(prompt),
        plain=syntax.text is not None and not text.get("always", False),
        match={key: tuple(values) for key, values in match.items()},
        template=Template(name, template, _filters(history, prompt)),
    )


def _filters(history: OutputSyntax, prompt: Mapping[str, Any]) -> dict[str, Callable[..., Any]]:
    """What a family's template may use besides Jinja's own."""
    verbatim = prompt.get("arguments") == "verbatim"
    named = prompt.get("tool_response") == "named"
    return {
        "assistant_text": lambda message: write_assistant(history, message, verbatim=verbatim),
        "tool_response": _named_response if named else lambda message: message["content"],
        "call_arguments": lambda call: call["arguments"]["code"] if call["is_code"] else call["arguments_text"],
        "one_call_a_turn": one_call_a_turn,
        "has_code": lambda tools: any(tool.get("type") == "code_interpreter" for tool in tools or ()),
        "without_code": lambda tools: dialects.functions(
            [tool for tool in tools or () if tool.get("type") != "code_interpreter"]
        ),
        "functions": dialects.functions,
        "outline": dialects.outline,
        "typescript": typescript,
        "typescript_v1": functools.partial(typescript, v1=True),
        "concise": dialects.concise,
        "hammer": dialects.hammer,
        "hammer_flat": functools.partial(dialects.hammer, flat=True),
        "hermes_signatures": dialects.hermes_signatures,
        "history_steps": dialects.history_steps,
        "narrated": dialects.narrated,
        "transcript": lambda messages: _transcript(messages, history),
    }


def _named_response(message: Mapping[str, Any]) -> str:
    return json.dumps({"name": message["name"], "result": message["content"]})


def one_call_a_turn(messages: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Several calls of one message as messages of their own, each with its result."""
    turns: list[Mapping[str, Any]] = []
    place = 0
    while place < len(messages):
        message = messages[place]
        calls = message.get("tool_calls") or ()
        place += 1
        if len(calls) < 2:
            turns.append(message)
            continue
        for number, call in enumerate(calls):
            turns.append({**message, "content": message["content"] if not number else "", "tool_calls": [call]})
            turns += messages[place + number : place + number + 1]
        place += len(calls)
    return turns


def _transcript(messages: Sequence[Mapping[str, Any]], history: OutputSyntax) -> str:
    """Hammer 2.0's query: a line for each message, and one for the user to speak in when it is not the last."""
    lines = [
        f"{'user' if m['role'] == 'system' else m['role']}: "
        f"{write_assistant(history, m) if m['role'] == 'assistant' else m['content']}\n"
        for m in messages
    ]
    return "".join(lines) + ("" if messages and messages[-1]["role"] == "user" else "user:  \n")
