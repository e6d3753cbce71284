"""The demo model's held-back cases, category by category; `python -m demo.suite` writes them for `edgefc eval`.

Held back are tools (every eighth hand-written one, every seventh object of the made-up ones), values (every seventh
of each list, other made-up words) and sentences.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from demo import generate
from demo.generate import Writer, show
from demo.paraphrases import PARAPHRASES
from edgefc.example_tools import EXAMPLE_TOOLS

BASE = 3 * 10**9  # far from every training seed


@dataclass(frozen=True)
class Case:
    messages: list[dict[str, Any]]
    tools: list[dict[str, Any]]
    expected: dict[str, Any]  # the assistant message that should come


def openai(messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Generated messages in OpenAI's form."""
    result: list[dict[str, Any]] = []
    waiting: list[str] = []
    for number, message in enumerate(messages):
        if message.get("tool_calls"):
            waiting = [f"c{number}_{i}" for i in range(len(message["tool_calls"]))]
            calls = [{"id": i, "type": "function", "function": {"name": c["name"], "arguments": json.dumps(c["arguments"])}}
                     for i, c in zip(waiting, message["tool_calls"], strict=True)]  # fmt: skip
            result.append({"role": "assistant", "content": None, "tool_calls": calls})
        elif message["role"] == "tool":
            result.append({**message, "tool_call_id": waiting.pop(0)})
        else:
            result.append(
                {key: value for key, value in message.items() if key in {"role", "content", "required_functions"}}
            )
    return result


def cases(category: str, count: int) -> Iterator[Case]:
    """Held-back cases of a category; each asks for one assistant message. There are only so many paraphrases."""
    if category == "paraphrases":
        tools = [t.schema for t in EXAMPLE_TOOLS]
        for text, calls in PARAPHRASES[:count]:
            yield Case([{"role": "user", "content": text}], tools, {"tool_calls": calls})
        return
    seed, found = BASE + sum(map(ord, category)) * 10**6, 0
    while found < count:
        seed += 1
        writer = Writer(seed, held_back=True)
        if category == "examples":
            tools = [show(writer.rng, concept, exact=True) for concept in generate.EXAMPLES]
            turns = writer.turn("single", tools)
        else:
            tools = writer.toolbox()
            turns = writer.turn(category if category in generate.KINDS else "single", tools)
            if category == "multi_turn":
                if not (
                    turns[-1]["role"] == "assistant"
                    and "content" in turns[-1]
                    and not turns[-1].get("required_functions")
                ):
                    continue
                turns += writer.turn("single", tools)
        place = _place(category, turns)
        if place is None or not _is_of(category, turns[place]):
            continue
        found += 1
        yield Case(turns[:place], [t.schema for t in tools], turns[place])


def _place(category: str, turns: list[dict[str, Any]]) -> int | None:
    """Where in the turns the message stands that is asked for."""
    last_user = max(i for i, m in enumerate(turns) if m["role"] == "user")
    if category == "grounded":
        places = [i for i, m in enumerate(turns) if i and turns[i - 1]["role"] == "tool" and m["role"] == "assistant"]
        return places[0] if places else None
    place = last_user + 1 if category == "multi_turn" else 1
    wanted = turns[place]
    fits = {
        "clarify": bool(wanted.get("required_functions")),
        "no_tool": bool(wanted.get("no_tool")),
        "parallel": len(wanted.get("tool_calls", [])) > 1,
    }.get(category, bool(wanted.get("tool_calls")))
    return place if fits else None


def _is_of(category: str, wanted: dict[str, Any]) -> bool:
    """The two sorts of unseen tools are counted apart: the hand-written are the harder."""
    if category not in {"hand_written", "made_up"}:
        return True
    name = wanted["tool_calls"][0]["name"]
    concept = next((c for c in generate.CONCEPTS if name in c.names), None)
    return concept in generate.HELD_BACK if category == "hand_written" else concept is None
