"""Writes held-back cases of edgefc-mini, for `edgefc eval MODEL --suite demo --data FILE`.

    python -m mini.suite mini/runs/suite.jsonl --count 50

They are drawn from functions, sentences and values that no training conversation has.
`edgefc/evaluation/demo.py` documents the form of a case and the rules for a right answer.
"""

from __future__ import annotations

import argparse
import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from edgefc.evaluation.demo import figures
from mini.conversations import Conversation, generate

# Kind of conversation → category of the suite.
CATEGORIES = {
    "single": "hand_written",
    "choice": "hand_written",
    "parallel": "parallel",
    "no_tool": "no_tool",
    "missing": "clarify",
    "multi_turn": "multi_turn",
}


def case(conversation: Conversation, rng: random.Random) -> dict[str, Any] | None:
    """Return the messages, tools and right answer of a case, or None where no rule can judge the answer.

    A conversation is cut before one of its assistant messages.
    """
    turns = [i for i, message in enumerate(conversation.messages) if message["role"] == "assistant"]
    # A question for missing values is the first answer; of other conversations the last turns are the hard ones.
    at = turns[0] if conversation.kind == "missing" else turns[-1]
    if conversation.kind == "multi_turn":
        at = rng.choice(turns[1:] or turns)
    answer = conversation.messages[at]
    truth: dict[str, Any]
    if calls := [call["function"] for call in answer.get("tool_calls") or ()]:
        truth = {"calls": calls}
    elif conversation.kind == "no_tool":
        truth = {"no_tool": True}
    elif conversation.kind == "missing":
        truth = {"clarify": [tool["function"]["name"] for tool in conversation.tools]}
    elif found := figures(answer["content"]):
        truth = {"figures": found}
    else:
        return None
    return {"messages": as_json(conversation.messages[:at]), "tools": conversation.tools, "ground_truth": truth}


def as_json(messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return messages as OpenAI's API has them: the arguments of calls are JSON text."""
    result = []
    for message in messages:
        calls = [
            {**call, "function": {**call["function"], "arguments": json.dumps(call["function"]["arguments"])}}
            for call in message.get("tool_calls") or ()
        ]
        result.append({**message, "tool_calls": calls} if calls else message)
    return result


def entries(count: int, seed: int) -> Iterator[dict[str, Any]]:
    """Distinct cases as JSON objects, `count` of each kind."""
    rng = random.Random(f"suite:{seed}")
    for kind, category in CATEGORIES.items():
        seen: set[str] = set()
        while len(seen) < count:
            fields = case(generate(rng, held_back=True, kind=kind), rng)
            question = json.dumps(fields and [fields["messages"], fields["tools"]])
            if fields is not None and question not in seen:
                yield {"id": f"{kind}_{len(seen)}", "category": category, **fields}
                seen.add(question)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path)
    parser.add_argument("--count", type=int, default=50, help="cases of each kind")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    options.file.parent.mkdir(parents=True, exist_ok=True)
    lines = [json.dumps(entry) for entry in entries(options.count, options.seed)]
    options.file.write_text("\n".join(lines) + "\n", encoding="utf-8")
    print(f"{options.file}: {len(lines)} cases")


if __name__ == "__main__":
    main()
