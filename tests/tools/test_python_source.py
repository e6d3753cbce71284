"""Tools from the source of functions: the same as from the functions themselves, and nothing of it runs."""

from __future__ import annotations

import inspect
import textwrap
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from edgefc.errors import ToolError
from edgefc.tools import tool
from edgefc.tools.examples import EXAMPLE_TOOLS
from edgefc.tools.python_source import MAX_SOURCE, read_functions

SOURCE = '''
from typing import Annotated, Literal, Optional
from pydantic import Field
import datetime, typing as t

async def search(
    words: list[str], /, limit: Annotated[int, Field(ge=1, le=50, description="At most")] = 10,
) -> None: ...

def _helper(x): ...

def book(
    hotel: "str", day: datetime.date, nights: int = 1, *, extras: dict[str, bool | None] | None = None,
    view: Optional[Literal["sea", "town", -1]] = None, at: Annotated[t.Tuple[float, float], "Where"] = (0.5, -1.0),
) -> dict:
    """Book a room.

    Args:
        hotel: Its name
        nights: How many
    """
    raise SystemExit("it ran")
'''


def schemas(source: str) -> list[Any]:
    return [each.schema for each in read_functions(source)]


def test_examples_read_from_their_source_are_those_that_were_imported() -> None:
    source = "\n".join(textwrap.dedent(inspect.getsource(each.function)) for each in EXAMPLE_TOOLS)
    assert schemas(source) == [each.schema for each in EXAMPLE_TOOLS]


def test_hints_are_read_as_python_reads_them() -> None:
    source = SOURCE.replace(", /,", ",").replace(", -1]", "]")
    space: dict[str, Any] = {}
    exec(compile(source, "source", "exec"), space)
    assert schemas(source) == [tool(space["search"]).schema, tool(space["book"]).schema]


def test_nothing_runs(tmp_path: Path) -> None:
    mark = tmp_path / "ran"
    run = f"__import__('pathlib').Path({str(mark)!r}).touch()"
    (found,) = schemas(f"{run}\n@({run})\ndef f(x: int = {run}, y: str = 'a') -> {run}:\n    {run}\n")
    assert found["function"]["parameters"]["required"] == []
    for hint in (run, f"Literal[{run}]", f"Annotated[int, Field(pattern={run})]", f"list[{run}]", repr(run)):
        with suppress(ToolError):
            read_functions(f"def f(x: {hint}): ...")
    assert not mark.exists()


def test_a_signature_alone() -> None:
    for text in ("def f(x: int)", "def f(x: int) -> str:", "def f(x: int)  \n"):
        assert schemas(text) == schemas("def f(x: int): ...")


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("def f(:", "line 1"), ("x = 1", "no function"), ("def _f(x: int): ...", "no function"), ("def f(x): ...", "missing type hint"),
        ("def f(x: City): ...", "f(x): unknown type 'City'"), ("def f(x: list[int, str]): ...", "unknown type"),
        ("def f(*x: int): ...", "not supported"), ("def f(x: int, /): ...", "not supported"), ("def f(x: 'a b'): ...", "unknown type"),
        ("def f(x: Literal[1.5]): ...", "unknown type"), ("def f(x: int, x: int): ...", "x"), ("def f(x: str | foo()): ...", "unknown type"),
        ("def f(x: " + "list[" * 3000 + "int" + "]" * 3000 + "): ...", ""), ("#" * (MAX_SOURCE + 1), "characters"), ("a\0b", "null"),
        ('def f(x: str = "\\ud800"): ...', "half a character"), ('def f(x: int):\n  "\\ud800"', "half a character"), ('def f(x: "\\ud800"): ...', "unknown type"),
        ("def f(x: Annotated[str, Field(pattern='(')]): ...", "unclosed group"), ("def f(x: Annotated[int, Field(ge='a')]): ...", "f"),
    ],
    ids=lambda text: text[:30],
)  # fmt: skip
def test_mistakes(source: str, reason: str) -> None:
    with pytest.raises(ToolError) as caught:
        read_functions(source)
    assert reason in caught.value.reason
