"""Computing what prompts with a tool set begin with before anybody asks, so that the engine keeps it on disk."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgefc.chat.prompt_parts import PartFinder
from edgefc.chat.request import checked_tools
from edgefc.engine.backend import Backend
from edgefc.errors import RequestError
from edgefc.tools import ToolLike, parse_tool_choice
from edgefc.types import Message


@dataclass(frozen=True, slots=True)
class WarmResult:
    """What was computed and kept.

    tokens         that every prompt with these tools begins with
    cached_tokens  how many of them were there already
    files          on disk with beginnings of this model's prompts, as far as this engine wrote or read them; none
                   where it keeps none, or where there are too few tokens to be worth it
    seconds        it took
    """

    tokens: int
    cached_tokens: int
    files: tuple[Path, ...]
    seconds: float

    @property
    def bytes(self) -> int:
        """Size of the files."""
        return sum(path.stat().st_size for path in self.files if path.exists())


def warm_up(
    engine: Backend,
    parts: PartFinder,
    tools: Sequence[ToolLike],
    *,
    system: str | None,
    tool_choice: str | Mapping[str, Any],
) -> WarmResult:
    """See `Model.warm`."""
    began = time.perf_counter()
    checked = checked_tools(tools)
    messages: list[Message] = [] if system is None else [{"role": "system", "content": system}]
    head = parts.head(messages, checked, parse_tool_choice(tool_choice, checked)).tolist()
    if not head:
        raise RequestError(
            "tools",
            "this model's prompts have nothing in common that could be computed beforehand",
            "Leave out the system message if the model's chat template takes none.",
        )
    # A prompt needs a token of its own after what it shares; which one is all the same.
    stats = engine.submit([*head, head[-1]], max_tokens=1, prefix=len(head)).result().stats
    files = engine.save_prefixes()
    return WarmResult(len(head), stats.cached_tokens, tuple(files), time.perf_counter() - began)
