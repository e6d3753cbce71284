"""Messages, tools and tool calls, exactly as OpenAI's chat completions put them on the wire.

TypedDicts, not classes: a caller's data is kept as it came, and `json.dumps` needs no help. `Call`, `ToolChoice` and
`OutputSyntax` are edgefc's own: a call with its arguments parsed, the canonical form of a tool choice, and the
declaration of a family's output syntax, from which grammar, parser and history are all derived.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NotRequired

from typing_extensions import TypedDict

JsonSchema = Mapping[str, Any]
Outcome = Literal["call", "answer", "clarify", "no_tool", "length", "unsure"]
FinishReason = Literal["stop", "length", "tool_calls"]
# What becomes of tools that no grammar can enforce: the request is refused, they are left out, or they are checked.
OnUnsupported = Literal["refuse", "omit", "check"]
# How a family spells the arguments of a call: a JSON object, Python's keyword arguments, tags, or Gemma's way.
ArgumentEncoding = Literal["json", "pythonic", "tagged", "gemma"]
PARAMETER = "<parameter={name}>\n{value}\n</parameter>\n"  # in tags, where a family does not have its own


class FunctionSpec(TypedDict):
    name: str
    description: NotRequired[str]
    parameters: NotRequired[JsonSchema]


class Tool(TypedDict):
    """A function; one of the type `code_interpreter` takes a program as its only argument, `code`."""

    type: Literal["function", "code_interpreter"]
    function: FunctionSpec


class FunctionCall(TypedDict):
    name: str
    arguments: str  # a JSON object as text


class ToolCall(TypedDict):
    id: str
    type: Literal["function"]
    function: FunctionCall


def finite_float(text: str) -> float:
    """Parse a number; one too large for a float, such as 1e999, is the largest: JSON cannot spell an infinity."""
    value = float(text)
    return math.copysign(sys.float_info.max, value) if math.isinf(value) else value


def refuse_constant(text: str) -> float:
    raise ValueError(f"{text} is not JSON")


@dataclass(frozen=True, slots=True)
class Call:
    """A tool call with its arguments parsed."""

    id: str
    name: str
    arguments: dict[str, Any]

    @classmethod
    def parse(cls, call: ToolCall) -> Call:
        """Read a call as OpenAI's API has it. Raises ValueError when its arguments are not JSON."""
        arguments = json.loads(call["function"]["arguments"], parse_float=finite_float, parse_constant=refuse_constant)
        return cls(call["id"], call["function"]["name"], arguments)


class Message(TypedDict):
    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: NotRequired[str | None]
    name: NotRequired[str]
    tool_calls: NotRequired[list[ToolCall]]
    tool_call_id: NotRequired[str]
    reasoning_content: NotRequired[str]  # the model's thoughts before its answer, under other servers' name
    required_functions: NotRequired[list[str]]  # edgefc: the tools a clarification is about
    no_tool: NotRequired[bool]  # edgefc: the answer said that no tool fits


class FunctionCallDelta(TypedDict, total=False):
    name: str
    arguments: str


class ToolCallDelta(TypedDict, total=False):
    index: int
    id: str
    type: Literal["function"]
    function: FunctionCallDelta


class Delta(TypedDict, total=False):
    """One step of a streamed message: OpenAI's `choices[0].delta`."""

    role: Literal["assistant"]
    content: str
    reasoning_content: str
    tool_calls: list[ToolCallDelta]


# A message as callers write it: a dict whose type no checker has inferred to be Message.
AnyMessage = Message | Mapping[str, Any]
Messages = Sequence[Message]
Tools = Sequence[Tool]


@dataclass(frozen=True, slots=True)
class ToolChoice:
    """The one canonical form of OpenAI's `tool_choice`.

    `mode` is none, auto or required. `names` are the tools that may be called: all of them, one for a named
    choice, a subset for `allowed_tools`.
    """

    mode: Literal["none", "auto", "required"]
    names: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class CallSpellings:
    """Spellings of calls that a model may use besides its family's own, as templates of `edgefc.grammar.spelled`.

    around  texts before and after one or more calls
    each    one call, with {name} and, after it, {arguments}
    python  the same, where the arguments are Python's keyword arguments: in a code fence or a list
    """

    around: tuple[tuple[str, str], ...]
    each: tuple[str, ...]
    python: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class CallDecision:
    """Biases of the decision between a call and an answer in text before anything is written, in natural log odds.

    call       added to the odds of a call where an answer begins
    doubt      added to odds below zero, to see whether the call's arguments raise them; 0: they are not looked at
    arguments  weight of the arguments' mean log probability, per token, which is then added, too
    again      added to the odds of a second call after the first one
    more       added to those of each further call
    item       added to the odds of another string in an array of an enumeration, after one: models copy the enumeration
    """

    call: float = 0.0
    doubt: float = 0.0
    arguments: float = 0.0
    again: float = 0.0
    more: float = 0.0
    item: float = 0.0


