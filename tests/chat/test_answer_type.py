"""A type as response format: the answer fits its schema, and `parsed` is an object of it."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import pytest
from pydantic import BaseModel, Field, field_validator

import edgefc
from edgefc.errors import InvalidAnswerError, RequestError

ASK: list[Any] = [{"role": "user", "content": "Where is the Eiffel tower?"}]


class City(BaseModel):
    name: str = Field(max_length=8, pattern="^[a-z]+$")
    rank: Literal[1, 2]


@dataclasses.dataclass
class Point:
    x: bool
    y: bool = True


class Never(BaseModel):
    yes: bool

    @field_validator("yes")
    @classmethod
    def refuse(cls, value: bool) -> bool:
        raise ValueError("no value is right")


@pytest.fixture(scope="module")
def model() -> Iterator[edgefc.Model]:
    with edgefc.load("demo", n_threads=1) as model:
        yield model


def test_parsed_is_an_object_of_the_type(model: edgefc.Model) -> None:
    city = model.chat(ASK, response_format=City, max_tokens=60).parsed
    assert isinstance(city, City)
    assert city.rank in {1, 2}
    assert isinstance(model.chat(ASK, response_format=Point).parsed, Point)
    flags = model.chat(ASK, response_format=tuple[bool, bool]).parsed
    assert isinstance(flags, tuple)
    assert len(flags) == 2


def test_a_stream_and_a_run_have_it_too(model: edgefc.Model) -> None:
    stream = model.chat(ASK, response_format=Point, stream=True)
    assert isinstance(stream.reply.parsed, Point)
    assert isinstance(model.run("Hi", tools=[], response_format=Point).parsed, Point)
    text = model.complete("Hi", response_format=Point).completion.text
    assert json.loads(text)["x"] in {True, False}


def test_there_is_none_where_the_answer_is_none(model: edgefc.Model) -> None:
    assert model.chat(ASK, response_format=City, max_tokens=2).parsed is None
    assert model.chat(ASK, max_tokens=4).parsed is None


def test_the_types_own_checks_are_made_when_it_is_read(model: edgefc.Model) -> None:
    reply = model.chat(ASK, response_format=Never)
    assert json.loads(reply.content)["yes"] in {True, False}
    with pytest.raises(InvalidAnswerError, match="no value is right"):
        _ = reply.parsed


def test_a_type_without_a_schema_is_refused(model: edgefc.Model) -> None:
    with pytest.raises(RequestError, match="unsupported type") as caught:
        model.chat(ASK, response_format=edgefc.Model)
    assert caught.value.param == "response_format"


def test_transcripts_hold_the_schema(tmp_path: Path) -> None:
    path = tmp_path / "t.jsonl"
    with edgefc.load("demo", n_threads=1, transcripts=path) as model:
        model.chat(ASK, response_format=Point)
    form = json.loads(path.read_text())["options"]["response_format"]
    assert form["json_schema"]["name"] == "Point"
    assert list(form["json_schema"]["schema"]["properties"]) == ["x", "y"]
