"""Conversations: every spelling of OpenAI's is accepted, and every error names its message."""

from __future__ import annotations

import json
from typing import Any

import pytest

from edgefc.errors import RequestError
from edgefc.formats.canonical import canonicalize

USER = {"role": "user", "content": "hi"}


def calls(*ids: str, arguments: Any = "{}") -> dict[str, Any]:
    return {
        "role": "assistant",
        "content": None,
        "tool_calls": [
            {"id": i, "type": "function", "function": {"name": f"f{i}", "arguments": arguments}} for i in ids
        ],
    }


def result(call_id: str) -> dict[str, Any]:
    return {"role": "tool", "tool_call_id": call_id, "content": f"r{call_id}"}


BAD: dict[str, tuple[Any, str]] = {
    "a string": ("hello", "messages"),
    "empty": ([], "messages"),
    "unknown role": ([{"role": "robot", "content": ""}], "messages[0].role"),
    "no content": ([{"role": "user"}], "messages[0].content"),
    "number as content": ([{"role": "user", "content": 5}], "messages[0].content"),
    "image part": ([{"role": "user", "content": [{"type": "image_url"}]}], "messages[0].content[0]"),
    "half a surrogate pair": ([{"role": "user", "content": "\ud800"}], "messages[0].content"),
    "no result at the end": ([USER, calls("1")], "messages"),
    "infinite argument": (
        [USER, calls("1", arguments={"a": float("inf")}), result("1")],
        "messages[1].tool_calls[0].function.arguments",
    ),
    "half a pair in arguments": (
        [USER, calls("1", arguments='{"a": "\\ud800"}'), result("1")],
        "messages[1].tool_calls[0].function.arguments",
    ),
    "required_functions a number": (
        [USER, {"role": "assistant", "content": "x", "required_functions": 5}],
        "messages[1].required_functions",
    ),
    "not an object": ([USER, 7], "messages[1]"),
    "function_call a string": ([USER, {"role": "assistant", "function_call": "f"}], "messages[1].function_call"),
}


@pytest.mark.parametrize(("messages", "path"), BAD.values(), ids=BAD.keys())
def test_an_error_has_the_path_of_the_mistake(messages: Any, path: str) -> None:
    with pytest.raises(RequestError) as caught:
        canonicalize(messages)
    assert caught.value.param == path


def test_results_get_their_tools_name_and_the_order_of_the_calls() -> None:
    messages = canonicalize([USER, calls("1", "2", "3"), result("3"), result("1"), result("2")])
    assert [(m["name"], m["content"]) for m in messages[2:]] == [("f1", "r1"), ("f2", "r2"), ("f3", "r3")]


