"""Parts of a prompt that the engine needs to know: the prefix that other conversations share, and earlier answers.

Both follow from the family's own rendering of short probe conversations, so that no family has to declare them. A
template with an unusual order costs reuse, never a wrong answer.
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
from edgefc.chat.prompt import render_prompt
from edgefc.engine import Tokenizer
from edgefc.engine.prefix_store import common_prefix
from edgefc.errors import EdgefcError, EngineClosedError, FormatError, RequestError
from edgefc.tools import ToolSet
from edgefc.types import Message, Messages, Tool, ToolCall, ToolChoice, Tools

Ids = NDArray[np.int32]
# Different in their first and last characters. A line break merges with most of its neighbours, a letter with
# spaces: a token that depends on the user's text therefore differs between the two.
PROBES = ("\nWhy\n", "Question")
PROBE_TOOL: Tool = {
    "type": "function",
    "function": {"name": "probe", "description": "Probe", "parameters": {"type": "object", "properties": {}}},
}
PROBE_IDS = ("onequery1", "dutycall2")  # nine letters or digits, as some templates require
MAX_TOKENS = 1 << 20  # of all cached heads together: 4 MB
HEAD_ROLES = ("system", "developer")
NO_IDS: Ids = np.zeros(0, dtype=np.int32)


@dataclass(frozen=True, slots=True)
class PromptParts:
    """Parts of a prompt, in tokens.

    prefix   length of the prefix shared by all conversations with the same system messages and tools
    answers  (begin, end) of each earlier answer, from the token before it, whose logits chose its first token, to the
             token that ended it. Membership depends only on preceding tokens: it is the same in all prompts with a
             common prefix
    """

    prefix: int
    answers: tuple[tuple[int, int], ...]


class PartFinder:
    """Finds the parts of a model's prompts in one chat format. Thread-safe; caches heads by system, tools and options.

    family  the chat format
    """

    def __init__(self, family: formats.Family, tokenizer: Tokenizer) -> None:
        self.family, self._tokenizer = family, tokenizer
        stops = {token for text in family.stop if (token := tokenizer.special_id(text)) is not None}
        self._ends = np.array(sorted(tokenizer.eog | stops), dtype=np.int32)
        self._control = np.array(sorted(tokenizer.control.values()), dtype=np.int32)
        # An array and its key take the memory of 96 tokens.
        self._heads: TextCache[Ids] = TextCache(lambda head: 96 + len(head), MAX_TOKENS)
        self._openings = functools.lru_cache(maxsize=8)(self._render_openings)
        self._tool_sizes: TextCache[tuple[int, ...]] = TextCache(len, MAX_TOKENS)

    def find(
        self,
        ids: Sequence[int],
        messages: Messages,
        tools: Tools | None,
        choice: ToolChoice | None = None,
        *,
        thinking: bool | None = None,
    ) -> PromptParts:
        """Find the parts of a prompt, given as token ids, rendered from these messages, tools and options."""
        prompt = np.array(ids, dtype=np.int32)
        head = self.head(messages, tools, choice, thinking=thinking)
        openings = self._openings(
            None if tools is None else bool(tools), is_none=choice is not None and choice.mode == "none"
        )
        return PromptParts(common_prefix(head.tolist(), prompt.tolist()), self._answers(prompt, openings))

    def head(
        self, messages: Messages, tools: Tools | None, choice: ToolChoice | None = None, *, thinking: bool | None = None
    ) -> Ids:
        """Return the prefix, in token ids, of all conversations with these system messages and tools; may be empty."""
        count = next((n for n, m in enumerate(messages) if m["role"] not in HEAD_ROLES), len(messages))
        system = list(messages[:count])
        key = json.dumps([system, _tools_key(tools), choice and (choice.mode, choice.names), thinking])
        return self._heads.get(key, lambda: self._render_head(system, tools, choice, thinking))

    def ids(
        self, messages: Messages, tools: Tools | None, choice: ToolChoice | None, *, thinking: bool | None = None
    ) -> list[int]:
        """Render and tokenize a conversation; no ids when the template refuses it."""
        found: list[int] = self._ids(messages, tools, choice, thinking).tolist()
        return found

    def tool_sizes(self, tools: ToolSet) -> tuple[int, ...]:
        """Return the tokens of each tool as JSON, which are about those that it adds to the prompt."""
        return self._tool_sizes.get(tools.json, lambda: tuple(self._size(tool) for tool in tools))

    def _size(self, tool: Tool) -> int:
        return len(self._tokenizer.encode_text(json.dumps(tool, ensure_ascii=False)))

    def _render_head(
        self, system: list[Message], tools: Tools | None, choice: ToolChoice | None, thinking: bool | None
    ) -> Ids:
        one, other = (self._ids([*system, _question(text)], tools, choice, thinking) for text in PROBES)
        size = common_prefix(one.tolist(), other.tolist())
        return one[:size].copy() if size < len(one) else NO_IDS  # a template that drops the user's text shares nothing

    def _render_openings(self, has_tools: bool | None, *, is_none: bool) -> list[Ids]:
        """Render the text between a question, or a tool's result, and the answer.

        With thinking off, the prompt ends in empty thoughts, but earlier answers are rendered without them: openings
        are therefore those with thinking on.
        """
        tools = None if has_tools is None else [PROBE_TOOL][: int(has_tools)]
        choice = ToolChoice("none", ()) if is_none else None
        openings: list[Ids] = []
        for one, other in (
            [self._ids([_question(text)], tools, choice) for text in PROBES],
            [
                self._ids(_with_result(text, call_id), tools, choice)
                for text, call_id in zip(PROBES, PROBE_IDS, strict=True)
            ],
        ):
            size = common_prefix(one[::-1].tolist(), other[::-1].tolist())
            opening = one[len(one) - size :].copy()
            # Without a control token, such as a mere line break, it could occur anywhere in a text.
            if size < len(one) and np.isin(opening, self._control).any():
                openings.append(opening)
        return openings

    def _ids(
        self, messages: Messages, tools: Tools | None, choice: ToolChoice | None, thinking: bool | None = None
    ) -> Ids:
        """Render and tokenize a conversation; no ids when the template refuses it."""
        try:
            prompt = render_prompt(self.family, self._tokenizer, messages, tools, choice=choice, thinking=thinking)
        except EngineClosedError:
            raise
        except EdgefcError:
            return NO_IDS
        return np.array(prompt.ids, dtype=np.int32)

    def _answers(self, prompt: Ids, openings: Sequence[Ids]) -> tuple[tuple[int, int], ...]:
        begins = sorted({start + len(opening) for opening in openings for start in occurrences(prompt, opening)})
        if not begins:
            return ()
        ends = np.flatnonzero(np.isin(prompt, self._ends)) + 1
        answers: list[tuple[int, int]] = []
        for begin in begins:
            if begin == len(prompt) or (answers and begin <= answers[-1][1]):
                continue  # the answer to come, or an opening quoted inside an answer
            following = int(np.searchsorted(ends, begin, side="right"))
            answers.append((begin - 1, int(ends[following]) if following < len(ends) else len(prompt)))
        return tuple(answers)


def occurrences(ids: Ids, part: Ids) -> list[int]:
    """Return the positions at which a sequence of tokens occurs in another."""
    text, pattern = ids.tobytes(), part.tobytes()
    positions: list[int] = []
    offset = text.find(pattern)
    while offset >= 0:
        if offset % ids.itemsize == 0:  # a match at another offset spans parts of tokens
            positions.append(offset // ids.itemsize)
        offset = text.find(pattern, offset + 1)
    return positions


def _tools_key(tools: Tools | None) -> object:
    return tools.json if isinstance(tools, ToolSet) else tools


def _question(text: str) -> Message:
    return {"role": "user", "content": text}


def _with_result(result: str, call_id: str) -> list[Message]:
    """Build a conversation that ends with a tool's result."""
    call: ToolCall = {"id": call_id, "type": "function", "function": {"name": "probe", "arguments": "{}"}}
    return [
        _question("Call it"),
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": call_id, "content": result},
    ]


class PartFinders:
    """Finds the parts of a model's prompts, for its own chat format and others. Thread-safe."""

    def __init__(self, family: formats.Family, tokenizer: Tokenizer) -> None:
        self.own = PartFinder(family, tokenizer)
        self._others = functools.lru_cache(maxsize=8)(lambda name: PartFinder(formats.load_family(name), tokenizer))

    def of(self, family: str | None) -> PartFinder:
        """Return that of the chat format of this name; None: the model's own. Raises RequestError."""
        if family is None or family == self.own.family.name:
            return self.own
        if not isinstance(family, str) or family.endswith(".toml"):  # a request never names a file
            raise RequestError("family", f"must be the name of a chat format, not {family!r}")
        try:
            return self._others(family)
        except FormatError as error:
            raise RequestError("family", error.reason, error.hint) from None
