"""Messages, tools and tool calls, exactly as OpenAI's chat completions put them on the wire.

TypedDicts, not classes: a caller's data is kept as it came, and `json.dumps` needs no help. `Call`, `ToolChoice` and
`OutputSyntax` are edgefc's own: a call with its arguments parsed, the canonical form of a tool choice, and the
declaration of a family's output syntax, from which grammar, parser and history are all derived.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NotRequired

from typing_extensions import TypedDict

JsonSchema = Mapping[str, Any]
Outcome = Literal["call", "answer", "clarify", "no_tool", "length"]
FinishReason = Literal["stop", "length", "tool_calls"]


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


@dataclass(frozen=True, slots=True)
class Call:
    """A tool call with its arguments parsed."""

    id: str
    name: str
    arguments: dict[str, Any]

    @classmethod
    def parse(cls, call: ToolCall) -> Call:
        """Read a call as OpenAI's API has it. Raises ValueError when its arguments are not JSON."""
        return cls(call["id"], call["function"]["name"], json.loads(call["function"]["arguments"]))


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
class OutputSyntax:
    r"""How one family spells an answer. Grammar, parser and history are derived from these strings alone.

    Placeholders, replaced by exact match (all other text, braces too, is literal):
    `{name}` the tool's name; `{arguments}` the arguments as a JSON object; `{id}` nine letters or digits; `{text}` a
    JSON string with its quotes; `{functions}` a JSON array of tool names; `{code}` a program as it is. JSON is written
    with `", "` and `": "` (json.dumps' default) when `spaced`, else without spaces.

    call          one call; contains {name}, after it {arguments}, and perhaps after that {id}
    calls_begin, calls_separator, calls_end     around and between calls. With {text} in calls_begin, that text is what
                  the answer says besides its calls
    calls_lead    may stand before the first call and means nothing
    calls_preamble  free text may stand before the first call, then this separator ("\n"); None: it may not
    code          a call of raw code, which ends the answer; ends with {code}. None: the family has none
    marker        what announces calls, and free text can therefore not contain; "" where text is not free, or told
                  by its beginning
    not_first     what free text can therefore not begin with
    text          None: plain text is free text; else a template with {text}
    text_begin    stands before free text; what then introduces calls after it is calls_separator
    clarify       template with {functions} and {text}, or None: clarifications are plain text
    no_tool       template with {text}, or where text is free one without; None: "no tool fits" is plain text
    begin, end    literals around every output (a code fence), for all branches alike
    think_begin, think_end   around what the model thinks before it answers; "": it does not
    parallel      the family can make several calls in one answer
    text_schema   no part of the spelling: a JSON schema, as text, that a request wants text without calls to satisfy
    """

    call: str
    marker: str = ""
    calls_begin: str = ""
    calls_separator: str = ""
    calls_end: str = ""
    calls_lead: str = ""
    calls_preamble: str | None = None
    code: str | None = None
    not_first: tuple[str, ...] = ()
    text: str | None = None
    text_begin: str = ""
    clarify: str | None = None
    no_tool: str | None = None
    begin: str = ""
    end: str = ""
    think_begin: str = ""
    think_end: str = ""
    spaced: bool = True
    parallel: bool = True
    text_schema: str = ""

    @property
    def before_name(self) -> str:
        return self.call.partition("{name}")[0]

    @property
    def before_arguments(self) -> str:
        """What stands between name and arguments."""
        return self.call.partition("{name}")[2].partition("{arguments}")[0]

    @property
    def after_arguments(self) -> str:
        return self.call.partition("{arguments}")[2]

    @property
    def calls_head(self) -> str:
        """What an answer that begins with a call begins with."""
        return self.calls_begin + self.before_name

    @property
    def calls_intro(self) -> str:
        """What introduces the first call after free text."""
        return (self.calls_separator if self.text_begin else self.calls_begin) + self.before_name

    @property
    def markers(self) -> tuple[str, ...]:
        """All that free text cannot contain."""
        code = self.code.partition("{code}")[0] if self.code and self.marker and not self.text_begin else ""
        head = code.startswith(self.marker) or not code
        return tuple(text for text in (self.marker, "" if head else code) if text)
