"""Conversations as token ids, with the prompts that edgefc writes for the family `edgefc-mini`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from random import Random

from edgefc.engine.tokenizer import Tokenizer
from edgefc.formats import load_family
from edgefc.formats.canonical import canonicalize
from edgefc.inspection import tokenizer_of
from mini.conversations import Conversation, generate_group

HEAD, END = "<|im_start|>assistant\n", "<|im_end|>"
Row = tuple[list[int], list[bool]]  # token ids, and which of them the model has to say


@dataclass(frozen=True)
class Group:
    """Conversations with a common start.

    start     token ids of the system message, with its tools
    branches  the rest of each conversation
    """

    start: list[int]
    branches: list[Row]

    def __len__(self) -> int:
        return len(self.flags)

    @property
    def tokens(self) -> list[list[int]]:
        """Token ids of the branches."""
        return [ids for ids, _ in self.branches]

    @property
    def flags(self) -> list[bool]:
        """Which tokens the model has to say, of the start and all branches."""
        return [False] * len(self.start) + [flag for _, flags in self.branches for flag in flags]


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
        [self._end] = self._tokenizer.encode(END)

    def row(self, conversation: Conversation) -> Row:
        ids: list[int] = []
        is_answer: list[bool] = []
        for text, is_own in segments(render(conversation)):
            piece = self._tokenizer.encode(text)
            ids += piece
            is_answer += [is_own] * len(piece)
        return ids, is_answer

    def group(self, conversations: list[Conversation]) -> Group:
        """Return conversations whose system messages and tools are the same."""
        rows = [self.row(one) for one in conversations]
        first = rows[0][0]
        # The system message ends with its end token and a newline.
        size = first.index(self._end) + 2
        assert all(ids[:size] == first[:size] for ids, _ in rows)
        return Group(first[:size], [(ids[size:], flags[size:]) for ids, flags in rows])


def packs(renderer: Renderer, seed: str, number: int, stride: int, tokens: int, limit: int) -> Iterator[list[Group]]:
    """Yield lists of groups of at most `tokens` together: numbers `number`, `number` + `stride`, … of an endless list.

    limit  of a group; longer ones are left out
    """
    while True:
        rng = Random(f"{seed}:{number}")
        pack: list[Group] = []
        room = tokens
        while True:
            group = renderer.group(generate_group(rng))
            if len(group) > limit:
                continue
            if len(group) > room:
                break
            pack.append(group)
            room -= len(group)
        yield pack
        number += stride
