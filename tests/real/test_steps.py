"""What comes after results of calls: an answer where nothing is left to do, else the next call."""

from __future__ import annotations

from typing import Any

import pytest

import edgefc
from tests.real.conftest import find_model
from tests.real.step_cases import ANSWERED, UNFINISHED, Step, tools_of


def next_tool(model: edgefc.Model, step: Step) -> str:
    messages: Any = step.messages
    reply = model.chat(messages, tools=tools_of(step), temperature=0, max_tokens=160)
    return reply.calls[0].name if reply.tool_calls else ""


# Of 11 and 10 conversations: docs/accuracy.md.
@pytest.mark.parametrize(("name", "answered", "unfinished"), [("0.5b", 10, 6), ("1.5b", 10, 8)])
def test_a_model_stops_when_it_has_the_results_and_goes_on_when_it_has_not(
    name: str, answered: int, unfinished: int
) -> None:
    with edgefc.load(find_model(f"qwen2.5-coder-{name}"), family="json-list", n_ctx=2048) as model:
        stopped = [step.question for step in ANSWERED if not next_tool(model, step)]
        went_on = [step.question for step in UNFINISHED if next_tool(model, step) == step.next_tool]
    print(len(stopped), len(went_on))
    assert len(stopped) >= answered
    assert len(went_on) >= unfinished
