"""Parameters of any type that pydantic reads: their schema can be enforced, and the function gets objects."""

from __future__ import annotations

import dataclasses
import datetime as dt
import decimal
import enum
import functools
import inspect
import json
import pathlib
import typing
import uuid
from collections.abc import Callable, Iterator
from typing import Annotated, Any, Literal, NamedTuple, NotRequired

import pytest
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, RootModel

import edgefc
from edgefc.errors import ToolError
from edgefc.grammar import compile_calls
from edgefc.tools import PythonTool, run_tool
from tests.grammar.executors import accepts


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Pair(NamedTuple):
    x: int
    y: Annotated[float, "to the right"] = 0.5


class Place(typing.TypedDict):
    city: Annotated[str, "its name"]
    zip: NotRequired[str]


@dataclasses.dataclass
class Point:
    x: int
    y: float = 0.0


class Cat(BaseModel):
    kind: Literal["cat"]
    lives: int = 9


class Dog(BaseModel):
    kind: Literal["dog"]
    name: Annotated[str, Field(alias="dogName", pattern="^[A-Z]")]


class Node(BaseModel):
    value: int
    children: list[Node] = []


class Order(BaseModel):
    sku: str = Field(min_length=2, description="Product code")
    price: decimal.Decimal = Field(ge=0, decimal_places=2)
    note: str | None


class Open(BaseModel):
    model_config = ConfigDict(extra="allow")
    a: int


Pet = Annotated[Cat | Dog, Field(discriminator="kind")]
NOW = dt.datetime(2026, 1, 2, 3, 4, 5, tzinfo=dt.UTC)
ID = "12345678-1234-5678-1234-567812345678"
# Type, JSON value, object; a JSON value that the grammar must not allow.
VALUES: list[tuple[Any, Any, Any, Any]] = [
    (dt.datetime, "2026-01-02T03:04:05Z", NOW, "tomorrow"),
    (dt.date, "2026-01-02", NOW.date(), "2026-13-01"),
    (dt.time, "03:04:05Z", NOW.timetz(), "noon"),
    (dt.timedelta, "PT1H", dt.timedelta(hours=1), "1 h"),
    (uuid.UUID, ID, uuid.UUID(ID), "7"),
    (pathlib.Path, "a/b.txt", pathlib.Path("a/b.txt"), 5),
    (decimal.Decimal, 0.1, decimal.Decimal("0.1"), "a"),
    (bytes, "hé", "hé".encode(), 5),
    (Colour, "red", Colour.RED, "green"),
    (Literal["a"], "a", "a", "b"),
    (Pair, {"x": 1}, Pair(1), {"y": 1.0}),
    (Place, {"city": "Oslo"}, {"city": "Oslo"}, {"city": "Oslo", "country": "NO"}),
    (Point, {"x": 1}, Point(1), {"x": "one"}),
    (Point | str, {"x": 1}, Point(1), 5),
    (dict[str, Point], {"a": {"x": 1}}, {"a": Point(1)}, {"a": 1}),
    (dict[int, Colour], {"1": "red"}, {1: Colour.RED}, {"one": "red"}),
    (dict[Colour, int], {"red": 1}, {Colour.RED: 1}, {"green": 1}),
    (set[int], [1, 2], {1, 2}, ["a"]),
    (tuple[int, Colour], [1, "red"], (1, Colour.RED), [1]),
    (Pet, {"kind": "dog", "dogName": "Rex"}, Dog(kind="dog", dogName="Rex"), {"kind": "dog", "dogName": "rex"}),
    (list[Pet], [{"kind": "cat"}], [Cat(kind="cat")], [{"kind": "cow"}]),
    (
        Node,
        {"value": 1, "children": [{"value": 2}]},
        Node(value=1, children=[Node(value=2)]),
        {"value": 1, "children": [{}]},
    ),
    (
        Order,
        {"sku": "AB", "price": 1.25, "note": None},
        Order(sku="AB", price=decimal.Decimal("1.25"), note=None),
        {"sku": "AB", "price": 1.255, "note": None},
    ),
    (Open, {"a": 1, "b": 2}, Open.model_validate({"a": 1, "b": 2}), {"b": 2}),
    (RootModel[list[int]], [1], RootModel[list[int]]([1]), ["a"]),
    (Annotated[int, Field(ge=1, le=5)], 5, 5, 6),
    (typing.NewType("Age", int), 5, 5, "a"),
    (Annotated[str, Field(max_length=2)] | None, None, None, "abc"),
]


