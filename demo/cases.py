"""Held-back cases of the demo model, by category; `python -m demo.suite` writes them for `edgefc eval`.

Held back are tools (marked in `data/tools/`, and every seventh object of made-up ones), values (every seventh of each
list, and other invented words) and sentences.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from demo.generate import KINDS
from demo.paraphrases import PARAPHRASES
from demo.tools import CONCEPTS, EXAMPLES, Tool, make_tool
from demo.writer import Message, Writer
from edgefc.tools.examples import EXAMPLE_TOOLS

BASE_SEED = 3 * 10**9  # far from every training seed


@dataclass(frozen=True)
class Case:
    """A conversation and the assistant message that should follow."""

    messages: list[Message]
    tools: list[dict[str, Any]]
    expected: Message


def to_openai(messages: list[Message]) -> list[Message]:
    """Generated messages in OpenAI's form."""
    result: list[Message] = []
    pending: list[str] = []  # ids of calls without a result
    for number, message in enumerate(messages):
        if calls := message.get("tool_calls"):
            pending = [f"c{number}_{i}" for i in range(len(calls))]
            functions = [{"name": call["name"], "arguments": json.dumps(call["arguments"])} for call in calls]
            entries = [
                {"id": call_id, "type": "function", "function": function}
                for call_id, function in zip(pending, functions, strict=True)
            ]
            result.append({"role": "assistant", "content": None, "tool_calls": entries})
        elif message["role"] == "tool":
            result.append({**message, "tool_call_id": pending.pop(0)})
        else:
            keys = {"role", "content", "required_functions"}
            result.append({key: value for key, value in message.items() if key in keys})
    return result


def cases(category: str, count: int) -> Iterator[Case]:
    """At most `count` cases of a category; only of `paraphrases` there can be fewer."""
    if category == "paraphrases":
        schemas = [dict(tool.schema) for tool in EXAMPLE_TOOLS]
        for text, calls in PARAPHRASES[:count]:
            yield Case([{"role": "user", "content": text}], schemas, {"tool_calls": calls})
        return
    seed = BASE_SEED + sum(map(ord, category)) * 10**6
    while count:
        seed += 1
        tools, turns = _conversation(category, seed)
        index = _answer_index(category, turns)
        if index is not None and _matches_source(category, turns[index]):
            count -= 1
            yield Case(turns[:index], [tool.schema for tool in tools], turns[index])


def _conversation(category: str, seed: int) -> tuple[list[Tool], list[Message]]:
    """One turn; for `multi_turn` a second one, if the first ends with an answer."""
    writer = Writer(seed, held_back=True)
    if category == "examples":
        tools = [make_tool(writer.rng, concept, exact=True) for concept in EXAMPLES]
        return tools, writer.turn("single", tools)
    tools = writer.pick_tools()
    turns = writer.turn(category if category in KINDS else "single", tools)
    if category == "multi_turn":
        last = turns[-1]
        if last["role"] != "assistant" or "content" not in last or last.get("required_functions"):
            return tools, []
        turns += writer.turn("single", tools)
    return tools, turns


def _answer_index(category: str, turns: list[Message]) -> int | None:
    """Index of the message that a case expects, or None if these turns are no case of the category."""
    if not turns:
        return None
    if category == "grounded":
        roles = [message["role"] for message in turns]
        return next((i for i, pair in enumerate(pairwise(roles), 1) if pair == ("tool", "assistant")), None)
    last_user = max(i for i, message in enumerate(turns) if message["role"] == "user")
    index = last_user + 1 if category == "multi_turn" else 1
    message = turns[index]
    calls = message.get("tool_calls", [])
    fits = {
        "clarify": bool(message.get("required_functions")),
        "no_tool": bool(message.get("no_tool")),
        "parallel": len(calls) > 1,
    }
    return index if fits.get(category, bool(calls)) else None


def _matches_source(category: str, message: Message) -> bool:
    """Tell hand-written from made-up tools where a category has only one sort: hand-written ones are harder."""
    if category not in {"hand_written", "made_up"}:
        return True
    name = message["tool_calls"][0]["name"]
    concept = next((concept for concept in CONCEPTS if name in concept.names), None)
    return concept is None if category == "made_up" else concept is not None and concept.held_back
