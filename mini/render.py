"""Conversations as token ids, with the prompts that edgefc writes for the family `edgefc-mini`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from random import Random

from edgefc.engine.tokenizer import Tokenizer
from edgefc.formats import load_family
from edgefc.formats.canonical import canonicalize
from edgefc.inspection import tokenizer_of
from mini.conversations import Conversation, generate

HEAD, END = "<|im_start|>assistant\n", "<|im_end|>"
Row = tuple[list[int], list[bool]]  # token ids of a conversation, and which of them the model has to say

# The template itself, not `Family.render`: that refuses calls without results, which training conversations have.
_TEMPLATE = load_family("edgefc-mini").template


def render(conversation: Conversation) -> str:
    """Return the text of a conversation."""
    last = conversation.messages[-1]
    # Calls without results are refused; the empty ones that are added are left out again.
    results = [{"role": "tool", "tool_call_id": call["id"], "content": ""} for call in last.get("tool_calls") or ()]
    messages = canonicalize([*conversation.messages, *results])
    messages = messages[: len(messages) - len(results)]
    return _TEMPLATE.render(messages=messages, tools=conversation.tools, add_generation_prompt=False)


def segments(text: str) -> Iterator[tuple[str, bool]]:
    """Cut a text into pieces, each with True if the model has to say it."""
    while text:
        before, found, rest = text.partition(HEAD)
        yield before + found, False
        if not found:
            return
        answer, end, text = rest.partition(END)
        yield answer + end, True


class Renderer:
    """Writes conversations as rows, with a model's tokenizer."""

    def __init__(self, model: Path) -> None:
        self._tokenizer: Tokenizer = tokenizer_of(str(model))

    def row(self, conversation: Conversation) -> Row:
        ids: list[int] = []
        is_answer: list[bool] = []
        for text, is_own in segments(render(conversation)):
            piece = self._tokenizer.encode(text)
            ids += piece
            is_answer += [is_own] * len(piece)
        return ids, is_answer


def packs(renderer: Renderer, seed: str, number: int, stride: int, tokens: int, limit: int) -> Iterator[list[Row]]:
    """Yield groups of rows of at most `tokens` together: numbers `number`, `number` + `stride`, … of an endless list.

    limit  of a conversation; longer ones are left out
    """
    while True:
        rng = Random(f"{seed}:{number}")
        group: list[Row] = []
        room = tokens
        while True:
            row = renderer.row(generate(rng))
            if len(row[0]) > limit:
                continue
            if len(row[0]) > room:
                break
            group.append(row)
            room -= len(row[0])
        yield group
        number += stride
