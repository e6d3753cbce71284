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

# Kind of conversation → share in percent, of the first one with its tools.
SHARES = {
    "single": 22,
    "choice": 16,
    "parallel": 16,
    "no_tool": 14,
    "missing": 6,
    "multi_turn": 23,
    "chat": 3,
}
# The same for further conversations with tools that are there already.
MORE_SHARES = {"one_of_these": 48, "parallel": 24, "no_tool": 19, "missing": 9}
MORE = {1: 2, 2: 3}  # tools → conversations with the same; 4 of more tools
SYSTEM_SHARE = 0.12
MAX_CHARACTERS = 8_000


@dataclass(frozen=True)
class Conversation:
    """A conversation in OpenAI's form.

    kind      a key of `SHARES` or `MORE_SHARES`
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


def generate_group(rng: random.Random, *, held_back: bool = False) -> list[Conversation]:
    """Conversations with the same system message and the same tools, so that their common start is computed once."""
    while True:
        talk = Talk(Values(rng, held_back=held_back))
        if rng.random() < SYSTEM_SHARE:
            talk.add_system()
        system = list(talk.messages)
        kind = rng.choices(list(SHARES), list(SHARES.values()))[0]
        if talk.write(kind):
            break
    tools = [tool.schema for tool in talk.tools]
    group = [Conversation(kind, tools, talk.messages)]
    wanted = MORE.get(len(tools), 4) if tools else 1
    for _ in range(4 * wanted):
        if len(group) == wanted:
            break
        kind = rng.choices(list(MORE_SHARES), list(MORE_SHARES.values()))[0]
        another = Talk(talk.v, talk.tools, system)
        if another.write(kind):
            group.append(Conversation(kind, tools, another.messages))
    return [one for one in group if len(json.dumps([one.tools, one.messages])) <= MAX_CHARACTERS]


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
