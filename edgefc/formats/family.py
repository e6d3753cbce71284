"""A family: one declaration in `chat_formats/` from which prompt, grammar, parser and history are derived."""

from __future__ import annotations

import difflib
import functools
import json
import re
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from edgefc import paths
from edgefc.errors import FormatError, RequestError
from edgefc.formats import spellings
from edgefc.formats.call_ids import new_call_id, new_short_id
from edgefc.formats.canonical import canonicalize
from edgefc.formats.declaration import check_declaration, history_syntax, output_syntax
from edgefc.formats.encodings import unwritable_value
from edgefc.formats.filters import template_filters
from edgefc.formats.lenient import lenient_calls
from edgefc.formats.parse import ParsedReply, StreamParser
from edgefc.formats.plain_history import results_as_text
from edgefc.formats.render import Prompt, render_template
from edgefc.formats.strict_turns import Rule, forms, rules_of
from edgefc.formats.templates import CostError, Template
from edgefc.grammar.argument_types import ArgumentTypes
from edgefc.tools.toolset import ToolSet
from edgefc.types import CallDecision, Messages, OutputSyntax, ToolCall, ToolChoice, Tools

# The syntax of answers without tools, in families that spell text in a special way only beside tools.
_PLAIN_TEXT = OutputSyntax(call="<tool_call>{name}{arguments}", marker="<tool_call>")
_NOT_FAMILIES = {spellings.FILE_NAME, "probes.toml"}
CONTROL_TOKEN = re.compile(
    r"<\|[^|<>]+\|?>|<[^|<>]+\|>|</s>|\[TOOL_CALLS\]|<(?:start|end)_[a-z_]+>|<escape>"
)  # the forms of all families' control tokens
# The values of `thinking` with which the prompt begins the thoughts, by `thinking.opened`.
_OPENED: dict[str, frozenset[bool | None]] = {
    "": frozenset(), "always": frozenset({None, True}), "asked": frozenset({True})
}  # fmt: skip
# (canonical messages, the tools to list or None) → the variables of a template.
TemplateVariables = Callable[[list[dict[str, Any]], "list[dict[str, Any]] | None"], dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Family:
    """One family of models.

    syntax               the spelling of answers
    history              the spelling of past answers in prompts; nearly always `syntax` again
    recommended_sampling sampling parameters that its authors recommend
    stop                 texts of the tokens that end its turn
    bos                  begin-of-sequence token before the prompt: never, always, or as the vocabulary says
    prompt               the declaration's section of that name
    plain_without_tools  without tools it answers in plain text, whatever `syntax` says of text
    match                texts that identify the family in a model file
    adapt                variables for a template that came with a model; None: the template is the family's own
    call_bias            added to the log odds of a call where an answer begins, unless a request says otherwise
    decision             how to decide on a call before anything is written; None: what the model writes decides
    opens_thoughts       values of `thinking` with which the prompt has begun the thoughts; True and None or neither,
                         unless a model's own template has another default
    turn_rules           what its template wants of a conversation's turns
    """

    name: str
    description: str
    syntax: OutputSyntax
    history: OutputSyntax
    recommended_sampling: Mapping[str, float]
    stop: tuple[str, ...]
    bos: Literal["never", "always", "vocabulary"]
    prompt: Mapping[str, Any]
    plain_without_tools: bool
    match: Mapping[str, tuple[str, ...]]
    template: Template
    adapt: TemplateVariables | None = None
    call_bias: float | None = None
    decision: CallDecision | None = None
    opens_thoughts: frozenset[bool | None] = frozenset()
    turn_rules: tuple[Rule, ...] = ()

    def render(
        self,
        messages: Messages,
        tools: Tools | None = (),
        *,
        choice: ToolChoice | None = None,
        thinking: bool | None = None,
        tells_results: bool = False,
        add_generation_prompt: bool = True,
        special_tokens: frozenset[str] = frozenset(),
    ) -> Prompt:
        """Return the prompt for a conversation, without a begin-of-sequence token.

        tools           a ToolSet, or a list of OpenAI tools. None: the prompt does not mention tools; empty: families
                        that can, say that there are none
        choice          the legal calls: a choice of `none`, or of one tool, changes some families' prompts
        thinking        False: the model is asked not to think first; None: its own default
        tells_results   the answer is text: a family that has words for it asks to tell the results of calls in it
        special_tokens  texts of control tokens, which content must not turn into

        Raises RequestError for a malformed conversation and FormatError when the template refuses it.
        """
        if not isinstance(tools, ToolSet):
            _check_json(tools)
        conversation = self._with_family_ids(canonicalize(messages))
        self._check_calls(conversation)
        self._mark_json_lists(conversation, tools or ())
        listed = self._listed_tools(tools, choice)
        if self.decision is not None:
            instructions = self.prompt.get("results", "") if tells_results and not listed else ""
            conversation = results_as_text(conversation, str(instructions))
        if self.adapt is None:
            content: dict[str, Any] = {"messages": conversation, "tools": listed}
        else:
            content = self.adapt(conversation, listed)
        variables: dict[str, Any] = {"thinking": thinking, "add_generation_prompt": add_generation_prompt}
        if self.adapt is not None and thinking is not None:
            variables["enable_thinking"] = thinking  # the name that models' own templates have for it
        prompt = self._render(content, special_tokens=special_tokens, **variables)
        if self.adapt is None or thinking in self.opens_thoughts or not self.syntax.think_begin:
            return prompt
        # Thoughts that a template begins only after some messages: the model may begin them itself.
        return replace(prompt, text=prompt.text.removesuffix(self.syntax.think_begin))

    def _render(self, content: dict[str, Any], **variables: Any) -> Prompt:
        """Render the template, with stricter turns where it refuses those of the conversation, or fails on them."""
        refusal: FormatError | None = None
        for turns in forms(self.turn_rules, content["messages"]):
            try:
                return render_template(self.template, {**content, "messages": turns}, **variables)
            except CostError:
                raise
            except FormatError as error:
                refusal = refusal or error
        assert refusal is not None
        raise refusal

    def syntax_for(
        self,
        tools: Tools | None,
        choice: ToolChoice | None = None,
        *,
        thinking: bool | None = None,
        text_schema: str = "",
    ) -> OutputSyntax:
        """Return the spelling of the answer to a prompt with these tools; `text_schema`: see OutputSyntax."""
        syntax = self.syntax
        if self.plain_without_tools and not self._listed_tools(tools, choice):
            syntax = replace(_PLAIN_TEXT, think_begin=syntax.think_begin, think_end=syntax.think_end)
        if thinking is False:
            syntax = replace(syntax, think_begin="", think_end="")
        elif thinking in self.opens_thoughts:
            syntax = replace(syntax, think_open=True)
        if syntax.spellings is not None and (
            text_schema or not tools or (choice is not None and choice.mode == "none")
        ):
            syntax = replace(syntax, spellings=None)
        return replace(syntax, text_schema=text_schema) if text_schema else syntax

    def parser(
        self,
        tools: Tools | None = None,
        choice: ToolChoice | None = None,
        *,
        thinking: bool | None = None,
        text_schema: str = "",
    ) -> StreamParser:
        """Return a parser for one answer; tools None: everything that reads like a call is one, whatever its name."""
        if tools is None:
            is_open = thinking in self.opens_thoughts
            return StreamParser(replace(self.syntax, think_open=is_open) if is_open else self.syntax, self._make_id)
        interpreters = [tool["function"]["name"] for tool in tools if tool["type"] == "code_interpreter"]
        return StreamParser(
            self.syntax_for(tools, choice, thinking=thinking, text_schema=text_schema),
            self._make_id,
            names=[tool["function"]["name"] for tool in tools] if choice is None else choice.names,
            code=interpreters[0] if interpreters and self.syntax.code else None,
            types=self._argument_types(tools),
        )

    def _argument_types(self, tools: Tools) -> dict[str, ArgumentTypes]:
        """Return the types of the tools' arguments where the family's encoding does not mark them."""
        if self.syntax.arguments != "tagged":
            return {}
        functions = [tool["function"] for tool in tools]
        return {function["name"]: ArgumentTypes(function.get("parameters")) for function in functions}

    def parse(self, text: str, tools: Tools | None = None) -> ParsedReply:
        """Return the message of a finished answer, with or without the token that ended it.

        With `tools`, calls are also found in an answer that does not follow the syntax, as models write them without
        a grammar.
        """
        for stop in self.stop:
            text = text.removesuffix(stop)
        # Without their end, an answer has no thoughts, whether the prompt begins them or not.
        has_thoughts = bool(self.syntax.think_end) and self.syntax.think_end.strip() in text
        parser = self.parser(tools, thinking=None if has_thoughts else False)
        parser.feed(text)
        reply = replace(parser.finish("stop"), deltas=())
        if reply.outcome != "answer" or not tools:
            return reply
        calls = lenient_calls(text, {tool["function"]["name"] for tool in tools})
        if not calls:
            return reply
        tool_calls: list[ToolCall] = [
            {
                "id": self._make_id(),
                "type": "function",
                "function": {"name": call["name"], "arguments": json.dumps(call["arguments"], ensure_ascii=False)},
            }
            for call in calls
        ]
        return ParsedReply({"role": "assistant", "content": None, "tool_calls": tool_calls}, "call", ())

    def missing_tokens(self, special_tokens: frozenset[str]) -> list[str]:
        """List the family's control tokens that a vocabulary lacks: prompts then spell them out as text."""
        syntax = self.syntax
        texts = (syntax.call, syntax.marker, syntax.calls_begin, syntax.calls_end, syntax.quote, *self.stop[:1])
        return [token for token in dict.fromkeys(CONTROL_TOKEN.findall(" ".join(texts))) if token not in special_tokens]

    def _check_calls(self, conversation: list[dict[str, Any]]) -> None:
        """Raise RequestError for a call of an earlier turn that the family's encoding cannot spell."""
        for number, message in enumerate(conversation):
            for index, call in enumerate(message.get("tool_calls", ())):
                if (text := unwritable_value(self.history, call["arguments"])) is not None:
                    path = ("messages", number, "tool_calls", index, "function", "arguments")
                    reason = f"{self.name} models end a string at a mark that this one contains: {text[:40]!r}"
                    raise RequestError(path, reason, "Shorten or change the string.")

    def _mark_json_lists(self, conversation: list[dict[str, Any]], tools: Tools) -> None:
        """Mark the arguments of earlier calls that answers would not list, because their schemas allow more."""
        if not self.history.list_separator:
            return
        types = self._argument_types([tool for tool in tools if "function" in tool])
        for message in conversation:
            for call in message.get("tool_calls", ()):
                own = types.get(call["name"])
                arrays = [name for name, value in call["arguments"].items() if isinstance(value, list)]
                if own is not None:
                    call["json_lists"] = [name for name in arrays if not own.is_text_list(name)]

    @property
    def _make_id(self) -> Callable[[], str]:
        return new_short_id if self.prompt.get("ids") == "nine" else new_call_id

    def _listed_tools(self, tools: Tools | None, choice: ToolChoice | None) -> list[dict[str, Any]] | None:
        """Return the tools that the prompt lists."""
        if tools is None or (
            choice is not None and choice.mode == "none" and self.prompt.get("when_none", "omit") == "omit"
        ):
            return None
        is_named = choice is not None and choice.mode == "required" and len(choice.names) == 1
        if choice is not None and is_named and self.prompt.get("tools") == "named":
            tools = [tool for tool in tools if tool.get("function", tool).get("name") in choice.names]
        # Without a syntax for raw code, the interpreter is a function like any other.
        types = {"function", "code_interpreter"} if self.syntax.code else {"function"}
        listed: list[dict[str, Any]] = [dict(tool) for tool in tools]
        return [tool if tool.get("type") in types else {**tool, "type": "function"} for tool in listed]

    def _with_family_ids(self, conversation: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Replace ids by ones of the family's form: some templates accept only nine letters or digits."""
        if self.prompt.get("ids") != "nine":
            return conversation
        short_ids: dict[str, str] = {}
        for message in conversation:
            entries = [message] if message["role"] == "tool" else message.get("tool_calls", ())
            for entry in entries:
                original = entry["id"]
                fits = len(original) == 9 and original.isascii() and original.isalnum()
                entry["id"] = short_ids.setdefault(original, original if fits else f"call{len(short_ids):05d}")
        return conversation


def _check_json(tools: Tools | None) -> None:
    """Raise RequestError for unchecked tools that cannot be written as JSON."""
    try:
        json.dumps(list(tools or ()), ensure_ascii=False).encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise RequestError("tools", f"cannot be written as JSON: {error}") from None


def plain_parser() -> StreamParser:
    """Return a parser for an answer that is all text, whatever it looks like."""
    return StreamParser(_PLAIN_TEXT, names=())


def family_names() -> list[str]:
    """List the names of all families, sorted."""
    folder = paths.root() / "chat_formats"
    files = (path.name for path in folder.iterdir() if path.name.endswith(".toml"))
    return sorted(name.removesuffix(".toml") for name in files if name not in _NOT_FAMILIES)


def load_family(name: str) -> Family:
    """Return the family of this name, or of a declaration file if the name ends in `.toml`.

    Raises FormatError when it does not exist, or its declaration is wrong.
    """
    if name.endswith(".toml"):
        return _read_family(Path(name), is_checked=False)
    return _built_in(name)


@functools.lru_cache(maxsize=64)
def _built_in(name: str) -> Family:
    names = family_names()
    if name not in names:
        near = difflib.get_close_matches(name, names, n=3)
        hint = f"Did you mean {' or '.join(near)}?" if near else f"Chat formats are {', '.join(names)}."
        raise FormatError(f"unknown chat format {name!r}", f"{hint} The path of a .toml file works, too.")
    return _read_family(paths.root() / "chat_formats" / f"{name}.toml", is_checked=True)


def _read_family(path: Path, *, is_checked: bool) -> Family:
    """Read a declaration and the template beside it; `is_checked` as for `parse_declaration`."""
    try:
        declared = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise FormatError(f"{path}: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise FormatError(f"{path}: {error}") from None
    check_declaration(path.name, declared)
    template = path.parent / declared["prompt"]["template"]
    if template.parent != path.parent:
        raise FormatError(f"{path.name}: prompt.template must be in the same folder")
    try:
        source = template.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise FormatError(f"{path.name}: prompt.template {template.name}: {error}") from None
    return parse_declaration(path.name.removesuffix(".toml"), declared, source, is_checked=is_checked)


def parse_declaration(name: str, declared: Mapping[str, Any], template: str, *, is_checked: bool = False) -> Family:
    """Build a family from its declaration and template source. Raises FormatError naming the wrong key.

    is_checked  its syntax and template are known to be sound, as edgefc's own are, which takes a hundred times less
    """
    check_declaration(f"{name}.toml", declared)
    match, prompt, text = (declared.get(section, {}) for section in ("match", "prompt", "text"))
    try:
        syntax = output_syntax(declared)
        turn_rules = rules_of(prompt.get("turns", ()))
        if not is_checked:
            from edgefc.grammar.answers import check_syntax

            check_syntax(syntax)
    except FormatError as error:
        raise FormatError(f"{name}.toml: {error.reason}") from None
    history = history_syntax(declared, syntax)
    family = Family(
        name=name,
        description=declared.get("description", ""),
        syntax=syntax,
        history=history,
        recommended_sampling=dict(declared.get("sampling", {})),
        stop=tuple(prompt.get("stop", ())),
        bos=prompt.get("bos", "never"),
        prompt=dict(prompt),
        plain_without_tools=syntax.text is not None and not text.get("always", False),
        match={key: tuple(values) for key, values in match.items()},
        template=Template(name, template, template_filters(history, prompt)),
        call_bias=declared["calls"].get("bias"),
        decision=CallDecision(**declared["decision"]) if "decision" in declared else None,
        opens_thoughts=_OPENED[declared.get("thinking", {}).get("opened", "")],
        turn_rules=turn_rules,
    )
    if not is_checked:
        family.template.compile()
    return family
