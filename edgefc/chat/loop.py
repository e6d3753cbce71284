"""The tool loop: chat, run the calls, append the results, until the model answers.

`_rounds` decides what comes next and waits for nothing; `run_rounds` does it in the caller's thread,
`run_rounds_async` in the caller's event loop.
"""

from __future__ import annotations

import inspect
import itertools
import json
from collections.abc import Awaitable, Callable, Generator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from edgefc.chat.async_stream import AsyncChatStream
from edgefc.chat.reply import ChatStream, Reply, T
from edgefc.errors import ContextOverflowError, RequestError, ToolError
from edgefc.tools import PythonTool, ToolLike, ToolSet, run_tool
from edgefc.tools.async_runner import AsyncRunner
from edgefc.types import Call, Delta, Message

A = TypeVar("A")
MAX_ROUNDS = 8  # chats of a run, where the caller sets no limit
OnCall = Callable[[str, dict[str, Any]], bool]
OnResult = Callable[[str, dict[str, Any], str], None]
OnDelta = Callable[[Delta], None]
OnReply = Callable[[Reply], None]
# The same for `Model.arun`: a function, or one that has to be awaited.
AsyncOnCall = Callable[[str, dict[str, Any]], bool | Awaitable[bool]]
AsyncOnResult = Callable[[str, dict[str, Any], str], Awaitable[None] | None]
AsyncOnDelta = Callable[[Delta], Awaitable[None] | None]
AsyncOnReply = Callable[[Reply], Awaitable[None] | None]


@dataclass(frozen=True, slots=True)
class RunResult(Generic[T]):
    """The end of a run: the last reply, and the conversation with every call and result in it."""

    reply: Reply[T]
    messages: list[Message]
    rounds: int

    @property
    def content(self) -> str:
        """The model's answer as text."""
        return self.reply.content

    @property
    def parsed(self) -> T | None:
        """The answer as an object of `response_format`'s type: see `Reply.parsed`."""
        return self.reply.parsed

    @property
    def outcome(self) -> str:
        return self.reply.outcome


@dataclass(frozen=True, slots=True)
class _Chat:
    """A step of the loop: let the model answer the messages so far."""

    options: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class _Run:
    """A step of the loop: run a call, for its result as text."""

    call: Call
    runner: PythonTool


_Step = _Chat | _Run | RunResult
_Steps = Generator[_Chat | _Run, Any, RunResult]


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
    toolset = ToolSet.of(tools, omit=options.get("on_unsupported") not in (None, "refuse"))
    steps = _rounds(messages, toolset, max_rounds, options)
    step = _next(steps)
    while not isinstance(step, RunResult):
        try:
            if isinstance(step, _Chat):
                answer: Reply | str = _read(chat(messages, tools=toolset, **step.options), on_delta)
            else:
                answer = _run_call(step, on_call, on_result)
        except ContextOverflowError as error:
            step = _next(steps, error=error)
            continue
        if on_reply is not None and isinstance(answer, Reply):
            on_reply(answer)
        step = _next(steps, answer)
    return step


async def run_rounds_async(
    chat: Callable[..., AsyncChatStream],
    messages: list[Message],
    tools: Sequence[ToolLike] | ToolSet,
    *,
    max_rounds: int,
    on_call: AsyncOnCall | None,
    on_result: AsyncOnResult | None,
    on_delta: AsyncOnDelta | None,
    on_reply: AsyncOnReply | None,
    options: Mapping[str, Any],
) -> RunResult:
    """Run the loop of `Model.arun`; calls run one after the other, asynchronous tools in the event loop."""
    toolset = ToolSet.of(tools, omit=options.get("on_unsupported") not in (None, "refuse"))
    runner = AsyncRunner()
    steps = _rounds(messages, toolset, max_rounds, options)
    step = _next(steps)
    while not isinstance(step, RunResult):
        try:
            if isinstance(step, _Chat):
                answer: Reply | str = await _read_async(chat(messages, tools=toolset, **step.options), on_delta)
            else:
                answer = await _run_call_async(step, runner, on_call, on_result)
        except ContextOverflowError as error:
            step = _next(steps, error=error)
            continue
        if on_reply is not None and isinstance(answer, Reply):
            await _settled(on_reply(answer))
        step = _next(steps, answer)
    return step