def test_argument_strings_become_objects_and_text_parts_one_string() -> None:
    parts = {"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]}
    messages = canonicalize([parts, calls("1", arguments='{"x": [1]}'), result("1")])
    assert messages[0]["content"] == "a\nb"
    assert messages[1]["tool_calls"][0]["arguments"] == {"x": [1]}


def test_the_older_function_call_and_its_result_are_a_tool_call_and_its_result() -> None:
    legacy_call = {"role": "assistant", "content": None, "function_call": {"name": "f1", "arguments": '{"x": 1}'}}
    older = canonicalize([USER, legacy_call, {"role": "function", "name": "f1", "content": "r1"}])
    newer = canonicalize([USER, calls("1", arguments='{"x": 1}'), result("1")])
    for message in (older[2], newer[2], *older[1]["tool_calls"], *newer[1]["tool_calls"]):
        del message["id"]
    assert older == newer
    without_content = {key: value for key, value in legacy_call.items() if key != "content"}
    assert canonicalize([USER, without_content, {"role": "function", "name": "f1", "content": "r1"}])


def assistant(**fields: Any) -> dict[str, Any]:
    return {"role": "assistant", **fields}


def tool(content: Any, **fields: Any) -> dict[str, Any]:
    return {"role": "tool", "content": content, **fields}


def function(name: str, arguments: Any = "{}", **fields: Any) -> dict[str, Any]:
    return {"type": "function", "function": {"name": name, "arguments": arguments}, **fields}


AB = assistant(tool_calls=[function("a", id="1"), function("b", id="2")])
# Histories, and the results that each call gets.
PAIRED: dict[str, tuple[list[Any], list[tuple[str, str]]]] = {
    "ids": ([AB, tool("B", tool_call_id="2"), tool("A", tool_call_id="1")], [("a", "A"), ("b", "B")]),
    "no ids": ([assistant(tool_calls=[function("a"), function("b")]), tool("A"), tool("B")], [("a", "A"), ("b", "B")]),
    "unknown ids": ([AB, tool("A", tool_call_id="x"), tool("B", tool_call_id="y")], [("a", "A"), ("b", "B")]),
    "an unknown id before a known one": (
        [AB, tool("B", tool_call_id="x"), tool("A", tool_call_id="1")],
        [("a", "A"), ("b", "B")],
    ),
    "ids that are no text": ([AB, tool("A", tool_call_id=["1"]), tool("B", tool_call_id=7)], [("a", "A"), ("b", "B")]),
    "equal ids": (
        [assistant(tool_calls=[function("a", id="1"), function("b", id="1")]), tool("A", tool_call_id="1"),
         tool("B", tool_call_id="1")],
        [("a", "A"), ("b", "B")],
    ),
    "names": ([AB, tool("B", name="b"), tool("A", tool_name="a")], [("a", "A"), ("b", "B")]),
    "a result twice": (
        [AB, tool("A", tool_call_id="1"), tool("B", tool_call_id="2"), tool("A2", tool_call_id="1")],
        [("a", "A\nA2"), ("b", "B")],
    ),
    "no result": ([AB, USER], [("a", "(no result)"), ("b", "(no result)")]),
    "one result": ([AB, tool("B", tool_call_id="2")], [("a", "(no result)"), ("b", "B")]),
    "a result after the next question": (
        [AB, tool("A", tool_call_id="1"), USER, tool("B", tool_call_id="2")],
        [("a", "A"), ("b", "B")],
    ),
    "a result without a call": ([tool("R", tool_call_id="9", name="f")], [("f", "R")]),
    "an empty call and its result": ([assistant(tool_calls=[{}, None, function("")]), tool("R")], [("unknown", "R")]),
    "the older API": ([assistant(function_call={"name": "f"}), {"role": "function", "name": "g", "content": "R"}], [("f", "R")]),
    "Ollama": ([assistant(tool_calls=[{"function": {"name": "a", "arguments": {}}}]), tool("A", tool_name="a")], [("a", "A")]),
    "LangChain": (
        [{"role": "ai", "content": "", "tool_calls": [{"name": "a", "args": {}, "id": "1", "type": "tool_call"}]},
         tool("A", tool_call_id="1", status="success", artifact=None)],
        [("a", "A")],
    ),
    "the AI SDK": (
        [assistant(content=[{"type": "tool-call", "toolCallId": "1", "toolName": "a", "input": {}}]),
         tool([{"type": "tool-result", "toolCallId": "1", "toolName": "a", "output": {"type": "json", "value": {"n": 1}}}])],
        [("a", '{"n": 1}')],
    ),
    "Anthropic": (
        [assistant(content=[{"type": "text", "text": "I look"}, {"type": "tool_use", "id": "1", "name": "a", "input": {}}]),
         {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "1", "content": [{"type": "text", "text": "A"}]},
                                      {"type": "text", "text": "And now?"}]}],
        [("a", "A")],
    ),
    "a custom tool": ([assistant(tool_calls=[{"type": "custom", "id": "1", "custom": {"name": "a", "input": "x"}}]), tool("A")], [("a", "A")]),
}  # fmt: skip


