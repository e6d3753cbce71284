"""Chats and tool loops in an event loop: the same answers, and cancelling a task cancels its request."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from typing import Any

import pytest

import edgefc
from edgefc.chat.reply import ChatStream
from edgefc.chat.request import Request
from edgefc.errors import CancelledError, RequestError

PARIS: list[Any] = [{"role": "user", "content": "What is the weather in Paris?"}]
# Two thousand letters that no grammar forces, unless the request is cancelled.
ENDLESS: dict[str, Any] = {"grammar": "root ::= [a-z] root", "loop_guard": False, "max_tokens": 1800}


@edgefc.tool
def get_weather(location: str) -> dict[str, Any]:
    """Get the current weather for a city"""
    return {"location": location, "temperature": 18, "unit": "celsius", "conditions": "light rain"}


@edgefc.tool
async def get_weather_later(location: str) -> dict[str, Any]:
    """Get the current weather for a city"""
    await asyncio.sleep(0)
    return get_weather(location)


async def get_weather_in_parts(location: str) -> AsyncIterator[str]:
    """Get the current weather for a city"""
    yield f"{location}: 18 degrees celsius"
    yield "light rain"


@pytest.fixture(scope="module")
def model() -> Iterator[edgefc.Model]:
    with edgefc.load("demo", n_threads=1) as model:
        yield model


@pytest.fixture
def submitted(model: edgefc.Model, monkeypatch: pytest.MonkeyPatch) -> list[ChatStream]:
    """The streams of all requests that were submitted."""
    streams: list[ChatStream] = []
    submit = model.submit

    def remember(request: Request) -> ChatStream:
        streams.append(submit(request))
        return streams[-1]

    monkeypatch.setattr(model, "submit", remember)
    return streams


def is_cancelled(stream: ChatStream) -> bool:
    """Wait for the end of a generation; True if it was cancelled."""
    try:
        stream._attempt.generation.result(60)
    except CancelledError:
        return True
    return False


def test_the_reply_is_that_of_chat(model: edgefc.Model) -> None:
    async def main() -> list[edgefc.Reply]:
        one = model.achat(PARIS, tools=[get_weather], temperature=0)
        return await asyncio.gather(one, *(model.achat(PARIS, tools=[get_weather], temperature=0) for _ in range(2)))

    replies = asyncio.run(main())
    expected = model.chat(PARIS, tools=[get_weather], temperature=0)
    assert [[(call.name, call.arguments) for call in reply.calls] for reply in replies] == [
        [("get_weather", {"location": "Paris"})]
    ] * 3
    assert {reply.outcome for reply in replies} == {expected.outcome}


def test_a_stream_yields_the_deltas_of_chat(model: edgefc.Model) -> None:
    hello: list[Any] = [{"role": "user", "content": "Hello!"}]

    async def main() -> tuple[str, edgefc.Reply]:
        async with await model.achat(hello, stream=True, temperature=0) as stream:
            text = "".join([delta.get("content", "") async for delta in stream])
            assert [delta async for delta in stream] == []
            return text, await stream.reply()

    text, reply = asyncio.run(main())
    assert text == reply.content == model.chat(hello, temperature=0).content != ""


@pytest.mark.parametrize("stream", [False, True])
def test_a_wrong_request_is_an_error_where_it_is_made(model: edgefc.Model, stream: bool) -> None:
    async def main() -> None:
        await model.achat(PARIS, tools=[get_weather], temperature=-1, stream=stream)

    with pytest.raises(RequestError, match="temperature"):
        asyncio.run(main())


@pytest.mark.parametrize("tool", [get_weather, get_weather_later, get_weather_in_parts])
def test_the_loop_runs_every_kind_of_tool(model: edgefc.Model, tool: Callable[..., Any]) -> None:
    events: list[str] = []

    def on_call(name: str, arguments: dict[str, Any]) -> bool:
        events.append(f"call {arguments}")
        return True

    async def on_result(name: str, arguments: dict[str, Any], content: str) -> None:
        events.append(f"result {'light rain' in content and 'object at' not in content}")

    async def on_reply(reply: edgefc.Reply) -> None:
        events.append(reply.outcome)

    async def main() -> edgefc.RunResult:
        return await model.arun(
            "What is the weather in Paris?", tools=[tool], on_call=on_call, on_result=on_result, on_reply=on_reply,
            temperature=0,
        )  # fmt: skip

    result = asyncio.run(main())
    assert events == ["call", "call {'location': 'Paris'}", "result True", "answer"]
    assert (result.outcome, result.rounds) == ("answer", 2)


def test_a_refused_call_is_not_run(model: edgefc.Model) -> None:
    async def on_call(name: str, arguments: dict[str, Any]) -> bool:
        return False

    result = asyncio.run(model.arun("What is the weather in Paris?", tools=[get_weather], on_call=on_call))
    assert "did not allow" in str(result.messages[2]["content"])


async def cancel_chat(model: edgefc.Model, submitted: list[ChatStream]) -> None:
    task = asyncio.create_task(model.achat(PARIS, **ENDLESS))
    while not submitted:  # noqa: ASYNC110 - another thread submits
        await asyncio.sleep(0.001)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def cancel_run(model: edgefc.Model, _: list[ChatStream]) -> None:
    begun = asyncio.Event()
    task = asyncio.create_task(model.arun("Hi", tools=[], on_delta=lambda _: begun.set(), **ENDLESS))
    await begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def cancel_while_reading(model: edgefc.Model, _: list[ChatStream]) -> None:
    begun = asyncio.Event()

    async def read() -> None:
        async for _ in await model.achat(PARIS, stream=True, **ENDLESS):
            begun.set()

    task = asyncio.create_task(read())
    await begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def leave_the_block(model: edgefc.Model, _: list[ChatStream]) -> None:
    async with await model.achat(PARIS, stream=True, **ENDLESS) as stream:
        await anext(stream)
    with pytest.raises(CancelledError):
        await stream.reply()


async def forget_the_stream(model: edgefc.Model, _: list[ChatStream]) -> None:
    stream = await model.achat(PARIS, stream=True, **ENDLESS)
    await anext(stream)
    del stream
    gc.collect()


async def leave_the_loop(model: edgefc.Model, _: list[ChatStream]) -> None:
    stream = await model.achat(PARIS, stream=True, **ENDLESS)
    asyncio.get_running_loop().test_stream = stream  # type: ignore[attr-defined] - outlives `asyncio.run`


WAYS = [cancel_chat, cancel_run, cancel_while_reading, leave_the_block, forget_the_stream, leave_the_loop]


@pytest.mark.parametrize("way", WAYS)
def test_nothing_is_generated_for_nobody(
    model: edgefc.Model, submitted: list[ChatStream], way: Callable[..., Coroutine[Any, Any, None]]
) -> None:
    asyncio.run(way(model, submitted))
    (stream,) = submitted
    assert is_cancelled(stream)
    assert model.chat(PARIS, max_tokens=2).is_cut, "the model goes on"


def test_a_task_cancelled_before_its_request_is_submitted_submits_none(
    model: edgefc.Model, submitted: list[ChatStream]
) -> None:
    async def main() -> None:
        task = asyncio.create_task(model.achat(PARIS, **ENDLESS))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())
    assert all(is_cancelled(stream) for stream in submitted)
