"""The tools that a question needs, of many."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

import edgefc
from edgefc.chat import openai
from edgefc.chat.tool_budget import budget_of
from edgefc.errors import RequestError, SchemaError
from edgefc.tools import ToolSet
from edgefc.tools.examples import EXAMPLE_TOOLS
from edgefc.tools.remote import RemoteTool, ServerTool
from edgefc.tools.selection import MAX_SELECTED, ToolIndex, ToolSelection, select_tools
from edgefc.types import Message

THINGS = "invoice tenant printer shelf parcel contract ledger warehouse payroll coupon badge vehicle".split()
ACTS = ("create", "delete", "list")


def tool(name: str, description: str = "", properties: Any = None) -> Any:
    schema = {"type": "object", "properties": properties or {}}
    return {"type": "function", "function": {"name": name, "description": description, "parameters": schema}}


MANY = [
    tool(f"{act}_{thing}", f"{act.title()} a {thing} of the company's records",
         {f"{thing}_id": {"type": "string", "description": f"Number of the {thing}"}})
    for thing in THINGS for act in ACTS
]  # fmt: skip


def select(tools: Sequence[Any], *questions: str, budget: int = 350, **always: str) -> ToolSelection:
    toolset = ToolSet.of(tools)
    return select_tools(toolset, questions, always, [50] * len(toolset), budget)


def remote(name: str, server: str) -> RemoteTool:
    source = ServerTool(server, name, f"{name.replace('_', ' ')} of {server}", {"type": "object"}, False, False, "")
    return RemoteTool(name, source, lambda: "")


@pytest.mark.parametrize(
    ("question", "best"),
    [
        ("Please remove nothing, but delete two contracts", "delete_contract"),
        ("LISTING all printers", "list_printer"),
        ("the payrollId is 7: create it", "create_payroll"),
    ],
)
def test_words_are_found_whatever_their_ending_and_case(question: str, best: str) -> None:
    selection = select(MANY, question)
    assert selection.tools[best] == "rank 1"
    assert len(selection.tools) == MAX_SELECTED
    assert list(selection.tools) == [name for name in ToolSet.of(MANY).names if name in selection.tools]
    assert (selection.total, selection.tokens) == (36, 1800)


def test_of_large_tools_fewer_are_shown() -> None:
    assert len(select(MANY, "Delete the coupon", budget=260).tools) == 5
    assert len(select(MANY, "Delete the coupon", budget=60).tools) == 3
    assert select(MANY, "Delete the coupon", budget=60).tools["delete_coupon"] == "rank 1"


def test_names_parameters_and_scripts_without_spaces_are_divided_into_words() -> None:
    tools = [
        tool("sendMailTo"), tool("HTTPServer.restart"), tool("x", properties={"a": {"anyOf": [{"enum": ["sepia"]}]}}),
        tool("y", properties={"list": {"items": {"properties": {"zip-code": {"description": "Größe"}}}}}),
        tool("z", "查询城市的天气"),
    ]  # fmt: skip
    index = ToolIndex(ToolSet.of(tools))
    for question, number in [
        ("mail", 0),
        ("restarted servers", 1),
        ("in sepia", 2),
        ("zip", 3),
        ("größe", 3),
        ("北京天气", 4),
    ]:
        assert index.best(question) == [number], question
    assert not index.best("What is it? 17")


def test_addresses_and_names_of_files_and_servers_are_words() -> None:
    tools = [tool("open_page", "Opens a URL"), tool("write", "Sends an email"), tool("read", "Reads a file")]
    index = ToolIndex(ToolSet.of(tools), ["", "notion", ""])
    questions = [
        ("Look at https://x.org/a", 0),
        ("bo@x.org", 1),
        ("in Notion", 1),
        ("a/notes.txt", 2),
        ("v1.5, 3.14", None),
    ]
    for question, number in questions:
        assert index.best(question) == ([] if number is None else [number]), question


def test_what_was_called_or_chosen_stays_and_rounds_have_the_same_tools() -> None:
    question = "Which badges are there?"
    before = select(MANY, question)
    after = select(MANY, question, list_badge="called before")
    assert list(after.tools) == list(before.tools)
    assert after.tools["list_badge"] == "called before"
    other = select(MANY, question, delete_vehicle="in tool_choice")
    assert set(other.tools) == {*before.tools, "delete_vehicle"}


def test_the_next_question_changes_the_tools_only_if_it_needs_others() -> None:
    first = select(MANY, "Delete the coupon")
    assert select(MANY, "Delete the coupon", "Hm, and the other one?").tools == first.tools
    assert select(MANY, "Delete the coupon", "Now create a coupon").tools == first.tools
    assert "create_vehicle" in select(MANY, "Delete the coupon", "Create a vehicle").tools


def test_questions_with_hardly_a_word_of_any_tool_get_what_fits() -> None:
    names = ToolSet.of(MANY).names
    assert list(select(MANY, "Bonjour", budget=520).tools) == list(names[:10])
    assert len(select(MANY, "Bonjour", budget=1).tools) == MAX_SELECTED
    few = select(MANY, "Bonjour, vehicle", budget=520)
    assert list(few.tools) == [*names[:7], *(f"{act}_vehicle" for act in ACTS)]
    both = select(MANY, "Delete the coupon", "vehicle", budget=520)
    assert set(both.tools) == {*select(MANY, "Delete the coupon").tools, *(f"{act}_vehicle" for act in ACTS)}


def test_a_server_whose_tools_fit_is_shown_whole() -> None:
    files = [remote(f"{act}_file", "files") for act in "read write move copy find stat link chmod touch".split()]
    whole = select([*MANY, *files], "Copy this file", budget=500)
    assert list(whole.tools) == [file.name for file in files]
    part = select([*MANY, *files], "Copy this file", budget=400)
    assert len(part.tools) == MAX_SELECTED
    assert part.tools["copy_file"] == "rank 1"


def test_tools_of_any_shape_are_read() -> None:
    deep: Any = {"type": "string"}
    for _ in range(100):
        deep = {"type": "object", "properties": {"inner": deep}, "description": "needle" * 3}
    wide = {f"p{number}": {"type": "string", "description": "word " * 50} for number in range(3000)}
    odd = {"a": True, "b": {"enum": [1, None, "needle"], "items": [{"description": 3}], "properties": []}}
    index = ToolIndex(
        [tool("deep", properties={"d": deep}), tool("wide", properties=wide), tool("odd", properties=odd)]
    )
    assert index.best("needle") == [2]
    assert index.best("x" * 100_000) == []


# -- a model ------------------------------------------------------------------------------------------------------------
WEATHER: list[Message] = [{"role": "user", "content": "What's the weather in Paris?"}]
TOOLS = [*MANY[:18], *(example.schema for example in EXAMPLE_TOOLS), *MANY[18:]]


def test_the_model_is_shown_the_selected_tools_alone() -> None:
    with edgefc.load("demo") as model:
        reply = model.chat(WEATHER, tools=TOOLS, tool_budget=500, temperature=0)
        prompt = model.prompt(WEATHER, TOOLS, tool_budget=500)
        everything = model.prompt(WEATHER, TOOLS, tool_budget=0)
        assert reply.calls[0].name == "get_weather"
        assert reply.selection is not None
        assert reply.selection.total == len(TOOLS)
        assert reply.selection.tools["get_weather"] == "rank 1"
        assert reply.usage["prompt_tokens"] == len(prompt.ids) < len(everything.ids) / 3
        assert [name for name in ToolSet.of(TOOLS).names if name in prompt.text] == list(reply.selection.tools)
        assert "of 42 tools are shown: " in reply.selection.describe()
        (extension,) = [choice["x_edgefc"] for choice in openai.completion(openai.head("demo"), [reply])["choices"]]
        assert extension["tool_selection"]["total"] == len(TOOLS)
        assert model.chat(WEATHER, tools=TOOLS[:4], tool_budget=1, max_tokens=1).selection is None  # so few are shown


def test_all_rounds_of_a_question_begin_with_the_same_prompt() -> None:
    seen: list[Any] = []
    with edgefc.load("demo") as model:
        tools = [*MANY, *EXAMPLE_TOOLS]
        first: Any = {"type": "function", "function": {"name": "get_time"}}
        result = model.run(
            "What's the weather in Paris?", tools=tools, tool_budget=500, tool_choice=first, on_reply=seen.append
        )
    assert result.rounds > 1
    assert [reply.selection.tools.keys() for reply in seen] == [seen[0].selection.tools.keys()] * len(seen)
    assert seen[0].calls[0].name == "get_time"
    assert seen[1].stats.cached_tokens >= seen[0].usage["prompt_tokens"] - 2


def test_tool_choice_and_errors_name_tools_as_the_caller_does() -> None:
    with edgefc.load("demo") as model:
        allowed: Any = {"type": "allowed_tools", "mode": "required", "tools": [{"name": "roll_dice"}]}
        reply = model.chat(WEATHER, tools=TOOLS, tool_budget=500, tool_choice=allowed, temperature=0)
        assert reply.calls[0].name == "roll_dice"
        assert reply.selection is not None
        assert reply.selection.tools["roll_dice"] == "in tool_choice"
        bad = [*MANY, tool("get_weather", "The weather", {"city": {"type": "colour"}})]
        with pytest.raises(SchemaError, match=r"^tools\[36\]\.function"):
            model.chat(WEATHER, tools=bad, tool_budget=500)
        assert model.chat(WEATHER, tools=bad, tool_budget=500, on_unsupported="omit", max_tokens=1).omitted
        for value in (-2, True, 1.5):
            with pytest.raises(RequestError, match="tool_budget"):
                model.chat(WEATHER, tools=TOOLS, tool_budget=value)  # type: ignore[arg-type]
        assert budget_of({}, model.engine) == budget_of({"tool_budget": -1}, model.engine) >= 512