def tool_for(hint: Any, seen: list[Any]) -> PythonTool:
    def use(a: Any) -> None:
        seen.append(a)

    use.__annotations__["a"] = hint
    return PythonTool(use)


@pytest.mark.parametrize(("hint", "value", "expected", "wrong"), VALUES, ids=[str(value[0]) for value in VALUES])
def test_a_value_is_constructed_and_the_grammar_keeps_to_its_type(
    hint: Any, value: Any, expected: Any, wrong: Any
) -> None:
    seen: list[Any] = []
    tool = tool_for(hint, seen)
    assert run_tool(tool, {"a": value}) == "null"
    assert seen == [expected]
    assert type(seen[0]) is type(expected)
    assert "wrong arguments: a" in run_tool(tool, {"a": wrong}) or hint is Place  # pydantic drops what is unknown
    compiled = compile_calls([tool.schema])
    assert not compiled.unenforced
    assert not compiled.changes

    def is_allowed(argument: Any) -> bool:
        call = [{"name": "use", "arguments": {} if argument is None else {"a": argument}}]
        return accepts(compiled, json.dumps(call, ensure_ascii=False))

    assert is_allowed(value)
    assert not is_allowed(wrong)


def test_all_of_a_field_reaches_the_model() -> None:
    def order(
        name: Annotated[str, Field(description="The name", pattern="^[a-z]+$", examples=["ada"])],
        count: Annotated[int, Field(ge=1, alias="number", default=2)],
        rest: float = Field(0.5, gt=0, description="The rest"),
    ) -> list[Any]:
        """Order

        Args:
            name: not this text
        """
        return [name, count, rest]

    parameters = PythonTool(order).schema["function"]["parameters"]
    assert parameters["properties"] == {
        "name": {"type": "string", "pattern": "^[a-z]+$", "examples": ["ada"], "description": "The name"},
        "number": {"type": "integer", "minimum": 1, "default": 2},
        "rest": {"type": "number", "exclusiveMinimum": 0, "default": 0.5, "description": "The rest"},
    }
    assert parameters["required"] == ["name"]
    assert run_tool(PythonTool(order), '{"name": "ada"}') == '["ada", 2, 0.5]'
    assert run_tool(PythonTool(order), '{"name": "ada", "number": 3}') == '["ada", 3, 0.5]'


def test_optional_parameters_and_defaults() -> None:
    def find(a: int | None, b: int | None = None, c: int | None = 7, limit=3) -> list[Any]:
        return [a, b, c, limit]

    parameters = PythonTool(find).schema["function"]["parameters"]
    assert parameters["required"] == []
    assert parameters["properties"] == {
        "a": {"type": "integer"},
        "b": {"type": "integer"},
        "c": {"anyOf": [{"type": "integer"}, {"type": "null"}], "default": 7},
        "limit": {"type": "integer", "default": 3},
    }
    assert run_tool(PythonTool(find), "{}") == "[null, null, 7, 3]"
    assert run_tool(PythonTool(find), '{"b": null, "c": null}') == "[null, null, null, 3]"


def even(value: int) -> int:
    if value % 2:
        raise ValueError("must be even")
    return value


def test_a_types_own_checks_are_made_before_the_call() -> None:
    def use(a: Annotated[int, AfterValidator(even)], b: int) -> int:
        return a + b

    assert json.loads(run_tool(PythonTool(use), '{"a": 3, "b": 1}')) == {
        "error": "wrong arguments: a: Value error, must be even"
    }
    assert json.loads(run_tool(PythonTool(use), '{"a": 2, "c": 1}')) == {
        "error": "wrong arguments: b: Field required; c: Extra inputs are not permitted"
    }


