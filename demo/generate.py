"""Conversations for training and evaluation, rendered by the demo family as edgefc renders them.

    python -m demo.generate     print a few

`conversation(seed, held_back)` depends only on its arguments: data are generated during training and are repeatable.
"""

from __future__ import annotations

from typing import Any

from demo.tools import TRAINED, make_tool
from demo.writer import Message, Writer
from edgefc.formats import load_family

KINDS = ("single", "parallel", "clarify", "no_tool", "small_talk")
WEIGHTS = (36, 27, 17, 17, 3)
SYSTEM_PROMPTS = ["You are a helpful assistant.", "You help with tools.", "Be brief.",
                  "You are an assistant that calls tools.", "Answer in one sentence.",
                  "Use the tools when they help.", "You are a friendly assistant called Edge."]  # fmt: skip
WITHOUT_TOOLS = ["I have no tools here, so I cannot do that.", "I need a tool for that, and I have none."]

# The template itself, not `Family.render`: that refuses calls without results, which training conversations have.
_TEMPLATE = load_family("demo").template


def render(messages: list[Message], tools: list[dict[str, Any]], *, prompt: bool = False) -> str:
    """The text of a conversation; `prompt` ends it where the model is to answer."""
    return _TEMPLATE.render(messages=messages, tools=tools, add_generation_prompt=prompt)


def conversation(
    seed: int, *, held_back: bool = False, kinds: tuple[str, ...] | None = None
) -> tuple[list[Message], list[dict[str, Any]]]:
    """Messages and tool schemas of one conversation; `kinds` fixes the kinds of its turns."""
    writer = Writer(seed, held_back=held_back)
    rng = writer.rng
    messages: list[Message] = []
    if rng.random() < 0.3:
        messages.append({"role": "system", "content": rng.choice(SYSTEM_PROMPTS)})
    if kinds is None and rng.random() < 0.02:
        request = writer.request(make_tool(rng, rng.choice(TRAINED), exact=False))
        messages.append({"role": "user", "content": request.text})
        messages.append({"role": "assistant", "content": rng.choice(WITHOUT_TOOLS)})
        return messages, []
    tools = writer.pick_tools()
    for kind in kinds or rng.choices(KINDS, WEIGHTS, k=rng.choice([2, 3, 3, 4, 4, 5])):
        messages += writer.turn(kind, tools)
    return messages, [tool.schema for tool in tools]


def segments(messages: list[Message], tools: list[dict[str, Any]]) -> list[tuple[str, bool]]:
    """The rendered conversation in pieces, each with True if it is the model's own text."""
    text = render(messages, tools)
    pieces: list[tuple[str, bool]] = []
    head = "<|im_start|>assistant\n"
    while text:
        before, found, rest = text.partition(head)
        pieces.append((before + found, False))
        if not found:
            break
        answer, end, text = rest.partition("<|im_end|>")
        pieces.append((answer + end, True))
    return pieces


if __name__ == "__main__":
    for number in range(6):
        print(render(*conversation(number)), "\n" + "=" * 80)