def _next(steps: _Steps, answer: Reply | str | None = None, *, error: ContextOverflowError | None = None) -> _Step:
    """Return the step that follows an answer, a result or an error, or the end of the run."""
    try:
        return steps.send(answer) if error is None else steps.throw(error)
    except StopIteration as end:
        result: RunResult = end.value
        return result


def _rounds(messages: list[Message], toolset: ToolSet, max_rounds: int, options: Mapping[str, Any]) -> _Steps:
    """Yield the steps of a run. Appends answers and results to the messages."""
    if max_rounds < 1:
        raise RequestError("max_rounds", f"must be at least 1, not {max_rounds}")
    options = dict(options)
    seen: set[tuple[str, str, str]] = set()
    for number in range(1, max_rounds + 1):
        if number == max_rounds and number > 1:
            options["tool_choice"] = "none"  # the loop's bound: answer now, from the results so far
        while True:
            try:
                reply: Reply = yield _Chat(options)
                break
            except ContextOverflowError:
                if not _drop_longest_result(messages):
                    raise
        messages.append(reply.message)
        if reply.outcome != "call":
            return RunResult(reply, messages, number)
        results: list[str] = []
        for call in reply.calls:
            results.append((yield _Run(call, _runner_of(call, toolset))))  # noqa: PERF401 - no yield in comprehensions
        new: set[tuple[str, str, str]] = set()
        for tool_call, content in zip(reply.tool_calls, results, strict=True):
            name = tool_call["function"]["name"]
            messages.append({"role": "tool", "tool_call_id": tool_call["id"], "name": name, "content": content})
            new.add((name, tool_call["function"]["arguments"], content))
        # A forced first call must not be forced again, or the model could never answer. A round that only
        # repeated earlier calls, with the same results, is a loop: the model may only answer now.
        options["tool_choice"] = "none" if new <= seen else "auto"
        seen |= new
    return RunResult(reply, messages, max_rounds)


def _runner_of(call: Call, toolset: ToolSet) -> PythonTool:
    if call.name not in toolset.runners:
        raise ToolError(
            f"the model called {call.name!r}, which has a schema but no Python function",
            "Pass a Python function for it, or use model.chat() and run the calls yourself.",
        )
    return toolset.runners[call.name]


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


async def _read_async(stream: AsyncChatStream, on_delta: AsyncOnDelta | None) -> Reply:
    async with stream:
        async for delta in stream:
            if on_delta is not None:
                await _settled(on_delta(delta))
        return await stream.reply()


_REFUSAL = json.dumps({"error": "the user did not allow this call"})


def _run_call(step: _Run, on_call: OnCall | None, on_result: OnResult | None) -> str:
    """Run one call and return its result as text."""
    name, arguments = step.call.name, step.call.arguments
    if on_call is not None and not on_call(name, arguments):
        return _REFUSAL
    content = run_tool(step.runner, arguments)
    if on_result is not None:
        on_result(name, arguments, content)
    return content


async def _run_call_async(
    step: _Run, runner: AsyncRunner, on_call: AsyncOnCall | None, on_result: AsyncOnResult | None
) -> str:
    name, arguments = step.call.name, step.call.arguments
    if on_call is not None and not await _settled(on_call(name, arguments)):
        return _REFUSAL
    content = await runner.run(step.runner, arguments)
    if on_result is not None:
        await _settled(on_result(name, arguments, content))
    return content


async def _settled(value: A | Awaitable[A]) -> A:
    """Return what a callback returned, awaited where it has to be."""
    if inspect.isawaitable(value):
        result: A = await value
        return result
    return value
