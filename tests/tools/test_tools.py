"""Python functions become tools, and calls run them."""

from __future__ import annotations

import dataclasses
import enum
import json
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
from typing_extensions import TypedDict

import edgefc
from edgefc.errors import RequestError, ToolError
from edgefc.tools import PythonTool, ToolSet, load_tools, parse_tool_choice, run_tool
from edgefc.types import ToolChoice


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Place(TypedDict):
    city: str


@dataclasses.dataclass
class Point:
    x: int
    y: float = 0.0


def schema_of(hint: Any) -> dict[str, Any]:
    def f(a: Any) -> None: ...

    f.__annotations__ = {"a": hint}
    return dict(PythonTool(f).schema["function"]["parameters"]["properties"]["a"])


HINTS: list[tuple[Any, dict[str, Any]]] = [
    (str, {"type": "string"}),
    (int, {"type": "integer"}),
    (float, {"type": "number"}),
    (bool, {"type": "boolean"}),
    (list[int], {"type": "array", "items": {"type": "integer"}}),
    (list, {"type": "array", "items": {}}),
    (set[int], {"type": "array", "items": {"type": "integer"}}),
    (tuple[int, str], {"type": "array", "prefixItems": [{"type": "integer"}, {"type": "string"}], "minItems": 2, "maxItems": 2}),
    (dict[str, float], {"type": "object", "additionalProperties": {"type": "number"}}),
    (Literal["a", "b"], {"type": "string", "enum": ["a", "b"]}),
    (Literal["a", 1], {"enum": ["a", 1]}),
    (Colour, {"type": "string", "enum": ["red", "blue"]}),
    (int | None, {"type": "integer"}),
    (int | str, {"anyOf": [{"type": "integer"}, {"type": "string"}]}),
    (Annotated[int, "how many"], {"type": "integer", "description": "how many"}),
    (Place, {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"], "additionalProperties": False}),
    (
        Point,
        {
            "type": "object",
            "properties": {"x": {"type": "integer"}, "y": {"type": "number", "default": 0.0}},
            "required": ["x"],
            "additionalProperties": False,
        },
    ),
    (Any, {}),
]  # fmt: skip


@pytest.mark.parametrize(("hint", "schema"), HINTS, ids=[str(hint) for hint, _ in HINTS])
def test_a_type_hint_becomes_its_schema(hint: Any, schema: dict[str, Any]) -> None:
    assert schema_of(hint) == schema


@pytest.mark.parametrize("hint", [Callable[[int], int], type, dict[float, str], PythonTool])
def test_a_hint_without_a_schema_names_the_parameter(hint: Any) -> None:
    with pytest.raises(ToolError, match=r"f\(a\)"):
        schema_of(hint)


def google(a: int, b: str = "x") -> None:
    """Do a thing
    over two lines.

    More about it.

    Args:
        a (int): the first,
            continued
        b: the second

    Returns:
        Nothing.
    """


def numpy_style(a: int, b: str = "x") -> None:
    """Do a thing over two lines.

    Parameters
    ----------
    a : int
        the first, continued
    b
        the second

    Returns
    -------
    None
    """


def rest(a: int, b: str = "x") -> None:
    """Do a thing over two lines.

    :param int a: the first,
        continued
    :param b: the second
    :returns: nothing
    """


@pytest.mark.parametrize("function", [google, numpy_style, rest])
def test_every_docstring_style_is_read(function: Any) -> None:
    spec = PythonTool(function).schema["function"]
    assert spec["description"] == "Do a thing over two lines."
    about = {name: value["description"] for name, value in spec["parameters"]["properties"].items()}
    assert about == {"a": "the first, continued", "b": "the second"}
    assert spec["parameters"]["required"] == ["a"]


def test_a_tool_stays_a_function() -> None:
    @edgefc.tool(name="plus", description="Adds")
    def add(a: int, b: int) -> int:
        return a + b

    assert add(2, 3) == 5
    assert (add.name, add.schema["function"]["description"]) == ("plus", "Adds")


@pytest.mark.parametrize(
    ("function", "reason"),
    [(lambda a: a, "missing type hint"), (lambda *a: a, "positional-only"), (lambda **a: a, "positional-only")],
)
def test_what_a_model_could_not_call_is_refused(function: Any, reason: str) -> None:
    with pytest.raises(ToolError, match=reason):
        PythonTool(function)


def test_a_result_is_text_for_the_model() -> None:
    def move(p: Point, c: Colour, n: float = 1) -> Any:
        return {"point": p, "colour": c, "n": n, "set": {2, 1}}

    made = PythonTool(move)
    assert json.loads(run_tool(made, '{"p": {"x": 1}, "c": "red", "n": 2}')) == {
        "point": {"x": 1, "y": 0.0}, "colour": "red", "n": 2.0, "set": [1, 2]
    }  # fmt: skip
    assert run_tool(PythonTool(str.upper.__call__ if False else _shout), '{"text": "hi"}') == "HI"


def _shout(text: str) -> str:
    return text.upper()


@pytest.mark.parametrize(
    ("arguments", "reason"), [('{"text": 5}', "wrong arguments"), ("{", "JSONDecodeError"), ("{}", "required")]
)
def test_what_goes_wrong_becomes_a_result(arguments: str, reason: str) -> None:
    assert reason in json.loads(run_tool(PythonTool(_shout), arguments))["error"]


def test_a_tools_exception_becomes_a_result() -> None:
    def fail(a: int) -> None:
        raise LookupError(f"nothing at {a}")

    assert json.loads(run_tool(PythonTool(fail), '{"a": 7}')) == {"error": "LookupError: nothing at 7"}


TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}
BAD_TOOLS: list[tuple[Any, str]] = [
    ("x", "tools"),
    ([5], "tools[0]"),
    ([{"type": "retrieval"}], "tools[0].type"),
    ([{"type": "function", "function": {"name": "a b"}}], "tools[0].function.name"),
    ([TOOL, TOOL], "tools[1].function.name"),
    ([{"type": "function", "function": {"name": "f", "description": 5}}], "tools[0].function.description"),
    ([{"type": "function", "function": {"name": "f", "parameters": [1]}}], "tools[0].function.parameters"),
]


@pytest.mark.parametrize(("tools", "place"), BAD_TOOLS)
def test_a_malformed_tool_is_named(tools: Any, place: str) -> None:
    with pytest.raises(RequestError) as caught:
        ToolSet.of(tools)
    assert caught.value.param == place


def test_a_bare_function_object_is_a_tool() -> None:
    assert list(ToolSet.of([{"name": "f"}])) == [{"type": "function", "function": {"name": "f"}}]


TWO = ToolSet.of([{"name": "f"}, {"name": "get_weather"}])
CHOICES: list[tuple[Any, ToolChoice]] = [
    ("auto", ToolChoice("auto", ("f", "get_weather"))),
    ("none", ToolChoice("none", ("f", "get_weather"))),
    ("required", ToolChoice("required", ("f", "get_weather"))),
    ({"type": "function", "function": {"name": "f"}}, ToolChoice("required", ("f",))),
    ({"type": "function", "name": "f"}, ToolChoice("required", ("f",))),
    (
        {
            "type": "allowed_tools",
            "allowed_tools": {"mode": "required", "tools": [{"type": "function", "function": {"name": "f"}}]},
        },
        ToolChoice("required", ("f",)),
    ),
    (
        {"type": "allowed_tools", "mode": "auto", "tools": [{"type": "function", "name": "f"}]},
        ToolChoice("auto", ("f",)),
    ),
]
EVERY = ("f", "get_weather")
# Anthropic, Cursor, LangChain, the AI SDK, Google, Bedrock and Mistral.
CHOICES += [
    *((value, ToolChoice("required", EVERY)) for value in ("any", "ANY", True, {"type": "any"}, {"type": "required"})),
    *((value, ToolChoice("required", EVERY)) for value in ({"mode": "required"}, {"any": {}}, {"type": "function"})),
    *((value, ToolChoice("auto", EVERY)) for value in (None, {}, "", {"type": "auto"}, {"mode": "AUTO"}, {"auto": {}})),
    *((value, ToolChoice("none", EVERY)) for value in (False, "None", {"type": "none"})),
    *(
        (value, ToolChoice("required", ("f",)))
        for value in (
            "f", {"type": "tool", "name": "f"}, {"type": "tool", "toolName": "f"}, {"name": "f"},
            {"function": {"name": "f"}}, {"tool": {"name": "f"}}, {"type": "function", "function": "f"},
            {"type": "custom", "name": "f"}, {"type": "function", "name": "f", "function": None},
            {"functionCallingConfig": {"mode": "ANY", "allowedFunctionNames": ["f"]}},
            {"type": "allowed_tools", "mode": "any", "tools": ["f"]},
        )
    ),
]  # fmt: skip


@pytest.mark.parametrize(("value", "choice"), CHOICES)
def test_every_form_of_tool_choice_is_understood(value: Any, choice: ToolChoice) -> None:
    assert parse_tool_choice(value, TWO) == choice


@pytest.mark.parametrize(
    "value", ["always", 5, {"type": "x"}, {"type": "function", "function": {"name": "g"}}, {"type": "allowed_tools"}]
)
def test_an_unknown_tool_choice_is_refused(value: Any) -> None:
    with pytest.raises(RequestError) as caught:
        parse_tool_choice(value, TWO)
    assert caught.value.param == "tool_choice"


def test_an_unknown_name_suggests_a_near_one() -> None:
    with pytest.raises(RequestError, match="get_weather"):
        parse_tool_choice({"type": "function", "function": {"name": "getweather"}}, TWO)


def test_a_required_call_needs_a_tool() -> None:
    with pytest.raises(RequestError):
        parse_tool_choice("required", [])


def test_functions_and_schemas_can_be_mixed() -> None:
    tools = ToolSet.of([_shout, TOOL])
    assert tools.names == ("_shout", "f")
    assert list(tools.runners) == ["_shout"]
    assert ToolSet.of(tools) is tools


FILES = {
    "all public functions": ("def f(a: int) -> int:\n    return a\ndef _g(a): ...\nfrom os import getcwd\n", ["f"]),
    "marked ones alone": ("import edgefc\n@edgefc.tool\ndef f(a: int): ...\ndef g(b: int): ...\n", ["f"]),
}


@pytest.mark.parametrize(("source", "names"), FILES.values(), ids=FILES.keys())
def test_tools_come_from_a_python_file(tmp_path: Path, source: str, names: list[str]) -> None:
    path = tmp_path / "mine.py"
    path.write_text(source, encoding="utf-8")
    assert list(load_tools(path).runners) == names


BAD_FILES = {
    "no.json": (None, "no such file"),
    "bad.json": ('[{"a": 1,}]', "line 1, column"),
    "shape.json": ("5", "list of tools"),
    "raises.py": ("x = 1\nraise RuntimeError('boom')\n", "line 2: RuntimeError: boom"),
    "syntax.py": ("def f(:\n", "line 1"),
    "empty.py": ("x = 1\n", "defines no functions"),
}


@pytest.mark.parametrize(("name", "content", "reason"), [(n, *v) for n, v in BAD_FILES.items()])
def test_a_bad_tools_file_is_a_clear_error(tmp_path: Path, name: str, content: str | None, reason: str) -> None:
    path = tmp_path / name
    if content is not None:
        path.write_text(content, encoding="utf-8")
    with pytest.raises(ToolError) as caught:
        load_tools(path)
    assert reason in str(caught.value)


@pytest.mark.parametrize(
    ("expression", "result"),
    [("17*23", 391), ("(1 + 2) * 3.5", 10.5), ("2**10", 1024), ("7/2", 3.5), ("-4 + 4", 0), ("10 % 4", 2)],
)
def test_the_calculator_calculates(expression: str, result: float) -> None:
    from edgefc.tools.examples import calculate

    assert calculate(expression)["result"] == result


@pytest.mark.parametrize("expression", ["__import__('os')", "9**9**9**9", "x", "1+", "[1]*9", "1" * 300, "1/0"])
def test_the_calculator_refuses_what_is_no_arithmetic(expression: str) -> None:
    from edgefc.tools.examples import calculate

    assert "error" in json.loads(run_tool(calculate, json.dumps({"expression": expression})))
