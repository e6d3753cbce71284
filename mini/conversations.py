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
from mini.toolbox import examples
from mini.transcript import Message
from mini.values import Values

# Kind of conversation → share in percent, of the first one with its tools.
SHARES = {
    "single": 24,
    "choice": 16,
    "parallel": 19,
    "no_tool": 14,
    "missing": 5,
    "multi_turn": 19,
    "chat": 3,
}
# The same for further conversations with tools that are there already.
MORE_SHARES = {"one_of_these": 43, "parallel": 25, "no_tool": 18, "missing": 9, "multi_turn": 5}
# The same for conversations with edgefc's example tools, which a newcomer meets first.
EXAMPLE_SHARES = {"one_of_these": 46, "parallel": 18, "no_tool": 14, "missing": 8, "multi_turn": 14}
EXAMPLES, EXAMPLE_COUNT = 0.05, 7  # share of the groups, and their conversations
MORE = {1: 3, 2: 4}  # tools → conversations with the same; 5 of more tools
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
            if _is_short(talk):
                return conversation


def generate_group(rng: random.Random, *, held_back: bool = False) -> list[Conversation]:
    """Conversations with the same system message and the same tools, so that their common start is computed once."""
    if rng.random() < EXAMPLES and not held_back:
        talk = Talk(Values(rng, held_back=False))
        talk.tools = examples(talk.v)
        return _more(talk, [], EXAMPLE_SHARES, EXAMPLE_COUNT)
    while True:
        talk = Talk(Values(rng, held_back=held_back))
        if rng.random() < SYSTEM_SHARE:
            talk.add_system()
        system = list(talk.messages)
        kind = rng.choices(list(SHARES), list(SHARES.values()))[0]
        if talk.write(kind) and _is_short(talk):
            break
    first = Conversation(kind, [tool.schema for tool in talk.tools], talk.messages)
    count = MORE.get(len(talk.tools), 5) if talk.tools else 1
    return [first, *_more(talk, system, MORE_SHARES, count - 1)]


def _is_short(talk: Talk) -> bool:
    return len(json.dumps([[tool.schema for tool in talk.tools], talk.messages])) <= MAX_CHARACTERS


def _more(talk: Talk, system: list[Message], shares: dict[str, int], count: int) -> list[Conversation]:
    """At most `count` further conversations with the same tools."""
    tools = [tool.schema for tool in talk.tools]
    group: list[Conversation] = []
    for _ in range(4 * count):
        if len(group) == count:
            break
        kind = talk.rng.choices(list(shares), list(shares.values()))[0]
        another = Talk(talk.v, talk.tools, system)
        if another.write(kind) and _is_short(another):
            group.append(Conversation(kind, tools, another.messages))
    return group


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
