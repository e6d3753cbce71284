"""The tool loop: chat, run the calls, append the results, until the model answers."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from edgefc.chat.reply import ChatStream, Reply
from edgefc.errors import ContextOverflowError, RequestError, ToolError
from edgefc.tools import PythonTool, ToolLike, ToolSet, run_tool
from edgefc.types import Call, Delta, Message

OnCall = Callable[[str, dict[str, Any]], bool]
OnResult = Callable[[str, dict[str, Any], str], None]
OnDelta = Callable[[Delta], None]
OnReply = Callable[[Reply], None]


@dataclass(frozen=True, slots=True)
class RunResult:
    """The end of a run: the last reply, and the conversation with every call and result in it."""

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
    chat: Callable[..., ChatStream],
    messages: list[Message],
    tools: Sequence[ToolLike] | ToolSet,
    *,
    max_rounds: int,
    on_call: OnCall | None,
    on_result: OnResult | None,
    on_delta: OnDelta | None,
    on_reply: OnReply | None,
    options: Mapping[str, Any],
) -> RunResult:
    """Run the loop of `Model.run`; `chat` takes messages, tools and options and returns a stream."""
    if max_rounds < 1:
        raise RequestError("max_rounds", f"must be at least 1, not {max_rounds}")
    toolset = ToolSet.of(tools)
    options = dict(options)
    seen: set[tuple[str, str, str]] = set()
    for number in range(1, max_rounds + 1):
        if number == max_rounds and number > 1:
            options["tool_choice"] = "none"  # the loop's bound: answer now, from the results so far
        while True:
            try:
                reply = _read(chat(messages, tools=toolset, **options), on_delta)
                break
            except ContextOverflowError:
                if not _drop_longest_result(messages):
                    raise
        if on_reply is not None:
            on_reply(reply)
        messages.append(reply.message)
        if reply.outcome != "call":
            return RunResult(reply, messages, number)
        results = [_run_call(call, toolset.runners, on_call, on_result) for call in reply.calls]
        new: set[tuple[str, str, str]] = set()
        for call, content in zip(reply.tool_calls, results, strict=True):
            name = call["function"]["name"]
            messages.append({"role": "tool", "tool_call_id": call["id"], "name": name, "content": content})
            new.add((name, call["function"]["arguments"], content))
        # A forced first call must not be forced again, or the model could never answer. A round that only
        # repeated earlier calls, with the same results, is a loop: the model may only answer now.
        options["tool_choice"] = "none" if new <= seen else "auto"
        seen |= new
    return RunResult(reply, messages, max_rounds)


def _drop_longest_result(messages: list[Message]) -> bool:
    """Replace the longest result of the last round by an error; False if none is longer than that."""
    results = list(itertools.takewhile(lambda message: message["role"] == "tool", reversed(messages)))
    longest = max(results, key=lambda message: len(message["content"] or ""), default=None)
    if longest is None:
        return False
    length = len(longest["content"] or "")
    error = json.dumps({"error": f"the result is too long for the context: {length:,} characters"})
    if length > len(error):
        longest["content"] = error
    return length > len(error)


def _read(stream: ChatStream, on_delta: OnDelta | None) -> Reply:
    with stream:
        for delta in stream:
            if on_delta is not None:
                on_delta(delta)
        return stream.reply


def _run_call(call: Call, runners: Mapping[str, PythonTool], on_call: OnCall | None, on_result: OnResult | None) -> str:
    """Run one call and return its result as text."""
    if call.name not in runners:
        raise ToolError(
            f"the model called {call.name!r}, which has a schema but no Python function",
            "Pass a Python function for it, or use model.chat() and run the calls yourself.",
        )
    if on_call is not None and not on_call(call.name, call.arguments):
        return json.dumps({"error": "the user did not allow this call"})
    content = run_tool(runners[call.name], call.arguments)
    if on_result is not None:
        on_result(call.name, call.arguments, content)
    return content
