"""The tool loop: chat, run the calls, hand the results back, until the model answers."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from edgefc.chat.reply import ChatStream, Reply
from edgefc.errors import RequestError, ToolError
from edgefc.tools import PythonTool, ToolLike, as_tools, run_tool
from edgefc.types import Delta, Message, ToolCall

if TYPE_CHECKING:
    from edgefc.model import Model

OnCall = Callable[[str, dict[str, Any]], bool]
OnResult = Callable[[str, dict[str, Any], str], None]
OnDelta = Callable[[Delta], None]


@dataclass(frozen=True, slots=True)
class RunResult:
    """How a run ended: the last reply, and the conversation with every call and result in it."""

    reply: Reply
    messages: list[Message]
    rounds: int

    @property
    def content(self) -> str:
        """The model's answer as text."""
        return self.reply.content

    @property
    def outcome(self) -> str:
        return self.reply.outcome


def run_rounds(
    model: Model,
    messages: list[Message],
    tools: Sequence[ToolLike],
    *,
    max_rounds: int,
    on_call: OnCall | None,
    on_result: OnResult | None,
    on_delta: OnDelta | None,
    options: Mapping[str, Any],
) -> RunResult:
    """See `Model.run`."""
    if max_rounds < 1:
        raise RequestError("max_rounds", f"must be at least 1, got {max_rounds}")
    schemas, runners = as_tools(tools)
    options = dict(options)
    seen: set[tuple[str, str, str]] = set()
    for number in range(1, max_rounds + 1):
        if number == max_rounds and number > 1:
            options["tool_choice"] = "none"  # the loop's bound: answer now from what there is
        reply = _chat(model, messages, schemas, options, on_delta)
        messages.append(reply.message)
        if reply.outcome != "call":
            return RunResult(reply, messages, number)
        results = [_run_call(call, runners, on_call, on_result) for call in reply.tool_calls]
        told = set()
        for call, content in zip(reply.tool_calls, results, strict=True):
            name = call["function"]["name"]
            messages.append({"role": "tool", "tool_call_id": call["id"], "name": name, "content": content})
            told.add((name, call["function"]["arguments"], content))
        # A forced first call must not be forced again, or the model could never answer. A round that asked
        # only for what was told already, and was told the same, is a loop: the model may only answer now.
        options["tool_choice"] = "none" if told <= seen else "auto"
        seen |= told
    return RunResult(reply, messages, max_rounds)


def _chat(
    model: Model,
    messages: list[Message],
    tools: Sequence[ToolLike],
    options: Mapping[str, Any],
    on_delta: OnDelta | None,
) -> Reply:
    stream: ChatStream
    with model.chat(messages, tools=tools, stream=True, **options) as stream:
        for delta in stream:
            if on_delta is not None:
                on_delta(delta)
        return stream.reply


def _run_call(
    call: ToolCall, runners: Mapping[str, PythonTool], on_call: OnCall | None, on_result: OnResult | None
) -> str:
    """One call's result as text."""
    name, text = call["function"]["name"], call["function"]["arguments"]
    if name not in runners:
        raise ToolError(
            f"the model called {name!r}, but only its schema was given, not a function",
            "Pass a Python function for it, or use model.chat() and run the calls yourself.",
        )
    arguments: dict[str, Any] = json.loads(text)
    if on_call is not None and not on_call(name, arguments):
        return json.dumps({"error": "the user did not allow this call"})
    content = run_tool(runners[name], text)
    if on_result is not None:
        on_result(name, arguments, content)
    return content
