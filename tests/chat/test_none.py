"""None means not given, and a misspelt option is named with the nearest one."""

from __future__ import annotations

from typing import Any

import pytest

import edgefc

PARIS: list[Any] = [{"role": "user", "content": "What is the weather in Paris?"}]
TOOL: dict[str, Any] = {
    "name": "get_weather", "description": "Get the current weather for a city",
    "parameters": {"type": "object", "properties": {"location": {"type": "string"}}, "required": ["location"]},
}  # fmt: skip


def test_none_is_not_given_anywhere() -> None:
    nothing: dict[str, Any] = dict.fromkeys(edgefc.ChatOptions.__annotations__)
    with edgefc.load("demo", n_threads=1, n_ctx=None, n_parallel=None, family=None, prefix_disk=None) as model:
        given = model.chat(PARIS, tools=[TOOL], stream=None, **nothing)
        assert [call.arguments for call in given.calls] == [{"location": "Paris"}]
        assert model.chat(PARIS, tools=None, **nothing).outcome == "answer"
        tool = edgefc.tool(lambda: "18 C", name="get_weather", description=None, timeout=None)
        assert model.run("Hello!", tools=[tool], system=None, max_rounds=None, **nothing).outcome == "answer"
        assert model.complete("Hello", **{**nothing, "max_tokens": 2}).completion.finish_reason == "length"
        assert model.warm(tools=[TOOL], system=None, tool_choice=None).tokens > 0


@pytest.mark.parametrize("method", ["chat", "request", "prompt"])
def test_a_misspelt_option_is_named(method: str) -> None:
    with edgefc.load("demo", n_threads=1) as model, pytest.raises(TypeError, match=r"'temprature'.*'temperature'"):
        getattr(model, method)(PARIS, temprature=0.5)
