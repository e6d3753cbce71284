"""Computing the shared prefix of a tool set's prompts ahead of the first request, and saving it to disk."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgefc.chat.prompt import conversation
from edgefc.chat.prompt_parts import PartFinder
from edgefc.engine.backend import Backend
from edgefc.errors import RequestError
from edgefc.tools import ToolLike, ToolSet, parse_tool_choice


@dataclass(frozen=True, slots=True)
class WarmResult:
    """The prefix that was computed and saved.

    tokens         length of the prefix that all prompts with these tools share
    cached_tokens  tokens of it that were cached already
    files          prefix files of this model that this engine wrote or read; empty if the engine saves none, or if
                   the prefix is too short to be worth a file
    seconds        duration
    """

    tokens: int
    cached_tokens: int
    files: tuple[Path, ...]
    seconds: float

    @property
    def bytes(self) -> int:
        """Size of the files, in bytes."""
        return sum(path.stat().st_size for path in self.files if path.exists())


def warm_up(
    engine: Backend,
    parts: PartFinder,
    tools: Sequence[ToolLike] | ToolSet,
    *,
    system: str | None,
    tool_choice: str | Mapping[str, Any],
) -> WarmResult:
    """Warm up as `Model.warm` describes."""
    started = time.perf_counter()
    toolset = ToolSet.of(tools)
    head = parts.head(conversation([], system), toolset, parse_tool_choice(tool_choice, toolset)).tolist()
    if not head:
        raise RequestError(
            "tools",
            "this model's prompts share no prefix that could be computed ahead of time",
            "Leave out the system message if the model's chat template takes none.",
        )
    # A prompt needs one token after the shared prefix; any token will do.
    stats = engine.submit([*head, head[-1]], max_tokens=1, prefix=len(head)).result().stats
    files = engine.save_prefixes()
    return WarmResult(len(head), stats.cached_tokens, tuple(files), time.perf_counter() - started)