@dataclass(frozen=True, slots=True)
class OutputSyntax:
    r"""The spelling of one family's answers. Grammar, parser and history are derived from these strings alone.

    Placeholders, replaced by exact match (all other text, braces too, is literal):
    `{name}` the tool's name; `{arguments}` the arguments as a JSON object; `{id}` nine letters or digits; `{text}` a
    JSON string with its quotes; `{functions}` a JSON array of tool names; `{code}` a program without quotes. JSON has
    `", "` and `": "` (json.dumps' default) when `spaced`, else no spaces.

    call          one call; contains {name}, after it {arguments}, and perhaps {id} before or after the latter
    also          other forms of a call up to its arguments, with {name}, that models write as well
    calls_begin, calls_separator, calls_end     around and between calls. A {text} in calls_begin stands for the text
                  beside the calls
    calls_lead    optional text before the first call, without a meaning
    calls_preamble  separator ("\n") between free text and the first call; None: no text may stand before calls
    code          a call of raw code, which ends the answer; ends with {code}. None: the family has none
    marker        text that starts a call; free text must not contain it. "": text has a template, or is recognized by
                  its beginning
    forbidden_starts  beginnings that free text must not have
    text          template of a text answer, with {text}; None: plain text is free text
    text_begin    stands before free text; calls_separator then introduces the calls after it
    text_before_calls  stands instead of text_begin before text that calls follow
    clarify       template with {functions} and {text}; None: clarifications are plain text
    no_tool       template with {text}, or without it where text is free; None: "no tool fits" is plain text
    begin, end    literals around every output (a code fence), whatever kind of answer it is
    think_begin, think_end   around the thoughts before an answer; "": the family does not think
    think_open    the prompt has begun the thoughts
    parallel      the family can make several calls in one answer
    text_schema   not a part of the spelling: a JSON schema, as text, that a request demands of text without calls
    spellings     other spellings that are calls, too, when an answer begins with one
    arguments     the encoding of {arguments}, which is a JSON object by default
    quote         around strings in Gemma's encoding
    parameter     one parameter in tags, with {name} and {value}
    cdata         characters with which a string in tags stands between the marks of CDATA; "": no string does
    list_separator  between the strings of an array in tags, each of which ends as a value does; "": they are JSON
    literals      how history spells words in tags, and lists and objects among keyword arguments; "repr": the latter in
                  tags, too
    """

    call: str
    also: tuple[str, ...] = ()
    marker: str = ""
    calls_begin: str = ""
    calls_separator: str = ""
    calls_end: str = ""
    calls_lead: str = ""
    calls_preamble: str | None = None
    code: str | None = None
    forbidden_starts: tuple[str, ...] = ()
    text: str | None = None
    text_begin: str = ""
    text_before_calls: str = ""
    clarify: str | None = None
    no_tool: str | None = None
    begin: str = ""
    end: str = ""
    think_begin: str = ""
    think_end: str = ""
    think_open: bool = False
    spaced: bool = True
    parallel: bool = True
    text_schema: str = ""
    spellings: CallSpellings | None = None
    arguments: ArgumentEncoding = "json"
    quote: str = ""
    parameter: str = PARAMETER
    cdata: str = ""
    list_separator: str = ""
    literals: Literal["python", "json", "repr"] = "python"

    @property
    def before_name(self) -> str:
        return self.call.partition("{name}")[0]

    @property
    def before_arguments(self) -> str:
        """The text between name and arguments."""
        return self.call.partition("{name}")[2].partition("{arguments}")[0]

    @property
    def after_name(self) -> str:
        """The text between name and arguments, or between name and {id}."""
        return self.before_arguments.partition("{id}")[0]

    @property
    def id_after_name(self) -> str:
        """The text from an {id} behind the name to the arguments; "": there is none."""
        return self.before_arguments.removeprefix(self.after_name)

    @property
    def heads(self) -> tuple[tuple[str, str], ...]:
        """The text before and after the name of a call, in each of its forms; its own form is the first."""
        others = (text.partition("{name}") for text in self.also)
        return ((self.before_name, self.after_name), *((before, after) for before, _, after in others))

    def intros(self, head: str) -> list[tuple[str, str]]:
        """Return `heads` for calls that `head` introduces, which ends in the text before the name."""
        start = head.removesuffix(self.before_name)
        own, *others = self.heads
        # White space in front is no longer there behind thoughts.
        stripped = [(before.lstrip(), after) for before, after in others if not start]
        return [(start + before, after) for before, after in (own, *others, *stripped)]

    @property
    def after_arguments(self) -> str:
        return self.call.partition("{arguments}")[2]

    @property
    def calls_head(self) -> str:
        """The beginning of an answer that starts with a call."""
        return self.calls_begin + self.before_name

    @property
    def calls_intro(self) -> str:
        """The introduction of the first call after free text."""
        return (self.calls_separator if self.text_begin else self.calls_begin) + self.before_name

    @property
    def markers(self) -> tuple[str, ...]:
        """All texts that free text must not contain."""
        code_marker = self.code.partition("{code}")[0] if self.code and self.marker and not self.text_begin else ""
        if code_marker.startswith(self.marker):
            code_marker = ""
        return tuple(text for text in (self.marker, code_marker) if text)
