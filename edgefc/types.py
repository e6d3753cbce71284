"""Messages, tools and tool calls, exactly as OpenAI's chat completions put them on the wire.

TypedDicts, not classes: what a caller sends is what is kept, and `json.dumps` needs no help. `ToolChoice` and
`OutputSyntax` are edgefc's own: the one canonical form of a choice, and the one declaration of how a family
spells its answers, from which grammar, parser and history are all derived.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from typing_extensions import NotRequired, TypedDict

JsonSchema = Mapping[str, Any]
Outcome = Literal["call", "answer", "clarify", "no_tool", "length"]
FinishReason = Literal["stop", "length", "tool_calls"]


class FunctionSpec(TypedDict):
    name: str
    description: NotRequired[str]
    parameters: NotRequired[JsonSchema]


class Tool(TypedDict):
    type: Literal["function"]
    function: FunctionSpec


class FunctionCall(TypedDict):
    name: str
    arguments: str  # a JSON object as text


class ToolCall(TypedDict):
    id: str
    type: Literal["function"]
    function: FunctionCall


class Message(TypedDict):
    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: NotRequired[str | None]
    name: NotRequired[str]
    tool_calls: NotRequired[list[ToolCall]]
    tool_call_id: NotRequired[str]
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
    tool_calls: list[ToolCallDelta]


Messages = Sequence[Message]
Tools = Sequence[Tool]


@dataclass(frozen=True, slots=True)
class ToolChoice:
    """What the model may do, in one form for all of OpenAI's.

    `mode` is none, auto or required. `names` are the tools that may be called: all of them, one for a named
    choice, a subset for `allowed_tools`.
    """

    mode: Literal["none", "auto", "required"]
    names: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class OutputSyntax:
    r"""How one family spells an answer. Grammar, parser and history are derived from these strings alone.

    Placeholders, replaced by exact match (all other text, braces too, is literal):
    `{name}` the tool's name; `{arguments}` the arguments as a JSON object; `{text}` a JSON string with its
    quotes; `{functions}` a JSON array of tool names. JSON is written with `", "` and `": "` (json.dumps'
    default) when `spaced`, else without spaces.

    call          one call; contains {name} before {arguments}
    marker        what announces calls and free text can therefore not contain; "" where text is not free
    calls_begin, calls_separator, calls_end     around and between calls
    calls_preamble  free text may stand before the first call, then this separator ("\n"); None: it may not
    text          None: plain text is free text; else a template with {text}
    clarify       template with {functions} and {text}, or None: clarifications are plain text
    no_tool       template with {text}, or None: "no tool fits" is plain text
    begin, end    literals around every output (a code fence), for all branches alike
    parallel      the family can make several calls in one answer
    """

    call: str
    marker: str = ""
    calls_begin: str = ""
    calls_separator: str = ""
    calls_end: str = ""
    calls_preamble: str | None = None
    text: str | None = None
    clarify: str | None = None
    no_tool: str | None = None
    begin: str = ""
    end: str = ""
    spaced: bool = True
    parallel: bool = True