class Forecast:
    def __call__(self, location: str, days: int = 1) -> str:
        """Forecast the weather"""
        return f"{location} {days}"

    def of(self, location: str) -> str:
        """Forecast"""
        return location

    def untyped(self, location) -> str:
        return str(location)


CALLABLES: list[tuple[Callable[..., Any], str, str, list[str], str]] = [
    (functools.partial(Forecast(), days=2), "Forecast", "Forecast the weather", ["location"], "Oslo 2"),
    (Forecast(), "Forecast", "Forecast the weather", ["location", "days"], "Oslo 1"),
    (Forecast().of, "of", "Forecast", ["location"], "Oslo"),
    (functools.partial(Forecast().of), "of", "Forecast", ["location"], "Oslo"),
]


@pytest.mark.parametrize(("function", "name", "description", "parameters", "result"), CALLABLES)
def test_whatever_can_be_called_is_a_tool(
    function: Callable[..., Any], name: str, description: str, parameters: list[str], result: str
) -> None:
    tool = PythonTool(function)
    assert (tool.name, tool.schema["function"]["description"]) == (name, description)
    assert list(tool.schema["function"]["parameters"]["properties"]) == parameters
    assert run_tool(tool, '{"location": "Oslo"}') == result
    assert tool("Oslo") == result


@pytest.mark.parametrize(
    ("function", "reason"),
    [(Forecast.of, "bound method"), (Forecast().untyped, "missing type hint"), ("x", "must be a function")],
)
def test_what_cannot_be_a_tool_says_why(function: Any, reason: str) -> None:
    with pytest.raises(ToolError, match=reason):
        PythonTool(function)


def test_a_class_is_a_tool_that_returns_its_object() -> None:
    class City(BaseModel):
        """A city"""

        name: str
        parse: int = 1  # also the name of a method of the tool

    for cls in (City, Point):
        assert PythonTool(cls).schema["function"]["name"] == cls.__name__
    assert list(PythonTool(Point).schema["function"]["parameters"]["properties"]) == ["x", "y"]
    assert run_tool(PythonTool(City), '{"name": "Oslo"}') == '{"name": "Oslo", "parse": 1}'


def test_a_tool_keeps_name_signature_and_function() -> None:
    def add(a: int, b: int = 1) -> int:
        """Add numbers"""
        return a + b

    tool = edgefc.tool(add, name="plus", description="Sum")
    assert (tool.name, tool.__name__, tool.__doc__) == ("plus", "add", "Add numbers")
    assert tool.__wrapped__ is add
    assert inspect.signature(tool) == inspect.signature(add)
    assert tool.schema["function"]["description"] == "Sum"


class Unprintable:
    pass


def squares() -> Iterator[int]:
    yield from (1, 4)


RESULTS: list[tuple[Any, str]] = [
    (Cat(kind="cat"), '{"kind": "cat", "lives": 9}'),
    ([Cat(kind="cat", lives=1)], '[{"kind": "cat", "lives": 1}]'),
    ({"when": NOW, "day": NOW.date(), "id": uuid.UUID(ID)}, f'{{"when": "{NOW}", "day": "2026-01-02", "id": "{ID}"}}'),
    (Order(sku="AB", price=decimal.Decimal("1.5"), note=None), '{"sku": "AB", "price": "1.5", "note": null}'),
    (Point(1), '{"x": 1, "y": 0.0}'),
    ({"point": Point(1), "cat": [Cat(kind="cat")]}, '{"point": {"x": 1, "y": 0.0}, "cat": [{"kind": "cat", "lives": 9}]}'),
    (squares(), "[1, 4]"),
    ({"squares": squares(), "keys": {"a": 1}.keys()}, '{"squares": [1, 4], "keys": ["a"]}'),
    (Colour.RED, '"red"'),
]  # fmt: skip


@pytest.mark.parametrize(("result", "text"), RESULTS)
def test_a_result_is_written_as_json(result: Any, text: str) -> None:
    assert run_tool(PythonTool(lambda: result, name="f"), {}) == text
