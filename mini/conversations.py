"""Conversations that edgefc-mini is trained on.

    python -m mini.conversations 20             print some
    python -m mini.conversations 20 --held-back of the held-back side

Every assistant message is a target. Data are drawn anew from the random generator, so they are endless and repeatable.
"""

from __future__ import annotations

import argparse
import json
import random
from dataclasses import dataclass
from typing import Any

from mini.talk import Talk
from mini.values import Values

# Kind of conversation → share of all in percent.
SHARES = {
    "single": 35,
    "choice": 20,
    "parallel": 15,
    "no_tool": 15,
    "missing": 5,
    "multi_turn": 8,
    "chat": 2,
}
SYSTEM_SHARE = 0.12
MAX_CHARACTERS = 8_000


@dataclass(frozen=True)
class Conversation:
    """A conversation in OpenAI's form.

    kind      a key of `SHARES`
    tools     function tools with JSON Schema
    messages  system (optional), user, assistant and tool messages; the arguments of calls are dicts, not JSON text
    """

    kind: str
    tools: list[dict[str, Any]]
    messages: list[dict[str, Any]]


def generate(rng: random.Random, *, held_back: bool = False, kind: str = "") -> Conversation:
    """One conversation, of any kind or of the named one."""
    chosen = kind or rng.choices(list(SHARES), list(SHARES.values()))[0]
    while True:
        talk = Talk(Values(rng, held_back=held_back))
        if rng.random() < SYSTEM_SHARE:
            talk.add_system()
        if talk.write(chosen):
            conversation = Conversation(chosen, [tool.schema for tool in talk.tools], talk.messages)
            if len(json.dumps([conversation.tools, conversation.messages])) <= MAX_CHARACTERS:
                return conversation


def text(conversation: Conversation) -> str:
    """A conversation for people to read."""
    lines = [f"## {conversation.kind}"]
    for tool in conversation.tools:
        function = tool["function"]
        lines.append(f"* {function['name']}: {function.get('description', '')}")
        parameters = function["parameters"]
        for name, schema in parameters["properties"].items():
            mark = "!" if name in parameters["required"] else ""
            lines.append(f"    {name}{mark}: {json.dumps(schema, ensure_ascii=False)}")
    for message in conversation.messages:
        lines += [f"{message['role']}: {message['content']}"] if message.get("content") else []
        for call in message.get("tool_calls", ()):
            function = call["function"]
            lines.append(f"  → {function['name']}({json.dumps(function['arguments'], ensure_ascii=False)})")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("count", type=int, nargs="?", default=20)
    parser.add_argument("--held-back", action="store_true")
    parser.add_argument("--kind", choices=SHARES, default="")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    rng = random.Random(options.seed)
    for _ in range(options.count):
        print(text(generate(rng, held_back=options.held_back, kind=options.kind)), end="\n\n")


if __name__ == "__main__":
    main()
