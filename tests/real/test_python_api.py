"""The asynchronous Python API, tools with typed parameters and answers as objects, with real models."""

from __future__ import annotations

import asyncio
import datetime as dt
import json
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field

import edgefc
from tests.real.tool_cases import ask

booked: list[Any] = []


class Room(BaseModel):
    city: Annotated[str, Field(max_length=20)]
    beds: Annotated[int, Field(ge=1, le=4, description="Number of beds")]


@edgefc.tool
async def book(room: Room, arrival: dt.date, payment: Literal["card", "cash"]) -> Room:
    """Book a hotel room"""
    await asyncio.sleep(0)
    booked.append((room, arrival, payment))
    return room


def test_a_stream_is_that_of_the_synchronous_api(real_model: edgefc.Model) -> None:
    question, options = ask("Tell me about Oslo."), {"temperature": 0, "max_tokens": 24}

    async def main(others: int) -> tuple[str, edgefc.Reply, list[edgefc.Reply]]:
        async with await real_model.achat(question, stream=True, **options) as stream:
            running = [asyncio.create_task(real_model.achat(ask("Hello!"), **options)) for _ in range(others)]
            text = "".join([delta.get("content", "") async for delta in stream])
            return text, await stream.reply(), [await other for other in running]

    text, reply, _ = asyncio.run(main(0))
    assert text == reply.content == real_model.chat(question, **options).content != ""
    # Beside another answer a K-quant may be rounded in another way.
    text, reply, others = asyncio.run(main(1))
    assert text == reply.content != ""
    assert [bool(other.content) for other in others] == [True]


def test_an_asynchronous_tool_gets_objects(real_model: edgefc.Model) -> None:
    booked.clear()
    task = real_model.arun(
        "Book a room with two beds in Oslo for 1 May 2026, paid by card.",
        tools=[book], tool_choice="required", parallel_tool_calls=False, temperature=0, max_tokens=100, max_rounds=2,
    )  # fmt: skip
    result = asyncio.run(task)
    ((room, arrival, payment),) = booked
    assert isinstance(room, Room)
    assert 1 <= room.beds <= 4
    assert isinstance(arrival, dt.date)
    assert payment in {"card", "cash"}
    assert json.loads(result.messages[2]["content"] or "") == room.model_dump()


def test_an_answer_is_an_object(real_model: edgefc.Model) -> None:
    reply = real_model.chat(ask("Describe a hotel room in Oslo."), response_format=Room, temperature=0, max_tokens=100)
    assert isinstance(reply.parsed, Room)
