"""What of a prompt the engine should know: how much of it other conversations share, and where earlier answers lie.

Both are read off the family's own rendering of short conversations made up for it, so no family has to declare them.
A template that writes a prompt in another order than usual costs reuse, never a wrong answer.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgefc import formats
from edgefc.cache import TextCache
from edgefc.engine import Tokenizer
from edgefc.engine.prefix_store import common_prefix
from edgefc.errors import EdgefcError
from edgefc.types import Message, Messages, Tool, ToolCall, ToolChoice, Tools

Ids = NDArray[np.int32]
# Alike in neither their first nor their last characters. A line break merges with most of what can stand beside it,
# a letter with spaces: a token that depends on what the user says therefore differs between the two.
PROBES = ("\nWhy\n", "Question")
PROBE_TOOL: Tool = {
    "type": "function",
    "function": {"name": "probe", "description": "Probe", "parameters": {"type": "object", "properties": {}}},
}
PROBE_IDS = ("onequery1", "dutycall2")  # nine letters or digits, as some templates want them
MAX_TOKENS = 1 << 20  # that all heads kept may have together: 4 MB
HEAD_ROLES = ("system", "developer")
NO_IDS: Ids = np.zeros(0, dtype=np.int32)


@dataclass(frozen=True, slots=True)
class PromptParts:
    """Parts of a prompt, in tokens.

    prefix   how many it begins with that all conversations with the same system messages and tools begin with
    answers  (begin, end) of each earlier answer, from the last token before it, whose logits chose its first, to the
             token that ended it. Whether a token is in an answer depends on the tokens up to it alone: it is the same
             in all prompts that begin alike
    """

    prefix: int
    answers: tuple[tuple[int, int], ...]


class PartFinder:
    """Finds the parts of one model's prompts. Thread-safe; heads are kept by what they were rendered from."""

    def __init__(self, family: formats.Family, tokenizer: Tokenizer) -> None:
        self._family, self._tokenizer = family, tokenizer
        stops = {token for text in family.stop if (token := tokenizer.special_id(text)) is not None}
        self._ends = np.array(sorted(tokenizer.eog | stops), dtype=np.int32)
        self._control = np.array(sorted(tokenizer.control.values()), dtype=np.int32)
        # An array and its key take as much as 96 tokens.
        self._heads: TextCache[Ids] = TextCache(lambda head: 96 + len(head), MAX_TOKENS)
        self._openings = functools.lru_cache(maxsize=8)(self._render_openings)

    def find(
        self,
        ids: Sequence[int],
        messages: Messages,
        tools: Tools | None,
        choice: ToolChoice | None = None,
        *,
        thinking: bool | None = None,
    ) -> PromptParts:
        """The parts of a prompt, given as token ids, that was rendered from these messages, tools and options."""
        prompt = np.array(ids, dtype=np.int32)
        head = self.head(messages, tools, choice, thinking=thinking)
        openings = self._openings(
            None if tools is None else bool(tools), is_none=choice is not None and choice.mode == "none"
        )
        return PromptParts(common_prefix(head.tolist(), prompt.tolist()), self._answers(prompt, openings))

    def head(
        self, messages: Messages, tools: Tools | None, choice: ToolChoice | None = None, *, thinking: bool | None = None
    ) -> Ids:
        """What all conversations with this one's system messages and tools begin with; empty when it cannot be told."""
        count = next((n for n, m in enumerate(messages) if m["role"] not in HEAD_ROLES), len(messages))
        system = list(messages[:count])
        key = json.dumps([system, tools, choice and (choice.mode, choice.names), thinking])
        return self._heads.get(key, lambda: self._render_head(system, tools, choice, thinking))

    def _render_head(
        self, system: list[Message], tools: Tools | None, choice: ToolChoice | None, thinking: bool | None
    ) -> Ids:
        one, other = (self._ids([*system, _user(text)], tools, choice, thinking) for text in PROBES)
        size = common_prefix(one.tolist(), other.tolist())
        return one[:size].copy() if size < len(one) else NO_IDS  # no template should hide what the user says

    def _render_openings(self, has_tools: bool | None, *, is_none: bool) -> list[Ids]:
        """What is written between a question, or a tool's result, and the answer.

        Told not to think, a model finds empty thoughts written already, but earlier answers are shown without them:
        so openings are those of a model that may think as it likes.
        """
        tools = None if has_tools is None else [PROBE_TOOL][: int(has_tools)]
        choice = ToolChoice("none", ()) if is_none else None
        openings: list[Ids] = []
        for one, other in (
            [self._ids([_user(text)], tools, choice) for text in PROBES],
            [self._ids(_called(text, call_id), tools, choice) for text, call_id in zip(PROBES, PROBE_IDS, strict=True)],
        ):
            size = common_prefix(one[::-1].tolist(), other[::-1].tolist())
            opening = one[len(one) - size :].copy()
            # Without a control token it might stand anywhere: a line break is no beginning of an answer.
            if size < len(one) and np.isin(opening, self._control).any():
                openings.append(opening)
        return openings

    def _ids(
        self, messages: Messages, tools: Tools | None, choice: ToolChoice | None, thinking: bool | None = None
    ) -> Ids:
        """A conversation's token ids; none when the template refuses it."""
        special = self._tokenizer.special_tokens
        try:
            prompt = self._family.render(messages, tools, choice=choice, thinking=thinking, special_tokens=special)
        except EdgefcError:
            return NO_IDS
        return np.array(self._tokenizer.encode(prompt, bos=self._family.bos), dtype=np.int32)

    def _answers(self, prompt: Ids, openings: Sequence[Ids]) -> tuple[tuple[int, int], ...]:
        begins = sorted({place + len(opening) for opening in openings for place in occurrences(prompt, opening)})
        if not begins:
            return ()
        ends = np.flatnonzero(np.isin(prompt, self._ends)) + 1
        answers: list[tuple[int, int]] = []
        for begin in begins:
            if begin == len(prompt) or (answers and begin <= answers[-1][1]):
                continue  # the answer to come; what an answer itself says is part of it
            following = int(np.searchsorted(ends, begin, side="right"))
            answers.append((begin - 1, int(ends[following]) if following < len(ends) else len(prompt)))
        return tuple(answers)


def occurrences(ids: Ids, part: Ids) -> list[int]:
    """Where a sequence of tokens stands in another."""
    text, wanted = ids.tobytes(), part.tobytes()
    places: list[int] = []
    place = text.find(wanted)
    while place >= 0:
        if place % ids.itemsize == 0:  # else the bytes are those of tokens in part
            places.append(place // ids.itemsize)
        place = text.find(wanted, place + 1)
    return places


def _user(text: str) -> Message:
    return {"role": "user", "content": text}


def _called(result: str, call_id: str) -> list[Message]:
    """A conversation that ends with a tool's result."""
    call: ToolCall = {"id": call_id, "type": "function", "function": {"name": "probe", "arguments": "{}"}}
    return [
        _user("Call it"),
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": call_id, "content": result},
    ]