@pytest.mark.parametrize(("messages", "results"), PAIRED.values(), ids=PAIRED.keys())
def test_results_find_their_calls(messages: list[Any], results: list[tuple[str, str]]) -> None:
    read = canonicalize([USER, *messages])
    assert [(m["name"], m["content"]) for m in read if m["role"] == "tool"] == results
    ids = [call["id"] for m in read for call in m.get("tool_calls", ())]
    assert [m["id"] for m in read if m["role"] == "tool"] == ids
    assert len(set(ids)) == len(ids)
    number = next(n for n, m in enumerate(read) if "tool_calls" in m)
    assert [m["role"] for m in read[number + 1 :]][: len(ids)] == ["tool"] * len(ids), "results follow their calls"


ARGUMENTS: list[tuple[Any, dict[str, Any]]] = [
    ('{"location": ', {}),
    ('{"location": "Ro', {"location": "Ro"}),
    ('{"a": 1, "b": [1, {"c": "x\\', {"a": 1, "b": [1, {"c": "x"}]}),
    ('{"a": 12', {"a": 12}),
    ('{"a": tr', {}),
    ('{"a": 1, "b', {"a": 1}),
    ("{oops", {}),
    ("", {}),
    (None, {}),
    ("[]", {}),
    ([], {}),
    ("null", {}),
    ("[1]", {"input": [1]}),
    ("ls -l", {"input": "ls -l"}),
    ('"{\\"a\\": 1}"', {"a": 1}),
    ('{"a": NaN}', {"a": None}),
    ({"a": 1}, {"a": 1}),
]


@pytest.mark.parametrize(("written", "read"), ARGUMENTS, ids=[str(written) for written, _ in ARGUMENTS])
def test_arguments_that_were_cut_keep_what_they_have(written: Any, read: dict[str, Any]) -> None:
    (call,) = canonicalize([USER, assistant(tool_calls=[function("f", written)]), tool("r")])[1]["tool_calls"]
    assert call["arguments"] == read
    assert json.loads(call["arguments_text"]) == read or written == '{"a": NaN}'


CONTENTS: list[tuple[dict[str, Any], str]] = [
    (assistant(content=None), ""),
    (assistant(), ""),
    (assistant(content=None, tool_calls=[]), ""),
    (assistant(content=None, tool_calls={}, function_call=None), ""),
    (assistant(content=None, refusal="No."), "No."),
    (assistant(content=[{"type": "output_text", "text": "a"}, {"type": "refusal", "refusal": "b"}]), "a\nb"),
    (assistant(content=[{"type": "thinking", "thinking": "?"}, {"type": "text", "text": "a"}]), "a"),
    (assistant(content=[]), ""),
    ({"role": "user", "content": ["a", {"text": "b"}, None, {"type": "input_text", "text": "c"}]}, "a\nb\nc"),
    ({"role": "user", "content": {"type": "text", "text": "a"}}, "a"),
    ({"role": "System", "content": "s"}, "s"),
    (tool(None), ""),
    (tool({"temperature": 18}), '{"temperature": 18}'),
    (tool([{"city": "Rome"}]), '[{"city": "Rome"}]'),
    (tool(18.5), "18.5"),
    (tool([{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]), "a\nb"),
    (tool({"content": [{"type": "text", "text": "a"}], "isError": False}), "a"),
    (tool([]), "[]"),
]


@pytest.mark.parametrize(("message", "text"), CONTENTS, ids=[str(message) for message, _ in CONTENTS])
def test_content_is_text_whatever_its_form(message: dict[str, Any], text: str) -> None:
    assert canonicalize([USER, message])[-1]["content"] == text


def test_a_system_message_without_content_is_none() -> None:
    assert [m["role"] for m in canonicalize([{"role": "system", "content": None}, USER])] == ["user"]


@pytest.mark.parametrize("part", [{"type": "image_url", "image_url": {"url": "x"}}, {"type": "input_audio"}])
def test_media_are_refused_in_results_too(part: Any) -> None:
    with pytest.raises(RequestError, match="only parts of type text"):
        canonicalize([USER, calls("1"), tool([{"type": "text", "text": "a"}, part], tool_call_id="1")])


def test_a_developer_message_is_a_system_message() -> None:
    assert canonicalize([{"role": "developer", "content": "d"}, USER])[0]["role"] == "system"
