"""`Model.achat` and `Model.arun`: the chat and the tool loop for callers in an asyncio event loop."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, Literal, Never, cast, overload

from typing_extensions import Unpack

from edgefc.chat.async_stream import AsyncChatStream
from edgefc.chat.loop import (
    MAX_ROUNDS,
    AsyncOnCall,
    AsyncOnDelta,
    AsyncOnReply,
    AsyncOnResult,
    RunResult,
    run_rounds_async,
)
from edgefc.chat.options import ChatOptions, FormlessOptions
from edgefc.chat.prompt import conversation
from edgefc.chat.reply import ChatStream, Reply, T
from edgefc.chat.request import Request
from edgefc.tools import ToolLike, ToolSet
from edgefc.types import AnyMessage, Message

# True for mypy alone, which names a misspelt option by itself. Pyright does so where the last overload takes any option
# and gives it a type that nothing has.
MYPY = False


class AsyncChat(ABC):
    """The asynchronous methods of `Model`."""

    @abstractmethod
    def request(
        self,
        messages: Sequence[AnyMessage],
        tools: Sequence[ToolLike] | ToolSet | None = None,
        **options: Unpack[ChatOptions],
    ) -> Request: ...

    @abstractmethod
    def submit(self, request: Request) -> ChatStream: ...

    @overload
    async def achat(
        self,
        messages: Sequence[AnyMessage],
        *,
        tools: Sequence[ToolLike] | ToolSet | None = None,
        stream: Literal[False] | None = None,
        response_format: type[T],
        **options: Unpack[FormlessOptions],
    ) -> Reply[T]: ...

    @overload
    async def achat(
        self,
        messages: Sequence[AnyMessage],
        *,
        tools: Sequence[ToolLike] | ToolSet | None = None,
        stream: Literal[True],
        response_format: type[T],
        **options: Unpack[FormlessOptions],
    ) -> AsyncChatStream[T]: ...

    @overload
    async def achat(
        self,
        messages: Sequence[AnyMessage],
        *,
        tools: Sequence[ToolLike] | ToolSet | None = None,
        stream: Literal[False] | None = None,
        **options: Unpack[ChatOptions],
    ) -> Reply: ...

    @overload
    async def achat(
        self,
        messages: Sequence[AnyMessage],
        *,
        tools: Sequence[ToolLike] | ToolSet | None = None,
        stream: Literal[True],
        **options: Unpack[ChatOptions],
    ) -> AsyncChatStream: ...

    @overload
    async def achat(
        self,
        messages: Sequence[AnyMessage],
        *,
        tools: Sequence[ToolLike] | ToolSet | None = None,
        stream: bool | None = None,
        **options: Unpack[ChatOptions],
    ) -> Reply | AsyncChatStream: ...

    if not MYPY:

        @overload
        async def achat(
            self,
            messages: Sequence[AnyMessage],
            *,
            tools: Sequence[ToolLike] | ToolSet | None = None,
            stream: bool | None = None,
            **options: Never,
        ) -> Reply | AsyncChatStream: ...

    async def achat(
        self,
        messages: Sequence[AnyMessage],
        *,
        tools: Sequence[ToolLike] | ToolSet | None = None,
        stream: bool | None = None,
        **options: Any,
    ) -> Reply | AsyncChatStream:
        """Answer a conversation as `chat` does, without blocking the event loop.

        stream  True: return an AsyncChatStream, for `async for`, once the request is accepted

        Cancelling the task cancels the request. Raises what `chat` raises.
        """
        answer = self._async_stream(list(messages), tools=tools, **options)
        return await (answer.started() if stream else answer.reply())

    def _async_stream(
        self,
        messages: Sequence[AnyMessage],
        *,
        tools: Sequence[ToolLike] | ToolSet | None = None,
        **options: Unpack[ChatOptions],
    ) -> AsyncChatStream:
        return AsyncChatStream(lambda: self.request(messages, tools, **options), self.submit)

    @overload
    async def arun(
        self,
        prompt: str | Sequence[AnyMessage],
        *,
        tools: Sequence[ToolLike] | ToolSet,
        system: str | None = None,
        max_rounds: int | None = None,
        on_call: AsyncOnCall | None = None,
        on_result: AsyncOnResult | None = None,
        on_delta: AsyncOnDelta | None = None,
        on_reply: AsyncOnReply | None = None,
        response_format: type[T],
        **options: Unpack[FormlessOptions],
    ) -> RunResult[T]: ...

    @overload
    async def arun(
        self,
        prompt: str | Sequence[AnyMessage],
        *,
        tools: Sequence[ToolLike] | ToolSet,
        system: str | None = None,
        max_rounds: int | None = None,
        on_call: AsyncOnCall | None = None,
        on_result: AsyncOnResult | None = None,
        on_delta: AsyncOnDelta | None = None,
        on_reply: AsyncOnReply | None = None,
        **options: Unpack[ChatOptions],
    ) -> RunResult: ...

    if not MYPY:

        @overload
        async def arun(
            self,
            prompt: str | Sequence[AnyMessage],
            *,
            tools: Sequence[ToolLike] | ToolSet,
            system: str | None = None,
            max_rounds: int | None = None,
            on_call: AsyncOnCall | None = None,
            on_result: AsyncOnResult | None = None,
            on_delta: AsyncOnDelta | None = None,
            on_reply: AsyncOnReply | None = None,
            **options: Never,
        ) -> RunResult: ...

    async def arun(
        self,
        prompt: str | Sequence[AnyMessage],
        *,
        tools: Sequence[ToolLike] | ToolSet,
        system: str | None = None,
        max_rounds: int | None = None,
        on_call: AsyncOnCall | None = None,
        on_result: AsyncOnResult | None = None,
        on_delta: AsyncOnDelta | None = None,
        on_reply: AsyncOnReply | None = None,
        **options: Any,
    ) -> RunResult:
        """Answer by running tools as `run` does, without blocking the event loop.

        Coroutine functions and asynchronous generators run in the event loop, other tools in one thread of this run,
        the calls of an answer one after the other. The functions `on_…` may be coroutine functions. Cancelling the task
        cancels the request or the tool that is running.
        """
        return await run_rounds_async(
            self._async_stream,
            conversation(cast("str | Sequence[Message]", prompt), system),
            tools,
            max_rounds=MAX_ROUNDS if max_rounds is None else max_rounds,
            on_call=on_call,
            on_result=on_result,
            on_delta=on_delta,
            on_reply=on_reply,
            options=options,
        )
