"""Conversations: every spelling of OpenAI's is accepted, and every error names its message."""

from __future__ import annotations

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
    "arguments not JSON": (
        [USER, calls("1", arguments="{oops"), result("1")],
        "messages[1].tool_calls[0].function.arguments",
    ),
    "arguments a list": (
        [USER, calls("1", arguments="[]"), result("1")],
        "messages[1].tool_calls[0].function.arguments",
    ),
    "same id twice": ([USER, calls("1", "1")], "messages[1].tool_calls[1].id"),
    "orphan result": ([USER, result("9")], "messages[1].tool_call_id"),
    "result twice": ([USER, calls("1"), result("1"), result("1")], "messages[3].tool_call_id"),
    "missing result": ([USER, calls("1", "2"), result("1"), USER], "messages[3]"),
    "no result at the end": ([USER, calls("1")], "messages"),
    "infinite argument": (
        [USER, calls("1", arguments={"a": float("inf")}), result("1")],
        "messages[1].tool_calls[0].function.arguments",
    ),
    "half a pair in arguments": (
        [USER, calls("1", arguments='{"a": "\\ud800"}'), result("1")],
        "messages[1].tool_calls[0].function.arguments",
    ),
    "id a list": (
        [USER, calls("1"), {"role": "tool", "tool_call_id": ["1"], "content": ""}],
        "messages[2].tool_call_id",
    ),
    "required_functions a number": (
        [USER, {"role": "assistant", "content": "x", "required_functions": 5}],
        "messages[1].required_functions",
    ),
    "not an object": ([USER, 7], "messages[1]"),
    "function_call a string": ([USER, {"role": "assistant", "function_call": "f"}], "messages[1].function_call"),
    "result of no function": ([USER, {"role": "function", "name": "f", "content": "r"}], "messages[1].name"),
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
    assert messages[0]["content"] == "ab"
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


def test_a_developer_message_is_a_system_message() -> None:
    assert canonicalize([{"role": "developer", "content": "d"}, USER])[0]["role"] == "system"
