"""Soundness of the conversations that edgefc-mini is trained on."""

from __future__ import annotations

import json
import random
from collections import Counter
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from edgefc.evaluation.suites import load_cases
from mini import suite
from mini.conversations import MAX_CHARACTERS, SHARES, Conversation, generate, generate_group
from mini.functions import HAND, FunctionError, read
from mini.toolbox import BANKS
from mini.values import HINTS

COUNT = 1500


@pytest.fixture(scope="module", params=[False, True], ids=["training", "held back"])
def conversations(request: pytest.FixtureRequest) -> list[Conversation]:
    rng = random.Random(5)
    groups = [generate_group(rng, held_back=request.param) for _ in range(COUNT // 4)]
    return [
        *(generate(rng, held_back=request.param) for _ in range(COUNT)),
        *(one for group in groups for one in group),
    ]


@pytest.fixture(scope="module")
def training() -> list[Conversation]:
    rng = random.Random(6)
    return [generate(rng) for _ in range(COUNT)]


def calls_of(conversation: Conversation) -> list[dict[str, Any]]:
    return [call["function"] for message in conversation.messages for call in message.get("tool_calls") or ()]


def test_every_call_fits_its_tools_schema(conversations: list[Conversation]) -> None:
    for conversation in conversations:
        tools = {tool["function"]["name"]: tool["function"]["parameters"] for tool in conversation.tools}
        assert len(tools) == len(conversation.tools)
        for schema in tools.values():
            Draft202012Validator.check_schema(schema)
        for call in calls_of(conversation):
            schema = {**tools[call["name"]], "additionalProperties": False}
            Draft202012Validator(schema).validate(call["arguments"])


def test_no_slot_is_left_unfilled(conversations: list[Conversation]) -> None:
    for conversation in conversations:
        for message in conversation.messages:
            if message["role"] in {"user", "assistant", "system"} and message.get("content"):
                assert "{" not in message["content"], message["content"]
                assert "}" not in message["content"], message["content"]


def test_texts_are_copied_or_their_format_is_told(conversations: list[Conversation]) -> None:
    hints = [hint for group in HINTS.values() for hint in group]
    for conversation in conversations:
        parameters = {tool["function"]["name"]: tool["function"]["parameters"] for tool in conversation.tools}
        seen = ""
        for message in conversation.messages:
            for call in message.get("tool_calls") or ():
                name, arguments = call["function"]["name"], call["function"]["arguments"]
                for label, value in arguments.items():
                    schema = parameters[name]["properties"][label]
                    if isinstance(value, str) and "enum" not in schema and value.lower() not in seen.lower():
                        told = schema["description"]
                        assert value in told or any(hint in told for hint in hints), (label, value, seen)
            seen += str(message.get("content"))


def test_most_numbers_stand_in_the_conversation(training: list[Conversation]) -> None:
    """The others are said in words, or in another unit that the description tells."""
    found = total = 0
    for conversation in training:
        seen = "".join(str(message.get("content")) for message in conversation.messages).replace(",", "")
        for call in calls_of(conversation):
            numbers = [value for value in call["arguments"].values() if isinstance(value, int | float)]
            total += len(numbers)
            found += sum(isinstance(value, bool) or str(value) in seen for value in numbers)
    assert found > 0.75 * total > 300


def test_the_shares_of_kinds(training: list[Conversation]) -> None:
    kinds = Counter(conversation.kind for conversation in training)
    assert sum(SHARES.values()) == 100
    assert kinds.keys() == SHARES.keys()
    for kind, share in SHARES.items():
        assert abs(kinds[kind] / COUNT * 100 - share) < 4, kind


def test_roles_alternate_and_the_last_message_is_a_target(conversations: list[Conversation]) -> None:
    for conversation in conversations:
        roles = [message["role"] for message in conversation.messages if message["role"] != "system"]
        assert roles[0] == "user"
        assert roles[-1] == "assistant"
        for before, after in pairwise(roles):
            assert (before, after) in {
                ("user", "assistant"), ("assistant", "user"), ("assistant", "tool"), ("tool", "tool"),
                ("tool", "assistant"),
            }  # fmt: skip


def test_conversations_are_repeatable_and_bounded(training: list[Conversation]) -> None:
    rng = random.Random(6)
    assert [generate(rng) for _ in range(100)] == training[:100]
    sizes = [len(json.dumps([conversation.tools, conversation.messages])) for conversation in training]
    assert max(sizes) <= MAX_CHARACTERS
    assert sum(sizes) / COUNT < 1800


def test_conversations_are_distinct(training: list[Conversation]) -> None:
    asked = {json.dumps([conversation.tools, conversation.messages]) for conversation in training}
    assert len(asked) >= 0.98 * COUNT


def test_held_back_functions_are_not_in_training() -> None:
    sides = {held_back: {name for function in bank.hand + bank.demo for name in function.names}
             for held_back, bank in BANKS.items()}  # fmt: skip
    assert not sides[True] & sides[False]
    names = Counter(name for function in HAND for name in function.names)
    assert not [name for name, times in names.items() if times > 1]


@pytest.mark.parametrize(
    ("params", "reason"),
    [
        ('size = "size! 1..3"', "unknown type"),
        ('size = "int!"', "no source of values"),
        ('width = "int! 1..3"', "slot 'size' without a parameter"),
        ('size = "int! 1..3"\ncolour = "str! red; blue"', "no request has all required parameters"),
    ],
)
def test_a_malformed_function_is_named(tmp_path: Path, params: str, reason: str) -> None:
    text = '[[function]]\nname = "draw"\nabout = ["Draw"]\nrequests = ["draw {size}"]\n[function.params]\n'
    (tmp_path / "shapes.toml").write_text(text + params, encoding="utf-8")
    with pytest.raises(FunctionError, match=f"shapes.toml: draw: .*{reason}"):
        list(read(tmp_path))


def test_conversations_of_a_group_begin_alike_and_ask_for_different_things() -> None:
    rng = random.Random(7)
    sizes: Counter[int] = Counter()
    for _ in range(300):
        group = generate_group(rng)
        sizes[len(group)] += 1
        assert all(one.tools == group[0].tools for one in group)
        systems = [[m for m in one.messages if m["role"] == "system"] for one in group]
        assert all(each == systems[0] for each in systems)
    assert sizes[4] > 60
    assert sizes[1] < 30


def test_held_back_cases_are_read_by_eval(tmp_path: Path) -> None:
    file = tmp_path / "suite.jsonl"
    file.write_text("\n".join(json.dumps(entry) for entry in suite.entries(6, seed=3)))
    cases = load_cases("demo", file)
    assert Counter(case.category for case in cases) == {
        "hand_written": 12, "parallel": 6, "no_tool": 6, "clarify": 6, "multi_turn": 6
    }  # fmt: skip
    assert all(case.messages[-1]["role"] in {"user", "tool"} for case in cases)
